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
        let numbers = (0..self.ends.len()).filter(|&number| self.blob_count(number) > 0);
        numbers.map(|number| self.pack(number))
    }

    /// A pack, by its number, with its blobs in order of offset.
    pub(crate) fn pack(&self, number: usize) -> PackBlobs {
        let blobs = self.places(number).into_iter().map(|(_, blob)| blob).collect();
        PackBlobs { pack: self.loaded.packs[number], blobs }
    }

    /// How many blobs a pack has, by its number.
    pub(crate) fn blob_count(&self, number: usize) -> usize {
        self.numbers(number).len()
    }

    /// The blobs of one pack, by the pack's number, in order of offset; each with the number of its
    /// place. See [`super::Place`].
    pub(crate) fn places(&self, pack: usize) -> Vec<(usize, BlobEntry)> {
        let numbers = self.numbers(pack).iter();
        let mut places: Vec<_> =
            numbers.map(|&number| (number as usize, self.entry(number))).collect();
        places.sort_by_key(|(_, blob)| blob.offset);
        places
    }

    fn numbers(&self, pack: usize) -> &[u32] {
        let start = pack.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.order[start..self.ends[pack]]
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
