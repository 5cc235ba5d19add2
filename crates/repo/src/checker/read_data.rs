//! Reading packs in full.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use crate::backend::{BackendError, BackendErrorKind, Extent};
use crate::bench::Benches;
use crate::checker::damage::Damage;
use crate::checker::findings::Findings;
use crate::checker::pack::{PackCheck, Segment, Verdict};
use crate::checker::packs::Found;
use crate::checker::report::Problem;
use crate::checker::subset::{Choice, ReadData};
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::{Index, PackBlobs};
use crate::progress::Phase;
use crate::repository::Repository;
use crate::used::UsedBlobs;

/// Reads the chosen packs, several at a time; of these only the ones that hold a `needed` blob.
///
/// While one segment of a pack is being looked at, the next is being fetched; and there are more packs
/// under way than threads that compute, so that these always find a segment waiting.
pub(super) async fn check(
    repository: &Repository,
    index: &Index,
    found: &Found,
    read: ReadData,
    needed: Option<&UsedBlobs>,
    damage: &Arc<Damage>,
    findings: &Arc<Findings>,
) -> Result<()> {
    if read == ReadData::Nothing {
        return Ok(());
    }
    let packs = index.packs();
    // A pack that is missing is known to be.
    let candidates =
        || packs.iter().filter(|pack| found.size(&pack.pack).is_some() && is_needed(pack, needed));
    let mut choice = Choice::new(read, candidates().map(|pack| pack.file_info()))?;
    let mut same = choice.clone();
    let total = candidates().filter(|pack| same.takes(pack.pack)).count() as u64;
    findings.progress.begin(Phase::ReadPacks, Some(total));
    let reader = Arc::new(Reader {
        repository: repository.clone(),
        benches: Arc::clone(repository.benches()),
        damage: Arc::clone(damage),
        findings: Arc::clone(findings),
    });
    let connections = repository.backend().properties().connections.max(1);
    let width = connections + repository.options().workers.max(1);
    let mut running = JoinSet::new();
    for pack in candidates().filter(|pack| choice.takes(pack.pack)) {
        if running.len() >= width
            && let Some(ended) = running.join_next().await
        {
            joined(ended)?;
        }
        let size = found.size(&pack.pack).unwrap_or_default();
        running.spawn(Arc::clone(&reader).check(pack, size));
    }
    while let Some(ended) = running.join_next().await {
        joined(ended)?;
    }
    findings.progress.end(Phase::ReadPacks);
    Ok(())
}

fn is_needed(pack: &PackBlobs, needed: Option<&UsedBlobs>) -> bool {
    needed.is_none_or(|used| pack.blobs.iter().any(|blob| used.contains(&blob.handle)))
}

struct Reader {
    repository: Repository,
    benches: Arc<Benches>,
    damage: Arc<Damage>,
    findings: Arc<Findings>,
}

/// What reading a pack once has come to.
enum Attempt {
    Sound,
    Damaged(Verdict),
    Unreadable(BackendError),
}

impl Reader {
    async fn check(self: Arc<Self>, pack: PackBlobs, size: u64) -> Result<()> {
        let first = self.attempt(&pack, size).await?;
        let problem = match first {
            Attempt::Sound => None,
            // Once more: the transfer may be at fault, and not the pack.
            first => self.judge(&pack, first, self.attempt(&pack, size).await?),
        };
        if let Some(problem) = problem {
            self.findings.problem(problem);
        }
        self.findings.count(|report| {
            report.packs_read += 1;
            report.bytes_read += size;
        });
        self.findings.progress.advance(Phase::ReadPacks, 1);
        Ok(())
    }

    fn judge(&self, listed: &PackBlobs, first: Attempt, second: Attempt) -> Option<Problem> {
        let pack = listed.pack;
        match (first, second) {
            (_, Attempt::Damaged(verdict))
            | (Attempt::Damaged(verdict), Attempt::Unreadable(_)) => {
                let Verdict { faults, lost } = verdict;
                lost.into_iter().for_each(|blob| self.damage.add(pack, blob));
                Some(Problem::PackDamaged { pack, faults })
            }
            (Attempt::Damaged(Verdict { faults, .. }), Attempt::Sound) => {
                Some(Problem::PackUnsteady { pack, faults })
            }
            (_, Attempt::Unreadable(error)) => {
                self.damage.add_behind(listed, 0);
                Some(Problem::PackUnreadable { pack, error: error.into() })
            }
            // The storage faltered once. To try again after that is the storage's own habit.
            (_, Attempt::Sound) => None,
        }
    }

    /// Reads the pack from its beginning to its end.
    async fn attempt(&self, pack: &PackBlobs, size: u64) -> Result<Attempt> {
        let mut check = PackCheck::new(pack, size);
        let mut segments = check.segments().into_iter();
        let mut waiting = match segments.next() {
            Some(segment) => Some(self.load(pack.pack, segment).await),
            None => None,
        };
        while let Some(loaded) = waiting {
            let (segment, bytes) = match loaded {
                Ok(loaded) => loaded,
                Err(error) => return Ok(Attempt::Unreadable(error)),
            };
            let looked_at = self.benches.work(move |bench| {
                check.feed(&segment, &bytes, bench);
                Ok(check)
            });
            let next = segments.next();
            let (looked_at, next) = futures_util::join!(looked_at, async {
                match next {
                    Some(segment) => Some(self.load(pack.pack, segment).await),
                    None => None,
                }
            });
            check = looked_at?;
            waiting = next;
        }
        let verdict = check.finish(self.repository.key());
        Ok(if verdict.faults.is_empty() { Attempt::Sound } else { Attempt::Damaged(verdict) })
    }

    async fn load(&self, pack: Id, segment: Segment) -> Result<(Segment, Bytes), BackendError> {
        let handle = Handle::new(FileType::Pack, pack);
        let offset = segment.range.start;
        // A segment is a few MiB, or one blob, whose length has 32 bits.
        let length = (segment.range.end - offset) as usize;
        let bytes =
            self.repository.backend().load(&handle, Extent::Range { offset, length }).await?;
        match bytes.len() == length {
            true => Ok((segment, bytes)),
            false => Err(BackendError::new(BackendErrorKind::TooShort, "load").on(&handle)),
        }
    }
}

fn joined(ended: Result<Result<()>, JoinError>) -> Result<()> {
    match ended {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Cancelled),
    }
}
