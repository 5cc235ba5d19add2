//! Pack files: sealed blobs, and the header that names them.
//!
//! ```text
//! sealed(blob 1) … sealed(blob n)  sealed(header)  length of the sealed header, u32 little endian
//! header entry   type u8, sealed length u32, id            37 bytes: 0 data, 1 tree
//!                type u8, sealed length u32, length u32, id  41 bytes: 2 data, 3 tree, compressed
//! ```
//!
//! There is no magic number and no offset: blobs lie behind each other in the order of the header.

use crate::blob::{BlobEntry, BlobHandle, BlobType};
use crate::crypto::{self, Key};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::sha256::Hasher;

/// The length of a header entry of an uncompressed blob, in bytes.
pub const ENTRY_LENGTH: usize = 37;
/// The length of a header entry of a compressed blob, in bytes.
pub const COMPRESSED_ENTRY_LENGTH: usize = 41;
/// The length of the number at the end, in bytes.
pub const TRAILER_LENGTH: usize = 4;
/// The longest sealed header restic reads, in bytes.
pub const MAX_HEADER_LENGTH: usize = 16 << 20;
/// The shortest file that can be a pack: one empty blob's entry, sealed, and the trailer.
pub const MIN_LENGTH: u64 = (ENTRY_LENGTH + crypto::OVERHEAD + TRAILER_LENGTH) as u64;

impl std::fmt::Debug for PackBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackBuilder({} blobs)", self.entries.len())
    }
}

/// How long the header entry of this blob is.
pub const fn entry_length(entry: &BlobEntry) -> usize {
    if entry.is_compressed() { COMPRESSED_ENTRY_LENGTH } else { ENTRY_LENGTH }
}

/// The size in bytes of a pack with these blobs: what `check` and `prune` compare with the file.
pub fn size_of<'a>(entries: impl IntoIterator<Item = &'a BlobEntry>) -> u64 {
    let blobs: u64 =
        entries.into_iter().map(|entry| u64::from(entry.length) + entry_length(entry) as u64).sum();
    blobs + (crypto::OVERHEAD + TRAILER_LENGTH) as u64
}

/// How many bytes of a pack may wait for another pack to be hashed with.
const MOST_WAITING: usize = 8 << 20;

/// A pack being filled. Hashed as it grows, while the bytes are still in the cache, and best together with
/// [another](Self::hash_with) that grows beside it.
#[derive(Default)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    hash: Hasher,
    /// How many of the bytes the hash has taken.
    hashed: usize,
    entries: Vec<BlobEntry>,
}

/// A finished pack.
pub struct Pack {
    /// Its name.
    pub id: Id,
    /// The whole file.
    pub bytes: Vec<u8>,
    /// What is in it, in order.
    pub entries: Vec<BlobEntry>,
}

impl PackBuilder {
    /// An empty pack in this memory.
    pub fn within(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer, ..Self::default() }
    }

    /// Bytes of sealed blobs so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no blob in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether another blob would make the header too long to be read.
    pub fn header_is_full(&self) -> bool {
        (self.entries.len() + 1) * COMPRESSED_ENTRY_LENGTH + crypto::OVERHEAD > MAX_HEADER_LENGTH
    }

    /// Appends a sealed blob.
    ///
    /// # Errors
    /// [`Error::Refused`] when the pack would outgrow the 32 bits that offsets have.
    pub fn push(
        &mut self,
        handle: BlobHandle,
        sealed: &[u8],
        uncompressed_length: u32,
    ) -> Result<()> {
        let too_large = || Error::Refused("a pack cannot be larger than 4 GiB".into());
        let offset = u32::try_from(self.bytes.len()).map_err(|_| too_large())?;
        let length = u32::try_from(sealed.len()).map_err(|_| too_large())?;
        offset.checked_add(length).ok_or_else(too_large)?;
        self.bytes.extend_from_slice(sealed);
        self.entries.push(BlobEntry { handle, offset, length, uncompressed_length });
        if self.waiting().len() > MOST_WAITING {
            self.hash_rest();
        }
        Ok(())
    }

    /// Hashes what waits in both packs, as far as both have any: side by side that takes two thirds of the time.
    pub fn hash_with(&mut self, other: &mut Self) {
        let both = self.waiting().len().min(other.waiting().len());
        let here = &self.bytes[self.hashed..][..both];
        let there = &other.bytes[other.hashed..][..both];
        self.hash.update_both(here, &mut other.hash, there);
        self.hashed += both;
        other.hashed += both;
    }

    fn hash_rest(&mut self) {
        self.hash.update(&self.bytes[self.hashed..]);
        self.hashed = self.bytes.len();
    }

    /// The bytes that are not hashed yet.
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.hashed..]
    }

    /// Takes over all blobs of another pack.
    pub fn append(&mut self, other: Self) -> Result<()> {
        for entry in &other.entries {
            let range = entry.offset as usize..(entry.offset + entry.length) as usize;
            self.push(entry.handle, &other.bytes[range], entry.uncompressed_length)?;
        }
        Ok(())
    }

    /// Writes the header. With `verify`, reads it back and compares.
    pub fn finish(mut self, key: &Key, verify: bool) -> Result<Pack> {
        let header = key.seal(&encode_header(&self.entries))?;
        let length = u32::try_from(header.len())
            .ok()
            .filter(|_| header.len() <= MAX_HEADER_LENGTH)
            .ok_or_else(|| Error::Refused("a pack has too many blobs for its header".into()))?;
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.hash_rest();
        let id = self.hash.finish();
        if verify && parse_tail(key, &self.bytes).ok().as_ref() != Some(&self.entries) {
            let handle = crate::Handle::new(crate::FileType::Pack, id);
            return Err(Error::VerifyFailed { what: handle.into() });
        }
        Ok(Pack { id, bytes: self.bytes, entries: self.entries })
    }
}

