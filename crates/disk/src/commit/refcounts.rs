//! How often each cluster of a file is used.

use std::collections::BTreeMap;

use crate::chain::Chain;
use crate::error::{Error, Feature, Result};
use crate::qcow2::header::{Header, u64_at};

use super::changes::{Changes, Table};

/// In the refcount table: where a refcount block is. The bits below are reserved.
const OFFSET: u64 = !0x1ff;

/// The size of the largest refcount table in bytes: QEMU's limit.
const MAX_TABLE_BYTES: u64 = 8 << 20;

/// The reference counts of the chain's first file, as far as they are needed, and which clusters are new.
pub(super) struct Refcounts<'a> {
    chain: &'a Chain,
    header: &'a Header,
    /// Where each refcount block is; 0 where there is none.
    table: Vec<u64>,
    /// The blocks that were needed. All of them are other than before.
    blocks: BTreeMap<u64, Vec<u8>>,
    /// The first new cluster, and the one behind the last.
    first_new: u64,
    next: u64,
}

impl<'a> Refcounts<'a> {
    /// Reads the refcount table.
    pub async fn of(chain: &'a Chain, header: &'a Header) -> Result<Self> {
        let file = &chain.files()[0];
        let damaged = |what| Err(Error::damaged(0, what));
        if !header.refcount_table_offset.is_multiple_of(header.cluster_size()) {
            return damaged("its refcount table is not at the beginning of a cluster");
        }
        let length = header.refcount_table_bytes() as usize;
        let stored = file.read_exact(header.refcount_table_offset, length).await?;
        let table: Vec<_> = stored.chunks_exact(8).map(|entry| u64_at(entry, 0) & OFFSET).collect();
        let fits = |at: u64| {
            let aligned = at.is_multiple_of(header.cluster_size());
            aligned && at.checked_add(header.cluster_size()).is_some_and(|end| end <= file.len())
        };
        if !table.iter().all(|at| *at == 0 || fits(*at)) {
            return damaged("a refcount block is not in the file");
        }
        let mut offsets: Vec<_> = table.iter().filter(|at| **at != 0).collect();
        offsets.sort_unstable();
        if offsets.windows(2).any(|pair| pair[0] == pair[1]) {
            return damaged("two entries of its refcount table are the same");
        }
        let end = file.len().div_ceil(header.cluster_size());
        let mut counts =
            Self { chain, header, table, blocks: BTreeMap::new(), first_new: end, next: end };
        let free = counts.first_free(end).await?;
        (counts.first_new, counts.next) = (free, free);
        Ok(counts)
    }

    /// The first cluster from number `end` on behind which none is counted. A file may have clusters behind its
    /// end: they were taken, and nothing was written to them yet.
    async fn first_free(&self, end: u64) -> Result<u64> {
        let (counts, size) = (self.counts(), self.header.cluster_size() as usize);
        for number in (end / counts..self.table.len() as u64).rev() {
            let offset = self.table[number as usize];
            if offset == 0 {
                continue;
            }
            let block = self.chain.files()[0].read_exact(offset, size).await?;
            let used =
                (0..counts).rev().find(|i| count(&block, self.header.refcount_order, *i) != 0);
            if let Some(used) = used {
                return Ok((number * counts + used + 1).max(end));
            }
        }
        Ok(end)
    }

    /// Where the refcount blocks are.
    pub fn block_offsets(&self) -> impl Iterator<Item = u64> {
        self.table.iter().copied().filter(|at| *at != 0)
    }

    /// New clusters at the end of the file. Returns the offset of the first, in bytes.
    pub fn allocate(&mut self, clusters: u64) -> u64 {
        let first = self.next;
        self.next += clusters;
        first * self.header.cluster_size()
    }

    /// Whether there are new clusters.
    pub fn grew(&self) -> bool {
        self.next > self.first_new
    }

    /// One that used this part of the file does so no more.
    pub async fn release(&mut self, start: u64, length: u64) -> Result<()> {
        let size = self.header.cluster_size();
        for cluster in start / size..start.saturating_add(length).div_ceil(size) {
            let (number, index) = (cluster / self.counts(), cluster % self.counts());
            let offset = self.table.get(number as usize).copied().unwrap_or(0);
            let order = self.header.refcount_order;
            let counted = match offset {
                0 => None,
                offset => {
                    let block = self.block(number, offset).await?;
                    let count = count(block, order, index);
                    count.checked_sub(1).map(|count| set(block, order, index, count))
                }
            };
            if counted.is_none() {
                return Err(Error::damaged(0, "a cluster is in use that is counted as free"));
            }
        }
        Ok(())
    }

