//! What a prune is going to do, in numbers.

/// What a prune found and is going to do, counted as restic does. Bytes are those of sealed blobs, as far
/// as packs are known; of packs that no index lists, the whole file counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Blobs that snapshots need, one copy of each.
    pub used: Amount,
    /// More copies of such blobs.
    pub duplicate: Amount,
    /// Blobs that nobody needs.
    pub unused: Amount,
    /// Bytes of packs that no index lists.
    pub unreferenced_bytes: u64,
    /// Blobs in packs that are copied out of, with headers.
    pub repack: Amount,
    /// Those of them that are left behind.
    pub repack_removed: Amount,
    /// Blobs in packs that are removed as a whole.
    pub removed: Amount,
    /// Bytes of packs that hold uncompressed blobs and are not copied out of. None in version 1, which
    /// knows no compression.
    pub uncompressed_bytes: u64,
    /// Packs all of whose blobs are used.
    pub packs_used: u64,
    /// Packs some of whose blobs are used.
    pub packs_partly_used: u64,
    /// Packs none of whose blobs are used.
    pub packs_unused: u64,
    /// Packs that no index lists.
    pub packs_unreferenced: u64,
    /// Packs that stay.
    pub packs_kept: u64,
    /// Packs that are copied out of and then removed.
    pub packs_repacked: u64,
    /// Packs that are removed.
    pub packs_removed: u64,
    /// Packs that the index lists, that are missing, and that nobody needs.
    pub packs_missing: u64,
}

/// Blobs, and the bytes that they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// How many bytes they take.
    pub bytes: u64,
}

impl Amount {
    /// That much more.
    pub(super) fn add(&mut self, blobs: u64, bytes: u64) {
        self.blobs += blobs;
        self.bytes += bytes;
    }

    fn plus(self, other: Self) -> Self {
        Self { blobs: self.blobs + other.blobs, bytes: self.bytes + other.bytes }
    }

    /// What is counted twice somewhere makes a number wrong, but no panic.
    fn minus(self, other: Self) -> Self {
        Self {
            blobs: self.blobs.saturating_sub(other.blobs),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Statistics {
    /// Everything that is there.
    pub fn total(&self) -> Amount {
        let unreferenced = Amount { blobs: 0, bytes: self.unreferenced_bytes };
        self.used.plus(self.duplicate).plus(self.unused).plus(unreferenced)
    }

    /// Everything that goes.
    pub fn total_removed(&self) -> Amount {
        let unreferenced = Amount { blobs: 0, bytes: self.unreferenced_bytes };
        self.removed.plus(self.repack_removed).plus(unreferenced)
    }

    /// What is there afterwards.
    pub fn remaining(&self) -> Amount {
        self.total().minus(self.total_removed())
    }

    /// What is there afterwards although nobody needs it, in bytes.
    pub fn remaining_unused(&self) -> u64 {
        let unused = self.duplicate.plus(self.unused);
        unused.minus(self.removed).minus(self.repack_removed).bytes
    }
}