fn encode_header(entries: &[BlobEntry]) -> Vec<u8> {
    let mut header = Vec::with_capacity(entries.len() * COMPRESSED_ENTRY_LENGTH);
    for entry in entries {
        let kind = match (entry.handle.blob_type, entry.is_compressed()) {
            (BlobType::Data, false) => 0,
            (BlobType::Tree, false) => 1,
            (BlobType::Data, true) => 2,
            (BlobType::Tree, true) => 3,
        };
        header.push(kind);
        header.extend_from_slice(&entry.length.to_le_bytes());
        if entry.is_compressed() {
            header.extend_from_slice(&entry.uncompressed_length.to_le_bytes());
        }
        header.extend_from_slice(entry.handle.id.as_bytes());
    }
    header
}

/// Why a pack's header could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is too short to be a pack.
    #[error("the file is too short to be a pack")]
    TooShort,
    /// The length at the end cannot be.
    #[error("its header length {0} cannot be right")]
    WrongLength(u32),
    /// The header does not open.
    #[error("its header is damaged: {0}")]
    Sealed(#[from] crypto::OpenError),
    /// The header opens, but is not a list of blobs that fit before it.
    #[error("its header does not describe the file")]
    Malformed,
}

/// The length of the sealed header, from the last bytes of a pack of `size` bytes.
///
/// Checks that a header of that length can be: not longer than the file, and not longer than restic
/// reads.
pub fn header_length(tail: &[u8], size: u64) -> Result<u32, HeaderError> {
    let trailer = tail.last_chunk::<TRAILER_LENGTH>().ok_or(HeaderError::TooShort)?;
    if size < MIN_LENGTH {
        return Err(HeaderError::TooShort);
    }
    let length = u32::from_le_bytes(*trailer);
    let fits = u64::from(length) <= size - TRAILER_LENGTH as u64
        && (crypto::OVERHEAD + ENTRY_LENGTH..=MAX_HEADER_LENGTH).contains(&(length as usize));
    if fits { Ok(length) } else { Err(HeaderError::WrongLength(length)) }
}

/// The blobs that a sealed header names, in order. `blobs_length` is where the header begins: all blobs
/// must lie before it, and fill it.
pub fn parse_header(
    key: &Key,
    sealed: &[u8],
    blobs_length: u64,
) -> Result<Vec<BlobEntry>, HeaderError> {
    let header = key.open(sealed)?;
    let mut rest = header.as_slice();
    let mut entries = Vec::with_capacity(header.len() / COMPRESSED_ENTRY_LENGTH + 1);
    let mut offset = 0u32;
    while !rest.is_empty() {
        let (entry, behind) = parse_entry(rest, offset).ok_or(HeaderError::Malformed)?;
        offset = offset.checked_add(entry.length).ok_or(HeaderError::Malformed)?;
        entries.push(entry);
        rest = behind;
    }
    if entries.is_empty() || u64::from(offset) != blobs_length {
        return Err(HeaderError::Malformed);
    }
    Ok(entries)
}

