//! Copying what is needed into new packs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::Extent;
use crate::bench::{Bench, Benches, groups};
use crate::blob::{BlobEntry, BlobType};
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::Index;
use crate::packer::Packer;
use crate::progress::{Phase, Progress};
use crate::prune::mark::Marked;
use crate::prune::plan::{Decided, Fate};
use crate::repository::{Repository, on_worker};
use crate::sha256;

/// How many bytes nobody asked for are read along rather than asking twice.
const MAX_GAP: u64 = 256 << 10;
/// The largest range that is read at once, in bytes.
const MAX_RANGE: u64 = 4 << 20;
/// How long before its end, as far as that can be foreseen, copying tells of it. A bit longer than a lock needs to
/// settle: it has to be stored first, and packs are stored one by one, with nothing to tell in between.
const ENDING: Duration = Duration::from_millis(300);

/// A plan of which only the last step is left.
pub struct Repacked {
    pub(super) marked: Marked,
    pub(super) decided: Decided,
    /// The index files that list the new packs.
    pub(super) new_index_files: Vec<Id>,
}

/// What is to be copied.
pub(super) struct Repack {
    pub(super) marked: Marked,
    pub(super) decided: Decided,
    /// Whether data is compressed that was not.
    pub(super) compress: bool,
    /// About how many bytes of packs that makes.
    pub(super) expected: u64,
}

impl Repack {
    /// Copies, and stores the new packs and their index files. Tells `ending` when that will take no longer than
    /// [`ENDING`].
    pub(super) async fn run(
        self,
        repository: &Repository,
        progress: &Arc<dyn Progress>,
        ending: oneshot::Sender<()>,
    ) -> Result<Repacked> {
        let Self { marked, decided, compress, expected } = self;
        let numbers: Vec<usize> = (0..)
            .zip(&decided.fates)
            .filter(|(_, fate)| **fate == Fate::Repack)
            .map(|(n, _)| n)
            .collect();
        if numbers.is_empty() {
            return Ok(Repacked { marked, decided, new_index_files: Vec::new() });
        }
        progress.begin(Phase::RepackPacks, Some(numbers.len() as u64));
        // To the packer every blob is new. It stores no blob twice.
        let packer = Packer::new(repository, Arc::new(Index::default()), false);
        let stored = packer.stored();
        let copier = Arc::new(Copier {
            repository: repository.clone(),
            index: Arc::clone(&marked.index),
            benches: Arc::clone(repository.benches()),
            packer,
            compress: compress && repository.config().version >= 2,
        });
        let copied = async {
            let copied = copy_all(&copier, &marked, &decided, numbers, progress).await;
            let copier = Arc::into_inner(copier).expect("every task that held it has ended");
            copied?;
            copier.packer.finish_and_name().await
        };
        let told = async {
            if is_almost_stored(stored, expected, ENDING).await {
                // Whoever does not want to know is not told.
                let _ = ending.send(());
            }
            Ok(())
        };
        let ((_, new_index_files), ()) = futures_util::try_join!(copied, told)?;
        progress.end(Phase::RepackPacks);
        Ok(Repacked { marked, decided, new_index_files })
    }
}

/// Waits until what is left to store takes no longer than `time`, at the pace of what was stored so far. If it ends
/// before it was foreseen, that is `false`.
///
/// What counts is what is stored, not what was read: the line to the server may be slower in that direction, and
/// packs wait in between.
async fn is_almost_stored(mut stored: watch::Receiver<u64>, expected: u64, time: Duration) -> bool {
    let begun = Instant::now();
    let is_almost_stored = |stored: &u64| {
        let left = expected.saturating_sub(*stored) as f64;
        *stored > 0 && begun.elapsed().as_secs_f64() * left / *stored as f64 <= time.as_secs_f64()
    };
    stored.wait_for(is_almost_stored).await.is_ok()
}

