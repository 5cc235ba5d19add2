//! A disk that is made of several files, each a change to the one before.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::error::{Error, Result};
use crate::extent::{Extent, Place, push};
use crate::fetch::{Piece, fetch};
use crate::file::{SourceFile, Tables};
use crate::qcow2::Qcow2;
use crate::qcow2::header::READ_LENGTH;
use crate::source::{Source, within};

/// How much of the disk is looked up at a time, in bytes: with the smallest clusters, that many pieces are
/// still few.
const WINDOW: u64 = 16 << 20;

/// How many files are opened at a time.
const OPENED_AT_ONCE: usize = 8;

/// A disk that is made of several files, each a change to the one before. Cheap to clone; any number of reads
/// may run at a time.
///
/// The first file is the disk as it once was, and the last says how large it is now. The order is the one in
/// which they are given: the names of backing files in their headers are ignored. They name what was there
/// when a file was written, and in a backup nothing of that is there any more.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    files: Vec<SourceFile>,
    layers: Vec<Layer>,
    virtual_size: u64,
}

/// What a file says about the disk.
pub(crate) enum Layer {
    /// The disk as it is, of this size.
    Raw(u64),
    Qcow2(Box<Qcow2>),
}

impl Layer {
    /// Reads what a file says of itself.
    async fn open(file: SourceFile, tables: Arc<Tables>) -> Result<Self> {
        let beginning = file.read(0, READ_LENGTH).await?;
        if Qcow2::is_one(&beginning) {
            Ok(Self::Qcow2(Box::new(Qcow2::open(file, &beginning, tables).await?)))
        } else if file.number == 0 {
            Ok(Self::Raw(file.len()))
        } else {
            Err(Error::NotQcow2 { file: file.number })
        }
    }

    /// The size of the disk as this file knows it.
    pub fn virtual_size(&self) -> u64 {
        match self {
            Self::Raw(size) => *size,
            Self::Qcow2(qcow2) => qcow2.header.virtual_size,
        }
    }

    /// The parts of the disk of which this file may say something, in order.
    pub fn touched(&self) -> Vec<Range<u64>> {
        match self {
            Self::Raw(size) => std::iter::once(0..*size).collect(),
            Self::Qcow2(qcow2) => qcow2.touched().collect(),
        }
    }
}

impl Chain {
    /// Reads the headers of the files and their L1 tables. The first is the full disk, raw or qcow2; each one
    /// behind it is qcow2, and a change to those before.
    ///
    /// # Errors
    /// [`Error::NoFiles`] if there are none, [`Error::NotQcow2`] if a file other than the first is something
    /// else, [`Error::Unsupported`] and [`Error::Damaged`] as they say.
    pub async fn open(sources: Vec<Arc<dyn Source>>) -> Result<Self> {
        let tables = Arc::new(Tables::new());
        let files = sources.into_iter().enumerate();
        let files = files.map(|(number, source)| SourceFile::new(number, source));
        let files: Vec<_> = files.collect();
        let layers: Vec<_> = stream::iter(files.clone())
            .map(|file| Layer::open(file, Arc::clone(&tables)))
            .buffered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        let virtual_size = layers.last().ok_or(Error::NoFiles)?.virtual_size();
        Ok(Self { inner: Arc::new(Inner { files, layers, virtual_size }) })
    }

    /// The size of the disk in bytes, as the last file has it.
    pub fn virtual_size(&self) -> u64 {
        self.inner.virtual_size
    }

