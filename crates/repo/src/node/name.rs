//! Names of files: raw bytes in the file system, quoted as Go's `strconv.Quote` does in a tree.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::json;

/// The name of a file in its folder: any bytes, as the file system has them.
///
/// Names sort by their bytes. The quoted form, in which a tree holds them, sorts differently.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as the file system takes it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Whether a file of this name can be made in a folder and is then in that folder: the name is not
    /// empty, not "." or "..", and holds neither a slash nor a zero byte. A hostile repository may hold
    /// other names.
    pub fn is_safe(&self) -> bool {
        !matches!(&*self.0, b"" | b"." | b"..")
            && !self.0.iter().any(|byte| matches!(byte, b'/' | 0))
    }

    /// The name as a tree holds it, before JSON's own escapes.
    pub fn quoted(&self) -> String {
        quote(&self.0)
    }

    /// Reads the form that a tree holds.
    pub fn from_quoted(quoted: &str) -> Result<Self, InvalidName> {
        unquote(quoted)
            .map(|bytes| Self(bytes.into()))
            .ok_or_else(|| InvalidName(quoted.to_owned()))
    }

    /// Appends the inside of the JSON string that a tree holds.
    pub(super) fn write_json(&self, json: &mut Vec<u8>) {
        if self.0.iter().all(|byte| PLAIN[usize::from(*byte)]) {
            json.extend_from_slice(&self.0);
        } else {
            json::write_escaped(json, &self.quoted());
        }
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        name.as_bytes().into()
    }
}

impl From<&OsStr> for Name {
    fn from(name: &OsStr) -> Self {
        name.as_bytes().into()
    }
}

impl AsRef<OsStr> for Name {
    fn as_ref(&self) -> &OsStr {
        self.as_os_str()
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The quoted form: one line, and safe to show.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.quoted())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.quoted())
    }
}

/// A text that is not a quoted name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quoted name")]
pub struct InvalidName(pub String);

/// Bytes that neither the quoting nor JSON changes.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte < 0x7f {
        plain[byte as usize] = !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    plain
};

/// As Go's `strconv.Quote`, without the quotes around it.
fn quote(name: &[u8]) -> String {
    let mut quoted = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_character(&mut quoted, character);
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!(r"\x{byte:02x}"));
        }
    }
    quoted
}

fn quote_character(quoted: &mut String, character: char) {
    let code = u32::from(character);
    match character {
        '"' => quoted.push_str(r#"\""#),
        '\\' => quoted.push_str(r"\\"),
        _ if is_print(character) => quoted.push(character),
        '\u{7}' => quoted.push_str(r"\a"),
        '\u{8}' => quoted.push_str(r"\b"),
        '\u{c}' => quoted.push_str(r"\f"),
        '\n' => quoted.push_str(r"\n"),
        '\r' => quoted.push_str(r"\r"),
        '\t' => quoted.push_str(r"\t"),
        '\u{b}' => quoted.push_str(r"\v"),
        '\0'..' ' | '\u{7f}' => quoted.push_str(&format!(r"\x{code:02x}")),
        '\u{80}'..'\u{10000}' => quoted.push_str(&format!(r"\u{code:04x}")),
        _ => quoted.push_str(&format!(r"\U{code:08x}")),
    }
}

/// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols, and the ASCII space.
///
/// Which characters these are depends on the version of Unicode. It is 15.0 in all releases of Go from
/// 1.21 to 1.26, so for restic 0.17 to 0.19. Version 0.6 of `unicode-general-category` has these very
/// tables; a newer one would store names with newer letters in a form of its own.
fn is_print(character: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate,
        Unassigned,
    };
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    !matches!(
        get_general_category(character),
        Control
            | Format
            | Surrogate
            | PrivateUse
            | Unassigned
            | SpaceSeparator
            | LineSeparator
            | ParagraphSeparator
    )
}

/// As Go's `strconv.Unquote` of the text in double quotes.
fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        if rest[at] != b'\\' {
            return None;
        }
        name.extend_from_slice(&rest[..at]);
        rest = unquote_escape(&rest[at + 1..], &mut name)?;
    }
    name.extend_from_slice(rest);
    Some(name)
}

/// Reads what stands behind a backslash, and gives what follows.
fn unquote_escape<'a>(text: &'a [u8], name: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = text.split_first()?;
    let short = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => kind,
        b'x' => {
            let (digits, rest) = rest.split_at_checked(2)?;
            name.push(number(digits, 16)?.try_into().ok()?);
            return Some(rest);
        }
        b'u' | b'U' => {
            let (digits, rest) = rest.split_at_checked(if kind == b'u' { 4 } else { 8 })?;
            let character = char::from_u32(number(digits, 16)?)?;
            name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        b'0'..=b'7' => {
            let (digits, rest) = text.split_at_checked(3)?;
            name.push(number(digits, 8)?.try_into().ok()?);
            return Some(rest);
        }
        _ => return None,
    };
    name.push(short);
    Some(rest)
}

