//! Which packs stay, which are copied out of, and which go.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::backend::FileInfo;
use crate::blob::BlobType;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::{Index, Place};
use crate::progress::Progress;
use crate::prune::Options;
use crate::prune::mark::Marked;
use crate::prune::repack::{Repack, Repacked};
use crate::prune::statistics::Statistics;
use crate::prune::tally::{Kind, Places, Tallies, Tally};
use crate::repository::{Repository, on_worker};

/// Small packs are put together only if there are so many of them: restic's number. One alone could
/// never become anything but a small pack again.
const SMALL_PACKS: usize = 10;
/// The smallest packs that restic makes, in bytes, unless there is nothing more to store.
const SMALLEST_TARGET: u64 = 4 << 20;

/// What becomes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Keep,
    /// What is needed of it is copied, then it is removed.
    Repack,
    /// It is removed.
    Remove,
    /// It is missing, and nobody needs it. The index forgets it.
    Forget,
}

/// What a prune is going to do.
pub struct Plan {
    pub(super) marked: Marked,
    pub(super) decided: Decided,
    statistics: Statistics,
    /// Whether data is to be compressed that was not.
    compress: bool,
}

/// What becomes of the packs.
pub(super) struct Decided {
    /// Of each pack that the index lists, by its number.
    pub(super) fates: Vec<Fate>,
    /// The places of the blobs to be copied, and of others that stay where they are.
    pub(super) chosen: Places,
    /// Packs that no index lists.
    pub(super) unreferenced: Vec<Id>,
}

impl Plan {
    /// Finds out what is needed, and decides. Only reads; the caller holds a shared lock at least.
    ///
    /// # Errors
    /// [`Error::Refused`] for options that cannot be meant; [`Error::IndexIncomplete`] and
    /// [`Error::Damaged`] where the repository needs a repair first; whatever cannot be read.
    pub async fn make(
        repository: &Repository,
        options: &Options,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self> {
        Self::without(repository, &HashSet::new(), options, progress).await
    }

    /// What a prune would do if these snapshots were forgotten.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub async fn forecast(
        repository: &Repository,
        forgotten: &HashSet<Id>,
        options: &Options,
        progress: &Arc<dyn Progress>,
    ) -> Result<Statistics> {
        // The plan itself stays here: carried out, it would remove what these snapshots need.
        Ok(Self::without(repository, forgotten, options, progress).await?.statistics)
    }

    async fn without(
        repository: &Repository,
        forgotten: &HashSet<Id>,
        options: &Options,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self> {
        let version = repository.config().version;
        if options.uncompressed && version < 2 {
            return Err(Error::Refused(
                "version 1 of the repository format knows no compression; upgrade it first with \
                 `migrate upgrade_repo_v2`"
                    .into(),
            ));
        }
        let pack_size = repository.options().pack_size as u64;
        if options.small_pack.is_some_and(|small| small > pack_size) {
            return Err(Error::Refused(
                "packs cannot be made larger than the pack size; choose a smaller limit for small \
                 packs"
                    .into(),
            ));
        }
        let marked = Marked::now(repository, forgotten, progress).await?;
        // After the index: a pack that it lists and that is not there is missing indeed.
        let found = repository.list(FileType::Pack).await?;
        let (index, used) = (Arc::clone(&marked.index), Arc::clone(&marked.used));
        let owned = options.clone();
        let (decided, statistics) = on_worker(move || {
            let mut statistics = Statistics::default();
            let tallies = Tallies::count(&index, &used, &mut statistics)?;
            let decided = decide(&index, tallies, found, &owned, version, &mut statistics)?;
            Ok((decided, statistics))
        })
        .await?;
        let compress = options.uncompressed;
        Ok(Self { marked, decided, statistics, compress })
    }

    /// What it is going to do, in numbers.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.decided.unreferenced.is_empty()
            && self.decided.fates.iter().all(|fate| *fate == Fate::Keep)
    }

