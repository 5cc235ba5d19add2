//! Locks: who is at work in a repository.
//!
//! A lock is a file in `locks/`. It is *shared* (backup, restore: any number at a time) or *exclusive*
//! (prune: nobody else). Nothing in the storage enforces it; every program that works on the repository
//! plays by the same rules, which are restic's:
//!
//! 1. Look at the locks of others. A conflict ends it.
//! 2. Store one's own.
//! 3. Wait [`SETTLE`], so that somebody who looked before (2) has stored his by now.
//! 4. Look again. A conflict ends it, and one's own is removed. Two who met may both give way.
//!
//! While it is held, a lock is refreshed: stored anew with the present time, then, a moment later, the old
//! file removed. Who finds a lock gone when he wants to read it looks again, since it may be a refresh.
//! A lock that could not be refreshed for [`EXPIRY`] may be taken for dead by others, so the work under
//! it must stop: see [`Lock::protect`].
//!
//! Other programs probe the process that a lock names with SIGHUP. A program that holds locks must
//! ignore that signal.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, Either};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};
use crate::id::Id;
use crate::identity::Identity;
use crate::repository::Repository;
use crate::time::Timestamp;

mod file;
mod gate;
mod keeper;
#[cfg(test)]
mod tests;

pub use file::{LockFile, Unlocked, list, remove_all, remove_dead, remove_stale};
pub use gate::Gate;
pub use keeper::Keepers;

pub(crate) use gate::Gated;

use keeper::{Keeper, State};

/// How long to wait between storing a lock and looking for others again: restic's choice.
pub const SETTLE: Duration = Duration::from_millis(200);
/// How often a lock is refreshed: restic's choice.
pub const REFRESH: Duration = Duration::from_secs(5 * 60);
/// How old a lock must be for others to remove it as stale (`unlock`): restic's choice.
pub const STALE: Duration = Duration::from_secs(30 * 60);
/// How long a lock may go without a refresh before the work under it stops. Less than [`STALE`] by one
/// and a half refreshes, as in restic.
pub const EXPIRY: Duration = Duration::from_millis(22 * 60_000 + 30_000);

/// What a lock keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Those who want the repository for themselves.
    Shared,
    /// Everybody.
    Exclusive,
}

/// Told who is in the way, and for how long the next try waits.
pub type Waiting = Arc<dyn Fn(&[LockHolder], Duration) + Send + Sync>;

/// How to take a lock.
#[derive(Clone)]
pub struct LockOptions {
    /// In whose name.
    pub identity: Identity,
    /// For how long to try again when others are at work. Zero: not at all.
    pub retry: Duration,
    /// Told at every try that found others at work, with who they are and how long it waits now.
    pub waiting: Option<Waiting>,
    /// Counts the locks taken with these options, so that a program that is told to stop can wait until
    /// they are released.
    pub keepers: Keepers,
    /// How often to refresh; [`REFRESH`] but in tests.
    pub refresh: Duration,
    /// How long to go on without a refresh; [`EXPIRY`] but in tests.
    pub expiry: Duration,
}

impl LockOptions {
    /// restic's timing, no second try.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            retry: Duration::ZERO,
            waiting: None,
            keepers: Keepers::default(),
            refresh: REFRESH,
            expiry: EXPIRY,
        }
    }
}

impl fmt::Debug for LockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOptions")
            .field("identity", &self.identity)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// What a lock file says of the one who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The lock file's name.
    pub id: Id,
    /// Whether it shuts everybody else out.
    pub exclusive: bool,
    /// The host it was made on.
    pub hostname: String,
    /// The user who made it.
    pub username: String,
    /// The process that made it.
    pub pid: u32,
    /// When it was made or last refreshed.
    pub since: Timestamp,
    /// Whether its holder may be at work, as far as this host can tell.
    pub presence: Presence,
}

impl LockHolder {
    /// Whether the lock is in nobody's use any more: then `unlock` removes it.
    pub fn is_gone(&self) -> bool {
        self.presence != Presence::AtWork
    }
}

