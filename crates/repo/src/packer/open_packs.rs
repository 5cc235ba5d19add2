//! The packs of one type that are being filled.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::blob::BlobHandle;
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::pack::PackBuilder;

/// How many packs of a type are filled at a time. Each blob goes into one by chance, as in restic 0.18
/// and later: an observer of the storage is not to see which chunks follow each other.
const OPEN_PACKS: usize = 2;

/// How much memory a pack of this size takes, in bytes: the last blob makes it larger than that, mostly by no more
/// than this. Where it does not, the system gives no memory for the rest.
pub(super) fn room(pack_size: usize) -> usize {
    pack_size.saturating_add(pack_size / 8)
}

/// The packs of one type that are being filled.
#[derive(Debug)]
pub(super) struct OpenPacks {
    /// The size at which a pack is full, in bytes.
    pack_size: usize,
    /// Memory for packs.
    buffers: Buffers,
    slots: [Slot; OPEN_PACKS],
    /// Seeded by the system, so that the sequence cannot be foretold.
    chance: RandomState,
    throws: AtomicUsize,
}

/// A pack, once there is something in it.
type Slot = Mutex<Option<PackBuilder>>;

impl OpenPacks {
    pub(super) fn new(pack_size: usize, buffers: &Buffers) -> Self {
        Self {
            pack_size,
            buffers: buffers.clone(),
            slots: Default::default(),
            chance: RandomState::new(),
            throws: AtomicUsize::new(0),
        }
    }

    /// Appends a blob to one of the packs, and gives that pack if it is full now.
    pub(super) fn push(
        &self,
        handle: BlobHandle,
        sealed: &[u8],
        uncompressed_length: u32,
    ) -> Result<Option<PackBuilder>> {
        let throw = self.chance.hash_one(self.throws.fetch_add(1, Ordering::Relaxed)) as usize;
        let (number, mut slot) = self.lock_any(throw % OPEN_PACKS);
        let builder = match &mut *slot {
            Some(builder) => builder,
            empty => empty.insert(self.begin()?),
        };
        builder.push(handle, sealed, uncompressed_length)?;
        if let Some(mut other) = try_lock(&self.slots[(number + 1) % OPEN_PACKS])
            && let Some(other) = &mut *other
        {
            builder.hash_with(other);
        }
        let is_full = builder.len() >= self.pack_size || builder.header_is_full();
        Ok(if is_full { slot.take() } else { None })
    }

    /// Takes what is there, full or not.
    pub(super) fn take(&self) -> impl Iterator<Item = PackBuilder> {
        self.slots.iter().filter_map(|slot| lock(slot).take())
    }

    fn begin(&self) -> Result<PackBuilder> {
        let buffer = self.buffers.take_empty(room(self.pack_size));
        Ok(PackBuilder::within(buffer.map_err(|error| Error::io("fill", "a pack", error))?))
    }

    /// A slot and its number: the one that was thrown, unless somebody else has it and another is free.
    fn lock_any(&self, thrown: usize) -> (usize, MutexGuard<'_, Option<PackBuilder>>) {
        let mut numbers = (thrown..OPEN_PACKS).chain(0..thrown);
        let free = numbers.find_map(|number| Some((number, try_lock(&self.slots[number])?)));
        free.unwrap_or_else(|| (thrown, lock(&self.slots[thrown])))
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<PackBuilder>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock(slot: &Slot) -> Option<MutexGuard<'_, Option<PackBuilder>>> {
    match slot.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Key;
    use crate::id::Id;
    use crate::workshop::noise;

    const SIZE: usize = 1 << 20;
    const BLOB: usize = 100_000;

    /// Hands in a blob, and gives the pack that is full.
    fn push(open: &OpenPacks, seed: u32) -> Option<PackBuilder> {
        let sealed = noise(seed, BLOB);
        open.push(BlobHandle::data(Id::of(&sealed)), &sealed, 0).unwrap()
    }

    #[test]
    fn every_blob_is_in_one_pack_and_no_pack_is_larger_than_its_last_blob_makes_it() {
        let open = OpenPacks::new(SIZE, &Buffers::new(0));
        let full: Vec<_> = (0..100).filter_map(|seed| push(&open, seed)).collect();
        assert!(full.iter().all(|pack| (SIZE..SIZE + BLOB).contains(&pack.len())));
        let packs = full.into_iter().chain(open.take());
        let key = Key::random().unwrap();
        let blobs = packs.flat_map(|pack| pack.finish(&key, true).unwrap().entries);
        let mut found: Vec<Id> = blobs.map(|blob| blob.handle.id).collect();
        let mut expected: Vec<Id> = (0..100).map(|seed| Id::of(&noise(seed, BLOB))).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(open.take().count(), 0);
    }

    #[test]
    fn who_finds_a_pack_in_use_fills_another() {
        let open = OpenPacks::new(SIZE, &Buffers::new(0));
        let in_use = lock(&open.slots[0]);
        let full = (0..).find_map(|seed| push(&open, seed)).unwrap();
        assert!(full.len() >= SIZE);
        assert!(in_use.is_none());
    }

    #[test]
    fn the_memory_of_a_pack_that_is_stored_is_used_for_the_next() {
        let buffers = Buffers::new(room(SIZE));
        let open = OpenPacks::new(SIZE, &buffers);
        let key = Key::random().unwrap();
        push(&open, 1);
        let stored = open.take().next().unwrap().finish(&key, true).unwrap().bytes;
        let place = stored.as_ptr();
        drop(buffers.share(stored));
        push(&open, 2);
        let next = open.take().next().unwrap().finish(&key, true).unwrap().bytes;
        assert_eq!(next.as_ptr(), place);
    }
}
