//! Copies of a repository's metadata on this machine, in a folder that restic can share.
//!
//! Index and snapshot files, and packs that hold nothing but trees, are read again and again. [`Cached`]
//! keeps them as they are stored, that is encrypted, in restic's layout:
//!
//! ```text
//! BASE/CACHEDIR.TAG                          tells backup programs to leave this out
//! BASE/<repository id>/version               1
//! BASE/<repository id>/{index,snapshots,data}/<2 digits>/<id>
//! ```
//!
//! * A copy is written under another name and renamed, so that several programs can share the folder.
//! * A copy is only used once its SHA-256 was found to be its name: index and snapshot files each time,
//!   packs once in a process. A damaged one is removed, and loaded anew.
//! * What the repository lists no more is removed here too.
//! * Which packs hold trees is known only once there is an index: see [`Cached::learn`]. Any other pack
//!   goes straight through, so that reading and writing large files costs nothing.
//! * The first read of a part of a tree pack brings the whole pack here, piece by piece: a few MiB of
//!   memory, whatever its size.
//! * Nothing that goes wrong with a copy makes an operation fail.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::spawn_blocking;

use super::{Backend, BackendError, Extent, FileInfo, Properties};
use crate::blob::{BlobEntry, BlobType};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::Index;

pub use base::{Base, MAX_AGE, RepositoryCache};
pub use folder::Folder;

mod base;
mod folder;

/// How much of a pack is fetched at once on its way here, in bytes.
const PIECE: u64 = 4 << 20;
/// How many pieces of a pack are fetched at a time.
const PIECES_AT_ONCE: usize = 2;
/// How many packs are.
const PACKS_AT_ONCE: usize = 2;
/// The largest pack that is kept, in bytes: twice as large as any that restic is told to make.
const LARGEST_PACK: u64 = 256 << 20;

/// Wraps a backend, and keeps copies of what it loads and saves.
#[derive(Debug)]
pub struct Cached {
    backend: Arc<dyn Backend>,
    folder: Arc<Folder>,
    /// The packs that hold nothing but trees, and their sizes.
    tree_packs: RwLock<HashMap<Id, u64>>,
    /// For each of them, whether there is a sound copy; not there yet if nobody asked.
    copies: Mutex<HashMap<Id, Arc<OnceCell<bool>>>>,
    coming: Semaphore,
}

impl Cached {
    /// Keeps copies in this folder.
    pub fn new(backend: Arc<dyn Backend>, folder: Folder) -> Self {
        Self {
            backend,
            folder: Arc::new(folder),
            tree_packs: RwLock::default(),
            copies: Mutex::default(),
            coming: Semaphore::new(PACKS_AT_ONCE),
        }
    }

    /// The index was loaded: it tells which are the tree packs. Copies of other packs are removed.
    pub async fn learn(&self, index: &Index) {
        let packs: HashMap<Id, u64> = index
            .tree_packs()
            .filter(|pack| pack.size <= LARGEST_PACK)
            .map(|pack| (pack.id, pack.size))
            .collect();
        let ids = packs.keys().copied().collect();
        self.tree_packs.write().unwrap_or_else(PoisonError::into_inner).extend(packs);
        self.drop_all_but(FileType::Pack, ids).await;
    }

    /// A pack with these blobs is about to be saved.
    pub fn expect(&self, pack: Id, blobs: &[BlobEntry]) {
        let size = crate::pack::size_of(blobs);
        let are_trees = blobs.iter().all(|blob| blob.handle.blob_type == BlobType::Tree);
        if are_trees && size <= LARGEST_PACK {
            self.tree_packs.write().unwrap_or_else(PoisonError::into_inner).insert(pack, size);
        }
    }

