//! Goes through what changed, and decides what becomes of each cluster of the first file.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::changes::{Changes, Content, Table};
use super::guard::Guard;
use super::refcounts::Refcounts;
use crate::chain::{Chain, union};
use crate::error::{Error, Feature, Result};
use crate::extent::{Extent, Place};
use crate::qcow2::Qcow2;
use crate::qcow2::entry::{ALL_STORED, ALL_ZERO, COPIED, Entry, ZERO};
use crate::qcow2::header::{Header, field};

/// How much of the disk is looked up at a time, in bytes. At least the largest cluster.
const WINDOW: u64 = 16 << 20;

/// How many windows are looked up ahead.
const CONCURRENCY: usize = 8;

/// The largest L1 table, in bytes: QEMU's limit.
const MAX_L1_BYTES: u64 = 32 << 20;

/// Nothing in a qcow2 file can be behind this.
const MAX_OFFSET: u64 = 1 << 56;

/// What becomes of a raw file.
pub(super) async fn into_raw(chain: &Chain) -> Result<Changes> {
    let old = chain.files()[0].len();
    let mut changes = Changes::none(old.max(chain.virtual_size()));
    let windows = windows(parts(chain, 1), WINDOW);
    let mut located = stream::iter(windows)
        .map(|window| chain.extents_in(window, 1..chain.layers().len()))
        .buffered(CONCURRENCY);
    while let Some(extents) = located.try_next().await? {
        for extent in extents {
            match extent.place {
                Place::Hole => {}
                Place::Zero => changes.add(extent.offset, extent.length, Content::Zeros),
                _ => changes.add(extent.offset, extent.length, Content::Disk(extent.offset)),
            }
        }
    }
    drop(located);
    changes.complete(old)
}

/// What becomes of a qcow2 file.
pub(super) async fn into_qcow2(chain: &Chain, base: &Qcow2) -> Result<Changes> {
    let (file, header) = (&chain.files()[0], &base.header);
    if header.dirty {
        return Err(Error::Unsupported { file: 0, what: Feature::StaleRefcounts });
    }
    let size = chain.virtual_size().max(header.virtual_size);
    if header.version < 3 && header.snapshots > 0 && size > header.virtual_size {
        return Err(Error::Unsupported { file: 0, what: Feature::SnapshotsWithoutSize });
    }
    let l1_entries = header.l1_entries_for(size);
    if l1_entries > MAX_L1_BYTES / 8 {
        return Err(Error::TooLarge { size });
    }
    let refcounts = Refcounts::of(chain, header).await?;
    let guard = Guard::of(base, refcounts.block_offsets());
    let changes = Changes::none(file.len());
    let mut merge = Merge { chain, base, guard, refcounts, changes, l1: Vec::new() };

    let parts = parts(chain, header.cluster_size());
    // None is about two L2 tables.
    let windows = windows(parts, WINDOW.min(header.l1_reach()));
    let mut located = stream::iter(windows)
        .map(|window| async move {
            let extents = chain.extents_in(window.clone(), 1..chain.layers().len()).await?;
            let index = window.start / header.l1_reach();
            let said = extents.iter().any(|extent| extent.place != Place::Hole);
            let table = match base.l2_offset(index) {
                Some(offset) if said || window.end > header.virtual_size => {
                    Some(base.table(offset).await?)
                }
                _ => None,
            };
            Ok::<_, Error>((window, index, extents, table))
        })
        .buffered(CONCURRENCY);
    let mut open: Option<L2> = None;
    while let Some((window, index, extents, bytes)) = located.try_next().await? {
        if open.as_ref().is_none_or(|open| open.index != index)
            && let Some(done) = open.replace(L2::of(base, index))
        {
            merge.close(done).await?;
        }
        if let Some(open) = &mut open {
            merge.window(open, bytes.as_ref(), window, &extents).await?;
        }
    }
    drop(located);
    if let Some(done) = open {
        merge.close(done).await?;
    }
    merge.complete(size, l1_entries).await
}

