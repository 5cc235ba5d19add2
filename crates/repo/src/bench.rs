//! Workbenches: what it takes to decode blobs, used again and again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::blob::BlobEntry;
use crate::buffers::Buffers;
use crate::chunker;
use crate::codec::Decoder;
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::repository::on_worker;

/// A decoder, and room for what it makes.
pub(crate) struct Bench {
    /// Opens, decompresses and verifies.
    pub(crate) decoder: Decoder,
    /// Room for a plaintext that is looked at here and now.
    pub(crate) plaintext: Vec<u8>,
    /// Room for those that are kept for a while; all benches share it.
    pub(crate) buffers: Buffers,
}

impl Bench {
    /// A blob's plaintext in a buffer of its own. Its hash is left to the caller.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::Io`] if there is no memory.
    pub(crate) fn open(&mut self, entry: &BlobEntry, sealed: &[u8]) -> Result<Vec<u8>> {
        let claim = entry.plaintext_length();
        // A claim that nothing restic stores comes near to gets no memory in advance.
        let length = if claim <= MOST_CLAIMED { claim as usize } else { 0 };
        let taken = self.buffers.take_empty(length);
        let mut plaintext = taken.map_err(|error| Error::io("decode", "a blob", error))?;
        let (handle, claim) = (entry.handle, entry.uncompressed_length);
        self.decoder.decode_unverified(handle, sealed, claim, &mut plaintext)?;
        Ok(plaintext)
    }
}

/// As many benches as threads may compute at a time. A repository has some, for all that is done with it.
pub(crate) struct Benches {
    key: Key,
    permits: Arc<Semaphore>,
    buffers: Buffers,
    idle: Mutex<Vec<Bench>>,
}

impl fmt::Debug for Benches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Benches")
    }
}

/// The largest buffer that is kept, in bytes: more than any blob of restic's has. A larger one is given
/// back to the system after use.
const KEPT: usize = 16 << 20;
/// The longest plaintext that gets a buffer by its claim alone, in bytes: the longest chunk.
const MOST_CLAIMED: u64 = chunker::MAX_SIZE as u64;
/// How many bytes of idle buffers are kept.
const IDLE: usize = 32 << 20;

/// How many bytes of plaintext are opened before they are hashed, if it is more than one blob. The more there are,
/// the less is hashed with no other beside it.
pub(crate) const GROUP: u64 = 8 << 20;

/// Blobs that are opened before any is hashed: two hashes at a time take less than two. `length` tells how long a
/// plaintext is going to be.
pub(crate) fn groups<T>(
    blobs: impl IntoIterator<Item = T>,
    length: impl Fn(&T) -> u64,
) -> impl Iterator<Item = Vec<T>> {
    let mut blobs = blobs.into_iter();
    std::iter::from_fn(move || {
        let mut group = vec![blobs.next()?];
        let mut bytes = length(&group[0]);
        while group.len() < 2 || bytes < GROUP {
            let Some(next) = blobs.next() else { break };
            bytes = bytes.saturating_add(length(&next));
            group.push(next);
        }
        Some(group)
    })
}

impl Benches {
    /// Benches for blobs that are sealed with this key.
    pub(crate) fn new(key: Key, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            key,
            permits: Arc::new(Semaphore::new(workers.max(1))),
            buffers: Buffers::new(IDLE),
            idle: Mutex::default(),
        })
    }

    /// Computes at a bench, on a thread that may block, once a bench is free.
    pub(crate) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&mut Bench) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::Cancelled)?;
        let benches = Arc::clone(self);
        on_worker(move || {
            let _permit = permit;
            let idle = benches.idle().pop();
            let mut bench = match idle {
                Some(bench) => bench,
                None => Bench {
                    decoder: Decoder::new(benches.key.clone())?,
                    plaintext: Vec::new(),
                    buffers: benches.buffers.clone(),
                },
            };
            let result = job(&mut bench);
            if bench.plaintext.capacity() <= KEPT {
                benches.idle().push(bench);
            }
            result
        })
        .await
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Bench>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
