//! Files of different content, and the blobs in them.

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::Node;
use crate::stats::Stats;
use crate::stats::walk::Counter;
use crate::used::UsedBlobs;

/// Counts each content where it comes first, so each tree needs to be walked only once.
///
/// As for restic, all that is no file has one content, the empty one.
pub(super) struct Contents {
    index: Arc<Index>,
    count_blobs: bool,
    seen: UsedBlobs,
    contents: HashSet<Digest128>,
    paths: HashSet<Digest128>,
    /// Path and blob.
    references: HashSet<Digest128>,
    stats: Stats,
}

/// Half of a SHA-256 sum: enough to tell things apart, and half the memory.
type Digest128 = [u8; 16];

impl Contents {
    /// Counts files, or the blobs in them.
    pub(super) fn new(index: Arc<Index>, count_blobs: bool) -> Self {
        Self {
            seen: UsedBlobs::new(Arc::clone(&index)),
            index,
            count_blobs,
            contents: HashSet::new(),
            paths: HashSet::new(),
            references: HashSet::new(),
            stats: Stats::default(),
        }
    }

    pub(super) fn stats(self) -> Stats {
        self.stats
    }

    fn add_blobs(&mut self, folder: &[u8], node: &Node, content: &[Id]) -> Result<()> {
        if content.is_empty() {
            return Ok(());
        }
        let path = digest(&[folder, b"/", node.name.as_bytes()]);
        self.stats.total_file_count += u64::from(self.paths.insert(path));
        for id in content {
            if self.references.insert(digest(&[&path, id.as_bytes()])) {
                let blob = BlobHandle::data(*id);
                let length = self.index.plaintext_length(&blob);
                self.add_size(length.ok_or(Error::BlobNotFound(blob))?);
                self.stats.total_blob_count += 1;
            }
        }
        Ok(())
    }

    fn add_size(&mut self, size: u64) {
        self.stats.total_size = self.stats.total_size.saturating_add(size);
    }
}

impl Counter for Contents {
    fn knows(&self, tree: &Id) -> bool {
        self.seen.contains(&BlobHandle::tree(*tree))
    }

    fn enter(&mut self, tree: Id) {
        self.seen.insert(&BlobHandle::tree(tree));
    }

    fn node(&mut self, folder: &[u8], node: &Node) -> Result<()> {
        let content = node.content.as_deref().unwrap_or_default();
        let mut hash = Sha256::new();
        for id in content {
            hash.update(id.as_bytes());
        }
        if !self.contents.insert(half(hash)) {
            return Ok(());
        }
        if self.count_blobs {
            return self.add_blobs(folder, node, content);
        }
        self.add_size(node.size);
        self.stats.total_file_count += 1;
        Ok(())
    }
}

fn digest(parts: &[&[u8]]) -> Digest128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    half(hash)
}

fn half(hash: Sha256) -> Digest128 {
    let sum: [u8; 32] = hash.finalize().into();
    *sum.first_chunk().expect("16 is less than 32")
}
