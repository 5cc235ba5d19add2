//! The blobs that this run stores: those in stored packs, and those on their way.

use std::collections::HashSet;
use std::time::Instant;

use hashbrown::HashTable;

use super::file::PackBlobs;
use super::row::{LargeSpans, Row, prefix};
use super::unwritten::Unwritten;
use crate::blob::{BlobEntry, BlobHandle, BlobLocation, BlobType};
use crate::id::Id;

/// What this run adds to the index.
#[derive(Default)]
pub(super) struct Recent {
    packs: Vec<Id>,
    large: LargeSpans,
    data: GrowingTable,
    tree: GrowingTable,
    pending: HashSet<BlobHandle>,
    /// The packs that no index file lists yet.
    pub(super) unwritten: Unwritten,
}

impl Recent {
    pub(super) fn contains(&self, blob: &BlobHandle) -> bool {
        self.table(blob.blob_type).find(&blob.id).next().is_some()
    }

    pub(super) fn locations(&self, blob: &BlobHandle) -> Vec<BlobLocation> {
        let rows = self.table(blob.blob_type).find(&blob.id);
        rows.map(|row| row.location(blob.blob_type, &self.packs, &self.large)).collect()
    }

    /// Whether the blob is neither stored nor pending; if so, it is pending from now on.
    pub(super) fn claim(&mut self, blob: BlobHandle) -> bool {
        !self.contains(&blob) && self.pending.insert(blob)
    }

    pub(super) fn unclaim(&mut self, blob: &BlobHandle) -> bool {
        self.pending.remove(blob)
    }

    pub(super) fn is_pending(&self, blob: &BlobHandle) -> bool {
        self.pending.contains(blob)
    }

    pub(super) fn add_pack(&mut self, pack: Id, blobs: &[BlobEntry], now: Instant) {
        let number = self.packs.len() as u32;
        self.packs.push(pack);
        for blob in blobs {
            self.pending.remove(&blob.handle);
            let row = Row::with_large(blob, number, &mut self.large)
                .expect("268 million packs of 4 MiB are more than one run can store");
            match blob.handle.blob_type {
                BlobType::Data => self.data.add(row),
                BlobType::Tree => self.tree.add(row),
            }
        }
        self.unwritten.add(PackBlobs { pack, blobs: blobs.to_vec() }, now);
    }

    /// Bytes in use.
    pub(super) fn memory_usage(&self) -> usize {
        self.packs.capacity() * size_of::<Id>()
            + self.large.memory_usage()
            + self.data.memory_usage()
            + self.tree.memory_usage()
            + self.pending.capacity() * (size_of::<BlobHandle>() + 1) * 8 / 7
            + self.unwritten.memory_usage()
    }

    fn table(&self, blob_type: BlobType) -> &GrowingTable {
        match blob_type {
            BlobType::Data => &self.data,
            BlobType::Tree => &self.tree,
        }
    }
}

/// Rows in the order in which they came, and a hash table of their numbers.
#[derive(Default)]
struct GrowingTable {
    rows: Vec<Row>,
    numbers: HashTable<u32>,
}

impl GrowingTable {
    /// An id is a hash already.
    fn hash(row: &Row) -> u64 {
        row.prefix()
    }

    fn add(&mut self, row: Row) {
        let number = u32::try_from(self.rows.len()).expect("a run stores less than 2^32 blobs");
        let rows = &mut self.rows;
        rows.push(row);
        self.numbers.insert_unique(Self::hash(&row), number, |&n| Self::hash(&rows[n as usize]));
    }

    fn find(&self, id: &Id) -> impl Iterator<Item = &Row> {
        let id = *id.as_bytes();
        let candidates = self.numbers.iter_hash(prefix(&id));
        candidates.map(|&number| &self.rows[number as usize]).filter(move |row| *row.id() == id)
    }

    fn memory_usage(&self) -> usize {
        self.rows.capacity() * Row::WIDTH + self.numbers.allocation_size()
    }
}
