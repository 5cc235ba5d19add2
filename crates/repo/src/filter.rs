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

/// One pattern, taken apart.
#[derive(Clone, Debug)]
struct Pattern {
    parts: Vec<Part>,
    is_negated: bool,
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
    fn parse(text: &[u8]) -> Option<Self> {
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

    fn matches(&self, names: &[&[u8]]) -> bool {
        Self::run(&self.parts, self.is_anchored(), names)
    }

    /// Whether a path that goes on from here could match.
    fn may_match_inside(&self, names: &[&[u8]]) -> bool {
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
fn split(path: &[u8]) -> Vec<&[u8]> {
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

    fn list(patterns: &[&str]) -> PatternList {
        PatternList::parse(patterns, Case::Sensitive).unwrap()
    }

    fn check(cases: &[(&str, &str, bool)], decide: impl Fn(&PatternList, &Path) -> bool) {
        for &(pattern, path, expected) in cases {
            assert_eq!(decide(&list(&[pattern]), Path::new(path)), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_pattern_without_a_leading_slash_matches_anywhere() {
        check(
            &[
                ("*.qcow2", "/var/lib/one/7/disk.0.qcow2", true),
                ("*.raw", "/var/lib/one/7/disk.0.qcow2", false),
                ("one", "/var/lib/one/7/disk.0", true),
                ("on", "/var/lib/one/7/disk.0", false),
                ("lib/one", "/var/lib/one/7/disk.0", true),
                ("lib/*/7", "/var/lib/one/7/disk.0", true),
                ("lib/7", "/var/lib/one/7/disk.0", false),
                ("disk.[0-3]", "/var/disk.2", true),
                ("DISK.?", "/var/disk.2", false),
                ("*", "/var", true),
                ("a", "a", true),
                ("b/c", "a/b/c/d", true),
                ("b/", "a/b/c", true),
            ],
            |list, path| list.matches(path),
        );
    }

    #[test]
    fn a_pattern_with_a_leading_slash_is_anchored() {
        check(
            &[
                ("/var", "/var", true),
                ("/var", "/var/lib", true),
                ("/var/", "/var/lib", true),
                ("/lib", "/var/lib", false),
                ("/var/*", "/var", false),
                ("/var/*", "/var/lib/one", true),
                ("/var/*/7", "/var/lib/one/7", false),
                ("/var///lib/./x/../one", "/var/lib/one", true),
                ("/../var", "/var", true),
                ("/var", "var", false),
                ("/", "/var", true),
                ("/", "/", true),
            ],
            |list, path| list.matches(path),
        );
    }

    #[test]
    fn two_stars_stand_for_any_number_of_names() {
        check(
            &[
                ("**", "/var", true),
                ("/var/**", "/var", true),
                ("/var/**/disk.0", "/var/disk.0", true),
                ("/var/**/disk.0", "/var/a/b/disk.0/x", true),
                ("/var/**/disk.0", "/srv/a/b/disk.0", false),
                ("lib/**/7/*.xml", "/var/lib/7/vm.xml", true),
                ("lib/**/7/*.xml", "/var/lib/a/b/7/vm.xml", true),
                ("lib/**/7/*.xml", "/var/7/vm.xml", false),
                ("a/**/c/**/e", "/x/a/b/c/d/e", true),
                ("a/**/c/**/e", "/x/a/c/e", true),
                ("a**b", "/x/aab", true),
            ],
            |list, path| list.matches(path),
        );
    }

    /// Seen with restic 0.19.1: `backup --dry-run -vv --exclude PATTERN` of a folder with `q/a/b` in it.
    #[test]
    fn restics_oddities_are_kept() {
        check(
            &[
                ("/t1/**/a/**/b", "/t1/q/a/b", false),
                ("t1/**/a/**/b", "/t1/q/a/b", true),
                ("/t1/q/**/a/**/b", "/t1/q/a/b", false),
                ("/t1/**/b/**", "/t1/q/a/b", false),
                ("/t1/**/q/**", "/t1/q", false),
                ("/t1/**/q/**", "/t1/q/a", true),
                ("/**/**/b", "/t1/q/a/b", true),
                ("/t1/**/**", "/t1", false),
                ("/t1/**/**", "/t1/q", true),
            ],
            |list, path| list.matches(path),
        );
    }

    #[test]
    fn a_walk_goes_where_a_match_may_lie_deeper() {
        check(
            &[
                ("disk.0", "/var", true),
                ("/var/lib/one", "/", true),
                ("/var/lib/one", "/var", true),
                ("/var/lib/one", "/var/lib", true),
                ("/var/lib/one", "/var/log", false),
                ("/var/lib/one", "/srv", false),
                ("/var/lib", "/var/lib/one/7", true),
                ("/var/*/one", "/var/lib", true),
                ("/var/*/one", "/var/lib/two", false),
                ("/var/**/one", "/var/a/b/c", true),
                ("/var/**/one", "/srv/a", false),
                ("/**/one", "/srv", true),
            ],
            |list, path| list.choose(path).descend,
        );
    }

    #[test]
    fn a_negated_pattern_takes_back_what_earlier_ones_matched() {
        for (patterns, path, selected, descend) in [
            (&["/var/*/*.raw", "!*.keep.raw"][..], "/var/a/x.raw", true, true),
            (&["/var/*/*.raw", "!*.keep.raw"], "/var/a/x.keep.raw", false, false),
            (&["!x.raw", "*.raw"], "/var/x.raw", true, true),
            (&["/var/*", "!x.*", "*.raw"], "/var/x.raw", true, true),
            (&["/var/*", "!x.*", "*.raw"], "/var/x.img", false, true),
            (&["/**/*", "!/a", "/a/*", "!/a/b"], "/a/c/d", true, true),
            (&["/**/*", "!/a", "/a/*", "!/a/b"], "/a/b/c", false, false),
            (&["!a"], "/a", false, false),
            (&["!a"], "/b", false, false),
            (&[], "/a", false, false),
            (&["", "b"], "/a", false, true),
        ] {
            let found = list(patterns).choose(Path::new(path));
            assert_eq!(found, Choice { selected, descend }, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn the_insensitive_lists_ignore_case() {
        let list = PatternList::parse(["*.GO", "Ärger"], Case::Insensitive).unwrap();
        assert!(list.matches(Path::new("/home/x.go")));
        assert!(list.matches(Path::new("/home/X.Go")));
        assert!(list.matches(Path::new("/home/äRGER/x")));
        assert!(!list.matches(Path::new("/home/x.c")));
    }

    #[test]
    fn bad_patterns_are_all_named() {
        let refused =
            PatternList::parse(["*.x", "*[._]log[.-][0-9]", "!a[", "b\\"], Case::Sensitive);
        assert_eq!(
            refused.unwrap_err().to_string(),
            r#"not a valid pattern: "*[._]log[.-][0-9]", "!a[", "b\\""#
        );
    }

    #[test]
    fn a_filter_says_what_to_take_and_where_to_look() {
        let choose = |filter: &Filter, path, is_folder| {
            let choice = filter.choose(Path::new(path), is_folder);
            (choice.selected, choice.descend)
        };
        let except = Filter::Except(vec![
            list(&["*.raw"]),
            PatternList::parse(["*.TMP"], Case::Insensitive).unwrap(),
        ]);
        assert_eq!(choose(&except, "/a/x.raw", false), (false, false));
        assert_eq!(choose(&except, "/a/x.tmp", false), (false, false));
        assert_eq!(choose(&except, "/a/x", false), (true, false));
        assert_eq!(choose(&except, "/a", true), (true, true));
        let only = Filter::Only(vec![list(&["/a/x"])]);
        assert_eq!(choose(&only, "/a", true), (false, true));
        assert_eq!(choose(&only, "/a", false), (false, false));
        assert_eq!(choose(&only, "/a/x", false), (true, false));
        assert_eq!(choose(&only, "/b", true), (false, false));
        assert_eq!(choose(&Filter::Everything, "/b", true), (true, true));
    }

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

        #[test]
        fn nothing_panics(pattern in any::<Vec<u8>>(), path in any::<Vec<u8>>()) {
            for case in [Case::Sensitive, Case::Insensitive] {
                if let Ok(list) = PatternList::parse([&pattern], case) {
                    list.choose(Path::new(std::ffi::OsStr::from_bytes(&path)));
                }
            }
        }
    }
}
