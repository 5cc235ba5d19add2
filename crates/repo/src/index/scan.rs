//! The quick way through an index file: exactly the bytes that Go's encoder writes, and nothing else.
//!
//! An index of millions of blobs is hundreds of megabytes of JSON in one unvarying form. Reading that
//! form word by word is several times as fast as a JSON parser, and needs no memory. Whatever departs
//! from it in a single byte, be it legal or not, is a [`Misfit`] and is left to [`super::general`].

use crate::blob::{BlobEntry, BlobHandle, BlobType};
use crate::id::Id;

/// Takes what an index file lists: a pack, then its blobs, then the next pack.
pub(super) trait Sink {
    /// A pack begins.
    fn pack(&mut self, id: Id);

    /// A blob of the pack that began last.
    fn blob(&mut self, entry: BlobEntry);
}

/// The text is not in the form this scanner reads. It may still be a good index file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit;

/// More than the longest piece that is read at once, in bytes: a blob and what follows it, 165.
const PIECE: usize = 256;

/// Reads one index file, in one window or in several.
pub(super) struct Scanner<'s, S> {
    place: Place,
    sink: &'s mut S,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Superseded,
    FirstPack,
    Pack,
    FirstBlob,
    Blob,
    AfterPack,
    End,
}

impl<'s, S: Sink> Scanner<'s, S> {
    /// A scanner at the start of a file.
    pub(super) fn new(sink: &'s mut S) -> Self {
        Self { place: Place::Start, sink }
    }

    /// Reads on in `window`, which begins with what the last call left over. Returns how many bytes
    /// were read. Unless this is the `last` window, up to [`PIECE`] bytes are left over; of the last
    /// window everything is read.
    pub(super) fn scan(&mut self, window: &[u8], last: bool) -> Result<usize, Misfit> {
        let mut text = Text(window);
        while if last { !text.0.is_empty() } else { text.0.len() >= PIECE } {
            self.place = match self.place {
                Place::Start => start(&mut text)?,
                Place::Superseded => superseded(&mut text)?,
                Place::FirstPack if text.skip(b"]}") => Place::End,
                Place::FirstPack | Place::Pack => {
                    self.sink.pack(pack(&mut text)?);
                    Place::FirstBlob
                }
                Place::FirstBlob if text.skip(b"]}") => Place::AfterPack,
                Place::FirstBlob | Place::Blob => {
                    self.sink.blob(blob(&mut text)?);
                    after_blob(&mut text)?
                }
                Place::AfterPack if text.skip(b",") => Place::Pack,
                Place::AfterPack => {
                    text.expect(b"]}")?;
                    Place::End
                }
                Place::End => {
                    text.expect(b"\n")?;
                    Place::End
                }
            };
        }
        if last && self.place != Place::End { Err(Misfit) } else { Ok(window.len() - text.0.len()) }
    }
}

