//! Which paths a backup leaves out, and which ones a restore brings back: restic's patterns.
//!
//! A pattern is a path whose names may hold wildcards (see [`Wildcard`]):
//!
//! * A pattern that begins with `/` is anchored: it must match from the root on. Any other one may
//!   match anywhere in a path, name by name: `bar/*.c` matches `/home/bar/x.c`.
//! * A pattern that matches a folder matches all that is in it too.
//! * `**` stands for any number of names, also for none.
//! * A pattern that begins with `!` takes back what an earlier one of the same list matched.
//!
//! The result is restic's in every case, odd ones included, because two programs that back up the same
//! folders must choose the same files: `/` alone is read as `/**`, and among several `**` a later one
//! counts as at least one name when restic tries how far an earlier one can reach (so that
//! `/x/**/a/**/b` misses `/x/y/a/b`).
//!
//! Nothing here touches a file system: paths are compared as they are spelled.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub use wildcard::Wildcard;

use pattern::{Pattern, split};

mod pattern;
mod wildcard;

/// Chooses among paths, with lists of patterns.
#[derive(Clone, Debug, Default)]
pub enum Filter {
    /// All of them.
    #[default]
    Everything,
    /// All but those that one of the lists matches.
    Except(Vec<PatternList>),
    /// Only those that one of the lists matches.
    Only(Vec<PatternList>),
}

/// What becomes of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Whether the path itself is chosen.
    pub selected: bool,
    /// Whether something inside of it may be chosen; if not, a walk need not go there.
    pub descend: bool,
}

impl Filter {
    /// What becomes of `path`. Only a folder is ever worth descending into.
    pub fn choose(&self, path: &Path, is_folder: bool) -> Choice {
        match self {
            Self::Everything => Choice { selected: true, descend: is_folder },
            Self::Except(lists) => {
                let selected = !lists.iter().any(|list| list.matches(path));
                Choice { selected, descend: selected && is_folder }
            }
            Self::Only(lists) => {
                let mut choice = Choice { selected: false, descend: false };
                for list in lists {
                    let found = list.choose(path);
                    choice.selected |= found.selected;
                    choice.descend |= found.descend && is_folder;
                }
                choice
            }
        }
    }
}

/// Whether a list of patterns tells upper case from lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `A` is not `a`.
    Sensitive,
    /// `A` is as good as `a`.
    Insensitive,
}

/// Patterns that are tried in order.
#[derive(Clone, Debug)]
pub struct PatternList {
    patterns: Vec<Pattern>,
    case: Case,
}

impl PatternList {
    /// A list of these patterns; empty ones are passed over.
    ///
    /// Fails with every pattern that is none.
    pub fn parse<I>(patterns: I, case: Case) -> Result<Self, InvalidPatterns>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut list = Self { patterns: Vec::new(), case };
        let mut invalid = Vec::new();
        for text in patterns {
            let text = text.as_ref();
            let parsed = match case {
                Case::Sensitive => Pattern::parse(text),
                Case::Insensitive => Pattern::parse(&wildcard::lower_case(text)),
            };
            match parsed {
                Some(pattern) => list.patterns.push(pattern),
                None if text.is_empty() => {}
                None => invalid.push(String::from_utf8_lossy(text).into_owned()),
            }
        }
        if invalid.is_empty() { Ok(list) } else { Err(InvalidPatterns(invalid)) }
    }

    /// Whether the path is matched, after all patterns had their say.
    pub fn matches(&self, path: &Path) -> bool {
        self.choose(path).selected
    }

    /// Whether the path is matched, and whether something inside of it can be.
    pub fn choose(&self, path: &Path) -> Choice {
        let mut choice = Choice { selected: false, descend: false };
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return choice;
        }
        let folded;
        let bytes = match self.case {
            Case::Sensitive => bytes,
            Case::Insensitive => {
                folded = wildcard::lower_case(bytes);
                &folded
            }
        };
        let names = split(bytes);
        let can_change = self.patterns.iter().any(|pattern| pattern.is_negated);
        for pattern in &self.patterns {
            let matched = pattern.matches(&names);
            if pattern.is_negated {
                choice.selected &= !matched;
                choice.descend &= !matched;
            } else {
                choice.selected |= matched;
                choice.descend |= pattern.may_match_inside(&names);
            }
            if choice.selected && choice.descend && !can_change {
                break;
            }
        }
        choice
    }
}

/// Patterns that cannot be understood: a bracket that is never closed, a `\` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPatterns(pub Vec<String>);

impl fmt::Display for InvalidPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid pattern: ")?;
        for (position, pattern) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{pattern:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidPatterns {}

#[cfg(test)]
mod tests;
