//! JSON as Go's `encoding/json` writes it, byte for byte.
//!
//! The id of a tree is the hash of its JSON, so a tree that is spelled in another way than restic's is
//! another tree: it is stored again, and every folder above it too. Three things differ from what
//! serde_json writes by itself: `<`, `>` and `&` are escaped (Go's protection against HTML), so are the
//! line separators U+2028 and U+2029, and floating-point numbers have a form of their own. The short
//! forms `\b` and `\f` are those of Go 1.22 and later; restic up to 0.16 wrote `\u0008` and `\u000c`.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::ser::{CharEscape, Formatter};
use serde_json::value::RawValue;

/// The JSON of `value` as Go writes it: compact, and without a newline at the end.
///
/// # Panics
///
/// If the value's own `Serialize` fails, or if it has a map whose keys are not texts. No type of this
/// crate does.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut json = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, GoFormatter);
    value.serialize(&mut serializer).expect("a Vec takes every write, and keys are texts");
    json
}

/// A JSON value that is kept as it was written, because its meaning is not ours to know.
#[derive(Clone)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Raw {}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&RawValue> for Raw {
    fn from(value: &RawValue) -> Self {
        Self(value.to_owned())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// The members of a JSON object in the order in which they stand, each value still unread.
pub(crate) struct Members<'de>(pub(crate) Vec<(Text<'de>, &'de RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A JSON string, borrowed from the input where it holds no escapes.
pub(crate) struct Text<'de>(pub(crate) Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_text(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    write_escaped(json, text);
    json.push(b'"');
}

/// Appends bytes that may not be UTF-8 as a JSON string. Go writes every byte that is part of no
/// character as the six letters `\ufffd`, while the character U+FFFD itself stays as its three bytes.
pub(crate) fn write_lossy(json: &mut Vec<u8>, bytes: &[u8]) {
    json.push(b'"');
    for chunk in bytes.utf8_chunks() {
        write_escaped(json, chunk.valid());
        for _ in chunk.invalid() {
            json.extend_from_slice(br"\ufffd");
        }
    }
    json.push(b'"');
}

/// Text of bytes that may not be UTF-8, as readers of Go's JSON get it: each byte that is part of no
/// character becomes U+FFFD. Unlike in the standard library, these are as many as the bytes.
pub fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Appends the inside of a JSON string.
pub(crate) fn write_escaped(json: &mut Vec<u8>, text: &str) {
    escape_to(json, text).expect("a Vec takes every write");
}

/// Appends a number.
pub(crate) fn write_number(json: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20]; // as many as u64::MAX has
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    json.extend_from_slice(&digits[start..]);
}

/// Whether a JSON text is spelled alike by all writers: no escapes, none that Go would have made, and
/// no letters beyond ASCII.
pub(crate) fn is_plain(json: &str) -> bool {
    // Without branches, so that the compiler looks at a whole block at once.
    let oddness = |block: &[u8]| {
        block.iter().fold(0, |odd, &byte| {
            let escapes = [b'\\', b'<', b'>', b'&'].map(|escape| u8::from(byte == escape));
            odd | byte & 0x80 | escapes[0] | escapes[1] | escapes[2] | escapes[3]
        })
    };
    let (blocks, rest) = json.as_bytes().as_chunks::<64>();
    blocks.iter().all(|block| oddness(block) == 0) && oddness(rest) == 0
}

/// Bytes that end a plain run. 0xe2 begins the UTF-8 of U+2028 and U+2029, and of much else.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        special[control] = true;
        control += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special[b'<' as usize] = true;
    special[b'>' as usize] = true;
    special[b'&' as usize] = true;
    special[0xe2] = true;
    special
};

fn escape_to<W: io::Write + ?Sized>(writer: &mut W, text: &str) -> io::Result<()> {
    let bytes = text.as_bytes();
    let mut written = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if !SPECIAL[usize::from(byte)] {
            at += 1;
            continue;
        }
        let separator = match bytes[at..] {
            [0xe2, 0x80, last @ (0xa8 | 0xa9), ..] => Some(last),
            _ => None,
        };
        if byte == 0xe2 && separator.is_none() {
            at += 1;
            continue;
        }
        writer.write_all(&bytes[written..at])?;
        match byte {
            b'"' => writer.write_all(br#"\""#)?,
            b'\\' => writer.write_all(br"\\")?,
            b'\n' => writer.write_all(br"\n")?,
            b'\r' => writer.write_all(br"\r")?,
            b'\t' => writer.write_all(br"\t")?,
            0x08 => writer.write_all(br"\b")?,
            0x0c => writer.write_all(br"\f")?,
            _ => match separator {
                Some(last) => write!(writer, r"\u20{:02x}", last - 0x80)?,
                None => write!(writer, r"\u{byte:04x}")?,
            },
        }
        at += if separator.is_some() { 3 } else { 1 };
        written = at;
    }
    writer.write_all(&bytes[written..])
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        escape_to(writer, fragment)
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let character = match escape {
            CharEscape::Quote => '"',
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Solidus => '/',
            CharEscape::Backspace => '\u{8}',
            CharEscape::FormFeed => '\u{c}',
            CharEscape::LineFeed => '\n',
            CharEscape::CarriageReturn => '\r',
            CharEscape::Tab => '\t',
            CharEscape::AsciiControl(byte) => char::from(byte),
        };
        escape_to(writer, character.encode_utf8(&mut [0; 4]))
    }

    fn write_f32<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        if has_plain_form(value.into()) {
            write!(writer, "{value}")
        } else {
            write_exponent(writer, &format!("{value:e}"))
        }
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if has_plain_form(value) {
            write!(writer, "{value}")
        } else {
            write_exponent(writer, &format!("{value:e}"))
        }
    }
}

