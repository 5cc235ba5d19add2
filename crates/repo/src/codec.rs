//! A blob's way from plaintext to the bytes that are stored, and back.

use std::fmt;
use std::io;

use crate::blob::{BlobHandle, BlobType};
use crate::compress::{Compression, Compressor, Decompressor};
use crate::crypto::{Key, NONCE_LENGTH};
use crate::error::{Error, Result};
use crate::id::Id;

/// Compresses and seals blobs. One a worker thread, so that zstd's context and the buffers are used
/// again.
pub struct Encoder {
    key: Key,
    version: u32,
    compression: Compression,
    zstd: Compressor,
    verifier: Option<Verifier>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("compression", &self.compression).finish_non_exhaustive()
    }
}

/// What a blob has become: its sealed bytes are in the buffer given to [`Encoder::encode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The length of the plaintext if it was compressed, else 0.
    pub uncompressed_length: u32,
}

struct Verifier {
    zstd: Decompressor,
    opened: Vec<u8>,
    plaintext: Vec<u8>,
}

impl Encoder {
    /// An encoder for a repository of this version. With `verify`, every blob is opened and compared
    /// before it is handed out: faulty memory is a fact of life, and a backup is the last place to
    /// find out about it.
    pub fn new(key: Key, version: u32, compression: Compression, verify: bool) -> Result<Self> {
        let zstd = Compressor::new(compression).map_err(zstd_setup)?;
        let verifier = match verify {
            true => Some(Verifier {
                zstd: Decompressor::new().map_err(zstd_setup)?,
                opened: Vec::new(),
                plaintext: Vec::new(),
            }),
            false => None,
        };
        Ok(Self { key, version, compression, zstd, verifier })
    }

    /// Compresses (as version and mode say) and seals `plaintext` into `sealed`, whose content is
    /// replaced.
    ///
    /// # Errors
    /// [`Error::VerifyFailed`] when what was made does not decode to `plaintext`; [`Error::Refused`]
    /// for a blob larger than the format can describe.
    pub fn encode(
        &mut self,
        handle: BlobHandle,
        plaintext: &[u8],
        sealed: &mut Vec<u8>,
    ) -> Result<Encoded> {
        let length = u32::try_from(plaintext.len())
            .ok()
            .filter(|&length| length < u32::MAX - (1 << 20))
            .ok_or_else(|| Error::Refused(format!("{handle} is too large for a pack")))?;
        // Version 2 stores every frame, even one that is larger than its content; only data is left
        // alone when compression is off. An empty blob has no compressed form, because an uncompressed
        // length of 0 means "not compressed".
        let compress = self.version >= 2
            && length > 0
            && (self.compression != Compression::Off || handle.blob_type == BlobType::Tree);
        sealed.clear();
        sealed.resize(NONCE_LENGTH, 0);
        if compress {
            self.zstd.append(plaintext, sealed).map_err(zstd_setup)?;
        } else {
            sealed.extend_from_slice(plaintext);
        }
        self.key.seal_in_place(sealed)?;
        let uncompressed_length = if compress { length } else { 0 };
        if let Some(verifier) = &mut self.verifier {
            verifier
                .matches(&self.key, sealed, compress, plaintext)
                .then_some(())
                .ok_or(Error::VerifyFailed { what: handle.into() })?;
        }
        Ok(Encoded { uncompressed_length })
    }
}

impl Verifier {
    /// Whether `sealed` opens and decompresses to `plaintext`. Comparing bytes is much cheaper than
    /// hashing again, and says the same.
    fn matches(&mut self, key: &Key, sealed: &[u8], compressed: bool, plaintext: &[u8]) -> bool {
        if key.open_into(sealed, &mut self.opened).is_err() {
            return false;
        }
        if !compressed {
            return are_same(&self.opened, plaintext);
        }
        let length = plaintext.len();
        self.zstd.decompress(&self.opened, length, length, &mut self.plaintext).is_ok()
            && are_same(&self.plaintext, plaintext)
    }
}

