//! The packs that wait for their index file.

use std::collections::VecDeque;
use std::iter;
use std::time::{Duration, Instant};

use super::file::{FULL, IndexFile, PackBlobs};
use crate::blob::BlobEntry;

/// A pack does not wait longer for an index file that fills up slowly: restic's limit.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

/// Stored packs, oldest first.
#[derive(Default)]
pub(super) struct Unwritten {
    packs: VecDeque<(Instant, PackBlobs)>,
    blobs: usize,
}

impl Unwritten {
    pub(super) fn add(&mut self, pack: PackBlobs, now: Instant) {
        self.blobs += pack.blobs.len();
        self.packs.push_back((now, pack));
    }

    /// A file, if there is enough for a full one or a pack has waited too long.
    pub(super) fn take_full(&mut self, now: Instant) -> Option<IndexFile> {
        let (oldest, _) = self.packs.front()?;
        let due = self.blobs >= FULL || now.saturating_duration_since(*oldest) >= LONGEST_WAIT;
        if due { self.take() } else { None }
    }

    /// A file, if there is anything left for one.
    pub(super) fn take(&mut self) -> Option<IndexFile> {
        let mut packs = iter::from_fn(|| self.packs.pop_front().map(|(_, pack)| pack));
        let file = IndexFile::fill(&mut packs)?;
        self.blobs -= file.blob_count();
        Some(file)
    }

    /// Bytes in use.
    pub(super) fn memory_usage(&self) -> usize {
        self.packs.capacity() * size_of::<(Instant, PackBlobs)>()
            + self.blobs * size_of::<BlobEntry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobHandle;
    use crate::id::Id;

    fn pack(number: u32, blobs: u32) -> PackBlobs {
        let blob = |n: u32| BlobEntry {
            handle: BlobHandle::data(Id::of(&n.to_le_bytes())),
            offset: n * 50,
            length: 50,
            uncompressed_length: 0,
        };
        PackBlobs { pack: Id::of(&number.to_be_bytes()), blobs: (0..blobs).map(blob).collect() }
    }

    #[test]
    fn a_file_is_written_once_it_is_full_and_packs_stay_whole() {
        let now = Instant::now();
        let mut unwritten = Unwritten::default();
        for number in 0..4 {
            unwritten.add(pack(number, 15_000), now);
            let file = unwritten.take_full(now);
            assert_eq!(file.is_some(), number == 3);
            if let Some(file) = file {
                assert_eq!(file.blob_count(), 60_000);
            }
        }
        assert_eq!(unwritten.take(), None);
    }

    #[test]
    fn an_old_pack_is_written_and_takes_the_younger_ones_with_it() {
        let now = Instant::now();
        let mut unwritten = Unwritten::default();
        unwritten.add(pack(0, 3), now);
        unwritten.add(pack(1, 3), now + Duration::from_secs(599));
        assert_eq!(unwritten.take_full(now + Duration::from_secs(599)), None);
        let file = unwritten.take_full(now + Duration::from_secs(600)).unwrap();
        assert_eq!(file.packs, [pack(0, 3), pack(1, 3)]);
        assert_eq!(unwritten.take_full(now + Duration::from_secs(6000)), None);
    }

    #[test]
    fn the_rest_is_split_into_files_of_full_size() {
        let now = Instant::now();
        let mut unwritten = Unwritten::default();
        for number in 0..12 {
            unwritten.add(pack(number, 10_000), now);
        }
        let mut counts = Vec::new();
        while let Some(file) = unwritten.take() {
            counts.push(file.blob_count());
        }
        assert_eq!(counts, [50_000, 50_000, 20_000]);
    }
}