    /// Copies what is needed out of the packs that go. Only adds; the caller holds the same shared lock
    /// as when the plan was made.
    ///
    /// # Errors
    /// A blob that is damaged in all of its copies: then nothing is lost but what already was, and a
    /// repair has to come first. What the storage says.
    pub async fn repack(
        self,
        repository: &Repository,
        progress: &Arc<dyn Progress>,
    ) -> Result<Repacked> {
        self.repack_and_tell(repository, progress, oneshot::channel().0).await
    }

    /// As [`Self::repack`]; tells `ending` when it is almost done, unless that cannot be foreseen.
    pub(super) async fn repack_and_tell(
        self,
        repository: &Repository,
        progress: &Arc<dyn Progress>,
        ending: oneshot::Sender<()>,
    ) -> Result<Repacked> {
        let Self { marked, decided, compress, statistics } = self;
        let expected = statistics.repack.bytes.saturating_sub(statistics.repack_removed.bytes);
        let repack = Repack { marked, decided, compress, expected };
        repack.run(repository, progress, ending).await
    }
}

/// Decides as restic does.
fn decide(
    index: &Index,
    tallies: Tallies,
    found: Vec<FileInfo>,
    options: &Options,
    version: u32,
    statistics: &mut Statistics,
) -> Result<Decided> {
    let Tallies { packs, mut chosen } = tallies;
    let (sizes, unreferenced) = match_up(index.pack_ids(), found, statistics);
    let mut fates = vec![Fate::Keep; packs.len()];
    let mut candidates = Candidates::new(&packs, options, version);
    for (number, (tally, size)) in packs.iter().zip(sizes).enumerate() {
        let id = index.pack_ids()[number];
        fates[number] = match size {
            None if tally.is_used() => {
                return Err(Error::damaged(
                    Handle::new(FileType::Pack, id),
                    "it is missing, and snapshots need it",
                ));
            }
            None => {
                statistics.packs_missing += 1;
                statistics.removed.add(tally.unused_blobs.into(), tally.unused_bytes);
                Fate::Forget
            }
            Some(size) if tally.is_used() && size != tally.file_size() => {
                let expected = tally.file_size();
                let detail = format!("it has {size} bytes, the index says {expected}");
                return Err(Error::damaged(Handle::new(FileType::Pack, id), detail));
            }
            Some(_) => candidates.first_look(number, tally, statistics),
        };
    }
    for number in candidates.choose(statistics) {
        fates[number] = Fate::Repack;
    }
    let kept = fates.iter().filter(|fate| **fate == Fate::Keep).count();
    statistics.packs_kept = kept as u64;
    if version < 2 {
        statistics.uncompressed_bytes = 0;
    }
    index.each_blob(|places| {
        let stays = |place: &Place| place.is_possible() && fates[place.pack] == Fate::Keep;
        // A blob that is also in a pack that stays need not be copied.
        if places.len() > 1 && places.iter().any(stays) {
            for place in places.iter().filter(|place| fates[place.pack] == Fate::Repack) {
                chosen.remove(place);
            }
        }
    });
    Ok(Decided { fates, chosen, unreferenced })
}

/// The size of each pack that the index lists, if it is there, and the packs that no index lists.
fn match_up(
    listed: &[Id],
    found: Vec<FileInfo>,
    statistics: &mut Statistics,
) -> (Vec<Option<u64>>, Vec<Id>) {
    let mut order: Vec<u32> = (0..listed.len() as u32).collect();
    order.sort_unstable_by_key(|&number| listed[number as usize]);
    let mut sizes = vec![None; listed.len()];
    let mut unreferenced = Vec::new();
    for FileInfo { id, size } in found {
        match order.binary_search_by_key(&id, |&number| listed[number as usize]) {
            Ok(at) => sizes[order[at] as usize] = Some(size),
            Err(_) => {
                unreferenced.push(id);
                statistics.unreferenced_bytes += size;
            }
        }
    }
    statistics.packs_unreferenced = unreferenced.len() as u64;
    (sizes, unreferenced)
}

