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
use crate::error::Result;
use crate::extent::{Extent, Place};
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

    let data = stream::iter(Groups { layout: Arc::clone(&layout), section: 0, next: 0 })
        .map(move |group| {
            let layout = Arc::clone(&layout);
            async move { group.fetch(&layout.chain).await }
        })
        .buffered(AHEAD);

    stream::iter(metadata).chain(tables).chain(data)
}

/// Clusters of the new file that follow each other.
struct Group {
    /// The file in which they are as they will be in the new one. Without a file they are clusters of the disk.
    file: Option<usize>,
    /// Their numbers in that file or on that disk.
    clusters: Vec<u64>,
}

impl Group {
    async fn fetch(self, chain: &Chain) -> Result<Bytes> {
        let mut pieces = Vec::new();
        let mut position = 0;
        for run in runs(&self.clusters) {
            let (start, end) = (run.start * CLUSTER, run.end * CLUSTER);
            let extents = match self.file {
                Some(file) => {
                    let place = Place::Stored { file, host: start };
                    vec![Extent { offset: start, length: end - start, place }]
                }
                None => chain.extents(start..end.min(chain.virtual_size())).await?,
            };
            let at = |extent: &Extent| position + (extent.offset - start) as usize;
            pieces.extend(extents.into_iter().map(|extent| Piece { at: at(&extent), extent }));
            position += (end - start) as usize;
        }
        fetch(chain, position, pieces).await
    }
}

/// Numbers in order, as ranges.
fn runs(numbers: &[u64]) -> impl Iterator<Item = Range<u64>> {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    runs.map(|run| run[0]..run[0] + run.len() as u64)
}

/// All clusters of the new file, in its order.
struct Groups {
    layout: Arc<Layout>,
    /// Which file's clusters are next; behind the last file are the clusters of the disk.
    section: usize,
    /// The clusters before this one were had.
    next: u64,
}

impl Iterator for Groups {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        loop {
            let files = self.layout.as_is.len();
            let (file, members) = match self.section {
                section if section < files => (Some(section), &self.layout.as_is[section]),
                section if section == files => (None, &self.layout.others),
                _ => return None,
            };
            let clusters: Vec<_> = members.iter_from(self.next).take(TOGETHER).collect();
            match clusters.last() {
                Some(last) => {
                    self.next = last + 1;
                    return Some(Group { file, clusters });
                }
                None => (self.section, self.next) = (self.section + 1, 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one_run() {
        assert_eq!(runs(&[]).count(), 0);
        assert_eq!(runs(&[1, 2, 3, 5, 7, 8]).collect::<Vec<_>>(), [1..4, 5..6, 7..9]);
    }
}
