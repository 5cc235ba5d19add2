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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qcow2::header::Compression;

    fn header(version: u32, extended_l2: bool) -> Header {
        Header {
            version,
            cluster_bits: 16,
            virtual_size: 0,
            l1_size: 0,
            l1_offset: 0,
            refcount_table_offset: 0,
            refcount_table_clusters: 0,
            snapshots: 0,
            refcount_order: 4,
            dirty: false,
            extended_l2,
            compression: Compression::Zlib,
        }
    }

    #[test]
    fn an_entry_says_where_a_cluster_is() {
        let parse = |entry| Entry::parse(&header(3, false), entry, 0);
        let host = 5 << 16;
        assert_eq!(parse(0), Entry::Unallocated);
        assert_eq!(parse(host), Entry::Stored { host, copied: false });
        assert_eq!(parse(host | COPIED), Entry::Stored { host, copied: true });
        assert_eq!(parse(ZERO), Entry::Zero { host: None, copied: false });
        assert_eq!(parse(host | COPIED | ZERO), Entry::Zero { host: Some(host), copied: true });
        assert_eq!(parse(host + 512), Entry::Invalid);
        // Two sectors more than the one it begins in.
        let packed = COMPRESSED | 2 << 54 | (host + 100);
        assert_eq!(parse(packed), Entry::Compressed { host: host + 100, length: 1536 - 100 });
        let older = Entry::parse(&header(2, false), host | ZERO, 0);
        assert_eq!(older, Entry::Invalid, "version 2 has no zero clusters");
    }

    #[test]
    fn an_extended_entry_says_it_of_every_part() {
        let parse = |entry, bitmap| Entry::parse(&header(3, true), entry, bitmap);
        let host = 5 << 16;
        assert_eq!(parse(0, 0), Entry::Unallocated);
        assert_eq!(parse(0, ALL_ZERO), Entry::Zero { host: None, copied: false });
        assert_eq!(parse(host, ALL_STORED), Entry::Stored { host, copied: false });
        let parts = Entry::Parts { host: Some(host), copied: true, stored: 1, zero: 2 };
        assert_eq!(parse(host | COPIED, 1 | 2 << 32), parts);
        assert_eq!(parse(host, 1 | 1 << 32), Entry::Invalid, "both at once");
        assert_eq!(parse(0, 1), Entry::Invalid, "stored nowhere");
    }
}
