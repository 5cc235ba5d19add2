//! What a command works with: the settings, the terminal, and the repository it opens.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use restic_repo::backend::Backend;
use restic_repo::backend::limit::{Limit, Rates};
use restic_repo::backend::retry::{Retry, Retrying};
use restic_repo::identity::Identity;
use restic_repo::index::Index;
use restic_repo::key::Password;
use restic_repo::lock::{Gate, Keepers, Lock, LockHolder, LockKind, LockOptions};
use restic_repo::repository::{Options, Repository};
use restic_repo::snapshot::Snapshot;
use restic_repo::{Error, Id};

use crate::access::Access;
use crate::cache;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::global::Settings;
use crate::password;
use crate::report::counters::Counters;
use crate::report::number;
use crate::report::pace::Pulse;
use crate::report::terminal::{Terminal, Verbosity};
use crate::signals::Interrupt;
use crate::storage::{self, Servers};

/// One run of a command.
#[derive(Debug)]
pub struct Session {
    /// The options that every command takes.
    pub settings: Settings,
    /// The environment variables.
    pub environment: Environment,
    /// Where output goes.
    pub terminal: Arc<Terminal>,
    /// The operator's wish to stop.
    pub interrupt: Interrupt,
    /// The locks that are held.
    pub keepers: Keepers,
    /// The servers that are worked with.
    pub servers: Servers,
}

/// What a command is going to do with a repository, which says what lock it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing but read. The lock is shared; with `--no-lock` there is none.
    Read,
    /// Rely on what is there, and add to it. The lock is shared, whatever the options say: somebody who
    /// removes what is relied on could not know.
    Add,
    /// Replace something. The lock is exclusive.
    Replace,
}

/// The snapshots and the index, read in this order: a snapshot that is stored in between is not seen,
/// rather than seen without its blobs.
#[derive(Debug)]
pub struct Contents {
    /// The snapshots that could be read, the oldest first.
    pub snapshots: Vec<(Id, Snapshot)>,
    /// All blobs.
    pub index: Index,
}

impl Session {
    /// The same session with other settings.
    pub fn with(&self, settings: Settings) -> Self {
        Self {
            settings,
            environment: self.environment.clone(),
            terminal: Arc::clone(&self.terminal),
            interrupt: self.interrupt.clone(),
            keepers: self.keepers.clone(),
            servers: self.servers.clone(),
        }
    }

    /// The password of a repository: from where the options say, else asked for.
    pub async fn password(&self, access: &Access, prompt: &str) -> Result<Password> {
        let (access, environment) = (access.clone(), self.environment.clone());
        // A password command may take its time, or wait for the operator.
        let found = tokio::task::spawn_blocking(move || access.stored_password(&environment));
        let found = found.await.map_err(|error| {
            Failure::new(format_args!("the password could not be looked for: {error}"))
        })?;
        match found? {
            Some(password) => Ok(password),
            None => password::ask(prompt).await,
        }
    }

    /// The password of a repository to be made: where it is asked for, it is asked for twice.
    pub async fn new_password(&self, access: &Access, prompt: &str) -> Result<Password> {
        match access.gives_password(&self.environment) {
            true => self.password(access, prompt).await,
            false => password::ask_twice(prompt).await,
        }
    }

