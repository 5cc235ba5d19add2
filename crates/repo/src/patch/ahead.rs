//! Reading the stretches of a file ahead of who cuts them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::Changed;
use super::layout::Layout;
use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::reader::BlobStream;
use crate::repository::Repository;

/// How many bytes of changes may be under way or waiting to be taken. This bounds memory.
const BUDGET: u64 = 32 << 20;
/// How many stretches may be under way: small changes weigh more than their bytes.
const MOST: usize = 256;
/// How many chunks behind a change are read at once, if cuts stay out of step for long.
const MOST_BEHIND: usize = 8;

/// Reads the stretches that have to be read, in order, and others when they are asked for.
pub(super) struct Ahead {
    repository: Repository,
    index: Arc<Index>,
    layout: Arc<Layout>,
    source: Arc<dyn Changed>,
    /// The old chunks of the changed stretches.
    blobs: BlobStream<Box<dyn Iterator<Item = BlobHandle> + Send>>,
    /// The changes of the next changed stretches.
    coming: VecDeque<Coming>,
    /// The sum of their bytes.
    weight: u64,
    /// Where the next changed stretch is looked for.
    next: usize,
    /// Chunks behind a change that are the same as before, but have to be cut anew.
    behind: VecDeque<(usize, Task<Result<Vec<u8>>>)>,
    /// How many of these were asked for at a time.
    depth: usize,
    /// How many bytes of old chunks were taken.
    pub(super) taken: u64,
}

struct Coming {
    stretch: usize,
    weight: u64,
    changes: Task<Result<Vec<(u64, Bytes)>>>,
}

/// The bytes of a stretch.
pub(super) struct Bytewise {
    /// Where it lies in the file.
    range: Range<u64>,
    /// What was there before, at least as far as the stretch reaches.
    old: Bytes,
    /// What is there now, and where in the file.
    changes: Vec<(u64, Bytes)>,
}

impl Bytewise {
    /// Appends the bytes to what lies before them.
    pub(super) fn append_to(&self, held: &mut BytesMut) {
        let (before, length) = (held.len(), (self.range.end - self.range.start) as usize);
        held.extend_from_slice(&self.old[..self.old.len().min(length)]);
        held.resize(before + length, 0);
        for (offset, bytes) in &self.changes {
            let at = before + (offset - self.range.start) as usize;
            held[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

impl Ahead {
    pub(super) fn new(
        repository: &Repository,
        index: Arc<Index>,
        layout: Arc<Layout>,
        source: Arc<dyn Changed>,
    ) -> Self {
        let blobs = {
            let layout = Arc::clone(&layout);
            let changed = (0..layout.count()).filter_map(move |n| {
                let (handle, _) = layout.blob(n).filter(|_| layout.is_changed(n))?;
                Some(handle)
            });
            let changed: Box<dyn Iterator<Item = BlobHandle> + Send> = Box::new(changed);
            BlobStream::new(repository, Arc::clone(&index), changed)
        };
        Self {
            repository: repository.clone(),
            index,
            layout,
            source,
            blobs,
            coming: VecDeque::new(),
            weight: 0,
            next: 0,
            behind: VecDeque::new(),
            depth: 0,
            taken: 0,
        }
    }

    /// The bytes of a stretch. All changed stretches have to be asked for, and in order.
    pub(super) async fn stretch(&mut self, n: usize) -> Result<Bytewise> {
        match self.layout.is_changed(n) {
            true => self.changed(n).await,
            false => self.unchanged(n).await,
        }
    }

    /// Cuts are in step with the old ones again: what lies behind is not needed.
    pub(super) fn in_step(&mut self) {
        self.behind.clear();
        self.depth = 0;
    }

    async fn changed(&mut self, n: usize) -> Result<Bytewise> {
        self.look_ahead();
        let coming = self.coming.pop_front().filter(|coming| coming.stretch == n);
        let Coming { weight, changes, .. } =
            coming.expect("changed stretches are asked for in order");
        let old = match self.layout.blob(n) {
            None => Bytes::new(),
            Some((handle, length)) => {
                let old = self.blobs.next().await.unwrap_or(Err(Error::BlobNotFound(handle)))?;
                self.checked(handle, length, old)?
            }
        };
        let changes = changes.join().await?;
        self.weight -= weight;
        Ok(Bytewise { range: self.layout.range(n), old, changes })
    }

    /// Asks for the changes of as many stretches as may be under way.
    fn look_ahead(&mut self) {
        while self.next < self.layout.count()
            && self.coming.len() < MOST
            && (self.weight < BUDGET || self.coming.is_empty())
        {
            let stretch = self.next;
            self.next += 1;
            if !self.layout.is_changed(stretch) {
                continue;
            }
            let ranges = self.layout.changes_in(stretch);
            let weight = ranges.iter().map(|range| range.end - range.start).sum();
            let source = Arc::clone(&self.source);
            let changes = Task::spawn(async move { read_all(&*source, ranges).await });
            self.weight += weight;
            self.coming.push_back(Coming { stretch, weight, changes });
        }
    }

    /// A chunk that is only needed because no cut fell on its beginning. The first alone, and ever more
    /// at a time if there is no end to that.
    async fn unchanged(&mut self, n: usize) -> Result<Bytewise> {
        if self.behind.is_empty() {
            self.depth = (self.depth * 2).clamp(1, MOST_BEHIND);
            let is_unchanged =
                |n: &usize| self.layout.same(*n).is_some() && !self.layout.is_zero(*n);
            for n in (n..n + self.depth).take_while(is_unchanged) {
                let Some((handle, _)) = self.layout.blob(n) else { break };
                let (repository, index) = (self.repository.clone(), Arc::clone(&self.index));
                let load = async move { repository.load_blob(&index, handle).await };
                self.behind.push_back((n, Task::spawn(load)));
            }
        }
        let behind = self.behind.pop_front().filter(|(stretch, _)| *stretch == n);
        let (_, load) = behind.expect("chunks behind a change are asked for in order");
        let (handle, length) = self.layout.blob(n).expect("an unchanged stretch is an old chunk");
        let old = self.checked(handle, length, load.join().await?.into())?;
        Ok(Bytewise { range: self.layout.range(n), old, changes: Vec::new() })
    }

    /// The chunk, if it has the length by which the file was laid out.
    fn checked(&mut self, handle: BlobHandle, length: u64, old: Bytes) -> Result<Bytes> {
        if old.len() as u64 != length {
            let detail = format!("it has {} bytes, the index says {length}", old.len());
            return Err(Error::damaged(handle, detail));
        }
        self.taken += length;
        Ok(old)
    }
}

async fn read_all(source: &dyn Changed, ranges: Vec<Range<u64>>) -> Result<Vec<(u64, Bytes)>> {
    let mut changes = Vec::with_capacity(ranges.len());
    for Range { start, end } in ranges {
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let bytes = source.read_at(start, length).await?;
        if bytes.len() != length {
            return Err(Error::Refused(format!(
                "the new content of a file gave {} bytes at {start} instead of {length}",
                bytes.len()
            )));
        }
        changes.push((start, bytes));
    }
    Ok(changes)
}

/// A task that ends when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<Result<T>> {
    fn spawn(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    async fn join(mut self) -> Result<T> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::Cancelled),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
