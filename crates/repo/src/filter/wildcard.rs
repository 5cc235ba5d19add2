//! Wildcards within one name, as in Go's `filepath.Match`, which restic uses.

/// A pattern for one name:
///
/// * `*` any number of characters, also none;
/// * `?` one character;
/// * `[a-z_]` one of these characters, `[^a-z]` one that is not among them;
/// * `\c` the character `c`, whatever it means otherwise;
/// * anything else stands for itself.
///
/// None of them matches a `/`, but for a class. A byte that is no part of valid UTF-8 is a character
/// of its own, which classes see as U+FFFD.
#[derive(Clone, Debug)]
pub struct Wildcard(Vec<Token>);

#[derive(Clone, Debug)]
enum Token {
    Byte(u8),
    AnyCharacter,
    AnyText,
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

impl Wildcard {
    /// Nothing if the text is no pattern: a class that is empty or not closed, a `\` at the end.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            tokens.push(match byte {
                b'*' => Token::AnyText,
                b'?' => Token::AnyCharacter,
                b'[' => parse_class(&mut rest)?,
                b'\\' => {
                    let (&escaped, after) = rest.split_first()?;
                    rest = after;
                    Token::Byte(escaped)
                }
                byte => Token::Byte(byte),
            });
        }
        Some(Self(tokens))
    }

    /// Whether a text has a character with a meaning of its own.
    pub fn is_needed_for(text: &[u8]) -> bool {
        text.iter().any(|byte| b"*?[\\".contains(byte))
    }

    /// Whether all of the name is matched.
    pub fn matches(&self, name: &[u8]) -> bool {
        let tokens = &self.0;
        let (mut token, mut position) = (0, 0);
        // Where to go on when it comes to nothing: behind the last `*`, which takes one byte more. An
        // earlier `*` need not be tried again: the last one can take whatever that would have.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match tokens.get(token) {
                None if position == name.len() => return true,
                None => None,
                Some(Token::AnyText) => {
                    retry = Some((token + 1, position));
                    Some(0)
                }
                Some(one) => one.length_of_match(&name[position..]),
            };
            if let Some(length) = step {
                token += 1;
                position += length;
            } else {
                match retry {
                    Some((after, start)) if name.get(start).is_some_and(|&byte| byte != b'/') => {
                        retry = Some((after, start + 1));
                        (token, position) = (after, start + 1);
                    }
                    _ => return false,
                }
            }
        }
    }
}

impl Token {
    /// How many bytes at the front of the text a token takes, other than [`Token::AnyText`].
    fn length_of_match(&self, text: &[u8]) -> Option<usize> {
        let &first = text.first()?;
        match self {
            Self::Byte(byte) => (first == *byte).then_some(1),
            Self::AnyCharacter => (first != b'/').then(|| first_character(text).1),
            Self::Class { is_negated, ranges } => {
                let (character, length) = first_character(text);
                let found = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                (found != *is_negated).then_some(length)
            }
            Self::AnyText => None,
        }
    }
}

/// Parses what follows a `[`, and takes it off `rest`.
fn parse_class(rest: &mut &[u8]) -> Option<Token> {
    let is_negated = rest.first() == Some(&b'^');
    if is_negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || *rest.first()? != b']' {
        let low = parse_class_character(rest)?;
        let high = if *rest.first()? == b'-' {
            *rest = &rest[1..];
            parse_class_character(rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
    *rest = &rest[1..];
    Some(Token::Class { is_negated, ranges })
}

fn parse_class_character(rest: &mut &[u8]) -> Option<char> {
    match *rest.first()? {
        b'-' | b']' => return None,
        b'\\' => *rest = &rest[1..],
        _ => {}
    }
    let (character, length) = first_character(rest);
    let is_invalid = character == char::REPLACEMENT_CHARACTER && length <= 1;
    *rest = rest.get(length..)?;
    (!is_invalid && !rest.is_empty()).then_some(character)
}

/// The first character of a text and its length; a byte that is no UTF-8 counts as U+FFFD.
fn first_character(text: &[u8]) -> (char, usize) {
    (1..=text.len().min(4))
        .find_map(|length| std::str::from_utf8(&text[..length]).ok()?.chars().next())
        .map_or((char::REPLACEMENT_CHARACTER, 1), |character| (character, character.len_utf8()))
}

/// The text in lower case, character by character as Go does it.
pub(super) fn lower_case(text: &[u8]) -> Vec<u8> {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut lower = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        // The only character whose lower case is two: İ is i and a dot. Go keeps the i alone.
        lower.extend(chunk.valid().chars().filter_map(|character| character.to_lowercase().next()));
        lower.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    lower.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &[u8]) -> bool {
        Wildcard::parse(pattern.as_bytes()).unwrap().matches(name)
    }

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "abc", true),
            ("a*b*c*d*e", "axbxcxdxe", true),
            ("a*b*c*d*e", "axbxcxdxex", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a??b", "a☺b", false),
            ("a[^a]b", "a☺b", true),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "-", true),
            ("[*]x", "*x", true),
            ("[!a]", "!", true),
            ("a]", "a]", true),
            ("a?", "a/", false),
            ("a*", "a/b", false),
        ] {
            assert_eq!(matches(pattern, name.as_bytes()), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in
            ["[", "[]", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[^", "[^bc", "a[", "a\\", "[^]"]
        {
            assert!(Wildcard::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Wildcard::parse(b"[\xff]").is_none());
    }

    #[test]
    fn bytes_that_are_no_utf8_are_characters_of_their_own() {
        assert!(matches("a??b", b"a\xff\xfeb"));
        assert!(matches("a[\u{fffd}]b", b"a\xffb"));
        assert!(Wildcard::parse(b"a\xff*").unwrap().matches(b"a\xffb"));
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        let pattern = "*a".repeat(40) + "b";
        assert!(!matches(&pattern, "a".repeat(400).as_bytes()));
    }

    #[test]
    fn lower_case_goes_character_by_character() {
        assert_eq!(lower_case("ÄİX".as_bytes()), "äix".as_bytes());
        assert_eq!(lower_case(b"A\xe2\x82B\xff"), "a\u{fffd}\u{fffd}b\u{fffd}".as_bytes());
    }
}
