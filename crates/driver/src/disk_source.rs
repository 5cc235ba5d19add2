//! A file of a snapshot as a part of a virtual disk.

use async_trait::async_trait;
use bytes::Bytes;
use restic_repo::reader::FileReader;
use virtual_disk::{Source, SourceError};

/// A file in a backup.
#[derive(Debug)]
pub struct BackupFile(FileReader);

impl BackupFile {
    /// The file that is read by `reader`.
    pub fn new(reader: FileReader) -> Self {
        Self(reader)
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
}
