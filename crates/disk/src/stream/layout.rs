//! Where in the new file everything is that depends on what is in the disk.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::shape::{CLUSTER, COUNTS, ENTRIES, REACH, Shape, refcount_blocks};
use crate::bitmap::Bitmap;
use crate::chain::Chain;
use crate::error::Result;
use crate::extent::{Extent, Place};
use crate::qcow2::entry::COPIED;

/// How many L2 tables are looked through at a time.
const CONCURRENCY: usize = 8;

/// How much of the disk is looked up at a time, in bytes. A multiple of [`CLUSTER`] and a part of [`REACH`].
const WINDOW: u64 = 16 << 20;

/// Where in the new file everything is. Numbers are in clusters.
pub(super) struct Layout {
    pub chain: Chain,
    shape: Shape,
    /// Which L2 tables there are.
    tables: Bitmap,
    /// The clusters of each file that are in the new one as they are.
    pub as_is: Vec<Bitmap>,
    /// The clusters of the disk that are none of these.
    pub others: Bitmap,
    /// How many refcount blocks there are.
    blocks: u64,
    /// Where the L2 tables begin, behind the refcount blocks.
    tables_start: u64,
    /// Where the clusters of each file begin in the new one, behind the L2 tables.
    as_is_start: Vec<u64>,
    /// Where the other clusters begin.
    others_start: u64,
    /// The length of the new file.
    length: u64,
}

/// Where a cluster of the new file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It reads as zeros.
    Nothing,
    /// It is cluster number `cluster` of a file, with clusters of the new file's size.
    AsIs { file: usize, cluster: u64 },
    /// It has to be put together.
    Other,
}

impl Layout {
    /// Looks through all tables of the chain.
    pub async fn of(chain: Chain, shape: Shape) -> Result<Self> {
        let mut tables = Bitmap::default();
        let mut as_is: Vec<_> = chain.files().iter().map(|_| Bitmap::default()).collect();
        let mut others = Bitmap::default();
        {
            let touched = chain.touched(0).into_iter();
            let mut touched: Vec<_> =
                touched.flat_map(|part| part.start / REACH..part.end.div_ceil(REACH)).collect();
            touched.dedup();
            let mut classes = stream::iter(touched)
                .map(|index| {
                    let chain = chain.clone();
                    async move { Ok((index, classes(&chain, index).await?)) }
                })
                .buffered(CONCURRENCY);
            while let Some((index, classes)) = classes.try_next().await? {
                for (cluster, class) in (index * ENTRIES..).zip(classes) {
                    match class {
                        Class::Nothing => continue,
                        // Where two clusters of the disk are one cluster of the file, only one of them can
                        // have it: the other one becomes a cluster of its own.
                        Class::AsIs { file, cluster } if as_is[file].insert(cluster) => {}
                        Class::AsIs { .. } | Class::Other => {
                            others.insert(cluster);
                        }
                    }
                    tables.insert(index);
                }
            }
        }

        let counts: Vec<_> = as_is.iter_mut().map(Bitmap::complete).collect();
        let (table_count, other_count) = (tables.complete(), others.complete());
        let clusters = counts.iter().sum::<u64>() + other_count;
        let blocks = refcount_blocks(shape.l1_end() + table_count + clusters);
        let tables_start = shape.l1_end() + blocks;
        let mut end = tables_start + table_count;
        let as_is_start = counts.into_iter().map(|count| {
            let start = end;
            end += count;
            start
        });
        let as_is_start = as_is_start.collect();
        let (others_start, length) = (end, end + other_count);
        Ok(Self {
            chain,
            shape,
            tables,
            as_is,
            others,
            blocks,
            tables_start,
            as_is_start,
            others_start,
            length,
        })
    }

    /// Where the clusters end that [`Self::metadata`] makes, and the L2 tables begin.
    pub fn metadata_end(&self) -> u64 {
        self.tables_start
    }

    /// Cluster number `number` of the new file: one of the refcount table, the L1 table, or a refcount block.
    pub fn metadata(&self, number: u64) -> Bytes {
        let blocks_start = self.shape.l1_end();
        let numbers = |first: u64| first * ENTRIES..(first + 1) * ENTRIES;
        if number < self.shape.l1_start() {
            let entry = |block| if block < self.blocks { blocks_start + block } else { 0 };
            words(numbers(number - 1).map(|block| entry(block) * CLUSTER))
        } else if number < blocks_start {
            let entry = |index| match self.tables.contains(index) {
                true => owned(self.tables_start + self.tables.rank(index)),
                false => 0,
            };
            words(numbers(number - self.shape.l1_start()).map(entry))
        } else {
            let first = (number - blocks_start) * COUNTS;
            let count = |cluster| u16::from(cluster < self.length).to_be_bytes();
            (first..first + COUNTS).flat_map(count).collect()
        }
    }

    /// Which L2 tables there are, in order.
    pub fn tables(&self) -> Vec<u64> {
        self.tables.iter_from(0).collect()
    }

    /// The L2 table number `index`.
    pub async fn l2_table(&self, index: u64) -> Result<Bytes> {
        let classes = classes(&self.chain, index).await?;
        let entries = (index * ENTRIES..).zip(classes).map(|(cluster, class)| match class {
            Class::Nothing => 0,
            _ if self.others.contains(cluster) => {
                owned(self.others_start + self.others.rank(cluster))
            }
            Class::AsIs { file, cluster } => {
                owned(self.as_is_start[file] + self.as_is[file].rank(cluster))
            }
            Class::Other => 0, // it is among the others
        });
        Ok(words(entries.chain(std::iter::repeat(0)).take(ENTRIES as usize)))
    }
}

/// The entry for a cluster that belongs to nobody else.
fn owned(cluster: u64) -> u64 {
    (cluster * CLUSTER) | COPIED
}

fn words(entries: impl Iterator<Item = u64>) -> Bytes {
    entries.flat_map(u64::to_be_bytes).collect()
}

/// Where the clusters come from that L2 table number `index` is about.
async fn classes(chain: &Chain, index: u64) -> Result<Vec<Class>> {
    let end = ((index + 1) * REACH).min(chain.virtual_size());
    let mut start = index * REACH;
    let mut classes = Vec::with_capacity(ENTRIES as usize);
    while start < end {
        let window = start..(start + WINDOW).min(end);
        start = window.end;
        let extents = chain.extents(window.clone()).await?;
        classify(window, &extents, &mut classes);
    }
    Ok(classes)
}

/// Where the clusters of a window come from, by the pieces of which it consists.
fn classify(window: Range<u64>, extents: &[Extent], classes: &mut Vec<Class>) {
    let mut next = 0;
    let mut start = window.start;
    while start < window.end {
        let end = (start + CLUSTER).min(window.end);
        while extents.get(next).is_some_and(|extent| extent.end() <= start) {
            next += 1;
        }
        let parts = extents[next..].iter().take_while(|extent| extent.offset < end);
        let mut class = None;
        for extent in parts {
            let whole = extent.offset <= start && end <= extent.end();
            let part = match extent.place {
                Place::Hole | Place::Zero => Class::Nothing,
                Place::Stored { file, host } if whole => match host + (start - extent.offset) {
                    host if host % CLUSTER == 0 => Class::AsIs { file, cluster: host / CLUSTER },
                    _ => Class::Other,
                },
                Place::Stored { .. } | Place::Compressed { .. } => Class::Other,
            };
            class = match class {
                None => Some(part),
                Some(Class::Nothing) if part == Class::Nothing => class,
                Some(_) => Some(Class::Other),
            };
        }
        classes.push(class.unwrap_or(Class::Nothing));
        start = end;
    }
}
