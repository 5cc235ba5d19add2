//! What depends on nothing but the disk's size: where in the new file the tables are.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::qcow2::header::MAGIC;

/// The clusters of the new file, in bytes: what QEMU makes by itself.
pub(crate) const CLUSTER: u64 = 1 << CLUSTER_BITS;
const CLUSTER_BITS: u32 = 16;

/// How many clusters one cluster of an L2 table, of the L1 table or of the refcount table stands for.
pub(super) const ENTRIES: u64 = CLUSTER / 8;

/// How many bytes of the disk an L2 table stands for.
pub(super) const REACH: u64 = ENTRIES * CLUSTER;

/// How many reference counts are in a refcount block: two bytes each.
pub(super) const COUNTS: u64 = CLUSTER / 2;
/// The width of a reference count in bits, as the logarithm to base 2.
const REFCOUNT_ORDER: u32 = 4;

/// The length of the header in bytes.
const HEADER_LENGTH: u32 = 104;

/// The largest L1 table, in bytes: QEMU's limit.
const MAX_L1_BYTES: u64 = 32 << 20;

/// Where in the new file the tables are that the header names. All numbers are in clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub size: u64,
    /// How many L2 tables there can be.
    pub l1_entries: u64,
    /// The length of the refcount table, which follows the header.
    refcount_table: u64,
    /// The length of the L1 table.
    l1: u64,
}

impl Shape {
    /// The shape of a disk of this size in bytes.
    pub fn of(size: u64) -> Result<Self> {
        let l1_entries = size.div_ceil(REACH);
        if l1_entries * 8 > MAX_L1_BYTES {
            return Err(Error::TooLarge { size });
        }
        let l1 = (l1_entries * 8).div_ceil(CLUSTER);
        // The refcount table has room for a disk of which every cluster is in use.
        let most = 1 + l1 + l1_entries + size.div_ceil(CLUSTER);
        let mut refcount_table = 1;
        loop {
            let blocks = refcount_blocks(most + refcount_table);
            let needed = blocks.div_ceil(ENTRIES).max(1);
            if needed <= refcount_table {
                break;
            }
            refcount_table = needed;
        }
        Ok(Self { size, l1_entries, refcount_table, l1 })
    }

    /// The header's cluster.
    pub fn header(&self) -> Bytes {
        let mut header = Vec::with_capacity(CLUSTER as usize);
        header.extend_from_slice(&MAGIC);
        put32(&mut header, 3); // the version
        put64(&mut header, 0); // no name of a backing file
        put32(&mut header, 0);
        put32(&mut header, CLUSTER_BITS);
        put64(&mut header, self.size);
        put32(&mut header, 0); // not encrypted
        put32(&mut header, self.l1_entries as u32);
        put64(&mut header, self.l1_start() * CLUSTER);
        put64(&mut header, CLUSTER); // the refcount table
        put32(&mut header, self.refcount_table as u32);
        put32(&mut header, 0); // no snapshots
        put64(&mut header, 0);
        put64(&mut header, 0); // no incompatible, compatible, autoclear features
        put64(&mut header, 0);
        put64(&mut header, 0);
        put32(&mut header, REFCOUNT_ORDER);
        put32(&mut header, HEADER_LENGTH);
        // Behind it are zeros: no extensions.
        header.resize(CLUSTER as usize, 0);
        header.into()
    }

    /// Where the refcount table ends and the L1 table begins.
    pub fn l1_start(&self) -> u64 {
        1 + self.refcount_table
    }

    /// Where the L1 table ends and the refcount blocks begin.
    pub fn l1_end(&self) -> u64 {
        self.l1_start() + self.l1
    }
}

/// How many refcount blocks count so many clusters and themselves.
pub(super) fn refcount_blocks(others: u64) -> u64 {
    let mut blocks = 0;
    while blocks * COUNTS < others + blocks {
        blocks = (others + blocks).div_ceil(COUNTS);
    }
    blocks
}

fn put32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_be_bytes());
}

fn put64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_in_the_refcount_table_for_a_full_disk() {
        for size in [0, 1, CLUSTER, REACH, REACH + 1, 1 << 40, 1 << 44, (1 << 44) + REACH, 1 << 51]
        {
            let shape = Shape::of(size).unwrap();
            let others = shape.l1_end() + shape.l1_entries + size.div_ceil(CLUSTER);
            let blocks = refcount_blocks(others);
            assert!(blocks <= shape.refcount_table * ENTRIES, "{size}");
            assert!(blocks * COUNTS >= others + blocks, "{size}");
            assert_eq!(shape.header().len() as u64, CLUSTER);
        }
    }

    #[test]
    fn a_disk_that_is_too_large_is_refused() {
        for size in [(1 << 51) + 1, u64::MAX] {
            assert!(matches!(Shape::of(size), Err(Error::TooLarge { .. })));
        }
    }
}