    /// Counts the new clusters, and notes all that is other. Returns where the refcount table is now, its length
    /// in clusters, and where the file ends if there are new clusters.
    pub async fn complete(mut self, changes: &mut Changes) -> Result<(u64, u32, u64)> {
        let size = self.header.cluster_size();
        let old = (self.header.refcount_table_offset, self.header.refcount_table_clusters);
        let mut place = old;
        let mut added = Vec::new();
        if self.grew() {
            // Blocks and table are in new clusters themselves, so there may be need for more of them.
            let mut number = self.first_new / self.counts();
            while number <= (self.next - 1) / self.counts() {
                if number >= self.table.len() as u64 {
                    place = self.enlarge_table().await?;
                    continue;
                }
                if self.table[number as usize] == 0 {
                    self.table[number as usize] = self.allocate(1);
                    self.blocks.insert(number, vec![0; size as usize]);
                    added.push(number);
                }
                number += 1;
            }
            for cluster in self.first_new..self.next {
                let (number, index) = (cluster / self.counts(), cluster % self.counts());
                let (order, offset) = (self.header.refcount_order, self.table[number as usize]);
                set(self.block(number, offset).await?, order, index, 1);
            }
        }

        let entry = |number: u64| (number as u32 * 8, self.table[number as usize]);
        if place != old {
            let bytes = self.table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            changes.add_table(place.0, Table::Whole(bytes));
        } else if !added.is_empty() {
            changes.add_words(place.0, added.into_iter().map(entry).collect());
        }
        for (number, block) in self.blocks {
            changes.add_table(self.table[number as usize], Table::Whole(block));
        }
        Ok((place.0, place.1, self.next * size))
    }

    /// Makes room in the refcount table, which moves it. Returns where it is, and its length in clusters.
    async fn enlarge_table(&mut self) -> Result<(u64, u32)> {
        let size = self.header.cluster_size();
        let (old, length) = (self.header.refcount_table_offset, self.header.refcount_table_bytes());
        if self.table.len() as u64 * 8 == length {
            self.release(old, length).await?;
        }
        // With room for the blocks that count the new table and themselves, and for the next commits.
        let blocks = (self.next / self.counts() + 1) * 3 / 2 + 8;
        let clusters = (blocks * 8).div_ceil(size);
        if clusters * size > MAX_TABLE_BYTES {
            return Err(Error::Unsupported { file: 0, what: Feature::LargeTables });
        }
        self.table.resize((clusters * size / 8) as usize, 0);
        Ok((self.allocate(clusters), clusters as u32))
    }

    /// A block, to be changed.
    async fn block(&mut self, number: u64, offset: u64) -> Result<&mut Vec<u8>> {
        use std::collections::btree_map::Entry;
        match self.blocks.entry(number) {
            Entry::Occupied(block) => Ok(block.into_mut()),
            Entry::Vacant(vacant) => {
                let size = self.header.cluster_size() as usize;
                let block = self.chain.files()[0].read_exact(offset, size).await?;
                Ok(vacant.insert(block.into()))
            }
        }
    }

    /// How many counts are in a block.
    fn counts(&self) -> u64 {
        (self.header.cluster_size() * 8) >> self.header.refcount_order
    }
}

/// The count number `index` of a block with counts of 2^`order` bits.
fn count(block: &[u8], order: u32, index: u64) -> u64 {
    let width = 1u64 << order;
    if width < 8 {
        // The first one is in the lowest bits.
        let bit = index * width;
        return u64::from(block[(bit / 8) as usize] >> (bit % 8)) & ((1 << width) - 1);
    }
    let length = (width / 8) as usize;
    let bytes = &block[index as usize * length..][..length];
    bytes.iter().fold(0, |count, byte| count << 8 | u64::from(*byte))
}

/// Changes it. The count fits.
fn set(block: &mut [u8], order: u32, index: u64, count: u64) {
    let width = 1u64 << order;
    if width < 8 {
        let bit = index * width;
        let mask = ((1u16 << width) - 1) << (bit % 8);
        let byte = &mut block[(bit / 8) as usize];
        *byte = *byte & !(mask as u8) | (count << (bit % 8)) as u8;
        return;
    }
    let length = (width / 8) as usize;
    let bytes = &mut block[index as usize * length..][..length];
    bytes.copy_from_slice(&count.to_be_bytes()[8 - length..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_count_that_was_set_is_there_and_no_other_changed(
            mut block in prop::collection::vec(any::<u8>(), 64),
            order in 0..=6u32,
            index in any::<prop::sample::Index>(),
            value in any::<u64>(),
        ) {
            let counts = (64 * 8) >> order;
            let index = index.index(counts) as u64;
            let value = if order == 6 { value } else { value & ((1 << (1 << order)) - 1) };
            let mut expected: Vec<_> = (0..counts as u64).map(|i| count(&block, order, i)).collect();
            expected[index as usize] = value;
            set(&mut block, order, index, value);
            let found: Vec<_> = (0..counts as u64).map(|i| count(&block, order, i)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn counts_are_where_the_format_has_them() {
        let block = [0b1010_0001, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde];
        assert_eq!([0, 5, 7].map(|i| count(&block, 0, i)), [1, 1, 1]);
        assert_eq!([0, 1, 2, 3].map(|i| count(&block, 1, i)), [1, 0, 2, 2]);
        assert_eq!([2, 3].map(|i| count(&block, 2, i)), [2, 1]);
        assert_eq!(count(&block, 3, 1), 0x12);
        assert_eq!(count(&block, 4, 1), 0x3456);
        assert_eq!(count(&block, 5, 1), 0x789a_bcde);
    }
}