fn start(text: &mut Text<'_>) -> Result<Place, Misfit> {
    if text.skip(br#"{"packs":["#) {
        return Ok(Place::FirstPack);
    }
    text.expect(br#"{"supersedes":["#)?;
    Ok(Place::Superseded)
}

/// restic up to 0.16 names the index files that this one replaced; no restic reads it.
fn superseded(text: &mut Text<'_>) -> Result<Place, Misfit> {
    text.expect(b"\"")?;
    text.id()?;
    text.expect(b"\"")?;
    if text.skip(b",") {
        return Ok(Place::Superseded);
    }
    text.expect(br#"],"packs":["#)?;
    Ok(Place::FirstPack)
}

fn pack(text: &mut Text<'_>) -> Result<Id, Misfit> {
    text.expect(br#"{"id":""#)?;
    let id = text.id()?;
    text.expect(br#"","blobs":["#)?;
    Ok(id)
}

#[inline(always)]
fn blob(text: &mut Text<'_>) -> Result<BlobEntry, Misfit> {
    text.expect(br#"{"id":""#)?;
    let id = text.id()?;
    let blob_type = if text.skip(br#"","type":"data","offset":"#) {
        BlobType::Data
    } else {
        text.expect(br#"","type":"tree","offset":"#)?;
        BlobType::Tree
    };
    let offset = text.number()?;
    text.expect(br#","length":"#)?;
    let length = text.number()?;
    let uncompressed_length =
        if text.skip(br#","uncompressed_length":"#) { text.number()? } else { 0 };
    text.expect(b"}")?;
    Ok(BlobEntry { handle: BlobHandle { blob_type, id }, offset, length, uncompressed_length })
}

#[inline(always)]
fn after_blob(text: &mut Text<'_>) -> Result<Place, Misfit> {
    if text.skip(b",") {
        return Ok(Place::Blob);
    }
    text.expect(b"]}")?;
    Ok(Place::AfterPack)
}

/// What is still to be read.
struct Text<'t>(&'t [u8]);

impl Text<'_> {
    #[inline(always)]
    fn skip(&mut self, word: &[u8]) -> bool {
        match self.0.strip_prefix(word) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn expect(&mut self, word: &[u8]) -> Result<(), Misfit> {
        if self.skip(word) { Ok(()) } else { Err(Misfit) }
    }

    #[inline(always)]
    fn id(&mut self) -> Result<Id, Misfit> {
        let (hex, rest) = self.0.split_first_chunk::<{ Id::HEX_LENGTH }>().ok_or(Misfit)?;
        self.0 = rest;
        Id::from_hex(hex).ok_or(Misfit)
    }

    /// A number of 32 bits without sign, fraction, exponent or leading zeros.
    #[inline(always)]
    fn number(&mut self) -> Result<u32, Misfit> {
        let mut number = 0u64;
        let mut digits = 0;
        while let Some(digit) = self.0.get(digits).map(|byte| byte.wrapping_sub(b'0')) {
            if digit > 9 || digits > 10 {
                break;
            }
            number = number * 10 + u64::from(digit);
            digits += 1;
        }
        if digits == 0 || (digits > 1 && self.0[0] == b'0') {
            return Err(Misfit);
        }
        self.0 = &self.0[digits..];
        u32::try_from(number).map_err(|_| Misfit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::file::{IndexFile, PackBlobs};

    fn scan_in_windows(text: &[u8], window: usize) -> Result<IndexFile, Misfit> {
        let mut file = IndexFile::default();
        let mut scanner = Scanner::new(&mut file);
        let mut begin = 0;
        let mut end = 0;
        loop {
            end = (end + window).min(text.len());
            begin += scanner.scan(&text[begin..end], end == text.len())?;
            if end == text.len() {
                assert_eq!(begin, end, "the last window is read to its end");
                return Ok(file);
            }
        }
    }

    fn example() -> IndexFile {
        let blob = |n: u32, blob_type| BlobEntry {
            handle: BlobHandle { blob_type, id: Id::of(&n.to_le_bytes()) },
            offset: n.wrapping_mul(0x9e37_79b9),
            length: u32::MAX >> (n % 32),
            uncompressed_length: if n.is_multiple_of(3) { 0 } else { n },
        };
        let packs = (0..20).map(|n| PackBlobs {
            pack: Id::of(&[n]),
            blobs: (0..u32::from(n))
                .map(|i| blob(i, BlobType::Data))
                .chain([blob(77, BlobType::Tree)])
                .collect(),
        });
        IndexFile { packs: packs.collect() }
    }

    #[test]
    fn what_go_writes_is_read_in_windows_of_any_size() {
        let file = example();
        let text = file.encode();
        for window in [1, 2, 7, 255, 256, 257, 1000, 4096, text.len()] {
            assert_eq!(scan_in_windows(&text, window).as_ref(), Ok(&file), "{window}");
        }
    }

    #[test]
    fn a_file_that_ends_too_early_is_a_misfit_wherever_it_ends() {
        let text = example().encode();
        let whole = text.len() - 1;
        assert!(scan_in_windows(&text[..whole], 1 << 20).is_ok(), "only the newline is missing");
        for end in 0..whole {
            assert_eq!(scan_in_windows(&text[..end], 1 << 20), Err(Misfit), "{end}");
        }
    }

    #[test]
    fn numbers_are_taken_as_json_writes_them_and_no_other_way() {
        let number = |text: &str| Text(text.as_bytes()).number().ok();
        assert_eq!(number("0,"), Some(0));
        assert_eq!(number("4294967295}"), Some(u32::MAX));
        for text in ["", "}", "01", "00", "-1", "4294967296", "99999999999999999999999", "+1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