    /// The storage at a location, with retries and bandwidth limits.
    pub async fn backend(&self, access: &Access) -> Result<Arc<dyn Backend>> {
        let (location, settings) = (access.location()?, &self.settings);
        let storage = storage::open(location, settings, &self.terminal, &self.servers).await?;
        let terminal = Arc::clone(&self.terminal);
        let retry = Retry::new(storage).on_retry(move |retrying: &Retrying<'_>| {
            let Retrying { error, delay, .. } = retrying;
            terminal.error(format!("{error}; trying again in {}", number::duration(*delay)));
        });
        let (upload, download) = (self.settings.limit_upload, self.settings.limit_download);
        if upload.is_none() && download.is_none() {
            return Ok(Arc::new(retry));
        }
        let rates = Rates {
            upload: upload.and_then(NonZeroU64::new),
            download: download.and_then(NonZeroU64::new),
        };
        Ok(Arc::new(Limit::new(retry, rates)))
    }

    /// How to write to repositories.
    pub fn repository_options(&self) -> Options {
        let defaults = Options::default();
        Options {
            compression: self.settings.compression,
            pack_size: self.settings.pack_size.unwrap_or(defaults.pack_size),
            verify: self.settings.verify,
            workers: self.settings.workers.unwrap_or(defaults.workers),
        }
    }

    /// Opens the repository that the options name, with copies of its metadata on this machine.
    pub async fn open(&self) -> Result<Repository> {
        Ok(cache::attach(self, self.open_uncached().await?))
    }

    /// Opens the repository that the options name: for those who want to know what is really in it.
    pub async fn open_uncached(&self) -> Result<Repository> {
        self.open_at(&self.settings.access, "enter password for repository: ").await
    }

    /// Opens a repository, without copies on this machine.
    pub async fn open_at(&self, access: &Access, prompt: &str) -> Result<Repository> {
        let backend = self.backend(access).await?;
        let (hint, options) = (access.key_hint.as_deref(), self.repository_options());
        let counters = Counters::new(Arc::clone(&self.terminal));
        let may_mistype = password::can_ask() && !access.gives_password(&self.environment);
        let mut tries = if may_mistype { password::TRIES } else { 1 };
        let repository = loop {
            let password = self.password(access, prompt).await?;
            let (backend, options) = (Arc::clone(&backend), options.clone());
            match Repository::open(backend, &password, hint, options, &counters).await {
                Err(Error::WrongPassword) if tries > 1 => {
                    tries -= 1;
                    self.terminal.error("wrong password or no key found; try again");
                }
                opened => break opened?,
            }
        };
        self.terminal.say(
            Verbosity::Verbose,
            format!(
                "repository {} opened (version {})",
                repository.config().id.short(),
                repository.config().version
            ),
        );
        Ok(repository)
    }

    /// The user and host that locks, keys and snapshots name.
    pub fn identity(&self) -> Identity {
        Identity::current()
    }

    /// How to take locks.
    pub fn lock_options(&self) -> LockOptions {
        let terminal = Arc::clone(&self.terminal);
        let waiting = move |holders: &[LockHolder], pause: Duration| {
            if let [holder, ..] = holders {
                let pause = number::duration(pause);
                let text = format!("the repository is locked {holder}; trying again in {pause}");
                match terminal.is_json() {
                    true => terminal.error(text),
                    false => terminal.note(text),
                }
            }
        };
        LockOptions {
            retry: self.settings.retry_lock,
            waiting: Some(Arc::new(waiting)),
            keepers: self.keepers.clone(),
            ..LockOptions::new(self.identity())
        }
    }

    /// Reads something and works on it, all under a lock. `read` may be done again, if it turns out
    /// that somebody else was quicker.
    pub async fn locked<P, T>(
        &self,
        repository: &Repository,
        intent: Intent,
        read: impl AsyncFn() -> restic_repo::Result<P>,
        work: impl AsyncFnOnce(P) -> Result<T>,
    ) -> Result<T> {
        let Some(kind) = self.lock_for(intent) else { return work(read().await?).await };
        let options = self.lock_options();
        let (lock, found) = Lock::acquire_and(repository, kind, &options, read).await?;
        let result = lock.protect(work(found)).await;
        let released = lock.release().await;
        let result = result?;
        released?;
        Ok(result)
    }

    /// Does all of some work under a lock, and begins with it before the lock is sure to be had: see
    /// [`Lock::work`]. It may be begun several times.
    pub async fn gated<T>(
        &self,
        repository: &Repository,
        intent: Intent,
        work: impl AsyncFn(Gate) -> Result<T>,
    ) -> Result<T> {
        let Some(kind) = self.lock_for(intent) else { return work(Gate::open()).await };
        Lock::work(repository, kind, &self.lock_options(), work).await
    }

    fn lock_for(&self, intent: Intent) -> Option<LockKind> {
        match intent {
            Intent::Read if self.settings.no_lock => None,
            Intent::Read | Intent::Add => Some(LockKind::Shared),
            Intent::Replace => Some(LockKind::Exclusive),
        }
    }

    /// The snapshots and the index of a repository.
    pub async fn contents(&self, repository: &Repository) -> restic_repo::Result<Contents> {
        let counters = Arc::new(Counters::new(Arc::clone(&self.terminal)));
        let _pulse = self.pulse(&counters, Counters::show);
        let (snapshots, index) = repository.readable_snapshots_and_index(&*counters).await?;
        self.terminal.clear_status();
        Ok(Contents { snapshots, index })
    }

    /// Shows how far something is, at the interval that suits the terminal.
    pub fn pulse<T: Send + Sync + 'static>(&self, watched: &Arc<T>, show: fn(&T)) -> Pulse {
        let frames = self.environment.text("RESTIC_PROGRESS_FPS");
        Pulse::start(self.terminal.status_interval(frames.as_deref()), watched, show)
    }
}

/// The snapshot that a query means, as in `latest` or `1a2b3c`, and the folder in it, as in
/// `latest:srv/www`.
pub fn find_snapshot<'a>(
    snapshots: &'a [(Id, Snapshot)],
    filter: &restic_repo::snapshot::Filter,
    query: &'a str,
) -> Result<(&'a (Id, Snapshot), &'a str), Error> {
    let (query, folder) = restic_repo::snapshot::split_subfolder(query);
    Ok((restic_repo::snapshot::resolve(snapshots, filter, query)?, folder))
}
