//! Pieces of packs that were read lately.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future;

use crate::backend::{Backend, Extent};
use crate::blob::BlobLocation;
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::repository::Repository;

/// How much is read at once, in bytes: what a slow line delivers in the time of a round trip.
const LENGTH: u64 = 512 << 10;
/// How many pieces are kept.
const KEPT: usize = 64;

/// Reads trees, and what lies before them along with them.
///
/// A folder's tree is stored after those of its folders, and a walk comes to them right after it. So
/// most trees are in a piece that was read already.
pub(super) struct Windows {
    repository: Repository,
    recent: Mutex<VecDeque<Window>>,
}

#[derive(Clone)]
struct Window {
    pack: Id,
    start: u64,
    bytes: Bytes,
}

impl Windows {
    pub(super) fn new(repository: &Repository) -> Self {
        Self { repository: repository.clone(), recent: Mutex::default() }
    }

    /// The sealed bytes of the blobs at these places, or nothing for one that cannot be read.
    pub(super) async fn load(&self, places: &[Option<BlobLocation>]) -> Vec<Option<Bytes>> {
        let mut found: Vec<Option<Bytes>> = places.iter().map(|place| self.find(place)).collect();
        let mut missing: Vec<BlobLocation> = places
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .filter_map(|(place, _)| *place)
            .collect();
        missing.sort_unstable_by_key(|place| (place.pack, place.entry.offset));
        let windows = pieces(&missing).into_iter().map(|(pack, start, end)| async move {
            let handle = Handle::new(FileType::Pack, pack);
            let length = usize::try_from(end - start).ok()?;
            let extent = Extent::Range { offset: start, length };
            let bytes = self.repository.backend().load(&handle, extent).await.ok()?;
            Some(Window { pack, start, bytes })
        });
        let windows: Vec<Window> = future::join_all(windows).await.into_iter().flatten().collect();
        for (place, found) in places.iter().zip(&mut found) {
            if found.is_none() {
                *found = place
                    .as_ref()
                    .and_then(|place| windows.iter().find_map(|window| window.blob(place)));
            }
        }
        self.keep(windows);
        found
    }

    /// The sealed bytes of the blob at this place, if they were read lately.
    pub(super) fn find(&self, place: &Option<BlobLocation>) -> Option<Bytes> {
        let place = place.as_ref()?;
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().find_map(|window| window.blob(place))
    }

    fn keep(&self, windows: Vec<Window>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // Larger ones hold a single large tree, which nobody asks for twice.
        recent.extend(windows.into_iter().filter(|window| window.bytes.len() as u64 <= LENGTH));
        while recent.len() > KEPT {
            recent.pop_front();
        }
    }
}

impl Window {
    fn blob(&self, place: &BlobLocation) -> Option<Bytes> {
        let BlobLocation { pack, entry } = place;
        if self.pack != *pack {
            return None;
        }
        let begin = u64::from(entry.offset).checked_sub(self.start)?;
        let begin = usize::try_from(begin).ok()?;
        let end = begin.checked_add(entry.length as usize)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(begin..end))
    }
}

/// What to read to have all of these places, which are sorted: pack, start, end. A piece ends with a
/// blob, because what is behind it may be the end of the file.
fn pieces(places: &[BlobLocation]) -> Vec<(Id, u64, u64)> {
    let mut pieces: Vec<(Id, u64, u64)> = Vec::new();
    for &BlobLocation { pack, entry } in places.iter().rev() {
        let begin = u64::from(entry.offset);
        let end = begin + u64::from(entry.length);
        match pieces.last() {
            Some(&(last, start, _)) if last == pack && begin >= start => {}
            _ => pieces.push((pack, end.saturating_sub(LENGTH).min(begin), end)),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BlobEntry, BlobHandle};

    fn place(pack: u8, offset: u32, length: u32) -> BlobLocation {
        let handle = BlobHandle::tree(Id::of(&offset.to_le_bytes()));
        let entry = BlobEntry { handle, offset, length, uncompressed_length: 0 };
        BlobLocation { pack: Id::from_bytes([pack; 32]), entry }
    }

    #[test]
    fn a_piece_reaches_back_from_the_last_blob_and_holds_its_neighbours() {
        const KIB: u32 = 1 << 10;
        let places = [
            place(1, 0, 100),
            place(1, 100 * KIB, 1000),
            place(1, 700 * KIB, KIB),
            place(2, 10 * KIB, KIB),
            place(2, 3000 * KIB, 900 * KIB),
        ];
        let pieces = pieces(&places);
        let kib = u64::from(KIB);
        let expected = [
            (2, 3000 * kib, 3900 * kib),
            (2, 0, 11 * kib),
            (1, 189 * kib, 701 * kib),
            (1, 0, 100 * kib + 1000),
        ];
        let expected = expected.map(|(pack, start, end)| (Id::from_bytes([pack; 32]), start, end));
        assert_eq!(pieces, expected);
        for place in &places {
            let inside = pieces.iter().filter(|(of, start, end)| {
                let bytes = Bytes::from(vec![0; (end - start) as usize]);
                Window { pack: *of, start: *start, bytes }.blob(place).is_some()
            });
            assert_eq!(inside.count(), 1);
        }
    }
}