/// Whether two contents are the same. In pieces, which the compiler compares on the spot: whole slices it leaves to the
/// C library, and musl's goes byte by byte, which took a tenth of a flatten.
fn are_same(one: &[u8], other: &[u8]) -> bool {
    let (pieces, rest) = one.as_chunks::<32>();
    let (other_pieces, other_rest) = other.as_chunks::<32>();
    let mut pairs = pieces.iter().zip(other_pieces);
    one.len() == other.len() && pairs.all(|(one, other)| one == other) && rest == other_rest
}

/// Opens, decompresses and verifies blobs. One a worker thread.
pub struct Decoder {
    key: Key,
    zstd: Decompressor,
    opened: Vec<u8>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// A decoder for blobs sealed with this key.
    pub fn new(key: Key) -> Result<Self> {
        let zstd = Decompressor::new().map_err(zstd_setup)?;
        Ok(Self { key, zstd, opened: Vec::new() })
    }

    /// Decodes a blob into `plaintext`, whose content is replaced: MAC, zstd, and the SHA-256 that is
    /// its name.
    ///
    /// `uncompressed_length` is the claim of a header or index: 0 for a blob that is not compressed,
    /// else no more than a hint.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming the blob.
    pub fn decode(
        &mut self,
        handle: BlobHandle,
        sealed: &[u8],
        uncompressed_length: u32,
        plaintext: &mut Vec<u8>,
    ) -> Result<()> {
        self.decode_unverified(handle, sealed, uncompressed_length, plaintext)?;
        match Id::of(plaintext) == handle.id {
            true => Ok(()),
            false => Err(Error::damaged(handle, "its content does not match its id")),
        }
    }

    /// As [`Self::decode`], but leaves the hash to the caller.
    pub(crate) fn decode_unverified(
        &mut self,
        handle: BlobHandle,
        sealed: &[u8],
        uncompressed_length: u32,
        plaintext: &mut Vec<u8>,
    ) -> Result<()> {
        if uncompressed_length == 0 {
            return self
                .key
                .open_into(sealed, plaintext)
                .map_err(|error| Error::damaged(handle, error.to_string()));
        }
        self.key
            .open_into(sealed, &mut self.opened)
            .map_err(|error| Error::damaged(handle, error.to_string()))?;
        self.zstd
            .decompress(
                &self.opened,
                uncompressed_length as usize,
                handle.blob_type.size_limit(),
                plaintext,
            )
            .map_err(|error| Error::damaged(handle, format!("it does not decompress: {error}")))
    }
}

/// The first byte of an unpacked file in version 2 that says "a zstd frame follows".
const ZSTD_PREFIX: u8 = 2;

/// An index, snapshot or lock as it is stored, before sealing: the JSON itself in version 1, prefix and
/// frame in version 2.
pub(crate) fn encode_unpacked(version: u32, json: &[u8]) -> Result<Vec<u8>> {
    if version < 2 {
        return Ok(json.to_vec());
    }
    let mut out = vec![ZSTD_PREFIX];
    Compressor::new(Compression::Auto)
        .and_then(|mut zstd| zstd.append(json, &mut out))
        .map_err(zstd_setup)?;
    Ok(out)
}

/// The JSON of an unpacked file. Version 1 has no prefix; in version 2 a migrated repository still has
/// plain JSON here and there.
pub(crate) fn decode_unpacked(
    version: u32,
    stored: Vec<u8>,
    limit: u64,
) -> Result<Vec<u8>, String> {
    match stored.first() {
        _ if version < 2 => Ok(stored),
        None | Some(b'{' | b'[') => Ok(stored),
        Some(&ZSTD_PREFIX) => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let frame = &stored[1..];
            let claim = bulk_size(frame).min(limit);
            let mut json = Vec::new();
            Decompressor::new()
                .and_then(|mut zstd| zstd.decompress(frame, claim, limit, &mut json))
                .map_err(|error| format!("it does not decompress: {error}"))?;
            Ok(json)
        }
        Some(other) => Err(format!("its encoding {other:#04x} is unknown")),
    }
}