/// Go writes an exponent for very small and very large numbers only, as JavaScript does.
fn has_plain_form(value: f64) -> bool {
    value == 0.0 || (1e-6..1e21).contains(&value.abs())
}

/// Go writes the sign of an exponent also where it is positive.
fn write_exponent<W: io::Write + ?Sized>(writer: &mut W, number: &str) -> io::Result<()> {
    match number.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            write!(writer, "{digits}e+{exponent}")
        }
        _ => writer.write_all(number.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn text(value: impl Serialize) -> String {
        String::from_utf8(to_vec(&value)).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        assert_eq!(text("plain ä € 😀 \u{7f}"), "\"plain ä € 😀 \u{7f}\"");
        assert_eq!(text("a\"b\\c/d"), r#""a\"b\\c/d""#);
        assert_eq!(text("\n\r\t\u{8}\u{c}"), r#""\n\r\t\b\f""#);
        assert_eq!(text("\0\u{1}\u{b}\u{1f}"), r#""\u0000\u0001\u000b\u001f""#);
        assert_eq!(text("<a href=\"x&y\">"), r#""\u003ca href=\"x\u0026y\"\u003e""#);
        assert_eq!(text("\u{2027}\u{2028}\u{2029}\u{202a}"), "\"\u{2027}\\u2028\\u2029\u{202a}\"");
        assert_eq!(text("\u{fffd}"), "\"\u{fffd}\"");
    }

    #[test]
    fn keys_are_escaped_too() {
        assert_eq!(text(BTreeMap::from([("<k>", 1)])), r#"{"\u003ck\u003e":1}"#);
    }

    #[test]
    fn bytes_that_are_no_text_become_go_escapes() {
        let mut json = Vec::new();
        write_lossy(&mut json, b"a\xff\xe2\x82<\xef\xbf\xbd");
        assert_eq!(json, "\"a\\ufffd\\ufffd\\ufffd\\u003c\u{fffd}\"".as_bytes());
        assert_eq!(lossy(b"a\xff\xe2\x82b"), "a\u{fffd}\u{fffd}\u{fffd}b");
    }

    #[test]
    fn numbers_are_spelled_as_go_does() {
        assert_eq!(text([0u64, u64::MAX]), "[0,18446744073709551615]");
        assert_eq!(text([0.0, 1.0, 0.5, -2.25, 100.0]), "[0,1,0.5,-2.25,100]");
        assert_eq!(text([1e20, 1e21, 1.5e300]), "[100000000000000000000,1e+21,1.5e+300]");
        assert_eq!(text([1e-6, 1e-7, 1.25e-10]), "[0.000001,1e-7,1.25e-10]");
        assert_eq!(text(0.1f32), "0.1");
        assert_eq!(text(f64::NAN), "null");
    }

    #[test]
    fn integers_have_all_their_digits() {
        for number in [0, 7, 10, 4_294_967_296, u64::MAX] {
            let mut json = Vec::new();
            write_number(&mut json, number);
            assert_eq!(json, number.to_string().into_bytes());
        }
    }

    #[test]
    fn raw_values_pass_through() {
        let raw: Raw = serde_json::from_str(r#"{ "a" : 1.0 }"#).unwrap();
        assert_eq!(text(&raw), r#"{ "a" : 1.0 }"#);
    }

    proptest! {
        #[test]
        fn any_text_survives(value: String) {
            let json = to_vec(&value);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), value.clone());
            let mut direct = Vec::new();
            write_text(&mut direct, &value);
            prop_assert_eq!(&direct, &json);
        }

        #[test]
        fn lossy_bytes_read_back_as_their_lossy_text(bytes: Vec<u8>) {
            let mut json = Vec::new();
            write_lossy(&mut json, &bytes);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), lossy(&bytes));
        }
    }
}
