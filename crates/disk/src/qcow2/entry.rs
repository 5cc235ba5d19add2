//! An entry of an L2 table: where a cluster of the disk is.

use super::header::{Header, u64_at};

/// In entries of L1 and L2 tables: the cluster's reference count is exactly 1, so it may be overwritten.
pub(crate) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Version 3, without subclusters: the cluster reads as zeros.
pub(crate) const ZERO: u64 = 1;
/// The part of an entry that says where a table or a cluster is.
pub(crate) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// The unit in which the length of a compressed cluster is counted, in bytes.
const SECTOR: u64 = 512;

/// How many parts a cluster has with extended L2 entries.
pub(crate) const SUBCLUSTERS: u32 = 32;

/// The bitmap of a cluster of which all subclusters are stored.
pub(crate) const ALL_STORED: u64 = 0xffff_ffff;
/// The bitmap of a cluster that reads as zeros.
pub(crate) const ALL_ZERO: u64 = 0xffff_ffff << 32;

/// Where a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nowhere: the file below knows.
    Unallocated,
    /// It reads as zeros, whatever may be where it has its place.
    Zero { host: Option<u64>, copied: bool },
    /// In a cluster of the file.
    Stored { host: u64, copied: bool },
    /// Compressed; no more than `length` bytes from `host` on.
    Compressed { host: u64, length: u64 },
    /// With subclusters of different kinds. A bit of `stored` or of `zero` stands for one of them.
    Parts { host: Option<u64>, copied: bool, stored: u32, zero: u32 },
    /// Nothing that a program writes.
    Invalid,
}

impl Entry {
    /// The entry number `index` of an L2 table.
    pub fn of(header: &Header, table: &[u8], index: u64) -> Self {
        let at = (index * header.l2_entry_length()) as usize;
        let entry = u64_at(table, at);
        let bitmap = if header.extended_l2 { u64_at(table, at + 8) } else { 0 };
        Self::parse(header, entry, bitmap)
    }

    fn parse(header: &Header, entry: u64, bitmap: u64) -> Self {
        if entry & COMPRESSED != 0 {
            // So many bits are left of 62 for the place; those above are for the length.
            let bits = 62 - (header.cluster_bits - 8);
            let host = entry & ((1 << bits) - 1);
            let sectors = (entry & !(COPIED | COMPRESSED)) >> bits;
            return Self::Compressed { host, length: (sectors + 1) * SECTOR - host % SECTOR };
        }
        let host = entry & OFFSET;
        if host & (header.cluster_size() - 1) != 0 {
            return Self::Invalid;
        }
        let copied = entry & COPIED != 0;
        let place = (host != 0).then_some(host);
        if header.extended_l2 {
            let (stored, zero) = (bitmap as u32, (bitmap >> 32) as u32);
            return match (stored, zero, place) {
                _ if stored & zero != 0 => Self::Invalid,
                (0, 0, None) => Self::Unallocated,
                (0, u32::MAX, host) => Self::Zero { host, copied },
                (u32::MAX, 0, Some(host)) => Self::Stored { host, copied },
                (1.., _, None) => Self::Invalid,
                _ => Self::Parts { host: place, copied, stored, zero },
            };
        }
        match place {
            _ if entry & ZERO != 0 && header.version < 3 => Self::Invalid,
            host if entry & ZERO != 0 => Self::Zero { host, copied },
            Some(host) => Self::Stored { host, copied },
            None => Self::Unallocated,
        }
    }
}
