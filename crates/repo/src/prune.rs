//! Prune: what no snapshot needs any more makes room.
//!
//! Blobs share packs, so a pack is seldom as a whole of no use. Prune finds the blobs that snapshots
//! need (`mark`), counts what that means for each pack (`tally`), decides which packs to remove and
//! which to copy the needed blobs out of (`plan`), copies them into new packs (`repack`), and then
//! takes the old packs out of the index and removes them (`sweep`).
//!
//! # Two phases
//!
//! restic does all of that under an exclusive lock, and nobody can make a backup meanwhile. Here only
//! one short step needs it:
//!
//! 1. [`Plan::make`] and [`Plan::repack`] only read and add. They run under a *shared* lock, beside
//!    backups.
//! 2. [`Repacked::unlist`] replaces index files under an *exclusive* lock. By then others may have stored
//!    snapshots that need what was about to go: they loaded their index before. Whatever arrived is
//!    looked at, and a pack that it needs stays.
//! 3. [`Unlisted::remove`] removes the packs, which nobody can know of any more, while the lock is a shared
//!    one again.
//!
//! The exclusive lock is taken beside the shared one, and settles while the last packs are stored. If others are at
//! work then, the shared one is given back first, and there is a moment without a lock. Should another prune come
//! first there, the index files that the plan is about are gone; that is noticed, and the rest is left to the next
//! run ([`Error::Overtaken`]).
//!
//! [`Prune::run`] takes the locks in this order; [`Prune::run_under`] goes on with the shared lock of what was done
//! before. Why no order of steps of several programs loses a blob, and what a kill after each step leaves behind, is
//! the subject of `doc/locking.md`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::lock::{Gate, Lock, LockHolder, LockKind, LockOptions, SETTLE};
use crate::progress::Progress;
use crate::repository::Repository;

mod limit;
mod mark;
mod plan;
mod repack;
mod statistics;
mod sweep;
mod tally;
#[cfg(test)]
mod tests;

pub use limit::{InvalidLimit, MaxUnused};
pub use plan::Plan;
pub use repack::Repacked;
pub use statistics::{Amount, Statistics};
pub use sweep::{Swept, Unlisted};

/// What to prune. The default is restic's.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How much may stay that nobody needs, because removing it means copying what lies beside it.
    pub max_unused: MaxUnused,
    /// How many bytes of packs to copy out of, at most.
    pub max_repack: Option<u64>,
    /// Packs smaller than this, in bytes, are put together, if there are ten of them. If not given:
    /// four fifths of the size that all but the smallest 3 % of the packs have, or of 4 MiB if that is
    /// more, as in restic 0.19.
    pub small_pack: Option<u64>,
    /// Whether to leave packs of data alone, unless they are not needed at all: for storage where
    /// reading data is expensive.
    pub cacheable_only: bool,
    /// Whether to compress data that is stored uncompressed. Trees always are.
    pub uncompressed: bool,
}

/// A prune, and what it tells on its way.
pub struct Prune<'a> {
    /// What to prune.
    pub options: Options,
    /// How to take the locks. [`LockOptions::retry`] counts for each of them.
    pub locks: &'a LockOptions,
    /// Watches.
    pub progress: Arc<dyn Progress>,
}

/// What came of a prune.
#[derive(Debug)]
pub struct Outcome {
    /// What was planned.
    pub statistics: Statistics,
    /// What became of the packs that are of no use.
    pub end: End,
    /// How long the whole of it took.
    pub elapsed: Duration,
    /// How long everybody else was shut out.
    pub exclusive: Duration,
}

/// How a prune ended.
#[derive(Debug)]
pub enum End {
    /// There was nothing to do; no exclusive lock was taken.
    Nothing,
    /// Everything was done.
    Swept(Swept),
    /// Others were at work until the end, so nothing could be removed. What was copied is stored, and
    /// the next prune removes the originals without copying anything.
    Postponed(Vec<LockHolder>),
    /// Another prune, or a repair, came first. What is left is for the next run.
    Overtaken,
}

