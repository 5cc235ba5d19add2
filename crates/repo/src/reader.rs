//! Random access to a file in a snapshot.
//!
//! Dump, restore and everything that looks into a disk image stand on the things here: [`BlobStream`], which
//! gives blobs in order, and [`FileReader`], which gives any range of a file, or ([`Forward`]) many in order.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::blob::BlobHandle;
use crate::chunker;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;

mod forward;
mod stream;

pub use forward::Forward;
pub use stream::BlobStream;

/// How much plaintext a [`FileReader`] keeps by default, in bytes.
pub const DEFAULT_CACHE: u64 = 64 << 20;

/// Reads any range of a file in a snapshot. Cheap to share; any number of reads may run at a time, and what
/// several of them need at a time is fetched once.
pub struct FileReader {
    repository: Repository,
    index: Arc<Index>,
    content: Vec<Id>,
    /// Where each blob begins, and behind the last one where the file ends.
    starts: Vec<u64>,
    cache: Cache<Id, Bytes, ByLength>,
    /// The blobs that reads are fetching.
    coming: Mutex<HashMap<Id, Coming>>,
}

/// A blob that somebody is fetching; he may give up.
type Coming = watch::Receiver<Option<Bytes>>;

/// A blob that this read is fetching, for itself and for all others.
struct Claim<'a> {
    reader: &'a FileReader,
    /// Its place in the file.
    at: usize,
    ready: watch::Sender<Option<Bytes>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.reader.coming().remove(&self.reader.content[self.at]);
    }
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
        let coming = Mutex::default();
        Ok(Self { repository: repository.clone(), index, content, starts, cache, coming })
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
        let mut found = HashMap::new();
        let mut awaited = HashMap::new();
        let claims = self.claim(first..behind, &mut found, &mut awaited);
        let handles: Vec<_> =
            claims.iter().map(|claim| BlobHandle::data(self.content[claim.at])).collect();
        let index = Arc::clone(&self.index);
        let mut stream = BlobStream::new(&self.repository, index, handles.into_iter());
        // Those of our own first: others may wait for them, and we for theirs.
        for claim in claims {
            let plaintext = self.expect(claim.at, stream.next().await)?;
            let id = self.content[claim.at];
            self.cache.insert(id, plaintext.clone());
            claim.ready.send_replace(Some(plaintext.clone()));
            found.insert(id, plaintext);
        }
        for (id, (at, coming)) in awaited {
            let plaintext = match arrived(coming).await {
                Some(plaintext) => plaintext,
                None => self.reload(at).await?,
            };
            found.insert(id, plaintext);
        }
        // No more than the blobs take that are here already.
        let mut collected = BytesMut::with_capacity((end - offset) as usize);
        for at in first..behind {
            let plaintext = &found[&self.content[at]];
            let start = self.starts[at];
            let from = offset.saturating_sub(start) as usize;
            let to = (end - start).min(plaintext.len() as u64) as usize;
            let part = plaintext.slice(from..to);
            if behind - first == 1 {
                return Ok(part);
            }
            collected.extend_from_slice(&part);
        }
        Ok(collected.freeze())
    }

    /// Finds out for each blob at these places whether it is there, somebody is fetching it, or it is ours to
    /// fetch.
    fn claim(
        &self,
        places: Range<usize>,
        found: &mut HashMap<Id, Bytes>,
        awaited: &mut HashMap<Id, (usize, Coming)>,
    ) -> Vec<Claim<'_>> {
        let mut claims = Vec::new();
        let mut seen = HashSet::new();
        let mut coming = self.coming();
        for at in places {
            let id = self.content[at];
            if !seen.insert(id) {
                continue;
            }
            if let Some(plaintext) = self.cache.get(&id) {
                found.insert(id, plaintext);
            } else if let Some(coming) = coming.get(&id) {
                awaited.insert(id, (at, coming.clone()));
            } else {
                let (ready, receiver) = watch::channel(None);
                coming.insert(id, receiver);
                claims.push(Claim { reader: self, at, ready });
            }
        }
        claims
    }

    fn coming(&self) -> MutexGuard<'_, HashMap<Id, Coming>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
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

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blobs, length) = (self.content.len(), self.len());
        let mut debug = f.debug_struct("FileReader");
        debug.field("blobs", &blobs).field("length", &length).finish_non_exhaustive()
    }
}