/// The parts of the disk where the later files may differ from the first: in order, and cut between units of
/// `unit` bytes.
fn parts(chain: &Chain, unit: u64) -> Vec<Range<u64>> {
    let size = chain.virtual_size();
    let mut parts = chain.touched(1);
    // Where one of the disks ended, everything below it is hidden by zeros. That goes for the first one as
    // well: what it has behind its end was never to be seen.
    let shortest = chain.layers().iter().map(|layer| layer.virtual_size()).min().unwrap_or(size);
    let below = chain.layers()[0].touched();
    parts.extend(below.into_iter().map(|part| part.start.max(shortest)..part.end.min(size)));
    let aligned = parts.into_iter().filter(|part| !part.is_empty()).map(|part| {
        let end = part.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX);
        part.start / unit * unit..end.min(size)
    });
    union(aligned.collect())
}

/// The same in pieces of no more than `length` bytes, which lie between its multiples.
fn windows(parts: Vec<Range<u64>>, length: u64) -> impl Iterator<Item = Range<u64>> {
    parts.into_iter().flat_map(move |part| {
        (part.start / length..part.end.div_ceil(length)).map(move |number| {
            let end = number.saturating_add(1).saturating_mul(length);
            (number * length).max(part.start)..end.min(part.end)
        })
    })
}

/// An L2 table of the first file.
struct L2 {
    /// Its number in the L1 table.
    index: u64,
    /// Where it is, if there is one, and whether it may be changed there.
    offset: Option<u64>,
    copied: bool,
    /// What is other in it: where, and what.
    words: Vec<(u32, u64)>,
}

impl L2 {
    fn of(base: &Qcow2, index: u64) -> Self {
        let entry = usize::try_from(index).ok().and_then(|index| base.l1.get(index));
        let copied = entry.is_some_and(|entry| entry & COPIED != 0);
        Self { index, offset: base.l2_offset(index), copied, words: Vec::new() }
    }

    /// Notes a new entry. Only the extended ones have a bitmap.
    fn set(&mut self, header: &Header, index: u64, (entry, bitmap): (u64, u64)) {
        let at = (index * header.l2_entry_length()) as u32;
        self.words.push((at, entry));
        if header.extended_l2 {
            self.words.push((at + 8, bitmap));
        }
    }
}

/// What became of a part of the disk in the later files.
struct Fate<'a> {
    parts: &'a [Extent],
    /// Whether there is content, zeros, or nothing said.
    stored: bool,
    zero: bool,
    hole: bool,
}

struct Merge<'a> {
    chain: &'a Chain,
    base: &'a Qcow2,
    guard: Guard,
    refcounts: Refcounts<'a>,
    changes: Changes,
    /// Changed entries of the L1 table: where, and what.
    l1: Vec<(u32, u64)>,
}

