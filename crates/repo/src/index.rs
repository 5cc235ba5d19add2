//! Which blob is in which pack.
//!
//! The index is loaded as a whole before anything else is done: [`Builder`] takes the plaintexts of all
//! index files, from several threads, and makes an [`Index`] of them. An index knows three kinds of
//! blobs:
//!
//! * **loaded** ones, which the index files list;
//! * **recent** ones, which this run stored: [`Index::add_pack`] makes them known once their pack is
//!   durable, and queues the pack for the next index file ([`Index::take_full`], [`Index::take_rest`]);
//! * **pending** ones, which this run is about to store: [`Index::claim`] gives each to one worker only.
//!
//! A blob may be in several packs, and all its places are kept. Damage is kept too: a blob that two
//! index files place differently has both places, as for restic, and [`Index::packs`] shows what the
//! files say. But an entry that cannot be true (shorter than a sealed blob can be, or ending beyond
//! 4 GiB) is never found, nor is one in an excluded pack, so that a backup stores the blob again.
//!
//! # Memory
//!
//! A large repository has millions of blobs, and everything waits for its index. So a loaded blob takes
//! 45 bytes, plus less than half a byte to find it, plus its share of its pack: 32 bytes for the id and
//! 4 in the list of the file's packs (and, at the end of loading, 6 to 12 for a moment). With 16 blobs a pack
//! that is 48 bytes a blob; restic takes 64. A recent blob takes 51 to 56 bytes, and 48 more until it is
//! in an index file. Large tables grow with `realloc`, which on Linux moves no bytes.

use std::collections::HashSet;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use crate::backend::FileInfo;
use crate::blob::{BlobEntry, BlobHandle, BlobLocation, BlobType};
use crate::id::Id;
use loaded::Loaded;
use recent::Recent;

pub use builder::Builder;
pub use file::{FULL, IndexFile, PackBlobs};
pub use packs::Packs;

mod builder;
mod file;
mod general;
mod loaded;
mod packs;
mod recent;
mod row;
mod scan;
mod sort;
mod table;
mod unwritten;

/// Which blob is in which pack, shared by all workers of a run. The default one is empty.
#[derive(Default)]
pub struct Index {
    loaded: Loaded,
    recent: RwLock<Recent>,
}

/// One place of a loaded blob. Blobs, packs and places have numbers, so that what is to be remembered of
/// millions of them can be kept in a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The place's own number. Places of data blobs come first, and all places of one blob come one after
    /// another; the first one's number is the blob's [`Index::number`].
    pub(crate) number: usize,
    /// Which of [`Index::pack_ids`] it is in.
    pub(crate) pack: usize,
    /// Where in that pack.
    pub(crate) entry: BlobEntry,
}

impl Place {
    /// Whether a blob can be there at all: it is no shorter than a sealed blob, and ends below 4 GiB.
    pub(crate) fn is_possible(&self) -> bool {
        loaded::is_possible(&self.entry)
    }
}

impl Index {
    fn new(loaded: Loaded) -> Self {
        Self { loaded, recent: RwLock::default() }
    }

