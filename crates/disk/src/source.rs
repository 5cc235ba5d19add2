//! The files that a disk is made of, wherever they are.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::error::SourceError;

/// How much is read at once of a file that does not know better, in bytes.
const TOGETHER: u64 = 4 << 20;

/// How many such reads run ahead.
const AHEAD: usize = 8;

/// Parts of a file, in order.
pub type Parts = Box<dyn Iterator<Item = Range<u64>> + Send>;

/// What is in these parts, in pieces of any length.
pub type Pieces = BoxStream<'static, Result<Bytes, SourceError>>;

/// A file that a disk is made of. It does not change while it is used.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `length` bytes from `offset` on; fewer only where the file ends, and none behind its end. Several
    /// reads run at a time, and each can be dropped at any point.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, SourceError>;

    /// Parts of the file, one after the other. They ascend, do not overlap, and are all in the file. For a file
    /// that is better at reading on than at reading here and there.
    fn forward(self: Arc<Self>, parts: Parts) -> Pieces {
        stream::iter(parts.flat_map(short))
            .map(move |part| {
                let this = Arc::clone(&self);
                let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
                async move { this.read_at(part.start, length).await }
            })
            .buffered(AHEAD)
            .boxed()
    }
}

/// A part as several that are read at once.
fn short(part: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let starts = (part.start..part.end).step_by(TOGETHER as usize);
    starts.map(move |start| start..(start + TOGETHER).min(part.end))
}

/// A file on this machine, or a block device.
#[derive(Debug)]
pub struct LocalFile {
    file: Arc<File>,
    length: u64,
}

impl LocalFile {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Reads from an open file. Its position is not kept.
    ///
    /// # Errors
    /// If the system does not tell its length.
    pub fn new(mut file: File) -> io::Result<Self> {
        // A block device has no length in its metadata.
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self { file: Arc::new(file), length })
    }
}

#[async_trait]
impl Source for LocalFile {
    fn len(&self) -> u64 {
        self.length
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let length = within(self.length, offset, length);
        let file = Arc::clone(&self.file);
        let read = move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, offset)?;
            io::Result::Ok(Bytes::from(buffer))
        };
        Ok(tokio::task::spawn_blocking(read).await??)
    }
}

/// What is in memory already.
#[async_trait]
impl Source for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let length = within(Source::len(self), offset, length);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(Bytes::len(self));
        Ok(self.slice(start..start + length))
    }
}

/// How many of `length` bytes from `offset` on a file of `size` bytes has.
pub(crate) fn within(size: u64, offset: u64, length: usize) -> usize {
    let rest = size.saturating_sub(offset);
    usize::try_from(rest).unwrap_or(usize::MAX).min(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_is_short_only_where_the_file_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let local = LocalFile::open(&path).unwrap();
        let memory = Bytes::from_static(b"0123456789");
        for source in [&local as &dyn Source, &memory] {
            assert_eq!(source.len(), 10);
            assert!(!source.is_empty());
            assert_eq!(source.read_at(2, 3).await.unwrap(), "234");
            assert_eq!(source.read_at(8, 3).await.unwrap(), "89");
            assert_eq!(source.read_at(10, 3).await.unwrap(), "");
            assert_eq!(source.read_at(u64::MAX, usize::MAX).await.unwrap(), "");
        }
    }
}
