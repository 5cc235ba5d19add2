//! Lists of algorithms: `Ciphers`, `HostKeyAlgorithms` and their like.

use crate::pattern::fits;

/// A list as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AlgorithmList {
    change: Change,
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// These, in this order.
    Only,
    /// `+`: these as well.
    Add,
    /// `-`: all but these.
    Remove,
    /// `^`: these first.
    First,
}

impl AlgorithmList {
    /// Reads a list with commas, and perhaps a sign in front.
    pub(crate) fn parse(text: &str) -> Self {
        let (change, names) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Change::Add, rest),
            Some(("-", rest)) => (Change::Remove, rest),
            Some(("^", rest)) => (Change::First, rest),
            _ => (Change::Only, text),
        };
        Self { change, names: names.split(',').map(str::to_owned).collect() }
    }

    /// What is left of our own list, and in which order. Nothing is added to it: what we do not have
    /// by default is either not implemented or broken.
    pub(crate) fn apply<'a>(&self, ours: &[&'a str]) -> Vec<&'a str> {
        let named = || {
            let mut chosen: Vec<&'a str> = Vec::new();
            for pattern in &self.names {
                for &name in ours {
                    if fits(name, pattern) && !chosen.contains(&name) {
                        chosen.push(name);
                    }
                }
            }
            chosen
        };
        match self.change {
            Change::Only => named(),
            Change::Add => ours.to_vec(),
            Change::Remove => {
                let gone = named();
                ours.iter().copied().filter(|name| !gone.contains(name)).collect()
            }
            Change::First => {
                let mut first = named();
                let rest: Vec<_> =
                    ours.iter().copied().filter(|name| !first.contains(name)).collect();
                first.extend(rest);
                first
            }
        }
    }

    /// Whether the order is somebody's wish, and not ours to change.
    pub(crate) fn orders(&self) -> bool {
        matches!(self.change, Change::Only | Change::First)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_change_our_list_and_a_list_without_one_replaces_it() {
        let ours = ["a1", "a2", "b1"];
        for (text, expected) in [
            ("b1,zz,a1", vec!["b1", "a1"]),
            ("+zz", vec!["a1", "a2", "b1"]),
            ("-a*", vec!["b1"]),
            ("^b1", vec!["b1", "a1", "a2"]),
            ("zz", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(AlgorithmList::parse(text).apply(&ours), expected, "{text}");
        }
    }
}