impl Prune<'_> {
    /// Prunes. `planned` is told what is going to be done, before anything is; if it says no, nothing
    /// is. It is told again if somebody comes in between while the lock settles, and the plan is made anew.
    ///
    /// This takes its own locks, unlike other operations of this library: the caller holds none.
    ///
    /// # Errors
    /// [`Error::Locked`] if not even the shared lock can be had. [`Error::IndexIncomplete`],
    /// [`Error::Damaged`] and the like if the repository is not sound: then nothing was removed.
    pub async fn run(
        &self,
        repository: &Repository,
        planned: impl Fn(&Statistics) -> bool,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let prepare = async |shared: &Lock, gate: Gate| {
            self.prepare(repository, shared, gate, &planned).await
        };
        let prepared = Lock::work_with(repository, LockKind::Shared, self.locks, prepare).await?;
        self.sweep(repository, prepared, started).await
    }

    /// As [`Self::run`], by the holder of a shared lock: there is none to wait for before copying begins. The lock is
    /// given back before packs are removed.
    ///
    /// # Errors
    /// [`Error::LockLost`], and as [`Self::run`].
    pub async fn run_under(
        &self,
        repository: &Repository,
        shared: Lock,
        planned: impl Fn(&Statistics) -> bool,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let prepare = self.prepare(repository, &shared, Gate::open(), &planned);
        let prepared = shared.protect(prepare).await;
        let released = shared.release().await;
        let prepared = prepared?;
        released?;
        self.sweep(repository, prepared, started).await
    }

    /// The first phase.
    async fn prepare(
        &self,
        repository: &Repository,
        shared: &Lock,
        gate: Gate,
        planned: impl Fn(&Statistics) -> bool,
    ) -> Result<Prepared> {
        let gated = repository.behind(&gate);
        let plan = Plan::make(&gated, &self.options, &self.progress).await?;
        let statistics = plan.statistics().clone();
        if !planned(&statistics) || plan.is_nothing() {
            return Ok(Prepared { statistics, rest: None });
        }
        let (ending, ends) = oneshot::channel();
        let (repacked, alone) = futures_util::join!(
            plan.repack_and_tell(&gated, &self.progress, ending),
            self.alone_early(repository, shared, ends),
        );
        Ok(Prepared { statistics, rest: Some((repacked?, alone?)) })
    }

    /// The second phase.
    async fn sweep(
        &self,
        repository: &Repository,
        prepared: Prepared,
        started: Instant,
    ) -> Result<Outcome> {
        let Prepared { statistics, rest } = prepared;
        let outcome =
            |end, exclusive| Ok(Outcome { statistics, end, elapsed: started.elapsed(), exclusive });
        let Some((repacked, alone)) = rest else {
            return outcome(End::Nothing, Duration::ZERO);
        };
        let alone = match alone {
            Some(alone) => Ok(alone),
            None => {
                Lock::acquire(repository, LockKind::Exclusive, self.locks).await.map(Alone::now)
            }
        };
        let Alone { lock, since } = match alone {
            Ok(alone) => alone,
            Err(Error::Locked { holders }) => {
                return outcome(End::Postponed(holders), Duration::ZERO);
            }
            Err(error) => return Err(error),
        };
        let mut exclusive = Duration::ZERO;
        let sweep = async {
            let unlisted = repacked.unlist(repository, &self.progress).await?;
            lock.share();
            exclusive = since.elapsed();
            let removing = Instant::now();
            let swept = unlisted.remove(repository, &self.progress).await;
            // The lock's old file is there for a while yet, unless all is done before.
            exclusive += removing.elapsed().min(SETTLE);
            Ok(swept)
        };
        let swept = lock.protect(sweep).await;
        let released = lock.release().await;
        let end = match swept {
            Ok(swept) => End::Swept(swept),
            Err(Error::Overtaken) => End::Overtaken,
            Err(error) => return Err(error),
        };
        released?;
        outcome(end, exclusive)
    }

    /// The exclusive lock, taken beside the shared one when `ending` is told, so that it settles while the rest is
    /// copied. Nothing, if that is not told, or if others are at work: then there is time later.
    async fn alone_early(
        &self,
        repository: &Repository,
        shared: &Lock,
        ending: oneshot::Receiver<()>,
    ) -> Result<Option<Alone>> {
        if ending.await.is_err() {
            return Ok(None);
        }
        match shared.acquire_another(repository, LockKind::Exclusive, self.locks).await {
            Ok(lock) => Ok(Some(Alone::now(lock))),
            Err(Error::Locked { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A prune whose first phase is over.
struct Prepared {
    statistics: Statistics,
    /// Nothing if there is nothing to do; the exclusive lock if it is held already.
    rest: Option<(Repacked, Option<Alone>)>,
}

/// The exclusive lock.
struct Alone {
    lock: Lock,
    /// When everybody else was shut out.
    since: Instant,
}

impl Alone {
    /// A lock that has just settled.
    fn now(lock: Lock) -> Self {
        let now = Instant::now();
        Self { lock, since: now.checked_sub(SETTLE).unwrap_or(now) }
    }
}
