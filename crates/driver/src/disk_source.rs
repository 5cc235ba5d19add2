//! A file of a snapshot as a part of a virtual disk.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use restic_repo::reader::FileReader;
use virtual_disk::{Parts, Pieces, Source, SourceError};

/// A file in a backup.
#[derive(Debug)]
pub struct BackupFile(Arc<FileReader>);

impl BackupFile {
    /// The file that is read by `reader`.
    pub fn new(reader: FileReader) -> Self {
        Self(Arc::new(reader))
    }
}

#[async_trait]
impl Source for BackupFile {
    fn len(&self) -> u64 {
        self.0.len()
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        Ok(self.0.read_at(offset, length).await?)
    }

    fn forward(self: Arc<Self>, parts: Parts) -> Pieces {
        let forward = Arc::clone(&self.0).forward(parts);
        stream::unfold(forward, async |mut forward| {
            let piece = forward.next().await?;
            Some((piece.map_err(SourceError::from), forward))
        })
        .boxed()
    }
}