/// Packs that may be copied out of.
struct Candidates<'a> {
    packs: &'a [Tally],
    options: &'a Options,
    version: u32,
    /// A pack of fewer bytes is small.
    small: u64,
    /// Packs with something to gain: room, compression, or order.
    worthwhile: Vec<usize>,
    /// Packs that are only small.
    only_small: Vec<usize>,
}

impl<'a> Candidates<'a> {
    fn new(packs: &'a [Tally], options: &'a Options, version: u32) -> Self {
        let small = options.small_pack.unwrap_or_else(|| {
            let mut sizes: Vec<u64> = packs.iter().map(Tally::file_size).collect();
            let third_percentile = sizes.len() * 3 / 100;
            let size = match sizes.is_empty() {
                true => 0,
                false => *sizes.select_nth_unstable(third_percentile).1,
            };
            size.max(SMALLEST_TARGET) * 4 / 5
        });
        Self { packs, options, version, small, worthwhile: Vec::new(), only_small: Vec::new() }
    }

    /// What becomes of a pack that is there, unless it is chosen later on.
    fn first_look(&mut self, number: usize, tally: &Tally, statistics: &mut Statistics) -> Fate {
        let is_all_used = tally.unused_blobs == 0;
        *match (tally.is_used(), is_all_used) {
            (false, _) => &mut statistics.packs_unused,
            (true, true) => &mut statistics.packs_used,
            (true, false) => &mut statistics.packs_partly_used,
        } += 1;
        if tally.uncompressed {
            statistics.uncompressed_bytes += tally.file_size();
        }
        if !tally.is_used() {
            statistics.packs_removed += 1;
            statistics.removed.add(tally.unused_blobs.into(), tally.unused_bytes);
            return Fate::Remove;
        }
        if self.options.cacheable_only && tally.kind == Kind::Of(BlobType::Data) {
            return Fate::Keep;
        }
        if !is_all_used || tally.kind == Kind::Mixed || self.must_compress(tally) {
            self.worthwhile.push(number);
        } else if tally.file_size() < self.small {
            self.only_small.push(number);
        }
        Fate::Keep
    }

    /// Whether compressing it is reason enough. Trees are read so often that it always is.
    fn must_compress(&self, tally: &Tally) -> bool {
        self.version >= 2
            && tally.uncompressed
            && (tally.kind == Kind::Of(BlobType::Tree) || self.options.uncompressed)
    }

    /// The packs to be copied out of: those with the most to gain, within the limits.
    fn choose(mut self, statistics: &mut Statistics) -> Vec<usize> {
        if self.only_small.len() >= SMALL_PACKS {
            self.worthwhile.append(&mut self.only_small);
        }
        let mut order = std::mem::take(&mut self.worthwhile);
        let is_small = |tally: &Tally| tally.file_size() < self.small;
        order.sort_by_cached_key(|&number| {
            let tally = &self.packs[number];
            let is_data = tally.kind == Kind::Of(BlobType::Data);
            // Casts: an order of what is nearly the same does not matter.
            let unused = tally.unused_bytes as f64 / tally.file_size() as f64;
            (is_data, !is_small(tally), Reverse((unused * 1e9) as u64))
        });
        let most = self.options.max_unused.bytes(statistics.used.bytes);
        let limit = self.options.max_repack.unwrap_or(u64::MAX);
        order.retain(|&number| {
            let tally = &self.packs[number];
            let bytes = tally.file_size();
            if statistics.repack.bytes.saturating_add(bytes) >= limit {
                return false;
            }
            let must = tally.kind != Kind::Of(BlobType::Data) || self.must_compress(tally);
            let is_enough = statistics.remaining_unused() < most;
            if !must && is_enough && !is_small(tally) {
                return false;
            }
            statistics.packs_repacked += 1;
            let blobs = u64::from(tally.used_blobs) + u64::from(tally.unused_blobs);
            statistics.repack.add(blobs, bytes);
            statistics.repack_removed.add(tally.unused_blobs.into(), tally.unused_bytes);
            if tally.uncompressed {
                statistics.uncompressed_bytes -= bytes;
            }
            true
        });
        order
    }
}
