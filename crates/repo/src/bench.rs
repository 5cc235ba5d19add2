//! Workbenches: what it takes to decode blobs, used again and again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::codec::Decoder;
use crate::error::{Error, Result};
use crate::repository::{Repository, on_worker};

/// A decoder and a buffer.
pub(crate) struct Bench {
    /// Opens, decompresses and verifies.
    pub(crate) decoder: Decoder,
    /// Room for the plaintext.
    pub(crate) plaintext: Vec<u8>,
}

/// As many benches as threads may compute at a time.
pub(crate) struct Benches {
    repository: Repository,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Bench>>,
}

/// The largest buffer that is kept, in bytes: more than any blob of restic's has. A larger one is given
/// back to the system after use.
const KEPT: usize = 16 << 20;

impl Benches {
    pub(crate) fn new(repository: &Repository) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(repository.options().workers.max(1)));
        Arc::new(Self { repository: repository.clone(), permits, idle: Mutex::default() })
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
                None => Bench { decoder: benches.repository.decoder()?, plaintext: Vec::new() },
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