/// Whether the holder of a lock may be at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// He may be: his process exists, or is on another host.
    AtWork,
    /// He is not: his process was on this host, and exists no more.
    Dead,
    /// He is not, or has stopped by his own rules: the lock was not refreshed for [`STALE`].
    Stale,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.exclusive { "exclusively " } else { "" };
        write!(
            f,
            "{kind}by PID {} on {} by {} since {} (lock {})",
            self.pid,
            self.hostname,
            self.username,
            self.since,
            self.id.short()
        )?;
        f.write_str(match self.presence {
            Presence::AtWork => "",
            Presence::Dead => ", whose process is no longer there",
            Presence::Stale => ", which is stale",
        })
    }
}

/// A lock that is held. It is refreshed in the background until it is released.
///
/// Dropping it releases it too, at any point, also while it is still being taken; [`Self::release`]
/// waits for it and tells whether it worked, and [`Keepers::idle`] waits for those that were dropped.
#[derive(Debug)]
pub struct Lock {
    state: watch::Receiver<State>,
    /// Dropped, it tells the keeper to release the lock.
    stop: oneshot::Sender<()>,
    /// Tells the keeper to make a shared lock of it.
    share: Arc<Notify>,
    keeper: JoinHandle<Result<()>>,
}

impl Lock {
    /// Takes a lock.
    ///
    /// # Errors
    /// [`Error::Locked`] naming who is in the way, once trying again is no longer allowed;
    /// [`Error::InvalidLock`].
    pub async fn acquire(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
    ) -> Result<Self> {
        let nothing = async || Ok(());
        Ok(Self::acquire_and(repository, kind, options, nothing).await?.0)
    }

    /// Takes a lock, and does `work` under it while the rules ask to wait. If others turn out to be in
    /// the way, the work's result is thrown away, so it must only read.
    pub async fn acquire_and<T>(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
        work: impl AsyncFn() -> Result<T>,
    ) -> Result<(Self, T)> {
        retrying(options, async || Self::try_acquire(repository, kind, options, &work).await).await
    }

    async fn try_acquire<T>(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
        work: impl AsyncFn() -> Result<T>,
    ) -> Result<(Self, T)> {
        let lock = Self::claim(repository, kind, options, &[]).await?;
        // The verdict on the lock comes first, whatever became of the work.
        let (confirmed, done) = tokio::join!(lock.confirm(repository, kind, &[]), work());
        match (confirmed, done) {
            (Ok(()), Ok(done)) => Ok((lock, done)),
            (Err(error), _) | (Ok(()), Err(error)) => {
                lock.release().await?;
                Err(error)
            }
        }
    }

    /// Does all of some work under a lock that is taken for it. The work begins while the rules ask to
    /// wait, and must have no effect before it has passed the gate: it may read
    /// ([`Repository::behind`] holds back what it writes to the repository).
    ///
    /// If others turn out to be in the way, the work is dropped; if trying again is allowed, it is begun
    /// anew under the next lock. It is dropped too if the lock is lost.
    ///
    /// # Errors
    /// As [`Self::acquire`]; [`Error::LockLost`]; what the work says.
    pub async fn work<T, E: From<Error>>(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
        work: impl AsyncFn(Gate) -> Result<T, E>,
    ) -> Result<T, E> {
        Self::work_with(repository, kind, options, async |_: &Self, gate| work(gate).await).await
    }

    /// As [`Self::work`], for work that asks something of its lock.
    pub(crate) async fn work_with<T, E: From<Error>>(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
        work: impl AsyncFn(&Self, Gate) -> Result<T, E>,
    ) -> Result<T, E> {
        let (lock, done) = Self::work_and_keep(repository, kind, options, work).await?;
        lock.release().await?;
        Ok(done)
    }

    /// As [`Self::work`], but keeps the lock for what comes next.
    ///
    /// # Errors
    /// As [`Self::work`]; then the lock is given back.
    pub async fn work_and_keep<T, E: From<Error>>(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
        work: impl AsyncFn(&Self, Gate) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let attempt = async || {
            let lock = Self::claim(repository, kind, options, &[]).await?;
            let (opener, gate) = Gate::closed();
            let confirmed = async {
                lock.confirm(repository, kind, &[]).await?;
                opener.open();
                Result::Ok(())
            };
            let done = async {
                let begun = pin!(work(&lock, gate));
                let confirmed = pin!(confirmed);
                match future::select(confirmed, begun).await {
                    Either::Left((confirmed, begun)) => match confirmed {
                        Ok(()) => Ok(begun.await),
                        Err(error) => Err(error),
                    },
                    // The verdict on the lock comes first, whatever became of the work.
                    Either::Right((done, confirmed)) => confirmed.await.map(|()| done),
                }
            };
            let done: Result<Result<T, E>> = lock.protect(done).await;
            let failed = match done {
                Ok(Ok(done)) => return Ok(Ok((lock, done))),
                Ok(Err(error)) => Ok(Err(error)),
                Err(error) => Err(error),
            };
            // Why it failed says more than that the lock could not be given back either.
            let _ = lock.release().await;
            failed
        };
        retrying(options, attempt).await?
    }

