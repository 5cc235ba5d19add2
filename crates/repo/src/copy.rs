//! Copying snapshots into another repository.
//!
//! A [`Copier`] walks a snapshot's trees, reads what the other repository lacks in the order of the
//! source's packs, with few large requests, and stores it there, sealed anew. Blobs are copied by their
//! plaintext, whose hash is checked on the way; trees are never decoded and written again, since that
//! could change them. A tree that was walked once is not read again for the next snapshot.
//!
//! The order keeps the other repository sound: packs, then index files, then the snapshots that need
//! them. Several snapshots share one [`Copier::commit`], so that small ones do not leave small packs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::archiver::distrust;
use crate::blob::BlobHandle;
use crate::codec::Encoder;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::packer::{Added, Packer};
use crate::progress::{Phase, Progress};
use crate::reader::BlobStream;
use crate::repository::{Repository, on_worker};
use crate::snapshot::Snapshot;
use crate::tree::Tree;
use crate::used::UsedBlobs;
use crate::visit::every_tree;

#[cfg(test)]
mod tests;

/// How many packs' worth of plaintext is copied before [`Copier::is_due`] asks for a commit: as restic
/// 0.19 has it.
const PACKS_A_COMMIT: u64 = 100;
/// How much plaintext is handed to a thread at once, in bytes, unless one blob alone has more.
const BATCH_BYTES: usize = 2 << 20;
/// How many blobs are.
const BATCH_BLOBS: usize = 256;

/// The snapshot in the other repository that is a copy of this one already, or was copied to it: one
/// with the same origin, and the same in all but parent and origin.
pub fn find_copy<'a>(
    (id, snapshot): &(Id, Snapshot),
    others: &'a [(Id, Snapshot)],
) -> Option<&'a (Id, Snapshot)> {
    let origin = snapshot.original.unwrap_or(*id);
    let has_origin = |(id, other): &(Id, Snapshot)| *id == origin || other.original == Some(origin);
    others.iter().find(|other| has_origin(other) && is_similar(snapshot, &other.1))
}

fn is_similar(one: &Snapshot, other: &Snapshot) -> bool {
    let same_set = |some: &[String], others: &[String]| {
        some.len() == others.len() && others.iter().all(|text| some.contains(text))
    };
    one.time == other.time
        && one.tree == other.tree
        && one.hostname == other.hostname
        && one.username == other.username
        && (one.uid, one.gid) == (other.uid, other.gid)
        && same_set(&one.paths, &other.paths)
        && same_set(&one.tags, &other.tags)
        && one.excludes == other.excludes
}

/// Copies snapshots from one repository into another.
///
/// Dropping it, or the future of one of its methods, stops everything; what was stored and not committed
/// is left for the next run to use, or for prune to remove.
pub struct Copier {
    source: Repository,
    source_index: Arc<Index>,
    destination: Repository,
    index: Arc<Index>,
    progress: Arc<dyn Progress>,
    /// The trees and blobs that were met so far.
    met: Arc<UsedBlobs>,
    packer: Option<Arc<Packer>>,
    encoders: Arc<Encoders>,
    uncommitted: Vec<(Id, Snapshot)>,
    uncommitted_bytes: u64,
    added: Added,
}

/// A snapshot that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its id in the source.
    pub source: Id,
    /// Its id in the destination.
    pub id: Id,
}

impl Copier {
    /// A copier from one repository into another, with the index of each. The caller holds a shared lock
    /// on both, and took the one on the destination before its index was loaded.
    ///
    /// # Errors
    /// If the packs of the destination cannot be listed.
    pub async fn new(
        source: &Repository,
        source_index: Arc<Index>,
        destination: &Repository,
        mut index: Index,
        progress: Arc<dyn Progress>,
    ) -> Result<Self> {
        // What the destination's index lists but is gone must be copied anew.
        distrust(destination, &mut index, &*progress).await?;
        Ok(Self {
            source: source.clone(),
            met: Arc::new(UsedBlobs::new(Arc::clone(&source_index))),
            source_index,
            destination: destination.clone(),
            index: Arc::new(index),
            progress,
            packer: None,
            encoders: Arc::new(Encoders::new(destination)),
            uncommitted: Vec::new(),
            uncommitted_bytes: 0,
            added: Added::default(),
        })
    }

