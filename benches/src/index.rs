//! Indexes as large as one likes, always the same.

use restic_repo::index::{IndexFile, PackBlobs};
use restic_repo::{BlobEntry, BlobHandle, BlobType, Id};

/// The shape of a made-up index.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many index files.
    pub files: u32,
    /// How many packs in each.
    pub packs: u32,
    /// How many blobs in each pack. Every eighth pack has trees.
    pub blobs: u32,
}

impl Shape {
    /// 50,000 blobs a file, as restic writes them, in packs of this many blobs.
    pub fn of_full_files(files: u32, blobs: u32) -> Self {
        Self { files, packs: 50_000 / blobs, blobs }
    }

    /// How many blobs there are in all.
    pub fn blobs(&self) -> usize {
        self.files as usize * self.packs as usize * self.blobs as usize
    }

    /// One of the files.
    pub fn file(&self, file: u32) -> IndexFile {
        let packs = file * self.packs..(file + 1) * self.packs;
        IndexFile { packs: packs.map(|pack| self.pack(pack)).collect() }
    }

    /// Every blob there is, in the order of the files.
    pub fn handles(&self) -> impl Iterator<Item = BlobHandle> + '_ {
        let packs = 0..self.files * self.packs;
        packs.flat_map(move |pack| (0..self.blobs).map(move |blob| self.handle(pack, blob)))
    }

    fn pack(&self, pack: u32) -> PackBlobs {
        let mut offset = 0;
        let blobs = (0..self.blobs).map(|blob| {
            let handle = self.handle(pack, blob);
            // Packs have some 16 MiB whatever the number of their blobs, and zstd halves them.
            let uncompressed_length =
                ((u64::from(word(&handle.id)) * (64 << 20) / u64::from(self.blobs)) >> 32) as u32
                    + 100;
            let length = uncompressed_length / 2 + 32;
            let entry = BlobEntry { handle, offset, length, uncompressed_length };
            offset += length;
            entry
        });
        PackBlobs { blobs: blobs.collect(), pack: id(u64::from(pack) << 32 | u64::from(u32::MAX)) }
    }

    fn handle(&self, pack: u32, blob: u32) -> BlobHandle {
        let blob_type = if pack % 8 == 7 { BlobType::Tree } else { BlobType::Data };
        BlobHandle { blob_type, id: id(u64::from(pack) << 32 | u64::from(blob)) }
    }
}

/// An id that stands for this number and looks like a hash.
pub fn id(number: u64) -> Id {
    let mut bytes = [0; 32];
    for (lane, chunk) in (0u64..).zip(bytes.chunks_exact_mut(8)) {
        // SplitMix64.
        let mut mixed = (number * 4 + lane).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
    }
    Id::from_bytes(bytes)
}

fn word(id: &Id) -> u32 {
    let [.., a, b, c, d] = *id.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}
