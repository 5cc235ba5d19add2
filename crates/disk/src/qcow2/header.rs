//! The header of a qcow2 file. Everything in it is big endian; the names and places are those of QEMU's
//! `docs/interop/qcow2.txt`.

use crate::error::{Error, Feature, Result};

/// `QFI\xfb`: the first bytes of a qcow2 file.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// As much of a file as is needed to read its header: all fields that are known here, and a few more.
pub(crate) const READ_LENGTH: usize = 512;

/// The length of a header of version 2, in bytes.
const V2_LENGTH: u32 = 72;
/// The shortest header of version 3, in bytes.
const V3_LENGTH: u32 = 104;

/// The size of the largest L1 table in bytes, and of the largest refcount table: QEMU's limits.
const MAX_L1_BYTES: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;

/// Where the fields are that a commit changes.
pub(crate) mod field {
    /// The virtual size, 8 bytes.
    pub const SIZE: usize = 24;
    /// The entries of the L1 table, 4 bytes.
    pub const L1_SIZE: usize = 36;
    /// Where the L1 table is, 8 bytes.
    pub const L1_OFFSET: usize = 40;
    /// Where the refcount table is, 8 bytes.
    pub const REFCOUNT_TABLE_OFFSET: usize = 48;
    /// The refcount table's length in clusters, 4 bytes.
    pub const REFCOUNT_TABLE_CLUSTERS: usize = 56;
    /// The features that end when somebody writes who does not know them, 8 bytes; version 3 only.
    pub const AUTOCLEAR: usize = 88;
}

/// Incompatible features, as bits.
mod incompatible {
    pub const DIRTY: u64 = 1;
    pub const CORRUPT: u64 = 1 << 1;
    pub const EXTERNAL_DATA: u64 = 1 << 2;
    pub const COMPRESSION_TYPE: u64 = 1 << 3;
    pub const EXTENDED_L2: u64 = 1 << 4;
}

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Zlib,
    Zstd,
}

/// What the header says, as far as it matters here. The name of a backing file does not.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub version: u32,
    pub cluster_bits: u32,
    /// The disk's size in bytes.
    pub virtual_size: u64,
    /// In entries.
    pub l1_size: u32,
    pub l1_offset: u64,
    pub refcount_table_offset: u64,
    pub refcount_table_clusters: u32,
    /// How many internal snapshots there are.
    pub snapshots: u32,
    /// The width of a reference count in bits, as the logarithm to base 2.
    pub refcount_order: u32,
    /// Whether the reference counts may be wrong.
    pub dirty: bool,
    pub extended_l2: bool,
    pub compression: Compression,
}