    /// `length` bytes of the disk from `offset` on; fewer where it ends. Takes as much memory as is asked for,
    /// and some for reading.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Source`].
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let length = within(self.virtual_size(), offset, length);
        self.read(offset, length, |window| self.extents(window)).await
    }

    pub(crate) fn files(&self) -> &[SourceFile] {
        &self.inner.files
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.inner.layers
    }

    /// The parts of the disk of which the files from number `from` on may say something: in order, and none
    /// touches the next. There are no more than these files have L2 tables.
    pub(crate) fn touched(&self, from: usize) -> Vec<Range<u64>> {
        let parts = self.inner.layers[from..].iter().flat_map(Layer::touched);
        let size = self.virtual_size();
        union(parts.map(|part| part.start..part.end.min(size)).collect())
    }

    /// Where a part of the disk is. No [`Place::Hole`] is left.
    pub(crate) async fn extents(&self, range: Range<u64>) -> Result<Vec<Extent>> {
        self.extents_in(range, 0..self.inner.layers.len()).await
    }

    /// Where a part of the disk is, as far as some of the files know: in order and without gaps. Where none of
    /// them knows is a [`Place::Hole`]; below the first file there are zeros.
    pub(crate) async fn extents_in(
        &self,
        range: Range<u64>,
        layers: Range<usize>,
    ) -> Result<Vec<Extent>> {
        let below = if layers.start == 0 { Place::Zero } else { Place::Hole };
        let mut found = Vec::new();
        let mut unknown =
            vec![Extent { offset: range.start, length: range.end - range.start, place: below }];
        let mut said = Vec::new();
        for number in layers.rev() {
            let layer = &self.inner.layers[number];
            for hole in std::mem::take(&mut unknown) {
                // Behind the end of a backing file there are zeros, whatever is below.
                let end = hole.end().min(layer.virtual_size());
                if hole.offset < end {
                    let part = hole.slice(hole.offset, end);
                    match layer {
                        Layer::Raw(_) => {
                            let place = Place::Stored { file: number, host: part.offset };
                            said.push(Extent { place, ..part });
                        }
                        Layer::Qcow2(qcow2) => qcow2.extents(part.offset..end, &mut said).await?,
                    }
                }
                let start = hole.offset.max(end);
                if start < hole.end() {
                    said.push(Extent { place: Place::Zero, ..hole.slice(start, hole.end()) });
                }
                for extent in said.drain(..) {
                    match extent.place {
                        Place::Hole => push(&mut unknown, Extent { place: below, ..extent }),
                        _ => found.push(extent),
                    }
                }
            }
            if unknown.is_empty() {
                break;
            }
        }
        found.append(&mut unknown);
        found.sort_unstable_by_key(|extent| extent.offset);
        let mut merged = Vec::with_capacity(found.len());
        for extent in found {
            push(&mut merged, extent);
        }
        Ok(merged)
    }

    /// `length` bytes of a disk, which is where `locate` says.
    pub(crate) async fn read<F>(
        &self,
        offset: u64,
        length: usize,
        locate: impl Fn(Range<u64>) -> F,
    ) -> Result<Bytes>
    where
        F: Future<Output = Result<Vec<Extent>>>,
    {
        let end = offset + length as u64;
        let mut pieces = Vec::new();
        let mut start = offset;
        while start < end {
            let window = start..start.saturating_add(WINDOW).min(end);
            start = window.end;
            for extent in locate(window).await? {
                pieces.push(Piece { at: (extent.offset - offset) as usize, extent });
            }
        }
        fetch(self, length, pieces).await
    }
}

/// The same parts in order, with those put together that overlap or touch.
pub(crate) fn union(mut parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    parts.retain(|part| !part.is_empty());
    parts.sort_unstable_by_key(|part| part.start);
    parts.dedup_by(|next, last| {
        let joined = next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
    parts
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("files", &self.inner.files.len())
            .field("virtual_size", &self.inner.virtual_size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_overlap_or_touch_are_put_together() {
        let parts = vec![7..9, 1..3, 3..4, 5..5, 8..8, 8..12, 14..15];
        assert_eq!(union(parts), [1..4, 7..12, 14..15]);
        assert_eq!(union(vec![]), []);
    }

    #[tokio::test]
    async fn all_of_it_can_be_done_in_a_task_of_its_own() {
        let sources: Vec<Arc<dyn Source>> = vec![Arc::new(Bytes::from_static(b"raw"))];
        let work = tokio::spawn(async move {
            let chain = Chain::open(sources).await?;
            let plan = crate::commit::plan(&chain).await?;
            assert_eq!(plan.read_at(0, 9).await?, "raw");
            let streamed: Vec<_> = chain.stream().try_collect().await?;
            assert!(!streamed.is_empty());
            chain.read_at(0, 2).await
        });
        assert_eq!(work.await.unwrap().unwrap(), "ra");
    }
}
