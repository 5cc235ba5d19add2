//! An open repository: loads and saves single things.
//!
//! Everything larger (backup, restore, check, …) is an operation in a module of its own that borrows a
//! [`Repository`]; a new operation edits nothing here.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task;

use crate::backend::cache::{Cached, Folder};
use crate::backend::{Backend, Extent, FileInfo};
use crate::bench::Benches;
use crate::blob::{BlobEntry, BlobHandle, BlobLocation};
use crate::codec::{self, Decoder, Encoder};
use crate::compress::Compression;
use crate::config::Config;
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::Index;
use crate::lock::{Gate, Gated};
use crate::snapshot::Snapshot;
use crate::tree::Tree;

mod contents;
mod intake;
mod keys;
mod opening;

pub(crate) use intake::Intake;
pub use keys::{KeyInfo, MAX_KEYS};
pub use opening::InitOptions;

/// An open repository. Cheap to clone: clones are the same repository.
#[derive(Clone, Debug)]
pub struct Repository {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    backend: Arc<dyn Backend>,
    config: Config,
    key: Key,
    key_id: Id,
    options: Options,
    /// The copies on this machine, if the backend keeps any.
    cache: Option<Arc<Cached>>,
    /// Where blobs are decoded.
    benches: Arc<Benches>,
}

/// How a repository is written to.
#[derive(Clone, Debug)]
pub struct Options {
    /// How hard to compress. Without effect in version 1.
    pub compression: Compression,
    /// The size at which a pack is finished, in bytes. Between 4 and 128 MiB; a pack overshoots by up
    /// to one blob.
    pub pack_size: usize,
    /// Whether everything is decoded and compared before it is stored.
    pub verify: bool,
    /// How many threads compute.
    pub workers: usize,
}

impl Default for Options {
    /// restic's defaults, and a thread for each processor.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        Self { compression: Compression::Auto, pack_size: 16 << 20, verify: true, workers }
    }
}

