//! The loaded index, pack by pack.

use super::file::PackBlobs;
use super::loaded::Loaded;
use super::row::Row;
use crate::blob::{BlobEntry, BlobType};

/// The loaded packs and the blobs in each; made by [`super::Index::packs`]. It takes four more bytes a
/// blob while it is there.
pub struct Packs<'i> {
    loaded: &'i Loaded,
    /// The blobs of each pack end here in `order`, and those of the next one start.
    ends: Vec<usize>,
    /// Numbers of rows: those of data blobs first, then those of tree blobs.
    order: Vec<u32>,
}

impl<'i> Packs<'i> {
    pub(super) fn new(loaded: &'i Loaded) -> Self {
        let rows = || loaded.data.rows().iter().chain(loaded.tree.rows());
        let mut ends = vec![0; loaded.packs.len()];
        for row in rows() {
            ends[row.pack() as usize] += 1;
        }
        let mut total = 0;
        for end in &mut ends {
            // For now, where the pack's blobs start: filling in moves it on to their end.
            total += std::mem::replace(end, total);
        }
        let mut order = vec![0; total];
        for (number, row) in (0..).zip(rows()) {
            let next = &mut ends[row.pack() as usize];
            order[*next] = number;
            *next += 1;
        }
        Self { loaded, ends, order }
    }

    /// The packs, in no particular order, with their blobs in order of offset. Packs without blobs are
    /// left out.
    pub fn iter(&self) -> impl Iterator<Item = PackBlobs> + '_ {
        let starts = std::iter::once(&0).chain(&self.ends);
        let ranges = starts.zip(&self.ends).map(|(&start, &end)| &self.order[start..end]);
        let packs = self.loaded.packs.iter().zip(ranges).filter(|(_, numbers)| !numbers.is_empty());
        packs.map(|(&pack, numbers)| {
            let mut blobs: Vec<_> = numbers.iter().map(|&number| self.entry(number)).collect();
            blobs.sort_by_key(|blob| blob.offset);
            PackBlobs { pack, blobs }
        })
    }

    fn entry(&self, number: u32) -> BlobEntry {
        let data = self.loaded.data.rows();
        let entry = |row: &Row, blob_type| row.entry(blob_type, &self.loaded.large);
        match (number as usize).checked_sub(data.len()) {
            None => entry(&data[number as usize], BlobType::Data),
            Some(number) => entry(&self.loaded.tree.rows()[number], BlobType::Tree),
        }
    }
}

impl std::fmt::Debug for Packs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packs({})", self.ends.len())
    }
}
