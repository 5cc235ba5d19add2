//! Naming and storing chunks, on several threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::blob::BlobHandle;
use crate::chunker;
use crate::codec::Encoder;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::packer::Packer;
use crate::repository::Repository;
use crate::sha256;

/// The new file's list of chunks, while those that were cut anew are being stored.
pub(super) struct Storing {
    content: Arc<Mutex<Vec<Id>>>,
    chunks: mpsc::Sender<Cut>,
    workers: JoinSet<Result<()>>,
    packer: Arc<Packer>,
    repository: Repository,
}

/// A chunk, and its place in the list.
struct Cut(usize, Bytes);

impl Storing {
    /// Begins with an empty list.
    pub(super) fn new(repository: &Repository, packer: &Arc<Packer>) -> Self {
        let threads = repository.options().workers.max(1);
        // One for each thread while the chunks behind are being read.
        let (chunks, received) = mpsc::channel(threads);
        let received = Arc::new(Mutex::new(received));
        let content = Arc::default();
        let mut workers = JoinSet::new();
        for _ in 0..threads {
            let worker = Worker {
                chunks: Arc::clone(&received),
                content: Arc::clone(&content),
                packer: Arc::clone(packer),
            };
            let repository = repository.clone();
            workers.spawn_blocking(move || worker.run(&mut repository.encoder()?));
        }
        let (packer, repository) = (Arc::clone(packer), repository.clone());
        Self { content, chunks, workers, packer, repository }
    }

    /// Appends chunks that are stored already.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no memory for so long a list.
    pub(super) fn take_over(&self, id: Id, count: u64) -> Result<()> {
        let mut content = lock(&self.content);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if content.try_reserve(count).is_err() {
            let error = std::io::ErrorKind::OutOfMemory.into();
            return Err(Error::io("list the content of", "a file", error));
        }
        let length = content.len() + count;
        content.resize(length, id);
        Ok(())
    }

    /// Appends a chunk that was cut anew. Waits until a thread has time for it.
    ///
    /// # Errors
    /// Whatever keeps chunks from being stored.
    pub(super) async fn store(&mut self, chunk: Bytes) -> Result<()> {
        let place = lock(&self.content).len();
        self.take_over(Id::default(), 1)?;
        match self.chunks.send(Cut(place, chunk)).await {
            Ok(()) => Ok(()),
            // All threads have ended, which they do only if something is wrong.
            Err(_) => Err(self.join().await.err().unwrap_or(Error::Cancelled)),
        }
    }

    /// The list, once all chunks are handed to the packer.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub(super) async fn finish(mut self) -> Result<Vec<Id>> {
        self.chunks = mpsc::channel(1).0;
        self.join().await?;
        let content = std::mem::take(&mut *lock(&self.content));
        if content.contains(&chunker::ZERO_CHUNK_ID) {
            let (packer, repository) = (Arc::clone(&self.packer), self.repository.clone());
            let handle = BlobHandle::data(chunker::ZERO_CHUNK_ID);
            crate::repository::on_worker(move || {
                let (mut encoder, mut sealed) = (repository.encoder()?, Vec::new());
                packer.save(&mut encoder, handle, &chunker::zero_chunk(), &mut sealed)
            })
            .await?;
        }
        Ok(content)
    }

    async fn join(&mut self) -> Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.workers.join_next().await {
            match ended {
                Ok(worked) => result = result.and(worked),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => result = result.and(Err(Error::Cancelled)),
            }
        }
        result
    }
}

struct Worker {
    chunks: Arc<Mutex<mpsc::Receiver<Cut>>>,
    content: Arc<Mutex<Vec<Id>>>,
    packer: Arc<Packer>,
}

impl Worker {
    fn run(&self, encoder: &mut Encoder) -> Result<()> {
        let mut sealed = Vec::new();
        loop {
            let cut = self.take();
            if cut.is_empty() {
                return Ok(());
            }
            let contents: Vec<&[u8]> = cut.iter().map(|Cut(_, chunk)| &chunk[..]).collect();
            for (Cut(place, chunk), id) in cut.iter().zip(sha256::ids_of(&contents)) {
                let stored = self.packer.save(encoder, BlobHandle::data(id), chunk, &mut sealed);
                if let Err(error) = stored {
                    // Nobody is to wait for a thread that has ended.
                    lock(&self.chunks).close();
                    return Err(error);
                }
                lock(&self.content)[*place] = id;
            }
        }
    }

    /// The next chunks; none when there are none left. Two hashes at a time take less than two.
    fn take(&self) -> Vec<Cut> {
        let mut chunks = lock(&self.chunks);
        let first = chunks.blocking_recv();
        let second = first.as_ref().and_then(|_| chunks.try_recv().ok());
        first.into_iter().chain(second).collect()
    }
}

/// A lock that a panic elsewhere does not spoil.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
