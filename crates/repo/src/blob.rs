//! Blobs: the pieces of files, and the trees of folders, that packs hold.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Id;

/// What a blob holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobType {
    /// A piece of a file.
    Data,
    /// The nodes of one folder, as JSON.
    Tree,
}

impl BlobType {
    /// The longest plaintext of such a blob that is ever decoded, in bytes.
    ///
    /// The chunker cuts data at 8 MiB, but other programs write larger pieces (rustic allows it), so
    /// there is room. A tree has no limit in the format; 1 GiB holds some five million files in one
    /// folder, and is only reached by decoding that much.
    pub const fn size_limit(self) -> usize {
        match self {
            Self::Data => 64 << 20,
            Self::Tree => 1 << 30,
        }
    }
}

impl fmt::Display for BlobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data => "data",
            Self::Tree => "tree",
        })
    }
}

/// Names one blob. A data blob and a tree blob may have the same id, so the type belongs to the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobHandle {
    /// Data or tree.
    pub blob_type: BlobType,
    /// The SHA-256 of the plaintext.
    pub id: Id,
}

impl BlobHandle {
    /// The data blob of this id.
    pub const fn data(id: Id) -> Self {
        Self { blob_type: BlobType::Data, id }
    }

    /// The tree blob of this id.
    pub const fn tree(id: Id) -> Self {
        Self { blob_type: BlobType::Tree, id }
    }
}

impl fmt::Display for BlobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blob {}", self.blob_type, self.id.short())
    }
}

/// Where in its pack a blob is, as a pack's header and the index say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlobEntry {
    /// Which blob.
    pub handle: BlobHandle,
    /// The first byte of the sealed blob in the pack.
    pub offset: u32,
    /// The length of the sealed blob: what is stored, 32 bytes of nonce and MAC included.
    pub length: u32,
    /// The length of the plaintext if the blob is compressed, else 0 (the format's own convention).
    pub uncompressed_length: u32,
}

impl BlobEntry {
    /// Whether the sealed bytes are a zstd frame.
    pub const fn is_compressed(&self) -> bool {
        self.uncompressed_length != 0
    }

    /// What the entry claims the plaintext's length is. A claim: restic itself does not check it.
    pub const fn plaintext_length(&self) -> u64 {
        match self.uncompressed_length {
            0 => (self.length as u64).saturating_sub(crate::crypto::OVERHEAD as u64),
            length => length as u64,
        }
    }
}

/// A blob's place in the repository: its pack, and where in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlobLocation {
    /// The pack that holds it.
    pub pack: Id,
    /// Where in the pack.
    pub entry: BlobEntry,
}
