//! A disk as one qcow2 file, written from its beginning to its end.
//!
//! The order of such a file is
//!
//! ```text
//! header | refcount table | L1 table | refcount blocks | L2 tables | clusters
//! ```
//!
//! The header says where all tables are that are not found from another one, so these have places that depend
//! on nothing but the disk's size: the header can be sent before anything is known of the content.
//!
//! Clusters that are in a file as they will be in the new one come in the order in which they are in that file,
//! and one file after the other: each part of a file is read once, and from its beginning to its end. Which
//! place in the new file a cluster gets is its rank among them, which takes two bits of memory a cluster. All
//! other clusters (compressed ones, those of other sizes, those of which several files have a part) follow in
//! the order of the disk.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use crate::chain::Chain;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::fetch::{Piece, fetch};
use layout::Layout;
use shape::{CLUSTER, Shape};

mod layout;
mod shape;

/// How many clusters are fetched together: 4 MiB.
const TOGETHER: usize = 64;

/// How many such fetches run ahead of the one whose bytes are given out: 32 MiB.
const AHEAD: usize = 8;

/// How many L2 tables are made ahead.
const TABLES_AHEAD: usize = 4;

impl Chain {
    /// The disk as one qcow2 file that stands on no other, from its first byte to its last: version 3, clusters
    /// of 64 KiB, nothing compressed. The header comes before anything else of the disk is read.
    ///
    /// The same files give the same bytes. What is read ahead takes some 32 MiB of memory, several times that
    /// where it lies scattered; L2 tables take 64 MiB at most; and what has to be known of the disk takes some
    /// four bytes for each mebibyte that is in use.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for a disk of more than two pebibytes,
    /// [`Error::Damaged`](crate::Error::Damaged) and [`Error::Source`](crate::Error::Source) as they come up.
    /// The stream ends with the first error; what was given out before is no whole file.
    pub fn stream(&self) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let chain = self.clone();
        stream::once(async move { Shape::of(chain.virtual_size()).map(|shape| (chain, shape)) })
            .map_ok(|(chain, shape)| {
                let header = stream::once(async move { Ok(shape.header()) });
                let layout = stream::once(Layout::of(chain, shape));
                header.chain(layout.map_ok(|layout| rest(Arc::new(layout))).try_flatten())
            })
            .try_flatten()
    }
}

/// All that is behind the header.
fn rest(layout: Arc<Layout>) -> impl Stream<Item = Result<Bytes>> + Send {
    let described = Arc::clone(&layout);
    let metadata = (1..layout.metadata_end()).map(move |number| Ok(described.metadata(number)));

    let mapped = Arc::clone(&layout);
    let tables = stream::iter(layout.tables())
        .map(move |index| {
            let layout = Arc::clone(&mapped);
            async move { layout.l2_table(index).await }
        })
        .buffered(TABLES_AHEAD);

    let stored = Arc::clone(&layout);
    let as_they_are = stream::iter(0..layout.as_is.len())
        .flat_map(move |file| as_they_are(Arc::clone(&stored), file));

    let others = stream::iter(Groups { layout: Arc::clone(&layout), next: 0 })
        .map(move |clusters| {
            let layout = Arc::clone(&layout);
            async move { put_together(&layout.chain, &clusters).await }
        })
        .buffered(AHEAD);

    stream::iter(metadata).chain(tables).chain(as_they_are).chain(others)
}

/// The clusters of a file that are in the new one as they are.
fn as_they_are(
    layout: Arc<Layout>,
    number: usize,
) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    let file = layout.chain.files()[number].clone();
    let end = file.len();
    let runs = move || Runs { layout: Arc::clone(&layout), file: number, next: 0 };
    let stored = move |run: Range<u64>| run.start.min(end)..run.end.min(end);
    let length = |run: Range<u64>| run.end - run.start;
    let inside = runs().map(stored).map(length).sum::<u64>();
    let behind = runs().map(length).sum::<u64>() - inside;

    let parts = runs().map(stored).filter(|part| !part.is_empty());
    let pieces = Box::pin(file.forward(Box::new(parts)));
    let whole = stream::try_unfold((pieces, inside), move |(mut pieces, left)| async move {
        let piece = pieces.try_next().await?;
        match (piece.as_ref().map_or(0, Bytes::len) as u64, piece) {
            (length, Some(piece)) if length <= left => Ok(Some((piece, (pieces, left - length)))),
            (0, None) if left == 0 => Ok(None),
            _ => Err(Error::Source {
                file: number,
                source: "other parts came than asked for".into(),
            }),
        }
    });
    let clusters = (0..behind).step_by(CLUSTER as usize);
    let zeros = clusters.map(move |start| Ok(zeros((behind - start).min(CLUSTER) as usize)));
    whole.chain(stream::iter(zeros))
}

fn zeros(length: usize) -> Bytes {
    static ZEROS: [u8; CLUSTER as usize] = [0; CLUSTER as usize];
    Bytes::from_static(&ZEROS[..length])
}

/// Clusters of the disk.
async fn put_together(chain: &Chain, clusters: &[u64]) -> Result<Bytes> {
    let mut pieces = Vec::new();
    let mut position = 0;
    for run in clusters.chunk_by(|one, next| one + 1 == *next) {
        let (start, end) = (run[0] * CLUSTER, (run[0] + run.len() as u64) * CLUSTER);
        let extents = chain.extents(start..end.min(chain.virtual_size())).await?;
        let at = |extent: &Extent| position + (extent.offset - start) as usize;
        pieces.extend(extents.into_iter().map(|extent| Piece { at: at(&extent), extent }));
        position += (end - start) as usize;
    }
    fetch(chain, position, pieces).await
}

/// The parts of a file that are in the new one as they are, in bytes. None touches the next.
struct Runs {
    layout: Arc<Layout>,
    file: usize,
    /// The clusters before this one were had.
    next: u64,
}

impl Iterator for Runs {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        let mut clusters = self.layout.as_is[self.file].iter_from(self.next);
        let start = clusters.next()?;
        let more = (start + 1..).zip(clusters).take_while(|(next, cluster)| next == cluster);
        self.next = start + 1 + more.count() as u64;
        Some(start * CLUSTER..self.next * CLUSTER)
    }
}

/// The clusters of the disk that have to be put together, some at a time.
struct Groups {
    layout: Arc<Layout>,
    /// The clusters before this one were had.
    next: u64,
}

impl Iterator for Groups {
    type Item = Vec<u64>;

    fn next(&mut self) -> Option<Vec<u64>> {
        let clusters: Vec<_> = self.layout.others.iter_from(self.next).take(TOGETHER).collect();
        self.next = clusters.last()? + 1;
        Some(clusters)
    }
}
