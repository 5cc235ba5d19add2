//! Who may do something now: what is under way at the same time is bounded.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::failure::Failure;
use crate::session::Permit;

/// Small things that are done at the same time.
const ERRANDS: usize = 64;

/// How many large files may be open to be read, for each transfer. While some are being read, others are opened,
/// so that a transfer is followed by the next one and not by a round trip.
const FILES_A_TRANSFER: usize = 3;

/// Hands out turns. A turn is kept for as long as the permit lives.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    transfers: Arc<Semaphore>,
    readings: Arc<Semaphore>,
    errands: Arc<Semaphore>,
}

impl Turns {
    /// As many transfers at the same time.
    pub(crate) fn new(transfers: usize) -> Self {
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            transfers: semaphore(transfers),
            readings: semaphore(transfers.saturating_mul(FILES_A_TRANSFER)),
            errands: semaphore(ERRANDS),
        }
    }

    /// To move the content of a large file.
    pub(crate) async fn transfer(&self) -> Result<Permit, Failure> {
        turn(&self.transfers).await
    }

    /// To have a large file open in order to read it. Reading it is a [`transfer`](Self::transfer).
    pub(crate) async fn reading(&self) -> Result<Permit, Failure> {
        turn(&self.readings).await
    }

    /// To do something small, which does not wait for what is large: for a lock above all.
    pub(crate) async fn errand(&self) -> Result<Permit, Failure> {
        turn(&self.errands).await
    }
}

async fn turn(turns: &Arc<Semaphore>) -> Result<Permit, Failure> {
    match Arc::clone(turns).acquire_owned().await {
        Ok(permit) => Ok(Arc::new(permit)),
        Err(_) => Err(Failure::Lost("the program is ending".to_owned())),
    }
}