impl Header {
    /// Reads the header of the chain's file number `file`, `file_length` bytes long, which begins with
    /// `bytes`: [`READ_LENGTH`] of them, if it has so many.
    pub fn parse(file: usize, bytes: &[u8], file_length: u64) -> Result<Self> {
        let unsupported = |what| Err(Error::Unsupported { file, what });
        let damaged = |what: &str| Err(Error::damaged(file, what));
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::NotQcow2 { file });
        }
        if bytes.len() < V2_LENGTH as usize {
            return damaged("the header is cut off");
        }
        let version = u32_at(bytes, 4);
        if !(2..=3).contains(&version) {
            return unsupported(Feature::Version(version));
        }
        if version == 3 && bytes.len() < V3_LENGTH as usize {
            return damaged("the header is cut off");
        }
        let (incompatible, refcount_order, length) = match version {
            2 => (0, 4, V2_LENGTH),
            _ => (u64_at(bytes, 72), u32_at(bytes, 96), u32_at(bytes, 100)),
        };
        let known = incompatible::DIRTY
            | incompatible::CORRUPT
            | incompatible::EXTERNAL_DATA
            | incompatible::COMPRESSION_TYPE
            | incompatible::EXTENDED_L2;
        if incompatible & !known != 0 {
            return unsupported(Feature::IncompatibleFeatures(incompatible & !known));
        }
        if incompatible & incompatible::CORRUPT != 0 {
            return unsupported(Feature::MarkedCorrupt);
        }
        if incompatible & incompatible::EXTERNAL_DATA != 0 {
            return unsupported(Feature::ExternalDataFile);
        }
        if u32_at(bytes, 32) != 0 {
            return unsupported(Feature::Encryption);
        }
        let cluster_bits = u32_at(bytes, 20);
        if !(9..=21).contains(&cluster_bits) {
            return unsupported(Feature::ClusterBits(cluster_bits));
        }
        let extended_l2 = incompatible & incompatible::EXTENDED_L2 != 0;
        if extended_l2 && cluster_bits < 14 {
            return damaged("its clusters are too small for subclusters");
        }
        if refcount_order > 6 {
            return unsupported(Feature::RefcountOrder(refcount_order));
        }
        if version == 3 && (length < V3_LENGTH || u64::from(length) > 1 << cluster_bits) {
            return damaged("the length of the header is impossible");
        }
        let code = match bytes.get(104) {
            Some(&code) if length > V3_LENGTH => code,
            _ => 0,
        };
        let compression = match (code, incompatible & incompatible::COMPRESSION_TYPE != 0) {
            (0, _) => Compression::Zlib,
            (1, true) => Compression::Zstd,
            (1, false) => {
                return damaged("it has a compression type, but does not say that it has");
            }
            _ => return unsupported(Feature::CompressionType(code)),
        };

        let header = Self {
            version,
            cluster_bits,
            virtual_size: u64_at(bytes, field::SIZE),
            l1_size: u32_at(bytes, field::L1_SIZE),
            l1_offset: u64_at(bytes, field::L1_OFFSET),
            refcount_table_offset: u64_at(bytes, field::REFCOUNT_TABLE_OFFSET),
            refcount_table_clusters: u32_at(bytes, field::REFCOUNT_TABLE_CLUSTERS),
            snapshots: u32_at(bytes, 60),
            refcount_order,
            dirty: incompatible & incompatible::DIRTY != 0,
            extended_l2,
            compression,
        };
        let (l1, refcounts) = (header.l1_bytes(), header.refcount_table_bytes());
        if l1 > MAX_L1_BYTES || refcounts > MAX_REFCOUNT_TABLE_BYTES {
            return unsupported(Feature::LargeTables);
        }
        if u64::from(header.l1_size) < header.l1_entries_for(header.virtual_size) {
            return damaged("its L1 table is too small for its size");
        }
        let fits = |offset: u64, length: u64| {
            let aligned = offset & (header.cluster_size() - 1) == 0;
            aligned && offset.checked_add(length).is_some_and(|end| end <= file_length)
        };
        if l1 != 0 && !fits(header.l1_offset, l1) {
            return damaged("its L1 table is not in the file");
        }
        Ok(header)
    }

    /// In bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The length of an entry of an L2 table, in bytes.
    pub fn l2_entry_length(&self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// How many clusters an L2 table has entries for.
    pub fn l2_entries(&self) -> u64 {
        self.cluster_size() / self.l2_entry_length()
    }

    /// How many bytes of the disk an entry of the L1 table stands for.
    pub fn l1_reach(&self) -> u64 {
        self.l2_entries() << self.cluster_bits
    }

    /// How many entries the L1 table of a disk of this size needs.
    pub fn l1_entries_for(&self, virtual_size: u64) -> u64 {
        virtual_size.div_ceil(self.l1_reach())
    }

    /// The L1 table's length in bytes.
    pub fn l1_bytes(&self) -> u64 {
        u64::from(self.l1_size) * 8
    }

    /// The refcount table's length in bytes.
    pub fn refcount_table_bytes(&self) -> u64 {
        u64::from(self.refcount_table_clusters) << self.cluster_bits
    }
}

/// A number out of a header or table that is known to be long enough.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

/// A number out of a header or table that is known to be long enough.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(number)
}
