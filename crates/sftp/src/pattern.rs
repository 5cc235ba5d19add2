//! OpenSSH's patterns: `*` and `?`, lists of them with commas, and `!` in front of one to exclude.

/// Whether the whole text fits the pattern. Takes time of at most the product of both lengths.
pub(crate) fn fits(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut at, mut in_pattern) = (0, 0);
    // Where to go on if what follows the last `*` turns out not to fit: one byte further.
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(in_pattern) {
            Some(b'*') => {
                back = Some((at, in_pattern + 1));
                in_pattern += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => match back {
                Some((start, after_star)) => {
                    back = Some((start + 1, after_star));
                    at = start + 1;
                    in_pattern = after_star;
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|&byte| byte == b'*')
}

/// Whether a list of patterns takes the text in: one pattern has to fit, and none with a `!`.
pub(crate) fn list_fits<'a>(text: &str, patterns: impl IntoIterator<Item = &'a str>) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(excluded) if fits(text, excluded) => return false,
            Some(_) => {}
            None => found |= fits(text, pattern),
        }
    }
    found
}

/// The same for names of hosts in one text with commas, where upper and lower case are one.
pub(crate) fn host_list_fits(host: &str, list: &str) -> bool {
    let (host, list) = (host.to_ascii_lowercase(), list.to_ascii_lowercase());
    list_fits(&host, list.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks_fit_as_in_openssh() {
        for (text, pattern, fit) in [
            ("host", "host", true),
            ("host", "hos", false),
            ("host", "hosts", false),
            ("host", "*", true),
            ("", "*", true),
            ("", "", true),
            ("", "?", false),
            ("host", "h?st", true),
            ("a.example.org", "*.example.org", true),
            ("example.org", "*.example.org", false),
            ("aab", "*ab", true),
            ("abab", "*ab", true),
            ("abac", "*ab", false),
            ("10.0.0.7", "10.0.0.*", true),
        ] {
            assert_eq!(fits(text, pattern), fit, "{text} {pattern}");
        }
    }

    #[test]
    fn an_exclusion_wins_wherever_it_stands_and_alone_takes_nothing_in() {
        assert!(list_fits("a", ["a", "!b"]));
        assert!(!list_fits("a", ["a", "!a"]));
        assert!(!list_fits("a", ["!a", "a"]));
        assert!(!list_fits("a", ["!b"]));
        assert!(host_list_fits("Host.Example", "x,hOST.*"));
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!fits(&"a".repeat(5000), &format!("{}b", "a*".repeat(500))));
    }

    proptest! {
        #[test]
        fn what_fits_is_what_the_definition_says(text in "[ab]{0,6}", pattern in "[ab*?]{0,6}") {
            prop_assert_eq!(fits(&text, &pattern), by_definition(text.as_bytes(), pattern.as_bytes()));
        }
    }

    fn by_definition(text: &[u8], pattern: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((b'*', rest)), _) => (0..=text.len()).any(|at| by_definition(&text[at..], rest)),
            (Some(_), None) => false,
            (Some((p, rest)), Some((t, text))) => {
                (p == t || *p == b'?') && by_definition(text, rest)
            }
        }
    }
}
