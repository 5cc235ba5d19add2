//! What the used blobs mean for each pack.

use crate::blob::{BlobHandle, BlobType};
use crate::error::{Error, Result};
use crate::index::{Index, Place};
use crate::pack;
use crate::prune::statistics::Statistics;
use crate::used::UsedBlobs;

/// What is in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Empty,
    /// Blobs of one type.
    Of(BlobType),
    /// Blobs of both types. Programs should not do that any more.
    Mixed,
}

/// What is in a pack, and what of it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) kind: Kind,
    /// Whether a blob in it is not compressed.
    pub(super) uncompressed: bool,
    pub(super) used_blobs: u32,
    pub(super) unused_blobs: u32,
    /// How many of the unused ones are only so because another copy is used.
    duplicates: u32,
    /// Bytes of used blobs, and of the header.
    pub(super) used_bytes: u64,
    pub(super) unused_bytes: u64,
}

/// All packs of an index.
pub(super) struct Tallies {
    /// One for each pack, by its number.
    pub(super) packs: Vec<Tally>,
    /// The places of used blobs that count, one for each blob.
    pub(super) chosen: Places,
}

/// A set of places: a bit for each.
pub(super) struct Places(Vec<u64>);

impl Tally {
    pub(super) const EMPTY: Self = Self {
        kind: Kind::Empty,
        uncompressed: false,
        used_blobs: 0,
        unused_blobs: 0,
        duplicates: 0,
        // What a pack without blobs would amount to.
        used_bytes: (crate::crypto::OVERHEAD + pack::TRAILER_LENGTH) as u64,
        unused_bytes: 0,
    };

    /// The size that the file must have.
    pub(super) fn file_size(&self) -> u64 {
        self.used_bytes + self.unused_bytes
    }

    /// Whether a needed blob is in it, for which it is the place that counts.
    pub(super) fn is_used(&self) -> bool {
        self.used_blobs > 0
    }

    fn holds(&mut self, place: &Place) {
        let blob_type = place.entry.handle.blob_type;
        self.kind = match self.kind {
            Kind::Empty => Kind::Of(blob_type),
            Kind::Of(same) if same == blob_type => self.kind,
            Kind::Of(_) | Kind::Mixed => Kind::Mixed,
        };
        self.uncompressed |= !place.entry.is_compressed();
        self.used_bytes += pack::entry_length(&place.entry) as u64;
    }

    fn use_it(&mut self, length: u64) {
        self.used_blobs += 1;
        self.used_bytes += length;
    }

    fn leave_it(&mut self, length: u64) {
        self.unused_blobs += 1;
        self.unused_bytes += length;
    }

    /// A copy that was left turns out to be the one that counts.
    fn take_up(&mut self, length: u64) {
        self.unused_blobs -= 1;
        self.duplicates -= 1;
        self.unused_bytes -= length;
        self.use_it(length);
    }
}

impl Places {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn insert(&mut self, place: &Place) {
        self.0[place.number / 64] |= 1 << (place.number % 64);
    }

    /// Takes a place out again.
    pub(super) fn remove(&mut self, place: &Place) {
        self.0[place.number / 64] &= !(1 << (place.number % 64));
    }

    /// Whether the place of this number is in the set.
    pub(super) fn contains(&self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 == 1
    }
}

impl Tallies {
    /// Counts. Of a used blob's copies one is chosen, so that as few packs as possible have to stay.
    ///
    /// # Errors
    /// [`Error::IndexIncomplete`] if a used blob is nowhere.
    pub(super) fn count(
        index: &Index,
        used: &UsedBlobs,
        statistics: &mut Statistics,
    ) -> Result<Self> {
        let places = index.loaded_count(BlobType::Data) + index.loaded_count(BlobType::Tree);
        let mut tallies =
            Self { packs: vec![Tally::EMPTY; index.pack_ids().len()], chosen: Places::new(places) };
        let mut missing = used.take_unlisted().pop();
        index.each_blob(|places| {
            missing = missing.or(tallies.first_count(places, used, statistics))
        });
        if let Some(blob) = missing {
            return Err(Error::IndexIncomplete { blob });
        }
        index.each_blob(|places| {
            if copies(places) > 1 && used.contains_number(places[0].number) {
                tallies.choose(places, statistics);
            }
        });
        Ok(tallies)
    }

    /// Counts a blob. Where there are several copies, all count as unused for now. Gives the blob if it is
    /// used, and nowhere.
    fn first_count(
        &mut self,
        places: &[Place],
        used: &UsedBlobs,
        statistics: &mut Statistics,
    ) -> Option<BlobHandle> {
        let is_used = used.contains_number(places[0].number);
        let copies = copies(places);
        for place in places {
            let length = u64::from(place.entry.length);
            let tally = &mut self.packs[place.pack];
            tally.holds(place);
            if !is_used || !place.is_possible() {
                tally.leave_it(length);
                statistics.unused.add(1, length);
            } else if copies == 1 {
                tally.use_it(length);
                self.chosen.insert(place);
                statistics.used.add(1, length);
            } else {
                tally.leave_it(length);
                tally.duplicates += 1;
                statistics.duplicate.add(1, length);
            }
        }
        (is_used && copies == 0).then_some(places[0].entry.handle)
    }

    /// Chooses one of several copies. The best is one in a pack that stays anyway; the next best is one
    /// in a pack of nothing but such copies: an earlier prune made it, and did not get to removing the
    /// originals.
    fn choose(&mut self, places: &[Place], statistics: &mut Statistics) {
        let rank = |place: &&Place| {
            let tally = &self.packs[place.pack];
            match tally.is_used() {
                true => 2,
                false => u8::from(tally.duplicates == tally.unused_blobs),
            }
        };
        let possible = places.iter().filter(|place| place.is_possible());
        let Some(best) = possible.max_by_key(rank) else { return };
        let length = u64::from(best.entry.length);
        self.packs[best.pack].take_up(length);
        self.chosen.insert(best);
        statistics.used.add(1, length);
        statistics.duplicate.blobs -= 1;
        statistics.duplicate.bytes -= length;
    }
}

/// In how many places a blob can be.
pub(super) fn copies(places: &[Place]) -> usize {
    places.iter().filter(|place| place.is_possible()).count()
}
