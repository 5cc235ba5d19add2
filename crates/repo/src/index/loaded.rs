//! What the index files said when they were loaded.

use std::collections::HashSet;

use super::file::{EMPTY_PACK_SIZE, stored_size};
use super::row::{LargeSpans, Row};
use super::table::Table;
use crate::backend::FileInfo;
use crate::blob::{BlobEntry, BlobHandle, BlobLocation, BlobType};
use crate::id::Id;

/// All index files as one. Never changed, but for the packs that are excluded before it is shared.
#[derive(Default)]
pub(super) struct Loaded {
    /// The packs by number.
    pub(super) packs: Vec<Id>,
    /// The spans that do not fit into rows.
    pub(super) large: LargeSpans,
    pub(super) data: Table,
    pub(super) tree: Table,
    /// The index files, and the numbers of the packs in each.
    pub(super) files: Vec<(Id, Box<[u32]>)>,
    /// A bit for each pack that is as good as absent; empty if there is none.
    pub(super) excluded: Vec<u64>,
}

impl Loaded {
    pub(super) fn table(&self, blob_type: BlobType) -> &Table {
        match blob_type {
            BlobType::Data => &self.data,
            BlobType::Tree => &self.tree,
        }
    }

    /// Where a blob can be read, as far as one can tell.
    pub(super) fn locations(
        &self,
        blob: &BlobHandle,
    ) -> impl Iterator<Item = BlobLocation> + use<'_> {
        let blob_type = blob.blob_type;
        let rows = self.table(blob_type).find(&blob.id).iter();
        rows.filter(|row| !self.is_excluded(row.pack()))
            .map(move |row| self.location(row, blob_type))
            .filter(|location| is_possible(&location.entry))
    }

    /// Every place of every blob, also the excluded and the impossible ones, in order of their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = BlobLocation> + use<'_> {
        self.rows().map(|(row, blob_type)| self.location(row, blob_type))
    }

    /// What each pack's size should be.
    pub(super) fn pack_sizes(&self) -> impl Iterator<Item = FileInfo> + use<'_> {
        let mut sizes = vec![0u64; self.packs.len()];
        for (row, blob_type) in self.rows() {
            sizes[row.pack() as usize] += stored_size(&row.entry(blob_type, &self.large));
        }
        self.packs
            .iter()
            .zip(sizes)
            .filter(|(_, size)| *size > 0)
            .map(|(&id, size)| FileInfo { id, size: size + EMPTY_PACK_SIZE })
    }

    /// The packs with trees and no data, and what their sizes should be.
    pub(super) fn tree_packs(&self) -> impl Iterator<Item = FileInfo> + use<'_> {
        let mut has_trees = vec![false; self.packs.len()];
        for row in self.tree.rows() {
            has_trees[row.pack() as usize] = true;
        }
        for row in self.data.rows() {
            has_trees[row.pack() as usize] = false;
        }
        let mut sizes = vec![0u64; self.packs.len()];
        for row in self.tree.rows() {
            sizes[row.pack() as usize] += stored_size(&row.entry(BlobType::Tree, &self.large));
        }
        self.packs
            .iter()
            .zip(has_trees)
            .zip(sizes)
            .filter(|((_, has_trees), _)| *has_trees)
            .map(|((&id, _), size)| FileInfo { id, size: size + EMPTY_PACK_SIZE })
    }

    /// From now on blobs that are only in these packs are not found.
    pub(super) fn exclude(&mut self, packs: &HashSet<Id>) {
        if packs.is_empty() {
            return;
        }
        self.excluded.resize(self.packs.len().div_ceil(64), 0);
        for (number, pack) in self.packs.iter().enumerate() {
            self.excluded[number / 64] |= u64::from(packs.contains(pack)) << (number % 64);
        }
    }

    /// Bytes in use.
    pub(super) fn memory_usage(&self) -> usize {
        let files = self.files.iter().map(|(_, packs)| size_of_val::<[u32]>(packs)).sum::<usize>();
        self.packs.capacity() * size_of::<Id>()
            + self.large.memory_usage()
            + self.data.memory_usage()
            + self.tree.memory_usage()
            + self.files.capacity() * size_of::<(Id, Box<[u32]>)>()
            + files
            + self.excluded.capacity() * size_of::<u64>()
    }

    /// Every row: those of data blobs first, then those of tree blobs.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Row, BlobType)> {
        let data = self.data.rows().iter().map(|row| (row, BlobType::Data));
        data.chain(self.tree.rows().iter().map(|row| (row, BlobType::Tree)))
    }

    fn location(&self, row: &Row, blob_type: BlobType) -> BlobLocation {
        row.location(blob_type, &self.packs, &self.large)
    }

    fn is_excluded(&self, pack: u32) -> bool {
        let word = self.excluded.get(pack as usize / 64);
        word.is_some_and(|word| word >> (pack % 64) & 1 == 1)
    }
}

/// Whether a sealed blob can be where the entry says: it has a nonce and a MAC, and ends where a pack
/// of restic's can still have bytes. No restic writes anything else.
pub(super) fn is_possible(entry: &BlobEntry) -> bool {
    entry.length as usize >= crate::crypto::OVERHEAD
        && entry.offset.checked_add(entry.length).is_some()
}