/// While one range of a pack is being copied, the next is being fetched; and there are more packs under
/// way than threads that compute.
async fn copy_all(
    copier: &Arc<Copier>,
    marked: &Marked,
    decided: &Decided,
    numbers: Vec<usize>,
    progress: &Arc<dyn Progress>,
) -> Result<()> {
    let index = Arc::clone(&marked.index);
    let packs = index.packs();
    let repository = &copier.repository;
    let connections = repository.backend().properties().connections.max(1);
    let width = connections + repository.options().workers.max(1);
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    let mut numbers = numbers.into_iter();
    let mut failure = None;
    loop {
        while running.len() < width
            && failure.is_none()
            && let Some(number) = numbers.next()
        {
            let chosen = packs.places(number);
            let chosen = chosen.into_iter().filter(|(place, _)| decided.chosen.contains(*place));
            let entries = chosen.map(|(_, entry)| entry).collect();
            let pack = index.pack_ids()[number];
            running.spawn(Arc::clone(copier).copy(pack, entries));
        }
        match running.join_next().await {
            None => return failure.map_or(Ok(()), Err),
            Some(Ok(Ok(()))) => progress.advance(Phase::RepackPacks, 1),
            Some(Ok(Err(error))) => {
                // That storing was given up is said best by the one who gave it up.
                let is_consequence = matches!(error, Error::Cancelled);
                if !is_consequence || failure.is_none() {
                    failure = Some(error);
                }
                running.abort_all();
            }
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) => {}
        }
    }
}

struct Copier {
    repository: Repository,
    index: Arc<Index>,
    benches: Arc<Benches>,
    packer: Packer,
    /// Whether data is compressed that was not.
    compress: bool,
}

/// A part of a pack, and the blobs in it.
struct Range {
    start: u64,
    end: u64,
    entries: Vec<BlobEntry>,
}

impl Copier {
    /// Copies some blobs of a pack, in order of offset.
    async fn copy(self: Arc<Self>, pack: Id, entries: Vec<BlobEntry>) -> Result<()> {
        let mut ranges = ranges(entries).into_iter();
        let mut waiting = match ranges.next() {
            Some(range) => Some(self.load(pack, range).await),
            None => None,
        };
        while let Some((range, sealed)) = waiting {
            let next = ranges.next();
            let this = Arc::clone(&self);
            let stored = async {
                let left = match sealed {
                    None => range.entries,
                    Some(sealed) => {
                        let this = Arc::clone(&this);
                        let benches = Arc::clone(&this.benches);
                        benches.work(move |bench| this.store(&range, &sealed, bench)).await?
                    }
                };
                this.store_others(left).await
            };
            let (stored, next) = futures_util::join!(stored, async {
                match next {
                    Some(range) => Some(self.load(pack, range).await),
                    None => None,
                }
            });
            stored?;
            waiting = next;
        }
        Ok(())
    }

    /// What cannot be fetched may be had from another pack.
    async fn load(&self, pack: Id, range: Range) -> (Range, Option<Bytes>) {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let extent = Extent::Range { offset: range.start, length };
        let handle = Handle::new(FileType::Pack, pack);
        let loaded = self.repository.backend().load(&handle, extent).await;
        (range, loaded.ok())
    }

    /// Verifies blobs and hands them to the packer. As they are sealed: what was stored once, and is
    /// sound, need not be compressed and sealed again. Returns those that are not to be taken like that.
    fn store(&self, range: &Range, sealed: &[u8], bench: &mut Bench) -> Result<Vec<BlobEntry>> {
        let mut left = Vec::new();
        for entries in groups(&range.entries, |entry| entry.plaintext_length()) {
            let mut opened = Vec::with_capacity(entries.len());
            for entry in entries {
                let at = (u64::from(entry.offset) - range.start) as usize;
                let Some(sealed) = sealed.get(at..at + entry.length as usize) else {
                    left.push(*entry);
                    continue;
                };
                match bench.open(entry, sealed) {
                    Ok(plaintext) if !self.is_to_be_compressed(entry) => {
                        opened.push((entry, sealed, plaintext));
                    }
                    _ => left.push(*entry),
                }
            }
            let contents: Vec<&[u8]> =
                opened.iter().map(|(.., plaintext)| &plaintext[..]).collect();
            let ids = sha256::ids_of(&contents);
            for (id, (entry, sealed, plaintext)) in ids.into_iter().zip(opened) {
                bench.buffers.give_back(plaintext);
                if id != entry.handle.id {
                    left.push(*entry);
                } else {
                    self.packer.save_sealed(entry, sealed)?;
                }
            }
        }
        Ok(left)
    }

