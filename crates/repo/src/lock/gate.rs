//! What keeps work that began early from having an effect.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::backend::{Backend, BackendError, BackendErrorKind, Extent, FileInfo, Properties};
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};

/// Opens when a lock is sure to be held. See [`Lock::work`](super::Lock::work).
#[derive(Clone, Debug)]
pub struct Gate(watch::Receiver<bool>);

/// Opens a gate. If it is dropped instead, nobody gets through any more.
pub(crate) struct Opener(watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> (Opener, Self) {
        let (sender, receiver) = watch::channel(false);
        (Opener(sender), Self(receiver))
    }

    /// A gate that is open, for work that needs no lock.
    pub fn open() -> Self {
        let (sender, receiver) = watch::channel(true);
        drop(sender);
        Self(receiver)
    }

    /// Waits until the gate is open.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if it is not going to open: the lock could not be had.
    pub async fn pass(&self) -> Result<()> {
        let mut open = self.0.clone();
        open.wait_for(|open| *open).await.map(drop).map_err(|_| Error::Cancelled)
    }
}

impl Opener {
    pub(crate) fn open(self) {
        self.0.send_replace(true);
    }
}

/// Reads at once, and writes once the gate is open.
#[derive(Debug)]
pub(crate) struct Gated<B> {
    backend: B,
    gate: Gate,
}

impl<B> Gated<B> {
    pub(crate) fn new(backend: B, gate: Gate) -> Self {
        Self { backend, gate }
    }

    async fn pass(&self, operation: &'static str) -> Result<(), BackendError> {
        let closed =
            |error| BackendError::new(BackendErrorKind::Permanent, operation).because(error);
        self.gate.pass().await.map_err(closed)
    }
}

#[async_trait]
impl<B: Backend> Backend for Gated<B> {
    fn properties(&self) -> Properties {
        self.backend.properties()
    }

    async fn create(&self) -> Result<(), BackendError> {
        self.pass("create").await?;
        self.backend.create().await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        self.backend.load(handle, extent).await
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        self.pass("save").await?;
        self.backend.save(handle, data).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        self.backend.stat(handle).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        self.backend.list(file_type).await
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        self.pass("remove").await?;
        self.backend.remove(handle).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        self.backend.free_space().await
    }
}