/// The frame in the plaintext of an unpacked file, where there is one: for those who can read it piece
/// by piece, see [`frame_reader`].
pub(crate) fn unpacked_frame(version: u32, stored: &[u8]) -> Option<&[u8]> {
    match stored.split_first() {
        Some((&ZSTD_PREFIX, frame)) if version >= 2 => Some(frame),
        _ => None,
    }
}

/// Reads what is in a frame.
pub(crate) fn frame_reader(frame: &[u8]) -> io::Result<impl io::Read + use<'_>> {
    zstd::stream::read::Decoder::with_buffer(frame)
}

/// What a frame claims to hold, or a guess.
fn bulk_size(frame: &[u8]) -> usize {
    zstd::bulk::Decompressor::upper_bound(frame).unwrap_or(frame.len().saturating_mul(4))
}

fn zstd_setup(error: io::Error) -> Error {
    Error::Refused(format!("zstd could not be set up: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(version: u32, mode: Compression) -> Encoder {
        Encoder::new(key(), version, mode, true).unwrap()
    }

    fn key() -> Key {
        Key::from_material(&[9; 64])
    }

    #[test]
    fn a_content_is_the_same_only_if_each_byte_and_the_length_are() {
        for length in [0, 1, 31, 32, 33, 64, 100] {
            let content: Vec<u8> = (0..length).collect();
            assert!(are_same(&content, &content.clone()));
            assert!(!are_same(&content, &[&content[..], b"x"].concat()));
            assert!(!are_same(&[&content[..], b"x"].concat(), &content));
            for at in 0..content.len() {
                let mut other = content.clone();
                other[at] ^= 0x10;
                assert!(!are_same(&content, &other), "byte {at} of {length}");
            }
        }
    }

    fn round_trip(version: u32, mode: Compression, blob_type: BlobType, text: &[u8]) -> Encoded {
        let handle = BlobHandle { blob_type, id: Id::of(text) };
        let mut sealed = Vec::new();
        let encoded = encoder(version, mode).encode(handle, text, &mut sealed).unwrap();
        let mut back = Vec::new();
        let mut decoder = Decoder::new(key()).unwrap();
        decoder.decode(handle, &sealed, encoded.uncompressed_length, &mut back).unwrap();
        assert_eq!(back, text);
        encoded
    }

    #[test]
    fn what_is_compressed_follows_restic() {
        use BlobType::{Data, Tree};
        use Compression::{Auto, Off};
        let compressed = |version, mode, kind, text: &[u8]| {
            round_trip(version, mode, kind, text).uncompressed_length > 0
        };
        assert!(!compressed(1, Auto, Data, b"text"));
        assert!(!compressed(1, Auto, Tree, b"text"));
        assert!(compressed(2, Auto, Data, b"x"), "even where the frame is larger");
        assert!(!compressed(2, Off, Data, b"text"));
        assert!(compressed(2, Off, Tree, b"text"), "trees always");
        assert!(!compressed(2, Auto, Data, b""), "an empty blob cannot be");
    }

    #[test]
    fn another_content_under_the_same_id_is_damage() {
        let handle = BlobHandle::data(Id::of(b"right"));
        let mut sealed = Vec::new();
        encoder(2, Compression::Auto).encode(handle, b"wrong", &mut sealed).unwrap();
        let error = Decoder::new(key()).unwrap().decode(handle, &sealed, 5, &mut Vec::new());
        assert!(matches!(error, Err(Error::Damaged { .. })), "{error:?}");
    }

    #[test]
    fn unpacked_files_of_both_versions() {
        let json = br#"{"packs":[]}"#;
        assert_eq!(encode_unpacked(1, json).unwrap(), json);
        let stored = encode_unpacked(2, json).unwrap();
        assert_eq!(stored[0], 2);
        assert_eq!(decode_unpacked(2, stored, 1 << 20).unwrap(), json);
        assert_eq!(decode_unpacked(2, json.to_vec(), 1 << 20).unwrap(), json, "migrated");
        assert!(decode_unpacked(2, b"\x03abc".to_vec(), 1 << 20).is_err());
        assert!(decode_unpacked(2, b"\x02abc".to_vec(), 1 << 20).is_err());
        assert_eq!(decode_unpacked(2, Vec::new(), 10).unwrap(), b"");
    }
}