impl Merge<'_> {
    /// Decides for the clusters of a part of the disk. `bytes` is the first file's table for it, if it is of
    /// interest.
    async fn window(
        &mut self,
        table: &mut L2,
        bytes: Option<&Bytes>,
        window: Range<u64>,
        extents: &[Extent],
    ) -> Result<()> {
        let header = &self.base.header;
        let (cluster_size, below) = (header.cluster_size(), header.virtual_size);
        let mut parts = Vec::new();
        let mut next = 0;
        let mut start = window.start;
        while start < window.end {
            let end = start + cluster_size;
            parts.clear();
            while let Some(extent) = extents.get(next).filter(|extent| extent.offset < end) {
                let part = extent.slice(extent.offset.max(start), extent.end().min(end));
                match part.place {
                    // What the first file may have behind the end of its disk is not part of it.
                    Place::Hole if part.end() > below => {
                        let middle = below.clamp(part.offset, part.end());
                        let hidden = part.slice(middle, part.end());
                        parts.extend(
                            (middle > part.offset).then(|| part.slice(part.offset, middle)),
                        );
                        parts.push(Extent { place: Place::Zero, ..hidden });
                    }
                    _ => parts.push(part),
                }
                if extent.end() > end {
                    break;
                }
                next += 1;
            }
            let any = |wanted: fn(&Place) -> bool| parts.iter().any(|part| wanted(&part.place));
            let fate = Fate {
                parts: &parts,
                stored: any(|place| {
                    matches!(place, Place::Stored { .. } | Place::Compressed { .. })
                }),
                zero: any(|place| *place == Place::Zero),
                // If the disk shrank, the first file keeps what is behind its end.
                hole: any(|place| *place == Place::Hole) || window.end < end.min(below),
            };
            if fate.stored || fate.zero {
                let index = (start >> header.cluster_bits) % header.l2_entries();
                let entry =
                    bytes.map_or(Entry::Unallocated, |bytes| Entry::of(header, bytes, index));
                self.cluster(table, start, entry, fate).await?;
            }
            start = end;
        }
        Ok(())
    }

    /// Decides for the cluster of the disk that begins at `start`, of which something changed.
    async fn cluster(
        &mut self,
        table: &mut L2,
        start: u64,
        entry: Entry,
        fate: Fate<'_>,
    ) -> Result<()> {
        let header = &self.base.header;
        let size = header.cluster_size();
        let index = (start >> header.cluster_bits) % header.l2_entries();
        let all_zero = !fate.stored && !fate.hole;
        // A table that a snapshot needs as well says nothing about who needs its clusters.
        let (host, own) = match entry {
            Entry::Unallocated => (None, false),
            Entry::Zero { host, copied } | Entry::Parts { host, copied, .. } => (host, copied),
            Entry::Stored { host, copied } => (Some(host), copied),
            Entry::Compressed { .. } => (None, false),
            Entry::Invalid => {
                let what = format!("its L2 entry for offset {start} is impossible");
                return Err(Error::damaged(0, what));
            }
        };
        let own = own && table.copied;
        if let Some(host) = host {
            self.expect_content(host)?;
        }

        match entry {
            // It reads as zeros as it is, and is to.
            Entry::Unallocated | Entry::Zero { .. } if !fate.stored => return Ok(()),
            Entry::Stored { host, .. } if own && (!all_zero || header.version < 3) => {
                for part in fate.parts {
                    let place = host + (part.offset - start);
                    match part.place {
                        Place::Hole => {}
                        Place::Zero => self.changes.add(place, part.length, Content::Zeros),
                        _ => self.changes.add(place, part.length, Content::Disk(part.offset)),
                    }
                }
                return Ok(());
            }
            _ => {}
        }

        // The entry changes.
        let kept = host.filter(|_| own);
        if all_zero {
            table.set(header, index, zero_entry(header, kept));
        } else {
            let place = match kept {
                Some(host) => host,
                None => self.refcounts.allocate(1),
            };
            self.changes.add(place, size, Content::Disk(start));
            table.set(header, index, (place | COPIED, ALL_STORED));
        }
        match (entry, host) {
            (Entry::Compressed { host, length }, _) => self.refcounts.release(host, length).await,
            (_, Some(host)) if !own => self.refcounts.release(host, size).await,
            _ => Ok(()),
        }
    }

    /// Content is in the file, and not where its tables are.
    fn expect_content(&self, host: u64) -> Result<()> {
        let size = self.base.header.cluster_size();
        if host >= self.chain.files()[0].len() {
            return Err(Error::damaged(
                0,
                "a cluster is behind the end of the file; is it cut off?",
            ));
        }
        if !self.guard.allows(host..host.saturating_add(size)) {
            return Err(Error::damaged(0, "content is where its tables are"));
        }
        Ok(())
    }

    /// A table is complete.
    async fn close(&mut self, table: L2) -> Result<()> {
        if table.words.is_empty() {
            return Ok(());
        }
        let size = self.base.header.cluster_size();
        if let Some(offset) = table.offset.filter(|_| table.copied) {
            self.changes.add_words(offset, table.words);
            return Ok(());
        }
        let place = self.refcounts.allocate(1);
        let kept = table.offset.map(|offset| (offset, size as usize));
        let new = Table::Changed { length: size as usize, kept, words: table.words };
        self.changes.add_table(place, new);
        self.l1.push((table.index as u32 * 8, place | COPIED));
        match table.offset {
            Some(offset) => self.refcounts.release(offset, size).await,
            None => Ok(()),
        }
    }

    /// What has to follow: the L1 table, the reference counts, and the header of a disk of `size` bytes, which
    /// needs an L1 table of `l1_entries`.
    async fn complete(mut self, size: u64, l1_entries: u64) -> Result<Changes> {
        let (file, header) = (&self.chain.files()[0], &self.base.header);
        let (mut l1_offset, mut l1_size) = (header.l1_offset, u64::from(header.l1_size));
        if l1_entries > l1_size {
            (l1_offset, l1_size) = (self.enlarge_l1(l1_entries).await?, l1_entries);
        } else if !self.l1.is_empty() {
            self.changes.add_words(l1_offset, self.l1);
        }
        let (grew, counts) = (self.refcounts.grew(), self.refcounts);
        let (counts_offset, counts_clusters, end) = counts.complete(&mut self.changes).await?;
        if grew {
            self.changes.length = end;
        }
        if end > MAX_OFFSET {
            return Err(Error::TooLarge { size });
        }

        if self.changes.is_empty() && size == header.virtual_size {
            return Ok(self.changes);
        }
        let length = if header.version < 3 {
            field::REFCOUNT_TABLE_CLUSTERS + 4
        } else {
            field::AUTOCLEAR + 8
        };
        let old = file.read_exact(0, length).await?;
        let mut new = Vec::from(old.clone());
        let mut put = |at: usize, bytes: &[u8]| new[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::SIZE, &size.to_be_bytes());
        put(field::L1_SIZE, &(l1_size as u32).to_be_bytes());
        put(field::L1_OFFSET, &l1_offset.to_be_bytes());
        put(field::REFCOUNT_TABLE_OFFSET, &counts_offset.to_be_bytes());
        put(field::REFCOUNT_TABLE_CLUSTERS, &counts_clusters.to_be_bytes());
        if header.version >= 3 {
            put(field::AUTOCLEAR, &0u64.to_be_bytes());
        }
        if new != old {
            self.changes.add_table(0, Table::Whole(new));
        }
        self.changes.complete(file.len())
    }

    /// Makes room for more entries in the L1 table. Returns where it is now.
    async fn enlarge_l1(&mut self, entries: u64) -> Result<u64> {
        let header = &self.base.header;
        let (old, length) = (header.l1_offset, header.l1_bytes());
        let size = header.cluster_size();
        let kept = (length > 0).then_some((old, length as usize));
        let words = std::mem::take(&mut self.l1);
        // The rest of its last cluster is its own.
        if length > 0 && entries * 8 <= length.next_multiple_of(size) {
            let table = Table::Changed { length: entries as usize * 8, kept, words };
            self.changes.add_table(old, table);
            return Ok(old);
        }
        let clusters = (entries * 8).div_ceil(size);
        let place = self.refcounts.allocate(clusters);
        let table = Table::Changed { length: (clusters * size) as usize, kept, words };
        self.changes.add_table(place, table);
        if length > 0 {
            self.refcounts.release(old, length).await?;
        }
        Ok(place)
    }
}

/// The entry of a cluster that reads as zeros, and its bitmap. If it has a place, it keeps it.
fn zero_entry(header: &Header, kept: Option<u64>) -> (u64, u64) {
    let place = kept.map_or(0, |host| host | COPIED);
    match header.extended_l2 {
        true => (place, ALL_ZERO),
        // In version 2 it has no place, and what is nowhere in the first file is zeros.
        false if header.version < 3 => (0, 0),
        false => (place | ZERO, 0),
    }
}