/// At most eight digits.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| Some(number * radix + char::from(*digit).to_digit(radix)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(name: &[u8]) -> String {
        let mut json = Vec::new();
        Name::from(name).write_json(&mut json);
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn names_are_quoted_twice_as_restic_does() {
        for (name, expected) in [
            (&b"plain-name_1.txt"[..], "plain-name_1.txt"),
            (b"two words", "two words"),
            (br#"a"b\c"#, r#"a\\\"b\\\\c"#),
            (b"<a>&b", r"\u003ca\u003e\u0026b"),
            (b"it's", "it's"),
            (b"\x07\x08\x0c\n\r\t\x0b", r"\\a\\b\\f\\n\\r\\t\\v"),
            (b"\x01\x1b\x1f\x7f", r"\\x01\\x1b\\x1f\\x7f"),
            (b"caf\xe9", r"caf\\xe9"),
            (b"\xff\xfe", r"\\xff\\xfe"),
            ("ümläut€".as_bytes(), "ümläut€"),
            ("\u{a0}\u{ad}\u{85}".as_bytes(), r"\\u00a0\\u00ad\\u0085"),
            ("\u{2028}\u{200d}\u{feff}".as_bytes(), r"\\u2028\\u200d\\ufeff"),
            ("\u{e000}\u{f0000}\u{e0001}".as_bytes(), r"\\ue000\\U000f0000\\U000e0001"),
            ("\u{fffd}\u{378}".as_bytes(), "\u{fffd}\\\\u0378"),
            ("a\u{301}😀".as_bytes(), "a\u{301}😀"),
            // A surrogate half as bytes, and a character cut short, are no UTF-8.
            (b"\xed\xa0\x80", r"\\xed\\xa0\\x80"),
            (b"\xe2\x82x", r"\\xe2\\x82x"),
            (b"", ""),
        ] {
            assert_eq!(json(name), expected);
            let quoted: String = serde_json::from_str(&format!("\"{expected}\"")).unwrap();
            assert_eq!(Name::from_quoted(&quoted).unwrap().as_bytes(), name);
        }
    }

    #[test]
    fn the_tables_are_those_of_unicode_15_0() {
        let count = ('\0'..=char::MAX).filter(|character| is_print(*character)).count();
        assert_eq!(count, 148_998);
        assert!(is_print('\u{1fae8}'), "new in 15.0; restic 0.14 quotes it");
        assert!(!is_print('\u{1c89}'), "new in 16.0");
        assert!(!is_print('\u{2ffc}'), "new in 15.1");
    }

    #[test]
    fn names_are_unquoted_as_go_does() {
        for (quoted, expected) in [
            (r"\101\x41\u0041\U00000041", &b"AAAA"[..]),
            (r"\377\xFf\u00fF", b"\xff\xff\xc3\xbf"),
            (r"\U0010ffff", b"\xf4\x8f\xbf\xbf"),
            ("raw \t tab and \u{2028}", "raw \t tab and \u{2028}".as_bytes()),
            ("it's", b"it's"),
        ] {
            assert_eq!(Name::from_quoted(quoted).unwrap().as_bytes(), expected);
        }
        for quoted in [
            "\"",
            "a\"b",
            "a\nb",
            "\\\\\"",
            "\\",
            "\\\\\\",
            r"\'",
            r"\e",
            r"\x4",
            r"\xg0",
            r"\u004",
            r"\ud800",
            r"\U00110000",
            r"\UFFFFFFFF",
            r"\400",
            r"\8",
            r"\1",
            r"\12",
            r"\12x",
            "\\\n",
            r"\x+1",
            "\\u00é",
        ] {
            assert!(Name::from_quoted(quoted).is_err(), "{quoted}");
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_not_safe() {
        for name in ["", ".", "..", "/", "a/b", "../x", "a\0b"] {
            assert!(!Name::from(name).is_safe(), "{name:?}");
        }
        for name in ["a", "...", "..a", " ", "\n", "-rf"] {
            assert!(Name::from(name).is_safe(), "{name:?}");
        }
    }

    #[test]
    fn names_sort_by_their_bytes() {
        let mut names = ["b", "a\\", "a]", "ab", "a", "ä"].map(Name::from);
        names.sort();
        assert_eq!(names, ["a", "a\\", "a]", "ab", "b", "ä"].map(Name::from));
    }

    /// Go's rules once more, told differently: Go steps through the bytes and decodes at each.
    fn quote_again(name: &[u8]) -> String {
        let mut quoted = String::new();
        let mut at = 0;
        while at < name.len() {
            let width = (1..=4).find(|width| {
                name.get(at..at + width).is_some_and(|c| std::str::from_utf8(c).is_ok())
            });
            let Some(width) = width else {
                quoted += &format!("\\x{:02x}", name[at]);
                at += 1;
                continue;
            };
            let character = std::str::from_utf8(&name[at..at + width]).unwrap();
            at += width;
            let code = u32::from(character.chars().next().unwrap());
            match "\u{7}a\u{8}b\u{c}f\nn\rr\tt\u{b}v\"\"\\\\".split_once(character) {
                Some((before, after)) if before.chars().count() % 2 == 0 => {
                    quoted.push('\\');
                    quoted.push(after.chars().next().unwrap());
                }
                _ if code < 0x20 || code == 0x7f => quoted += &format!("\\x{code:02x}"),
                _ if character.chars().all(is_print) => quoted += character,
                _ if code < 0x10000 => quoted += &format!("\\u{code:04x}"),
                _ => quoted += &format!("\\U{code:08x}"),
            }
        }
        quoted
    }

    proptest! {
        #[test]
        fn any_bytes_survive_quoting(name: Vec<u8>) {
            prop_assert_eq!(unquote(&quote(&name)), Some(name.clone()));
            prop_assert_eq!(quote(&name), quote_again(&name));
        }

        #[test]
        fn any_text_survives_quoting(name: String) {
            prop_assert_eq!(unquote(&quote(name.as_bytes())), Some(name.clone().into_bytes()));
            prop_assert_eq!(quote(name.as_bytes()), quote_again(name.as_bytes()));
        }

        #[test]
        fn no_quoted_text_panics(quoted in r#"([\\"'xuUabn0-9 \n]|.){0,20}"#) {
            let _ = unquote(&quoted);
        }
    }
}