/// A blob that another read fetches, unless that gives up.
async fn arrived(mut coming: Coming) -> Option<Bytes> {
    coming.wait_for(Option::is_some).await.ok()?.clone()
}

/// The length of a chunk in bytes, as the index claims.
///
/// # Errors
/// [`Error::BlobNotFound`] if the index lacks it.
pub(crate) fn length_of(index: &Index, id: Id) -> Result<u64> {
    if id == chunker::ZERO_CHUNK_ID {
        return Ok(chunker::MIN_SIZE as u64);
    }
    let handle = BlobHandle::data(id);
    let location = index.lookup(&handle).next().ok_or(Error::BlobNotFound(handle))?;
    Ok(location.entry.plaintext_length())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fault::{Fault, Operation, Rule};
    use crate::progress::Silent;
    use crate::workshop::{Workshop, data, noise};

    /// A file of three blobs of 100 kB in two packs, and the backend that counts.
    pub(super) async fn three_blobs(
        cache: u64,
    ) -> (Arc<FileReader>, Arc<Fault<crate::backend::mem::Mem>>) {
        let workshop = Workshop::new().await;
        let pieces = [1, 2, 3].map(|n| data(noise(n, 100_000)));
        let content = pieces.iter().map(|piece| piece.handle.id).collect();
        let [one, two, three] = pieces;
        workshop.index([workshop.pack([one, two]), workshop.pack([three])]).await;
        let index = Arc::new(workshop.repository.load_index(&Silent).await.unwrap());
        let fault = Arc::new(Fault::new(workshop.mem.clone()));
        let repository = workshop.repository.with_backend(Arc::clone(&fault) as _);
        (Arc::new(FileReader::new(&repository, index, content, cache).unwrap()), fault)
    }

    fn whole() -> Vec<u8> {
        [1, 2, 3].map(|n| noise(n, 100_000)).concat()
    }

    #[tokio::test]
    async fn any_range_is_read() {
        for cache in [0, DEFAULT_CACHE] {
            let (reader, _) = three_blobs(cache).await;
            let whole = whole();
            for (offset, length) in [(0, 300_000), (99_999, 2), (150_000, 100_000), (299_999, 9)] {
                let read = reader.read_at(offset as u64, length).await.unwrap();
                assert!(read == whole[offset..(offset + length).min(whole.len())]);
            }
            assert!(reader.read_at(300_000, 1).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn what_several_reads_need_at_a_time_is_fetched_once() {
        let (reader, fault) = three_blobs(DEFAULT_CACHE).await;
        let before = fault.calls().len();
        let reads = (0..20).map(|n| {
            let reader = Arc::clone(&reader);
            async move { reader.read_at(n * 5_000, 200_000).await.unwrap() }
        });
        let read = futures_util::future::join_all(reads).await;
        let whole = whole();
        for (n, read) in read.into_iter().enumerate() {
            assert!(read == whole[n * 5_000..n * 5_000 + 200_000]);
        }
        assert_eq!(fault.calls().len() - before, 2, "one for each pack");
    }

    #[tokio::test]
    async fn a_read_that_gives_up_leaves_nobody_waiting() {
        let (reader, fault) = three_blobs(DEFAULT_CACHE).await;
        fault.inject(Rule::hang().on(Operation::Load).nth(1));
        let mut first = Box::pin(reader.read_at(0, 1000));
        let mut second = Box::pin(reader.read_at(50_000, 1000));
        let moment = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(moment, &mut first).await.is_err());
        assert!(tokio::time::timeout(moment, &mut second).await.is_err());
        drop(first);
        assert_eq!(second.await.unwrap().len(), 1000);
    }
}
