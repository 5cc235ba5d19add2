//! Which blobs are lost: damaged or missing wherever they should be.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::index::{Index, PackBlobs};
use crate::used::UsedBlobs;

/// The places that turned out to be no good. A bit for each blob, and more only for the few that are in
/// several packs.
pub(super) struct Damage {
    index: Arc<Index>,
    /// Blobs with a place that is no good.
    suspects: UsedBlobs,
    /// Of suspects that have several places: the packs where they are no good.
    packs: Mutex<HashMap<BlobHandle, HashSet<Id>>>,
    found: AtomicBool,
}

impl Damage {
    pub(super) fn new(index: &Arc<Index>) -> Self {
        Self {
            index: Arc::clone(index),
            suspects: UsedBlobs::new(Arc::clone(index)),
            packs: Mutex::default(),
            found: AtomicBool::new(false),
        }
    }

    /// A blob cannot be had from this pack.
    pub(super) fn add(&self, pack: Id, blob: BlobHandle) {
        self.note();
        self.suspects.insert(&blob);
        if self.index.lookup(&blob).nth(1).is_some() {
            self.packs().entry(blob).or_default().insert(pack);
        }
    }

    /// Of a pack, nothing can be had that lies behind this length.
    pub(super) fn add_behind(&self, pack: &PackBlobs, length: u64) {
        for blob in &pack.blobs {
            if u64::from(blob.offset) + u64::from(blob.length) > length {
                self.add(pack.pack, blob.handle);
            }
        }
    }

    /// Something is wrong with what leads to blobs.
    pub(super) fn note(&self) {
        self.found.store(true, Ordering::Relaxed);
    }

    /// Whether anything was found that may be of consequence for a snapshot.
    pub(super) fn is_found(&self) -> bool {
        self.found.load(Ordering::Relaxed)
    }

    /// Whether a blob that the index lists can be had from nowhere.
    pub(super) fn is_lost(&self, blob: &BlobHandle) -> bool {
        self.suspects.contains(blob)
            && self.packs().get(blob).is_none_or(|bad| {
                self.index.lookup(blob).all(|location| bad.contains(&location.pack))
            })
    }

    fn packs(&self) -> MutexGuard<'_, HashMap<BlobHandle, HashSet<Id>>> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