    /// Everywhere a blob can be read: any place will do, and if one is damaged the next may not be.
    /// Blobs that are only pending are nowhere yet.
    pub fn lookup(&self, blob: &BlobHandle) -> impl Iterator<Item = BlobLocation> + use<'_> {
        self.loaded.locations(blob).chain(self.recent().locations(blob))
    }

    /// Whether a blob can be read.
    pub fn contains(&self, blob: &BlobHandle) -> bool {
        self.is_loaded(blob) || self.recent().contains(blob)
    }

    /// The length of a blob's plaintext in bytes, as the index claims.
    pub fn plaintext_length(&self, blob: &BlobHandle) -> Option<u64> {
        self.lookup(blob).next().map(|location| location.entry.plaintext_length())
    }

    /// Asks to store a blob. `true` if nobody has stored it or is about to: then the caller has to, and
    /// calls [`Self::add_pack`] or [`Self::unclaim`] in the end. For any two calls with the same blob,
    /// however close, at most one returns `true`.
    pub fn claim(&self, blob: &BlobHandle) -> bool {
        !self.is_loaded(blob) && self.recent_mut().claim(*blob)
    }

    /// Gives a claimed blob back: it was not stored. Returns whether it was pending.
    pub fn unclaim(&self, blob: &BlobHandle) -> bool {
        self.recent_mut().unclaim(blob)
    }

    /// Whether a blob is claimed and not stored yet.
    pub fn is_pending(&self, blob: &BlobHandle) -> bool {
        self.recent().is_pending(blob)
    }

    /// A pack was stored, and is durable: its blobs are known from now on, and wait for their index
    /// file. Ask [`Self::take_full`] then.
    pub fn add_pack(&self, pack: Id, blobs: &[BlobEntry]) {
        self.recent_mut().add_pack(pack, blobs, Instant::now());
    }

    /// The next index file to be stored, if it is time: packs with [`FULL`] blobs are waiting, or the
    /// oldest has waited for ten minutes. Call it after each pack and until it returns nothing.
    ///
    /// A file is handed out once. If it cannot be stored, the run has failed: its packs are in no index,
    /// and the next prune removes them.
    pub fn take_full(&self) -> Option<IndexFile> {
        self.recent_mut().unwritten.take_full(Instant::now())
    }

    /// The next index file of what is waiting, full or not. Call it at the end, until it returns
    /// nothing, and before the snapshot is stored.
    pub fn take_rest(&self) -> Option<IndexFile> {
        self.recent_mut().unwritten.take()
    }

    /// From now on loaded blobs that are only in these packs are not found, and are stored again.
    pub fn exclude_packs(&mut self, packs: &HashSet<Id>) {
        self.loaded.exclude(packs);
    }

    /// The loaded packs, and the size that each must have if the index is right. Excluded ones too.
    pub fn pack_sizes(&self) -> impl Iterator<Item = FileInfo> + use<'_> {
        self.loaded.pack_sizes()
    }

    /// The loaded packs that hold nothing but trees, with the sizes they must have.
    pub fn tree_packs(&self) -> impl Iterator<Item = FileInfo> + use<'_> {
        self.loaded.tree_packs()
    }

    /// The loaded packs with their blobs, whether excluded or impossible or not. Making it takes
    /// a moment and memory for every blob.
    pub fn packs(&self) -> Packs<'_> {
        Packs::new(&self.loaded)
    }

    /// The loaded index files, each with the packs it lists.
    pub fn files(
        &self,
    ) -> impl Iterator<Item = (Id, impl Iterator<Item = Id> + use<'_>)> + use<'_> {
        let files = self.loaded.files.iter();
        files.map(|(file, packs)| (*file, packs.iter().map(|&n| self.loaded.packs[n as usize])))
    }

    /// Every place of every loaded blob, whether excluded or impossible or not. All places of a blob
    /// come one after another.
    pub fn loaded(&self) -> impl Iterator<Item = BlobLocation> + use<'_> {
        self.loaded.all()
    }

    /// The loaded packs, in the order of their numbers.
    pub(crate) fn pack_ids(&self) -> &[Id] {
        &self.loaded.packs
    }

    /// The loaded index files, each with the numbers of the packs it lists.
    pub(crate) fn file_packs(&self) -> impl Iterator<Item = (Id, &[u32])> {
        self.loaded.files.iter().map(|(file, packs)| (*file, &**packs))
    }

    /// Shows all places of each loaded blob.
    pub(crate) fn each_blob(&self, mut look: impl FnMut(&[Place])) {
        let mut places: Vec<Place> = Vec::new();
        for (number, (row, blob_type)) in self.loaded.rows().enumerate() {
            let entry = row.entry(blob_type, &self.loaded.large);
            if places.first().is_some_and(|place| place.entry.handle != entry.handle) {
                look(&places);
                places.clear();
            }
            places.push(Place { number, pack: row.pack() as usize, entry });
        }
        if !places.is_empty() {
            look(&places);
        }
    }

    /// All places of one loaded blob.
    pub(crate) fn places(&self, blob: &BlobHandle) -> Vec<Place> {
        let Some(first) = self.number(blob) else { return Vec::new() };
        let rows = (first..).zip(self.loaded.table(blob.blob_type).find(&blob.id));
        rows.map(|(number, row)| {
            let entry = row.entry(blob.blob_type, &self.loaded.large);
            Place { number, pack: row.pack() as usize, entry }
        })
        .collect()
    }

    /// How many places of blobs of this type were loaded.
    pub fn loaded_count(&self, blob_type: BlobType) -> usize {
        self.loaded.table(blob_type).rows().len()
    }

    /// A loaded blob's own number, below the sum of both [`Self::loaded_count`]s: a set of blobs can be
    /// one bit for each number.
    pub fn number(&self, blob: &BlobHandle) -> Option<usize> {
        let position = self.loaded.table(blob.blob_type).position(&blob.id)?;
        Some(match blob.blob_type {
            BlobType::Data => position,
            BlobType::Tree => self.loaded_count(BlobType::Data) + position,
        })
    }

    /// How much memory the index takes, in bytes.
    pub fn memory_usage(&self) -> usize {
        self.loaded.memory_usage() + self.recent().memory_usage()
    }

    fn is_loaded(&self, blob: &BlobHandle) -> bool {
        self.loaded.locations(blob).next().is_some()
    }

    fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("packs", &self.loaded.packs.len())
            .field("data", &self.loaded_count(BlobType::Data))
            .field("tree", &self.loaded_count(BlobType::Tree))
            .finish_non_exhaustive()
    }
}
