//! Text files that people make with any editor: passwords, lists of files, patterns.

use std::io;
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

/// Reads a text file as UTF-8: a byte order mark at the front is taken off, UTF-16 with such a mark is
/// converted. A file without a mark is given back as it is.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(decode(Zeroizing::new(std::fs::read(path)?)))
}

fn decode(mut data: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let from_pair: fn([u8; 2]) -> u16 = match data[..] {
        [0xef, 0xbb, 0xbf, ..] => {
            data.drain(..3);
            return data;
        }
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        _ => return data,
    };
    let units = data[2..].chunks(2).map(|pair| match *pair {
        [first, second] => from_pair([first, second]),
        // Half a unit at the end stands for nothing that is known.
        _ => 0xfffd,
    });
    let mut text = Zeroizing::new(Vec::with_capacity(data.len() * 2));
    for character in char::decode_utf16(units) {
        let mut buffer = [0; 4];
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        buffer.zeroize();
    }
    text
}

/// The lines of a text, each without the `\n` or `\r\n` that ends it.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = (!text.is_empty()).then_some(text);
    text.into_iter()
        .flat_map(|text| text.split(|&byte| byte == b'\n'))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The text without white space at both ends, as Unicode sees white space.
pub fn trim(text: &[u8]) -> &[u8] {
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(data: &[u8]) -> Vec<u8> {
        decode(Zeroizing::new(data.to_vec())).to_vec()
    }

    #[test]
    fn byte_order_marks_are_taken_off() {
        assert_eq!(decoded(b"\xef\xbb\xbfgeheim"), b"geheim");
        assert_eq!(decoded(b"\xfe\xff\0g\x20\xac"), "g€".as_bytes());
        assert_eq!(decoded(b"\xff\xfeg\0\xac\x20"), "g€".as_bytes());
        assert_eq!(decoded(b"\xff\xfe\x3d\xd8\x00\xde"), "😀".as_bytes());
    }

    #[test]
    fn text_without_a_mark_is_left_alone() {
        for data in [&b""[..], b"\xef\xbb", b"geheim\r\n", b"\xff"] {
            assert_eq!(decoded(data), data);
        }
    }

    #[test]
    fn broken_utf16_is_marked() {
        assert_eq!(decoded(b"\xfe\xff\xd8\x00\0a"), "\u{fffd}a".as_bytes());
        assert_eq!(decoded(b"\xfe\xff\0a\0"), "a\u{fffd}".as_bytes());
    }

    #[test]
    fn lines_end_as_on_any_system() {
        let all = |text: &'static str| lines(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(all("a\r\nb\n\nc"), [&b"a"[..], b"b", b"", b"c"]);
        assert_eq!(all("a\n"), [b"a"]);
        assert_eq!(all("\n\n"), [b""; 2]);
        assert!(all("").is_empty());
    }

    #[test]
    fn white_space_is_trimmed() {
        assert_eq!(trim(" \u{a0}a b\u{2003}\n".as_bytes()), b"a b");
        assert_eq!(trim(b"\t\xff \n"), b"\xff");
    }
}