    /// Copies all that a snapshot needs and the destination lacks. The snapshot itself is stored by
    /// [`Self::commit`].
    ///
    /// # Errors
    /// Whatever cannot be read or stored. Nothing of this snapshot is committed then, and the copier is
    /// of no further use.
    pub async fn add(&mut self, id: Id, snapshot: Snapshot) -> Result<()> {
        let wanted = self.missing_below(snapshot.tree).await?;
        let length = |wanted: &Wanted| self.source_index.plaintext_length(&wanted.blob);
        self.uncommitted_bytes += wanted.iter().filter_map(length).sum::<u64>();
        self.copy(wanted).await?;
        self.uncommitted.push((id, snapshot));
        Ok(())
    }

    /// Whether so much was copied that it is time to commit it.
    pub fn is_due(&self) -> bool {
        let pack_size = self.destination.options().pack_size as u64;
        self.uncommitted_bytes >= pack_size.saturating_mul(PACKS_A_COMMIT)
    }

    /// Makes all that was copied so far durable, then stores the snapshots that were added since the last
    /// commit. They have no parent, and name the snapshot they stem from.
    pub async fn commit(&mut self) -> Result<Vec<Copied>> {
        self.finish_packer().await?;
        self.uncommitted_bytes = 0;
        let mut copied = Vec::new();
        for (source, mut snapshot) in std::mem::take(&mut self.uncommitted) {
            snapshot.parent = None;
            snapshot.original.get_or_insert(source);
            let id = self.destination.save_snapshot(&snapshot).await?;
            copied.push(Copied { source, id });
        }
        Ok(copied)
    }

    /// What was new to the destination, as far as it is committed.
    pub fn added(&self) -> Added {
        self.added
    }

    async fn finish_packer(&mut self) -> Result<()> {
        let Some(packer) = self.packer.take() else { return Ok(()) };
        let packer = Arc::into_inner(packer).ok_or(Error::Cancelled)?;
        let Added { data_blobs, tree_blobs, plaintext, stored } = packer.finish().await?;
        self.added.data_blobs += data_blobs;
        self.added.tree_blobs += tree_blobs;
        self.added.plaintext += plaintext;
        self.added.stored += stored;
        Ok(())
    }

    /// The blobs of a tree that the destination lacks, in the order of the source's packs.
    async fn missing_below(&self, tree: Id) -> Result<Vec<Wanted>> {
        let gathered = Arc::new(Gathered {
            source_index: Arc::clone(&self.source_index),
            index: Arc::clone(&self.index),
            met: Arc::clone(&self.met),
            found: Mutex::default(),
        });
        let look = {
            let gathered = Arc::clone(&gathered);
            move |id, tree: Result<Tree>| gathered.gather(id, &tree?)
        };
        every_tree(&self.source, &self.source_index, &[tree], &self.met, look, || {}).await?;
        let mut found = gathered.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = std::mem::take(&mut found.wanted);
        wanted.sort_unstable_by_key(|wanted| (wanted.pack, wanted.offset));
        Ok(wanted)
    }

    async fn copy(&mut self, wanted: Vec<Wanted>) -> Result<()> {
        let packs = wanted.chunk_by(|one, other| one.pack == other.pack).count();
        self.progress.begin(Phase::CopyPacks, Some(packs as u64));
        let (destination, index) = (&self.destination, &self.index);
        let packer = self
            .packer
            .get_or_insert_with(|| Arc::new(Packer::new(destination, Arc::clone(index), false)));
        let mut sealing = Sealing::new(packer, &self.encoders);
        let handed_in = self.hand_in(&wanted, &mut sealing).await;
        if !matches!(handed_in, Ok(()) | Err(Error::Cancelled)) {
            return handed_in;
        }
        sealing.end().await;
        if handed_in.is_err() {
            // Storing has failed, and the packer knows why.
            self.finish_packer().await?;
        }
        handed_in?;
        self.progress.end(Phase::CopyPacks);
        Ok(())
    }