fn parse_entry(bytes: &[u8], offset: u32) -> Option<(BlobEntry, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let (blob_type, compressed) = match kind {
        0 => (BlobType::Data, false),
        1 => (BlobType::Tree, false),
        2 => (BlobType::Data, true),
        3 => (BlobType::Tree, true),
        _ => return None,
    };
    let (uncompressed_length, rest) = match compressed {
        true => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*length), rest)
        }
        false => (0, rest),
    };
    let (id, rest) = rest.split_first_chunk::<32>()?;
    let handle = BlobHandle { blob_type, id: Id::from_bytes(*id) };
    Some((BlobEntry { handle, offset, length, uncompressed_length }, rest))
}

/// The blobs of a pack that is in memory as a whole.
pub fn parse_tail(key: &Key, pack: &[u8]) -> Result<Vec<BlobEntry>, HeaderError> {
    let length = header_length(pack, pack.len() as u64)? as usize;
    let end = pack.len() - TRAILER_LENGTH;
    let start = end - length;
    parse_header(key, &pack[start..end], start as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::from_material(&[4; 64])
    }

    fn build(blobs: &[(BlobType, Vec<u8>, u32)]) -> Pack {
        let mut builder = PackBuilder::default();
        for (blob_type, bytes, length) in blobs {
            let handle = BlobHandle { blob_type: *blob_type, id: Id::of(bytes) };
            builder.push(handle, bytes, *length).unwrap();
        }
        builder.finish(&key(), true).unwrap()
    }

    #[test]
    fn the_header_names_every_blob_and_the_size_formula_holds() {
        let pack = build(&[
            (BlobType::Data, vec![1; 100], 0),
            (BlobType::Tree, vec![2; 50], 500),
            (BlobType::Tree, vec![3; 33], 0),
            (BlobType::Data, vec![4; 33], 1),
        ]);
        assert_eq!(pack.id, Id::of(&pack.bytes));
        assert_eq!(parse_tail(&key(), &pack.bytes).unwrap(), pack.entries);
        assert_eq!(size_of(&pack.entries), pack.bytes.len() as u64);
        assert_eq!(pack.entries[2].offset, 150);
    }

    #[test]
    fn packs_that_are_hashed_together_have_the_names_of_their_bytes() {
        let (mut one, mut two) = (PackBuilder::default(), PackBuilder::within(vec![7; 100]));
        let blob = |n: usize| vec![n as u8; n * 1000 + 7];
        for n in 1..20 {
            let (builder, other) =
                if n % 3 == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
            builder.push(BlobHandle::data(Id::of(&blob(n))), &blob(n), 0).unwrap();
            if n % 4 != 0 {
                builder.hash_with(other);
            }
        }
        let large = vec![3; MOST_WAITING + 1];
        one.push(BlobHandle::data(Id::of(&large)), &large, 0).unwrap();
        assert!(one.waiting().is_empty());
        for builder in [one, two] {
            let pack = builder.finish(&key(), true).unwrap();
            assert_eq!(pack.id, Id::of(&pack.bytes));
        }
    }

    #[test]
    fn merged_packs_keep_their_blobs() {
        let mut one = PackBuilder::default();
        let mut two = PackBuilder::default();
        one.push(BlobHandle::data(Id::of(b"a")), b"first", 0).unwrap();
        two.push(BlobHandle::data(Id::of(b"b")), b"second", 7).unwrap();
        one.append(two).unwrap();
        let pack = one.finish(&key(), true).unwrap();
        assert_eq!(&pack.bytes[..11], b"firstsecond");
        assert_eq!((pack.entries[1].offset, pack.entries[1].uncompressed_length), (5, 7));
    }

    #[test]
    fn a_wrong_trailer_is_an_error() {
        let pack = build(&[(BlobType::Data, vec![1; 100], 0)]);
        for length in [0u32, 1, 31, 68, 70, 200, u32::MAX] {
            let mut bytes = pack.bytes.clone();
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&length.to_le_bytes());
            assert!(parse_tail(&key(), &bytes).is_err(), "{length}");
        }
        for end in 0..pack.bytes.len() {
            assert!(parse_tail(&key(), &pack.bytes[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in prop::collection::vec(any::<u8>(), 0..300), size: u32) {
            let sealed = key().seal(&header).unwrap();
            if let Ok(entries) = parse_header(&key(), &sealed, size.into()) {
                let end: u64 = entries.iter().map(|entry| u64::from(entry.length)).sum();
                prop_assert_eq!(end, u64::from(size));
            }
        }
    }
}
