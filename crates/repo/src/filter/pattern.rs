//! One pattern, and whether it matches the names of a path.

use super::wildcard::Wildcard;

/// One pattern, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    pub(super) is_negated: bool,
}

/// What stands between two slashes of a pattern.
#[derive(Clone, Debug)]
enum Part {
    /// The `/` at the front of an anchored pattern.
    Root,
    /// `**`.
    AnyNames,
    /// Anything else.
    Name(Wildcard),
}

impl Pattern {
    /// Nothing if the text is empty or is no pattern.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (is_negated, text) = match text.split_first()? {
            (b'!', rest) => (true, rest),
            _ => (false, text),
        };
        let parts = split(&clean(text)).into_iter().map(Part::parse).collect::<Option<_>>()?;
        Some(Self { parts, is_negated })
    }

    fn is_anchored(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Root))
    }

    /// Whether it matches a path of these names.
    pub(super) fn matches(&self, names: &[&[u8]]) -> bool {
        Self::run(&self.parts, self.is_anchored(), names)
    }

    /// Whether a path that goes on from here could match.
    pub(super) fn may_match_inside(&self, names: &[&[u8]]) -> bool {
        if !self.is_anchored() {
            return true;
        }
        // The root alone is split into itself and an empty name.
        let names = names.strip_suffix(&[&b""[..]]).unwrap_or(names);
        let fixed = self.parts.iter().position(|part| matches!(part, Part::AnyNames));
        let shared = names.len().min(fixed.unwrap_or(self.parts.len()));
        match fixed {
            // Beyond the names before `**` anything goes.
            Some(fixed) if names.len() >= fixed => {
                Self::run(&self.parts[..fixed], true, &names[..fixed])
            }
            _ => Self::run(&self.parts[..shared], true, names),
        }
    }

    /// Whether the parts match a stretch of the names: from the front on if they are anchored, else
    /// from anywhere on.
    fn run(parts: &[Part], is_anchored: bool, names: &[&[u8]]) -> bool {
        let first = usize::from(!is_anchored && names.first() == Some(&ROOT));
        let last = if is_anchored { 0 } else { names.len() };
        (first..=last).any(|offset| Self::run_from(parts, names, offset))
    }

    /// Whether the parts match the names from this one on.
    fn run_from(parts: &[Part], names: &[&[u8]], offset: usize) -> bool {
        let mut wildcards_left = parts.iter().filter(|p| matches!(p, Part::AnyNames)).count();
        let fixed = parts.len() - wildcards_left;
        // `reached[n]`: the parts so far can end right before name n.
        let mut reached = vec![false; names.len() + 1];
        reached[offset] = true;
        let mut fixed_before = 0;
        for part in parts {
            match part {
                Part::AnyNames => {
                    wildcards_left -= 1;
                    // restic's bound: all fixed parts and all later `**` must still find a name each,
                    // counted over the whole path.
                    let Some(spare) = names.len().checked_sub(fixed + wildcards_left) else {
                        return false;
                    };
                    let limit = (offset + fixed_before + spare).min(names.len());
                    let Some(first) = reached.iter().position(|&here| here) else { return false };
                    for (position, here) in reached.iter_mut().enumerate().skip(first) {
                        *here = position <= limit;
                    }
                }
                part => {
                    for position in (0..names.len()).rev() {
                        reached[position + 1] = reached[position] && part.matches(names[position]);
                    }
                    reached[0] = false;
                    fixed_before += 1;
                }
            }
        }
        // A pattern of `**` alone stands for one name at least.
        reached.iter().skip(if fixed == 0 { offset + 1 } else { 0 }).any(|&here| here)
    }
}

impl Part {
    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"/" => Some(Self::Root),
            b"**" | b"" => Some(Self::AnyNames),
            name => Wildcard::parse(name).map(Self::Name),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Root => name == ROOT,
            Self::AnyNames => true,
            Self::Name(wildcard) => wildcard.matches(name),
        }
    }
}

/// How the root of an absolute path is written among its names.
const ROOT: &[u8] = b"/";

/// The names of a path, with [`ROOT`] as the first one of an absolute path.
pub(super) fn split(path: &[u8]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    if names[0].is_empty() {
        names[0] = ROOT;
    }
    names
}

/// The shortest spelling of a path: no empty names, no `.`, no `..` but at the front.
fn clean(path: &[u8]) -> Vec<u8> {
    let is_absolute = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match names.last() {
                Some(&last) if last != b".." => drop(names.pop()),
                _ if is_absolute => {}
                _ => names.push(name),
            },
            name => names.push(name),
        }
    }
    match (is_absolute, names.join(&b'/')) {
        (true, rest) => [b"/", &rest[..]].concat(),
        (false, rest) if rest.is_empty() => b".".to_vec(),
        (false, rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            ("a/", "a"),
            ("./a/../b", "b"),
            ("../../a", "../../a"),
            ("a/../..", ".."),
            ("/..//a/.", "/a"),
            ("/", "/"),
            ("//", "/"),
        ] {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }

    /// restic's own way, spelled out: each `**` becomes no, one, two … times `*`.
    fn expanded(parts: &[Part], is_anchored: bool, names: &[&[u8]]) -> bool {
        let Some(position) = parts.iter().position(|part| matches!(part, Part::AnyNames)) else {
            if parts.is_empty() || parts.len() > names.len() {
                return parts.is_empty() && names.is_empty();
            }
            let first = usize::from(!is_anchored && names[0] == ROOT);
            let last = if is_anchored { 0 } else { names.len() - parts.len() };
            return (first..=last).any(|offset| {
                parts.iter().zip(&names[offset..]).all(|(part, name)| part.matches(name))
            });
        };
        (0..(names.len() + 2).saturating_sub(parts.len())).any(|stars| {
            let mut longer = parts[..position].to_vec();
            longer.extend((0..stars).map(|_| Part::parse(b"*").unwrap()));
            longer.extend_from_slice(&parts[position + 1..]);
            expanded(&longer, is_anchored, names)
        })
    }

    proptest! {
        #[test]
        fn many_double_wildcards_match_as_restic_expands_them(
            pattern in "(/)?((\\*\\*|\\*|a|b)/){0,4}(\\*\\*|\\*|a|b)",
            path in "(/)?([ab]/){0,5}[ab]",
        ) {
            let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
            let names = split(path.as_bytes());
            let slow = expanded(&pattern.parts, pattern.is_anchored(), &names);
            prop_assert_eq!(pattern.matches(&names), slow);
        }
    }
}
