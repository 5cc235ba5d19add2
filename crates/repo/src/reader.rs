//! Random access to a file in a snapshot.
//!
//! Dump, restore and everything that looks into a disk image stand on the two things here:
//! [`BlobStream`], which gives blobs in order, and [`FileReader`], which gives any range of a file.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::blob::BlobHandle;
use crate::chunker;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;

mod stream;

pub use stream::BlobStream;

/// How much plaintext a [`FileReader`] keeps by default, in bytes.
pub const DEFAULT_CACHE: u64 = 64 << 20;

/// Reads any range of a file in a snapshot. Cheap to share; any number of reads may run at a time.
#[derive(Debug)]
pub struct FileReader {
    repository: Repository,
    index: Arc<Index>,
    content: Vec<Id>,
    /// Where each blob begins, and behind the last one where the file ends.
    starts: Vec<u64>,
    cache: Cache<Id, Bytes, ByLength>,
}

#[derive(Clone, Debug)]
struct ByLength;

impl Weighter<Id, Bytes> for ByLength {
    fn weight(&self, _: &Id, plaintext: &Bytes) -> u64 {
        plaintext.len().max(1) as u64
    }
}

impl FileReader {
    /// A reader of the file with these blobs: a node's `content`. Nothing is read yet.
    ///
    /// `cache` is how many bytes of plaintext are kept for the next read.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`] if the index lacks one of the blobs.
    pub fn new(
        repository: &Repository,
        index: Arc<Index>,
        content: Vec<Id>,
        cache: u64,
    ) -> Result<Self> {
        let mut starts = Vec::with_capacity(content.len() + 1);
        let mut end = 0u64;
        starts.push(end);
        for id in &content {
            end = end.saturating_add(length_of(&index, *id)?);
            starts.push(end);
        }
        let items = usize::try_from(cache >> 20).unwrap_or(0).max(16);
        let cache = Cache::with_weighter(items, cache, ByLength);
        Ok(Self { repository: repository.clone(), index, content, starts, cache })
    }

    /// The file's length in bytes.
    pub fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The blobs that the file is made of, and where each begins.
    pub fn blobs(&self) -> impl Iterator<Item = (u64, Id)> {
        self.starts.iter().copied().zip(self.content.iter().copied())
    }

    /// `length` bytes from `offset` on; fewer where the file ends.
    ///
    /// # Errors
    /// [`Error::Damaged`], also where a blob's length is not what the index says.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let end = offset.saturating_add(length as u64).min(self.len());
        if offset >= end {
            return Ok(Bytes::new());
        }
        let first = self.starts.partition_point(|start| *start <= offset) - 1;
        let behind = self.starts.partition_point(|start| *start < end).min(self.content.len());
        let needed = &self.content[first..behind];
        let missing: Vec<_> =
            needed.iter().copied().filter(|id| self.cache.get(id).is_none()).collect();
        let missing = missing.into_iter().map(BlobHandle::data);
        let mut stream =
            BlobStream::new(&self.repository, Arc::clone(&self.index), missing.clone());
        let mut missing = missing.peekable();
        let mut collected = BytesMut::new();
        for (i, id) in (first..).zip(needed) {
            let plaintext = match missing.next_if(|handle| handle.id == *id) {
                Some(_) => {
                    let plaintext = self.expect(i, stream.next().await)?;
                    self.cache.insert(*id, plaintext.clone());
                    plaintext
                }
                None => match self.cache.get(id) {
                    Some(plaintext) => plaintext,
                    None => self.reload(i).await?, // pushed out by what was just read
                },
            };
            let start = self.starts[i];
            let from = offset.saturating_sub(start) as usize;
            let to = (end - start).min(plaintext.len() as u64) as usize;
            let part = plaintext.slice(from..to);
            if needed.len() == 1 {
                return Ok(part);
            }
            collected.extend_from_slice(&part);
        }
        Ok(collected.freeze())
    }

    async fn reload(&self, i: usize) -> Result<Bytes> {
        let handle = BlobHandle::data(self.content[i]);
        let loaded = self.repository.load_blob(&self.index, handle).await;
        self.expect(i, Some(loaded.map(Bytes::from)))
    }

    /// The blob, if it has the length by which the file was laid out.
    fn expect(&self, i: usize, loaded: Option<Result<Bytes>>) -> Result<Bytes> {
        let handle = BlobHandle::data(self.content[i]);
        let plaintext = loaded.unwrap_or(Err(Error::BlobNotFound(handle)))?;
        let length = self.starts[i + 1] - self.starts[i];
        if plaintext.len() as u64 != length {
            let detail = format!("it has {} bytes, the index says {length}", plaintext.len());
            return Err(Error::damaged(handle, detail));
        }
        Ok(plaintext)
    }
}

fn length_of(index: &Index, id: Id) -> Result<u64> {
    if id == chunker::ZERO_CHUNK_ID {
        return Ok(chunker::MIN_SIZE as u64);
    }
    let handle = BlobHandle::data(id);
    let location = index.lookup(&handle).next().ok_or(Error::BlobNotFound(handle))?;
    Ok(location.entry.plaintext_length())
}