    /// Takes a further lock for the holder of this one, who then holds both: this one is not in its way. So a shared
    /// lock need not be given back before an exclusive one is had. There is no second try, whatever the options
    /// say: two who wait like this would wait for each other.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn acquire_another(
        &self,
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
    ) -> Result<Self> {
        let another = Self::claim(repository, kind, options, &[self]).await?;
        match another.confirm(repository, kind, &[self]).await {
            Ok(()) => Ok(another),
            Err(error) => {
                another.release().await?;
                Err(error)
            }
        }
    }

    /// Stores a lock, unless others than the owner of `own` are in the way.
    async fn claim(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
        own: &[&Self],
    ) -> Result<Self> {
        file::check(repository, kind, &ids(own)).await?;
        Self::store(repository, kind, options).await
    }

    /// Waits, and looks for others again.
    async fn confirm(&self, repository: &Repository, kind: LockKind, own: &[&Self]) -> Result<()> {
        sleep(SETTLE).await;
        let own = [own, &[self]].concat();
        file::check(repository, kind, &ids(&own)).await
    }

    async fn store(repository: &Repository, kind: LockKind, options: &LockOptions) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let share = Arc::new(Notify::new());
        let (keeper, mut state) = Keeper::new(repository, kind, options, &share);
        let mut keeper = tokio::spawn(keeper.run(stopped));
        match state.wait_for(|state| !matches!(state, State::Storing)).await.map(drop) {
            Ok(()) => Ok(Self { state, stop, share, keeper }),
            Err(_) => match (&mut keeper).await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) | Err(_) => Err(Error::Cancelled),
            },
        }
    }

    /// The lock file's present name, unless the lock is lost. A refresh changes it.
    pub fn id(&self) -> Option<Id> {
        match *self.state.borrow() {
            State::Held(id) => Some(id),
            State::Storing | State::Lost(_) => None,
        }
    }

    /// Makes a shared lock of an exclusive one, as soon as the storage allows: others may come in, but
    /// nobody who wants the repository for himself. There is no moment without a lock in between.
    pub fn share(&self) {
        self.share.notify_one();
    }

    /// Does `work` for as long as the lock is held. If the lock is lost the work is dropped, which
    /// cancels it.
    ///
    /// # Errors
    /// [`Error::LockLost`], or what the work says.
    pub async fn protect<T, E: From<Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut state = self.state.clone();
        let lost = async {
            match state.wait_for(|state| matches!(state, State::Lost(_))).await.as_deref() {
                Ok(State::Lost(reason)) => reason.clone(),
                _ => "it is no longer refreshed".to_owned(),
            }
        };
        tokio::select! {
            biased;
            reason = lost => Err(Error::LockLost { reason }.into()),
            done = work => done,
        }
    }

    /// Gives the lock back.
    pub async fn release(self) -> Result<()> {
        let Self { stop, keeper, .. } = self;
        drop(stop);
        match keeper.await {
            Ok(result) => result,
            Err(error) => Err(Error::LockLost { reason: error.to_string() }),
        }
    }
}

/// The present names of these locks.
fn ids(locks: &[&Lock]) -> Vec<Id> {
    locks.iter().filter_map(|lock| lock.id()).collect()
}

/// Tries to take a lock until it is had, or trying is no longer allowed.
async fn retrying<T>(options: &LockOptions, attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + options.retry;
    let mut pause = Duration::from_secs(5);
    loop {
        let holders = match attempt().await {
            Err(Error::Locked { holders }) => holders,
            other => return other,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Locked { holders });
        }
        let now = pause.min(left);
        if let Some(waiting) = &options.waiting {
            waiting(&holders, now);
        }
        sleep(now).await;
        pause = (2 * pause).min(Duration::from_secs(60));
    }
}