    /// Reads blobs, and has them sealed and packed.
    async fn hand_in(&self, wanted: &[Wanted], sealing: &mut Sealing) -> Result<()> {
        let (source, index) = (&self.source, Arc::clone(&self.source_index));
        let mut blobs = BlobStream::new(source, index, wanted.iter().map(|wanted| wanted.blob));
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (number, Wanted { blob, pack, .. }) in wanted.iter().enumerate() {
            let plaintext = blobs.next().await.ok_or(Error::BlobNotFound(*blob))??;
            bytes += plaintext.len();
            batch.push((*blob, plaintext));
            let next = wanted.get(number + 1);
            if next.is_none() || bytes >= BATCH_BYTES || batch.len() >= BATCH_BLOBS {
                sealing.seal(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            if next.is_none_or(|next| next.pack != *pack) {
                self.progress.advance(Phase::CopyPacks, 1);
            }
        }
        sealing.join_all().await
    }
}

impl std::fmt::Debug for Copier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copier")
            .field("uncommitted", &self.uncommitted.len())
            .finish_non_exhaustive()
    }
}

/// A blob to be copied.
struct Wanted {
    blob: BlobHandle,
    /// The number of its pack, in the order in which packs were met.
    pack: u32,
    offset: u32,
}

/// Finds out what is to be copied, on several threads.
struct Gathered {
    source_index: Arc<Index>,
    index: Arc<Index>,
    met: Arc<UsedBlobs>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    wanted: Vec<Wanted>,
    packs: HashMap<Id, u32>,
}

impl Gathered {
    /// The tree was met for the first time.
    fn gather(&self, id: Id, tree: &Tree) -> Result<()> {
        let content = tree.nodes().iter().filter_map(|node| node.content.as_ref()).flatten();
        let pieces = content.map(|id| BlobHandle::data(*id)).filter(|blob| self.met.insert(blob));
        let lacking = std::iter::once(BlobHandle::tree(id))
            .chain(pieces)
            .filter(|blob| !self.index.contains(blob) && !self.index.is_pending(blob));
        let mut places = Vec::new();
        for blob in lacking {
            let place = self.source_index.lookup(&blob).next();
            places.push(place.ok_or(Error::BlobNotFound(blob))?);
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Found { wanted, packs } = &mut *found;
        for place in places {
            let next = u32::try_from(packs.len()).unwrap_or(u32::MAX);
            let pack = *packs.entry(place.pack).or_insert(next);
            wanted.push(Wanted { blob: place.entry.handle, pack, offset: place.entry.offset });
        }
        Ok(())
    }
}

/// Threads that seal blobs and put them into packs. Unless it is ended, nothing more is stored once it
/// is dropped.
struct Sealing {
    packer: Arc<Packer>,
    encoders: Arc<Encoders>,
    tasks: JoinSet<Result<()>>,
    is_ended: bool,
}

impl Sealing {
    fn new(packer: &Arc<Packer>, encoders: &Arc<Encoders>) -> Self {
        let (packer, encoders) = (Arc::clone(packer), Arc::clone(encoders));
        Self { packer, encoders, tasks: JoinSet::new(), is_ended: false }
    }

    /// Hands blobs to a thread, once one is free.
    async fn seal(&mut self, batch: Vec<(BlobHandle, Bytes)>) -> Result<()> {
        while self.tasks.len() >= self.encoders.workers {
            self.join_one().await?;
        }
        let (encoders, packer) = (Arc::clone(&self.encoders), Arc::clone(&self.packer));
        self.tasks.spawn(on_worker(move || encoders.seal(&packer, batch)));
        Ok(())
    }

    async fn join_all(&mut self) -> Result<()> {
        while !self.tasks.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) => Err(Error::Cancelled),
        }
    }

    /// Waits until no thread has the packer any more.
    async fn end(mut self) {
        while self.tasks.join_next().await.is_some() {}
        self.is_ended = true;
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        if !self.is_ended {
            self.packer.abort();
        }
    }
}

/// Encoders of the destination, used again and again.
struct Encoders {
    destination: Repository,
    workers: usize,
    idle: Mutex<Vec<(Encoder, Vec<u8>)>>,
}

impl Encoders {
    fn new(destination: &Repository) -> Self {
        let workers = destination.options().workers.max(1);
        Self { destination: destination.clone(), workers, idle: Mutex::default() }
    }

    fn seal(&self, packer: &Packer, batch: Vec<(BlobHandle, Bytes)>) -> Result<()> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let (mut encoder, mut scratch) = match taken {
            Some(taken) => taken,
            None => (self.destination.encoder()?, Vec::new()),
        };
        for (blob, plaintext) in batch {
            packer.save(&mut encoder, blob, &plaintext, &mut scratch)?;
        }
        idle().push((encoder, scratch));
        Ok(())
    }
}