impl Repository {
    /// Version, id and polynomial.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The storage.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.shared.backend
    }

    /// The master key.
    pub fn key(&self) -> &Key {
        &self.shared.key
    }

    /// The name of the key file that the password opened.
    pub fn key_id(&self) -> Id {
        self.shared.key_id
    }

    /// How it is written to.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The same repository, where whatever is written waits until the gate is open.
    #[must_use]
    pub fn behind(&self, gate: &Gate) -> Self {
        self.with_backend(Arc::new(Gated::new(Arc::clone(self.backend()), gate.clone())))
    }

    /// The same repository, with its files reached through another backend: a wrapper around
    /// [`Self::backend`], as a rule.
    #[must_use]
    pub fn with_backend(&self, backend: Arc<dyn Backend>) -> Self {
        self.with(backend, self.shared.cache.clone())
    }

    /// The same repository, with copies of its metadata in a folder on this machine.
    #[must_use]
    pub fn with_cache(&self, folder: Folder) -> Self {
        let cache = Arc::new(Cached::new(Arc::clone(self.backend()), folder));
        self.with(Arc::clone(&cache) as _, Some(cache))
    }

    fn opened(
        backend: Arc<dyn Backend>,
        config: Config,
        key: Key,
        key_id: Id,
        options: Options,
    ) -> Self {
        let benches = Benches::new(key.clone(), options.workers);
        let shared = Shared { backend, config, key, key_id, options, cache: None, benches };
        Self { shared: Arc::new(shared) }
    }

    fn with(&self, backend: Arc<dyn Backend>, cache: Option<Arc<Cached>>) -> Self {
        let Shared { config, key, key_id, options, benches, .. } = &*self.shared;
        Self {
            shared: Arc::new(Shared {
                backend,
                config: config.clone(),
                key: key.clone(),
                key_id: *key_id,
                options: options.clone(),
                cache,
                benches: Arc::clone(benches),
            }),
        }
    }

    /// The copies on this machine, if it has any.
    pub fn cache(&self) -> Option<&Arc<Cached>> {
        self.shared.cache.as_ref()
    }

    /// An encoder for blobs that go into this repository.
    pub fn encoder(&self) -> Result<Encoder> {
        let Options { compression, verify, .. } = self.shared.options;
        Encoder::new(self.key().clone(), self.config().version, compression, verify)
    }

    /// A decoder for blobs that come from this repository.
    pub fn decoder(&self) -> Result<Decoder> {
        Decoder::new(self.key().clone())
    }

    /// Where its blobs are decoded.
    pub(crate) fn benches(&self) -> &Arc<Benches> {
        &self.shared.benches
    }

    /// All files of a type.
    pub async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>> {
        Ok(self.backend().list(file_type).await?)
    }

    /// The file as it is stored, its name checked against its content. A file that is not what its
    /// name says is read once more, in case it was the transfer's fault.
    pub async fn load_raw(&self, file_type: FileType, id: Id) -> Result<Bytes> {
        let handle = Handle::new(file_type, id);
        for _ in 0..2 {
            let stored = self.backend().load(&handle, Extent::Whole).await?;
            if Id::of(&stored) == id {
                return Ok(stored);
            }
        }
        Err(Error::damaged(handle, "its content does not match its name"))
    }

    /// The JSON of an index, snapshot or lock file.
    ///
    /// # Errors
    /// [`Error::Damaged`], or what the storage says.
    pub async fn load_unpacked(&self, file_type: FileType, id: Id) -> Result<Vec<u8>> {
        let stored = self.load_raw(file_type, id).await?;
        self.decode_unpacked(file_type, id, &stored)
    }

    fn decode_unpacked(&self, file_type: FileType, id: Id, stored: &[u8]) -> Result<Vec<u8>> {
        let damaged = |detail| Error::damaged(Handle::new(file_type, id), detail);
        let opened = self.key().open(stored).map_err(|error| damaged(error.to_string()))?;
        codec::decode_unpacked(self.config().version, opened, file_type.size_limit())
            .map_err(damaged)
    }

    /// Stores the JSON of an index, snapshot or lock file, and gives its name.
    pub async fn save_unpacked(&self, file_type: FileType, json: &[u8]) -> Result<Id> {
        let version = self.config().version;
        let sealed = self.key().seal(&codec::encode_unpacked(version, json)?)?;
        let id = Id::of(&sealed);
        if self.options().verify
            && self.decode_unpacked(file_type, id, &sealed).ok().as_deref() != Some(json)
        {
            return Err(Error::VerifyFailed { what: Handle::new(file_type, id).into() });
        }
        self.backend().save(&Handle::new(file_type, id), sealed.into()).await?;
        Ok(id)
    }

    /// Removes a file.
    pub async fn remove(&self, file_type: FileType, id: Id) -> Result<()> {
        Ok(self.backend().remove(&Handle::new(file_type, id)).await?)
    }

    /// The one file of a type whose name begins with `prefix`.
    ///
    /// # Errors
    /// [`Error::NoMatch`], [`Error::Ambiguous`].
    pub async fn find(&self, file_type: FileType, prefix: &str) -> Result<Id> {
        if let Ok(id) = prefix.parse() {
            return Ok(id);
        }
        let ids = self.list(file_type).await?.into_iter().map(|file| file.id);
        crate::snapshot::find_id(file_type, ids, prefix)
    }

    /// One snapshot.
    pub async fn load_snapshot(&self, id: Id) -> Result<Snapshot> {
        let json = self.load_unpacked(FileType::Snapshot, id).await?;
        Snapshot::decode(&json)
            .map_err(|error| Error::damaged(Handle::new(FileType::Snapshot, id), error.to_string()))
    }

    /// Stores a snapshot. Everything it refers to must be stored already: that is what makes it true.
    pub async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<Id> {
        self.save_unpacked(FileType::Snapshot, &snapshot.encode()).await
    }

    /// One blob. Where several packs have it, any good copy will do.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`], or what was wrong with the last copy.
    pub async fn load_blob(&self, index: &Index, handle: BlobHandle) -> Result<Vec<u8>> {
        let mut failure = Error::BlobNotFound(handle);
        for location in index.lookup(&handle) {
            match self.load_blob_at(&location).await {
                Ok(plaintext) => return Ok(plaintext),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn load_blob_at(&self, location: &BlobLocation) -> Result<Vec<u8>> {
        let entry = location.entry;
        let extent = Extent::Range { offset: entry.offset.into(), length: entry.length as usize };
        let sealed =
            self.backend().load(&Handle::new(FileType::Pack, location.pack), extent).await?;
        self.decode_blob(entry, sealed).await
    }

    /// The plaintext of a blob whose sealed bytes these are.
    pub(crate) async fn decode_blob(&self, entry: BlobEntry, sealed: Bytes) -> Result<Vec<u8>> {
        let mut decoder = self.decoder()?;
        let mut decode = move || {
            let mut plaintext = Vec::new();
            decoder.decode(entry.handle, &sealed, entry.uncompressed_length, &mut plaintext)?;
            Ok(plaintext)
        };
        // Handing a small blob to another thread costs more than decoding it.
        if entry.plaintext_length() < 64 << 10 { decode() } else { on_worker(decode).await }
    }

    /// The nodes of one folder.
    pub async fn load_tree(&self, index: &Index, id: Id) -> Result<Tree> {
        let handle = BlobHandle::tree(id);
        let json = self.load_blob(index, handle).await?;
        Tree::decode(&json).map_err(|error| Error::damaged(handle, error.to_string()))
    }

    /// How many small requests are worth having under way: latency counts there, not bandwidth.
    pub(crate) fn parallel_requests(&self) -> usize {
        self.backend().properties().connections.max(1) * 12
    }
}

/// Computes on a thread that may block, so that the caller's runtime stays free for I/O.
pub(crate) async fn on_worker<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Cancelled),
    }
}
