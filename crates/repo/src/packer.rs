//! Fills packs with blobs and stores them.
//!
//! Worker threads hand in blobs ([`Packer::save`], synchronous). Full packs go to a task that stores
//! several at once; when it falls behind, the workers wait, so memory is bounded. A blob counts as known
//! only once its pack is stored, and an index file is written only for packs that are: what an index
//! says is there, is there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::blob::{BlobEntry, BlobHandle, BlobType};
use crate::buffers::Buffers;
use crate::codec::Encoder;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::{Index, IndexFile};
use crate::pack::{Pack, PackBuilder};
use crate::repository::{Repository, on_worker};
use open_packs::{OpenPacks, room};

mod open_packs;

/// How many buffers of full packs are kept for the next ones. Fresh memory costs a fault for each 4 KiB.
const IDLE_BUFFERS: usize = 2;

/// Stores blobs that the index does not know yet.
#[derive(Debug)]
pub struct Packer {
    shared: Arc<Shared>,
    packs: mpsc::Sender<Pack>,
    storer: JoinHandle<Result<()>>,
}

impl Drop for Packer {
    /// Nothing more is stored for a caller who has gone. What was on its way stays without an index,
    /// and is removed by the next prune.
    fn drop(&mut self) {
        self.storer.abort();
    }
}

#[derive(Debug)]
struct Shared {
    repository: Repository,
    index: Arc<Index>,
    dry_run: bool,
    data: OpenPacks,
    tree: OpenPacks,
    /// For packs, as long as they are in memory.
    buffers: Buffers,
    counters: Counters,
    /// How many bytes of packs were stored.
    stored: watch::Sender<u64>,
    /// The index files that were stored.
    index_files: Mutex<Vec<Id>>,
}

#[derive(Debug, Default)]
struct Counters {
    data_blobs: AtomicU64,
    tree_blobs: AtomicU64,
    added: AtomicU64,
    stored: AtomicU64,
}

/// What was new to the repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// New data blobs.
    pub data_blobs: u64,
    /// New tree blobs.
    pub tree_blobs: u64,
    /// Their plaintext, in bytes.
    pub plaintext: u64,
    /// What was stored for them in packs, in bytes, without the headers.
    pub stored: u64,
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The repository has it already, or it is on its way.
    Known,
    /// It was new, and takes so many bytes.
    New {
        /// The length of the sealed blob.
        stored: u64,
    },
}

impl Packer {
    /// A packer for this repository, to be made inside a Tokio runtime. With `dry_run` everything is
    /// done but storing.
    pub fn new(repository: &Repository, index: Arc<Index>, dry_run: bool) -> Self {
        let connections = repository.backend().properties().connections.max(1);
        let pack_size = repository.options().pack_size;
        let buffers = Buffers::new(IDLE_BUFFERS.saturating_mul(room(pack_size)));
        let shared = Arc::new(Shared {
            repository: repository.clone(),
            index,
            dry_run,
            data: OpenPacks::new(pack_size, &buffers),
            tree: OpenPacks::new(pack_size, &buffers),
            buffers,
            counters: Counters::default(),
            stored: watch::Sender::new(0),
            index_files: Mutex::default(),
        });
        // One pack may wait while all connections are busy; after that the workers do.
        let (packs, received) = mpsc::channel(1);
        let storer = tokio::spawn(store_packs(Arc::clone(&shared), received, connections));
        Self { shared, packs, storer }
    }

    /// The index that blobs are looked up in and added to.
    pub fn index(&self) -> &Arc<Index> {
        &self.shared.index
    }

    /// What was new so far.
    pub fn added(&self) -> Added {
        let Counters { data_blobs, tree_blobs, added, stored } = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Added {
            data_blobs: read(data_blobs),
            tree_blobs: read(tree_blobs),
            plaintext: read(added),
            stored: read(stored),
        }
    }

    /// How many bytes of packs were stored so far, and what more of them is from now on.
    pub(crate) fn stored(&self) -> watch::Receiver<u64> {
        self.shared.stored.subscribe()
    }

