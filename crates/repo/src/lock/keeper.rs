//! The task behind a lock: it stores it, refreshes it, and removes it.
//!
//! All of a lock's files are made and removed by this one task, which nobody aborts. So a lock cannot
//! be forgotten by a caller who is dropped half way through: the task finishes what it is at, sees that
//! nobody wants the lock any more, and removes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::error::{Error, Result};
use crate::id::Id;
use crate::identity::Identity;
use crate::lock::{LockFile, LockKind, LockOptions, SETTLE, file};
use crate::repository::Repository;

/// Where a lock stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Its first file is being stored.
    Storing,
    /// It is held, under this name at present.
    Held(Id),
    /// It cannot be relied upon any more.
    Lost(String),
}

/// Counts locks that are being kept.
#[derive(Clone, Debug)]
pub struct Keepers(Arc<watch::Sender<usize>>);

impl Default for Keepers {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Keepers {
    /// Waits until every lock has been released.
    pub async fn idle(&self) {
        // Fails only if the sender is gone, which `self` holds.
        let _ = self.0.subscribe().wait_for(|keepers| *keepers == 0).await;
    }

    fn enter(&self) -> Kept {
        self.0.send_modify(|keepers| *keepers += 1);
        Kept(self.clone())
    }
}

/// One of the counted.
struct Kept(Keepers);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.0.send_modify(|keepers| *keepers -= 1);
    }
}

/// A lock that was stored anew.
struct Replaced {
    new: Id,
    /// Whether it is to be kept any longer.
    is_wanted: bool,
}

pub(super) struct Keeper {
    repository: Repository,
    kind: LockKind,
    identity: Identity,
    refresh: Duration,
    expiry: Duration,
    state: watch::Sender<State>,
    /// Told when others may come in.
    share: Arc<Notify>,
    _kept: Kept,
}

enum Refused {
    /// Somebody removed the lock file.
    Gone,
    /// The storage does not answer as it should.
    Failed(Error),
}

impl Keeper {
    pub(super) fn new(
        repository: &Repository,
        kind: LockKind,
        options: &LockOptions,
        share: &Arc<Notify>,
    ) -> (Self, watch::Receiver<State>) {
        let (sender, state) = watch::channel(State::Storing);
        let keeper = Self {
            repository: repository.clone(),
            kind,
            identity: options.identity.clone(),
            refresh: options.refresh,
            expiry: options.expiry,
            state: sender,
            share: Arc::clone(share),
            _kept: options.keepers.enter(),
        };
        (keeper, state)
    }

    /// Keeps the lock until `stop` is sent or dropped.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Result<()> {
        let mut id = LockFile::new(self.kind, &self.identity).save(&self.repository).await?;
        self.state.send_replace(State::Held(id));
        let (mut refreshed, mut stored) = (SystemTime::now(), self.kind);
        // Looks at the clock on the wall often: a machine that was asleep has no timer that noticed,
        // but everybody else saw the lock grow old.
        let tick = (self.refresh / 10).min(Duration::from_secs(10));
        loop {
            tokio::select! {
                _ = &mut stop => break,
                () = sleep(tick) => {}
                () = self.share.notified() => self.kind = LockKind::Shared,
            }
            let age = refreshed.elapsed().unwrap_or(Duration::ZERO);
            let is_as_stored = stored == self.kind;
            if is_as_stored && age < self.refresh {
                continue;
            }
            let started = SystemTime::now();
            match self.replace(id, &mut stop).await {
                Ok(Replaced { new, is_wanted }) => {
                    (id, refreshed, stored) = (new, started, self.kind);
                    if !is_wanted {
                        break;
                    }
                }
                Err(Refused::Gone) => self.lose("somebody removed it".to_owned()),
                Err(Refused::Failed(error)) if age >= self.expiry => {
                    self.lose(format!("it could not be refreshed: {error}"));
                }
                Err(Refused::Failed(_)) => {} // there is time to try again
            }
            if matches!(*self.state.borrow(), State::Lost(_)) {
                let _ = stop.await;
                break;
            }
        }
        file::remove(&self.repository, id).await
    }

    /// Stores the lock anew, with the present time, and removes the old file.
    async fn replace(
        &self,
        old: Id,
        stop: &mut oneshot::Receiver<()>,
    ) -> Result<Replaced, Refused> {
        if !file::exists(&self.repository, old).await.map_err(Refused::Failed)? {
            return Err(Refused::Gone);
        }
        let file = LockFile::new(self.kind, &self.identity);
        let new = file.save(&self.repository).await.map_err(Refused::Failed)?;
        self.state.send_replace(State::Held(new));
        // Somebody who lists the locks meanwhile is to see one of the two. A listing that passed the
        // place of the new one before it was there must come to that of the old one in time. Once nobody
        // wants the lock any more, none needs to be seen.
        let is_wanted = timeout(SETTLE, stop).await.is_err();
        // If the old file stays it keeps others out until it is stale; the work itself is safe.
        let _ = file::remove(&self.repository, old).await;
        Ok(Replaced { new, is_wanted })
    }

    fn lose(&self, reason: String) {
        self.state.send_replace(State::Lost(reason));
    }
}