    fn size_of_tree_pack(&self, handle: &Handle) -> Option<u64> {
        let packs = self.tree_packs.read().unwrap_or_else(PoisonError::into_inner);
        packs.get(&handle.id).copied().filter(|_| handle.file_type == FileType::Pack)
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<Id, Arc<OnceCell<bool>>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a sound copy of this pack, after it was brought here if there was none.
    async fn has_copy(&self, handle: &Handle, size: u64) -> bool {
        let state = Arc::clone(self.copies().entry(handle.id).or_default());
        let bring = async || {
            let (folder, wanted) = (Arc::clone(&self.folder), *handle);
            let sound = spawn_blocking(move || folder.verify(&wanted)).await;
            sound.unwrap_or(false) || self.bring(handle, size).await.unwrap_or(false)
        };
        *state.get_or_init(bring).await
    }

    /// Brings a pack here. `Ok(false)` if it is not what its name says.
    async fn bring(&self, handle: &Handle, size: u64) -> io::Result<bool> {
        let _turn = self.coming.acquire().await.map_err(io::Error::other)?;
        let begin = {
            let (folder, handle) = (Arc::clone(&self.folder), *handle);
            spawn_blocking(move || folder.begin(&handle))
        };
        let mut arriving = begin.await.map_err(io::Error::other)??;
        let offsets = (0..size).step_by(PIECE as usize);
        let pieces = offsets.map(|offset| {
            let length = (size - offset).min(PIECE) as usize;
            self.backend.load(handle, Extent::Range { offset, length })
        });
        let mut pieces = stream::iter(pieces).buffered(PIECES_AT_ONCE);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(io::Error::other)?;
            let write = spawn_blocking(move || arriving.write(&piece).map(|()| arriving));
            arriving = write.await.map_err(io::Error::other)??;
        }
        spawn_blocking(move || arriving.finish()).await.map_err(io::Error::other)?
    }

    /// A file that is always loaded whole, from here or there.
    async fn load_whole(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let (folder, wanted) = (Arc::clone(&self.folder), *handle);
        if let Ok(Some(copy)) = spawn_blocking(move || folder.read_sound(&wanted)).await
            && let Some(part) = part_of(&copy, extent)
        {
            return Ok(part);
        }
        let loaded = self.backend.load(handle, extent).await?;
        // A part of a file does not have the file's hash, and is not kept.
        self.keep(handle, loaded.clone()).await;
        Ok(loaded)
    }

    async fn keep(&self, handle: &Handle, content: Bytes) {
        let (folder, handle) = (Arc::clone(&self.folder), *handle);
        // Without a copy it goes on as well.
        let _ = spawn_blocking(move || {
            if Id::of(&content) == handle.id {
                let _ = folder.store(&handle, &content);
            }
        })
        .await;
    }

    async fn drop_all_but(&self, file_type: FileType, there: HashSet<Id>) {
        let folder = Arc::clone(&self.folder);
        let _ = spawn_blocking(move || folder.retain(file_type, &there)).await;
    }
}

#[async_trait]
impl Backend for Cached {
    fn properties(&self) -> Properties {
        self.backend.properties()
    }

    async fn create(&self) -> Result<(), BackendError> {
        self.backend.create().await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        match (handle.file_type, extent) {
            (FileType::Index | FileType::Snapshot, _) => self.load_whole(handle, extent).await,
            (FileType::Pack, Extent::Range { offset, length }) => {
                if let Some(size) = self.size_of_tree_pack(handle)
                    && self.has_copy(handle, size).await
                {
                    let (folder, wanted) = (Arc::clone(&self.folder), *handle);
                    let read = spawn_blocking(move || folder.read_part(&wanted, offset, length));
                    if let Ok(Ok(part)) = read.await {
                        return Ok(part);
                    }
                }
                self.backend.load(handle, extent).await
            }
            // Who wants a whole pack wants to know what the repository has.
            _ => self.backend.load(handle, extent).await,
        }
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        let is_kept = matches!(handle.file_type, FileType::Index | FileType::Snapshot)
            || self.size_of_tree_pack(handle).is_some();
        if !is_kept {
            return self.backend.save(handle, data).await;
        }
        self.backend.save(handle, data.clone()).await?;
        self.keep(handle, data).await;
        Ok(())
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        self.backend.stat(handle).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        let listed = self.backend.list(file_type).await?;
        if matches!(file_type, FileType::Index | FileType::Snapshot | FileType::Pack) {
            let there = listed.iter().map(|file| file.id).collect();
            self.drop_all_but(file_type, there).await;
        }
        Ok(listed)
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        self.backend.remove(handle).await?;
        let (folder, handle) = (Arc::clone(&self.folder), *handle);
        let _ = spawn_blocking(move || folder.remove(&handle)).await;
        Ok(())
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        self.backend.free_space().await
    }
}

/// The part of a whole file that is asked for; nothing if the file ends before.
fn part_of(whole: &Bytes, extent: Extent) -> Option<Bytes> {
    match extent {
        Extent::Whole => Some(whole.clone()),
        Extent::Range { offset, length } => {
            let begin = usize::try_from(offset).ok()?;
            let end = begin.checked_add(length)?;
            (end <= whole.len()).then(|| whole.slice(begin..end))
        }
    }
}

#[cfg(test)]
mod tests;
