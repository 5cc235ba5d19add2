//! A set of blobs, small enough for millions of them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::{BlobHandle, BlobType};
use crate::index::Index;

/// Which blobs were met on a walk through the trees: a bit for each blob that the index lists.
///
/// Threads may add to it at the same time. A blob that the index lacks can be in it too, at the price
/// of an entry in a hash table; in a sound repository there is none.
#[derive(Debug)]
pub struct UsedBlobs {
    index: Arc<Index>,
    bits: Vec<AtomicU64>,
    unlisted: Mutex<HashSet<BlobHandle>>,
}

impl UsedBlobs {
    /// The empty set of blobs of this index. Blobs that are stored later count as ones it lacks.
    pub fn new(index: Arc<Index>) -> Self {
        let count = index.loaded_count(BlobType::Data) + index.loaded_count(BlobType::Tree);
        let bits = std::iter::repeat_with(AtomicU64::default).take(count.div_ceil(64)).collect();
        Self { index, bits, unlisted: Mutex::default() }
    }

    /// Adds a blob. `true` if it was not in the set; of several threads that add the same blob, one is
    /// told so.
    pub fn insert(&self, blob: &BlobHandle) -> bool {
        match self.bit(blob) {
            Some((word, bit)) => word.fetch_or(bit, Ordering::Relaxed) & bit == 0,
            None => self.unlisted().insert(*blob),
        }
    }

    /// Whether the blob is in the set.
    pub fn contains(&self, blob: &BlobHandle) -> bool {
        match self.bit(blob) {
            Some((word, bit)) => word.load(Ordering::Relaxed) & bit != 0,
            None => self.unlisted().contains(blob),
        }
    }

    /// Whether the blob of this [number](Index::number) is in the set.
    pub(crate) fn contains_number(&self, number: usize) -> bool {
        let word = self.bits.get(number / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (number % 64) & 1 == 1)
    }

    /// The blobs of the set that the index lacks, in no particular order.
    pub fn take_unlisted(&self) -> Vec<BlobHandle> {
        self.unlisted().drain().collect()
    }

    fn bit(&self, blob: &BlobHandle) -> Option<(&AtomicU64, u64)> {
        let number = self.index.number(blob)?;
        Some((self.bits.get(number / 64)?, 1 << (number % 64)))
    }

    fn unlisted(&self) -> MutexGuard<'_, HashSet<BlobHandle>> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobEntry;
    use crate::id::Id;
    use crate::index::{Builder, IndexFile, PackBlobs};

    fn index(blobs: &[BlobHandle]) -> Arc<Index> {
        let entry = |(n, &handle): (usize, &BlobHandle)| BlobEntry {
            handle,
            offset: n as u32 * 40,
            length: 40,
            uncompressed_length: 0,
        };
        let blobs = blobs.iter().enumerate().map(entry).collect();
        let file = IndexFile { packs: vec![PackBlobs { pack: Id::of(b"pack"), blobs }] };
        let builder = Builder::new(2);
        builder.add_file(Id::of(b"index"), &file.encode()).unwrap();
        Arc::new(builder.finish())
    }

    #[test]
    fn a_blob_is_new_once_whether_the_index_lists_it_or_not() {
        let ids: Vec<Id> = (0u8..200).map(|n| Id::of(&[n])).collect();
        let listed: Vec<_> =
            ids.iter().flat_map(|&id| [BlobHandle::data(id), BlobHandle::tree(id)]).collect();
        let set = UsedBlobs::new(index(&listed));
        let unlisted = [BlobHandle::data(Id::of(b"no")), BlobHandle::tree(Id::of(b"no"))];
        for (n, blob) in listed.iter().chain(&unlisted).enumerate() {
            if n % 3 == 0 {
                continue;
            }
            assert!(!set.contains(blob));
            assert!(set.insert(blob));
            assert!(!set.insert(blob));
        }
        for (n, blob) in listed.iter().chain(&unlisted).enumerate() {
            assert_eq!(set.contains(blob), n % 3 != 0, "{n}");
        }
        assert_eq!(set.take_unlisted().len(), 2);
        assert!(!set.contains(&unlisted[0]));
    }
}