    /// Stores a blob unless it is known. Blocks while the storage is behind, so it must not be called
    /// on a thread of the runtime. `scratch` is memory to use again.
    ///
    /// # Errors
    /// What is wrong with the blob; [`Error::Cancelled`] once storing has failed: [`Self::finish`]
    /// tells why.
    pub fn save(
        &self,
        encoder: &mut Encoder,
        handle: BlobHandle,
        plaintext: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Saved> {
        self.claimed(&handle, || self.save_again(encoder, handle, plaintext, scratch))
    }

    /// As [`Self::save`], but stores a blob that is known, too: one of which no copy can be read.
    pub fn save_again(
        &self,
        encoder: &mut Encoder,
        handle: BlobHandle,
        plaintext: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Saved> {
        let encoded = encoder.encode(handle, plaintext, scratch)?;
        self.push(handle, scratch, encoded.uncompressed_length)?;
        Ok(self.count(handle, plaintext.len() as u64, scratch))
    }

    /// Stores a blob as another pack has it, already sealed with the key of this repository, unless it is
    /// known. Blocks like [`Self::save`]. The caller has made sure that it is sound.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_sealed(&self, entry: &BlobEntry, sealed: &[u8]) -> Result<Saved> {
        self.claimed(&entry.handle, || {
            self.push(entry.handle, sealed, entry.uncompressed_length)?;
            Ok(self.count(entry.handle, entry.plaintext_length(), sealed))
        })
    }

    /// Stores a blob, unless it is known or somebody else is about to store it.
    fn claimed(&self, handle: &BlobHandle, store: impl FnOnce() -> Result<Saved>) -> Result<Saved> {
        let index = &self.shared.index;
        if !index.claim(handle) {
            return Ok(Saved::Known);
        }
        store().inspect_err(|_| {
            index.unclaim(handle);
        })
    }

    fn count(&self, handle: BlobHandle, plaintext: u64, sealed: &[u8]) -> Saved {
        let stored = sealed.len() as u64;
        self.shared.counters.count(handle.blob_type, plaintext, stored);
        Saved::New { stored }
    }

    fn push(&self, handle: BlobHandle, sealed: &[u8], uncompressed_length: u32) -> Result<()> {
        if self.shared.dry_run {
            return Ok(());
        }
        let open = self.shared.open_packs(handle.blob_type);
        if let Some(full) = open.push(handle, sealed, uncompressed_length)? {
            let repository = &self.shared.repository;
            let pack = full.finish(repository.key(), repository.options().verify)?;
            self.packs.blocking_send(pack).map_err(|_| Error::Cancelled)?;
        }
        Ok(())
    }

    /// Stops storing at once, and makes every further [`Self::save`] that would store fail.
    pub fn abort(&self) {
        self.storer.abort();
    }

    /// Stores what is left: packs, then index files. After this everything handed in is durable and
    /// can be referred to. To be called once, when nothing more is saved.
    ///
    /// # Errors
    /// Whatever made storing fail, now or before.
    pub async fn finish(self) -> Result<Added> {
        Ok(self.finish_and_name().await?.0)
    }

    /// As [`Self::finish`]; also gives the names of the index files that were stored.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub(crate) async fn finish_and_name(mut self) -> Result<(Added, Vec<Id>)> {
        for blob_type in [BlobType::Data, BlobType::Tree] {
            let shared = Arc::clone(&self.shared);
            for pack in on_worker(move || shared.close_packs(blob_type)).await? {
                // Fails if storing has failed, which is what is reported below.
                let _ = self.packs.send(pack).await;
            }
        }
        // The storer ends when there is no sender left.
        self.packs = mpsc::channel(1).0;
        match (&mut self.storer).await {
            Ok(result) => result?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::Cancelled),
        }
        while let Some(file) = self.shared.index.take_rest() {
            self.shared.save_index(file).await?;
        }
        let mut names = self.shared.index_files.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((self.added(), std::mem::take(&mut names)))
    }
}

impl Counters {
    fn count(&self, blob_type: BlobType, plaintext: u64, stored: u64) {
        let count = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
        count(
            match blob_type {
                BlobType::Data => &self.data_blobs,
                BlobType::Tree => &self.tree_blobs,
            },
            1,
        );
        count(&self.added, plaintext);
        count(&self.stored, stored);
    }
}

impl Shared {
    fn open_packs(&self, blob_type: BlobType) -> &OpenPacks {
        match blob_type {
            BlobType::Data => &self.data,
            BlobType::Tree => &self.tree,
        }
    }

    /// The packs that are still open: one, if together they are no larger than one.
    fn close_packs(&self, blob_type: BlobType) -> Result<Vec<Pack>> {
        let options = self.repository.options();
        let mut builders: Vec<PackBuilder> = Vec::new();
        for builder in self.open_packs(blob_type).take() {
            match builders.last_mut() {
                Some(last) if last.len() + builder.len() < options.pack_size => {
                    last.append(builder)?;
                }
                _ => builders.push(builder),
            }
        }
        let finish = |builder: PackBuilder| builder.finish(self.repository.key(), options.verify);
        builders.into_iter().map(finish).collect()
    }

    async fn store_pack(&self, pack: Pack) -> Result<()> {
        let Pack { id, bytes, entries } = pack;
        if let Some(cache) = self.repository.cache() {
            cache.expect(id, &entries);
        }
        let length = bytes.len() as u64;
        let bytes = self.buffers.share(bytes);
        self.repository.backend().save(&Handle::new(FileType::Pack, id), bytes).await?;
        self.stored.send_modify(|stored| *stored += length);
        self.index.add_pack(id, &entries);
        while let Some(file) = self.index.take_full() {
            self.save_index(file).await?;
        }
        Ok(())
    }

    async fn save_index(&self, file: IndexFile) -> Result<()> {
        let repository = self.repository.clone();
        let json = on_worker(move || Ok(file.encode())).await?;
        let id = repository.save_unpacked(FileType::Index, &json).await?;
        self.index_files.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        Ok(())
    }
}

/// Stores packs as they come, so many at a time. Ends with the first failure, which also ends those who
/// wait to hand in more.
async fn store_packs(
    shared: Arc<Shared>,
    mut received: mpsc::Receiver<Pack>,
    connections: usize,
) -> Result<()> {
    let mut stores: JoinSet<Result<()>> = JoinSet::new();
    loop {
        let more = tokio::select! {
            Some(stored) = stores.join_next() => {
                finished(stored)?;
                continue;
            }
            pack = received.recv(), if stores.len() < connections => pack,
        };
        let Some(pack) = more else { break };
        let shared = Arc::clone(&shared);
        stores.spawn(async move { shared.store_pack(pack).await });
    }
    while let Some(stored) = stores.join_next().await {
        finished(stored)?;
    }
    Ok(())
}

fn finished(stored: Result<Result<()>, JoinError>) -> Result<()> {
    match stored {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Cancelled),
    }
}
