//! Taking in all index files, to make one index of them.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::backend::{Backend, Extent, FileInfo};
use crate::codec;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::index::{Builder, Index};
use crate::repository::{Repository, on_worker};

/// How many bytes of index files may be in memory, as they are stored, unless one alone has more. A full
/// one of restic's has two or three MiB.
const IN_MEMORY: u32 = 8 << 20;

/// An index in the making.
///
/// Small files are fetched many at a time, since each costs a round trip or two; of large ones there are
/// only as many in memory as keep the line and the processors busy.
pub(crate) struct Intake {
    repository: Repository,
    builder: Arc<Builder>,
    memory: Semaphore,
    decoders: Semaphore,
}

impl Intake {
    pub(crate) fn new(repository: &Repository) -> Self {
        Self {
            repository: repository.clone(),
            builder: Arc::new(Builder::new(repository.config().version)),
            memory: Semaphore::new(IN_MEMORY as usize),
            decoders: Semaphore::new(repository.options().workers.clamp(1, 8)),
        }
    }

    /// How many calls of [`Self::add`] are worth having under way.
    pub(crate) fn width(&self) -> usize {
        self.repository.parallel_requests().max(self.repository.options().workers)
    }

    /// Adds one file, as listed.
    ///
    /// # Errors
    /// What keeps it from being read. Nothing of it was added then.
    pub(crate) async fn add(&self, file: &FileInfo) -> Result<()> {
        let handle = Handle::new(FileType::Index, file.id);
        let room = u32::try_from(file.size).unwrap_or(u32::MAX).clamp(1, IN_MEMORY);
        let _room = turn(self.memory.acquire_many(room).await)?;
        let length = usize::try_from(file.size).ok();
        let extent = match length.filter(|_| file.size <= FileType::Index.size_limit()) {
            // Of known length, a small one does not have to wait for its turn among large ones.
            Some(length) => Extent::Range { offset: 0, length },
            None => Extent::Whole,
        };
        let stored = self.repository.backend().load(&handle, extent).await?;
        let _decoder = turn(self.decoders.acquire().await)?;
        let (repository, builder) = (self.repository.clone(), Arc::clone(&self.builder));
        on_worker(move || {
            let id = handle.id;
            let damaged = |detail: String| Error::damaged(handle, detail);
            if crate::Id::of(&stored) != id {
                return Err(damaged("its content does not match its name".to_owned()));
            }
            let key = repository.key();
            let opened = key.open(&stored).map_err(|error| damaged(error.to_string()))?;
            drop(stored);
            let version = repository.config().version;
            match codec::unpacked_frame(version, &opened) {
                // Never in memory as a whole: there may be thousands of these.
                Some(frame) => builder.add_stream(id, || codec::frame_reader(frame))?,
                None => {
                    let limit = FileType::Index.size_limit();
                    let json = codec::decode_unpacked(version, opened, limit).map_err(damaged)?;
                    builder.add_file(id, &json)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The index of all files that were added.
    pub(crate) async fn finish(self) -> Result<Index> {
        let builder = self.builder;
        on_worker(move || {
            let builder = Arc::into_inner(builder).expect("every task that held it has ended");
            Ok(builder.finish())
        })
        .await
    }
}

fn turn<E>(permit: Result<SemaphorePermit<'_>, E>) -> Result<SemaphorePermit<'_>> {
    permit.map_err(|_| Error::Cancelled)
}
