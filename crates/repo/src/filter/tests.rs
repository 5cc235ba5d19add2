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
    let refused = PatternList::parse(["*.x", "*[._]log[.-][0-9]", "!a[", "b\\"], Case::Sensitive);
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

proptest! {
    #[test]
    fn nothing_panics(pattern in any::<Vec<u8>>(), path in any::<Vec<u8>>()) {
        for case in [Case::Sensitive, Case::Insensitive] {
            if let Ok(list) = PatternList::parse([&pattern], case) {
                list.choose(Path::new(std::ffi::OsStr::from_bytes(&path)));
            }
        }
    }
}