    fn is_to_be_compressed(&self, entry: &BlobEntry) -> bool {
        let is_tree = entry.handle.blob_type == BlobType::Tree;
        let can_be = self.repository.config().version >= 2 && !entry.is_compressed();
        can_be && (is_tree || self.compress)
    }

    /// Stores blobs anew, from whichever pack has a sound copy.
    async fn store_others(self: &Arc<Self>, entries: Vec<BlobEntry>) -> Result<()> {
        for entry in entries {
            let plaintext = self.repository.load_blob(&self.index, entry.handle).await?;
            let this = Arc::clone(self);
            on_worker(move || {
                let mut encoder = this.repository.encoder()?;
                this.packer.save(&mut encoder, entry.handle, &plaintext, &mut Vec::new())?;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Ranges that hold these blobs, which are in order of offset.
fn ranges(entries: Vec<BlobEntry>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for entry in entries {
        let start = u64::from(entry.offset);
        let end = start + u64::from(entry.length);
        match ranges.last_mut() {
            Some(last) if start <= last.end + MAX_GAP && end - last.start <= MAX_RANGE => {
                last.end = last.end.max(end);
                last.entries.push(entry);
            }
            _ => ranges.push(Range { start, end, entries: vec![entry] }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobHandle;

    #[tokio::test(start_paused = true)]
    async fn the_end_is_foreseen_by_the_pace_so_far() {
        let time = Duration::from_millis(200);
        let (packs, a_pack) = (100, 10);
        for (pace, foreseen) in [
            (Duration::from_millis(10), Some(80)),
            (Duration::from_millis(100), Some(98)),
            (Duration::from_secs(5), None),
        ] {
            let stored = watch::Sender::new(0);
            let mut almost =
                tokio::spawn(is_almost_stored(stored.subscribe(), packs * a_pack, time));
            let mut told = None;
            for pack in 1..packs {
                tokio::select! {
                    biased;
                    almost = &mut almost, if told.is_none() => {
                        assert!(almost.unwrap());
                        told = Some(pack);
                    }
                    () = tokio::time::sleep(pace) => {}
                }
                stored.send_replace(pack * a_pack);
            }
            assert!(told.unwrap_or(packs).abs_diff(foreseen.unwrap_or(packs)) <= 2, "{told:?}");
        }
    }

    #[test]
    fn neighbours_are_read_together_within_limits() {
        let entry = |offset: u32, length: u32| BlobEntry {
            handle: BlobHandle::data(Id::of(&offset.to_le_bytes())),
            offset,
            length,
            uncompressed_length: 0,
        };
        let shapes = |entries: &[BlobEntry]| -> Vec<(u64, u64, usize)> {
            let ranges = ranges(entries.to_vec()).into_iter();
            ranges.map(|range| (range.start, range.end, range.entries.len())).collect()
        };
        assert_eq!(shapes(&[]), []);
        assert_eq!(shapes(&[entry(0, 10), entry(10, 10)]), [(0, 20, 2)]);
        let gap = MAX_GAP as u32;
        assert_eq!(shapes(&[entry(0, 10), entry(10 + gap, 10)]), [(0, 20 + u64::from(gap), 2)]);
        assert_eq!(
            shapes(&[entry(0, 10), entry(11 + gap, 10)]),
            [(0, 10, 1), (11 + u64::from(gap), 21 + u64::from(gap), 1)]
        );
        let large = MAX_RANGE as u32;
        assert_eq!(
            shapes(&[entry(0, large), entry(large, 1)]),
            [(0, MAX_RANGE, 1), (MAX_RANGE, MAX_RANGE + 1, 1)]
        );
    }
}
