//! Lock files: what is in them, who is in the way, and which are stale.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::backend::{BackendError, BackendErrorKind};
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::identity::Identity;
use crate::json;
use crate::lock::{LockHolder, LockKind, Presence, STALE};
use crate::repository::Repository;
use crate::time::Timestamp;

/// How long to wait before reading a lock again that cannot be read: it may be on its way. Fewer and
/// shorter than restic's 5, 10 and 20 seconds, which protect against storage that shows files before
/// they are whole; ours does not.
const RETRIES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(3)];

/// The content of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// When it was made or refreshed.
    pub time: Timestamp,
    /// Whether it shuts everybody else out.
    pub exclusive: bool,
    /// The host it was made on.
    pub hostname: String,
    /// The user who made it.
    pub username: String,
    /// The process that made it.
    pub pid: u32,
    /// The user's number; 0 is not written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The number of the user's group; 0 is not written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl LockFile {
    /// A lock of this process, made now.
    pub(super) fn new(kind: LockKind, identity: &Identity) -> Self {
        Self {
            time: Timestamp::now(),
            exclusive: kind == LockKind::Exclusive,
            hostname: identity.hostname.clone(),
            username: identity.username.clone(),
            pid: std::process::id(),
            uid: identity.uid,
            gid: identity.gid,
        }
    }

    pub(super) async fn save(&self, repository: &Repository) -> Result<Id> {
        repository.save_unpacked(FileType::Lock, &json::to_vec(self)).await
    }

    fn holder(self, id: Id, hostname: &str) -> LockHolder {
        let presence = self.presence(hostname);
        LockHolder {
            id,
            exclusive: self.exclusive,
            hostname: self.hostname,
            username: self.username,
            pid: self.pid,
            since: self.time,
            presence,
        }
    }

    /// Whether the one who made it is certainly gone: it was not refreshed for [`STALE`], or it names
    /// a process of this host that does not exist.
    pub fn is_stale(&self, hostname: &str) -> bool {
        self.presence(hostname) != Presence::AtWork
    }

    /// What can be told of the one who made it, on the host of this name.
    fn presence(&self, hostname: &str) -> Presence {
        let age = Timestamp::now().unix_seconds().saturating_sub(self.time.unix_seconds());
        if self.hostname == hostname && !process_exists(self.pid) {
            Presence::Dead
        } else if age > STALE.as_secs() as i64 {
            Presence::Stale
        } else {
            Presence::AtWork
        }
    }
}

/// Unlike restic this does not send SIGHUP to find out: signal 0 asks without disturbing anybody. A
/// process of another user answers "not permitted", and exists.
fn process_exists(pid: u32) -> bool {
    let number = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    match number.map(rustix::process::test_kill_process) {
        None | Some(Err(rustix::io::Errno::SRCH)) => false,
        Some(_) => !is_zombie(pid),
    }
}

/// Whether a process has ended and only waits for its parent to notice, which in a container may be for
/// ever. It works on nothing any more.
fn is_zombie(pid: u32) -> bool {
    // The state stands behind the name, which is in brackets and may hold anything.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Reads one lock. Nothing if it is gone by now, or empty: that is what a program leaves that died
/// while it made one, and restic passes over it too.
async fn load(repository: &Repository, id: Id) -> Result<Option<LockFile>> {
    let invalid = |source| Error::InvalidLock { id, source: Box::new(source) };
    match repository.load_unpacked(FileType::Lock, id).await {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| {
            invalid(Error::damaged(Handle::new(FileType::Lock, id), error.to_string()))
        }),
        Err(Error::Backend(error)) if error.kind == BackendErrorKind::NotFound => Ok(None),
        Err(error @ Error::Damaged { .. }) => Err(invalid(error)),
        Err(error) => Err(error),
    }
}

/// Fails if there is a lock, other than those of `own`, that keeps out one of this kind.
///
/// Locks are not judged by age here: a stale one keeps others out until somebody removes it, as in
/// restic.
pub(super) async fn check(repository: &Repository, kind: LockKind, own: &[Id]) -> Result<()> {
    let mut retries = RETRIES.iter();
    loop {
        match check_once(repository, kind, own).await {
            Err(error @ Error::InvalidLock { .. }) => match retries.next() {
                Some(pause) => sleep(*pause).await,
                None => return Err(error),
            },
            other => return other,
        }
    }
}

/// How often the locks are listed again because one of them was gone when it was to be read.
const RELISTINGS: usize = 5;

async fn check_once(repository: &Repository, kind: LockKind, own: &[Id]) -> Result<()> {
    for _ in 0..RELISTINGS {
        if check_listed(repository, kind, own).await? {
            return Ok(());
        }
    }
    // What is listed and never there harms nobody.
    Ok(())
}

/// Looks at the locks that are listed. `false` if one was gone when it was to be read: it may have been
/// refreshed, so that its holder is still there, under a name that was not listed yet.
async fn check_listed(repository: &Repository, kind: LockKind, own: &[Id]) -> Result<bool> {
    let mut holders = Vec::new();
    let hostname = Identity::current().hostname;
    let mut invalid = None;
    let mut all_there = true;
    for (id, loaded) in load_all(repository, own).await? {
        match loaded {
            Ok(Some(lock)) if lock.exclusive || kind == LockKind::Exclusive => {
                holders.push(lock.holder(id, &hostname));
            }
            Ok(Some(_)) => {}
            Ok(None) => all_there = false,
            Err(error) => invalid = Some(error),
        }
    }
    match invalid {
        _ if !holders.is_empty() => Err(Error::Locked { holders }),
        Some(error) => Err(error),
        None => Ok(all_there),
    }
}

async fn load_all(
    repository: &Repository,
    except: &[Id],
) -> Result<Vec<(Id, Result<Option<LockFile>>)>> {
    let files = repository.list(FileType::Lock).await?;
    let wanted = files.into_iter().filter(|file| !except.contains(&file.id) && file.size > 0);
    Ok(stream::iter(wanted)
        .map(|file| async move { (file.id, load(repository, file.id).await) })
        .buffer_unordered(repository.parallel_requests())
        .collect()
        .await)
}

/// Everybody who holds a lock, and the locks that cannot be read.
pub async fn list(repository: &Repository) -> Result<Vec<(Id, Result<LockHolder>)>> {
    list_on(repository, &Identity::current().hostname).await
}

async fn list_on(repository: &Repository, hostname: &str) -> Result<Vec<(Id, Result<LockHolder>)>> {
    let locks = load_all(repository, &[]).await?;
    let holder = |id, lock: LockFile| lock.holder(id, hostname);
    let read = |(id, loaded): (Id, Result<Option<LockFile>>)| {
        Some((id, loaded.transpose()?.map(|lock| holder(id, lock))))
    };
    Ok(locks.into_iter().filter_map(read).collect())
}

/// What became of the locks in a repository.
#[derive(Debug, Default)]
pub struct Unlocked {
    /// Those that are removed: their holders are certainly gone.
    pub removed: Vec<LockHolder>,
    /// Those that stay.
    pub left: Vec<LockHolder>,
    /// Those that stay because they cannot be read.
    pub unreadable: Vec<(Id, Error)>,
}

/// Removes the locks of those who are certainly gone. `hostname` is this host's. A lock that cannot be
/// read stays.
pub async fn remove_stale(repository: &Repository, hostname: &str) -> Result<Unlocked> {
    let mut unlocked = Unlocked::default();
    for (id, holder) in list_on(repository, hostname).await? {
        match holder {
            Ok(holder) if holder.is_gone() => {
                remove(repository, id).await?;
                unlocked.removed.push(holder);
            }
            Ok(holder) => unlocked.left.push(holder),
            Err(error) => unlocked.unreadable.push((id, error)),
        }
    }
    Ok(unlocked)
}

/// Removes the shared locks that this user's processes on this host took and did not give back, because
/// they are no more. Everybody else's stay, and so do exclusive ones: they deserve a look.
pub async fn remove_dead(repository: &Repository, identity: &Identity) -> Result<Vec<LockHolder>> {
    let mut removed = Vec::new();
    for (id, holder) in list_on(repository, &identity.hostname).await? {
        let Ok(holder) = holder else { continue };
        let is_ours = holder.hostname == identity.hostname && holder.username == identity.username;
        if is_ours && !holder.exclusive && holder.presence == Presence::Dead {
            remove(repository, id).await?;
            removed.push(holder);
        }
    }
    Ok(removed)
}

/// Removes every lock without reading it, and gives how many there were.
pub async fn remove_all(repository: &Repository) -> Result<usize> {
    let files = repository.list(FileType::Lock).await?;
    for file in &files {
        remove(repository, file.id).await?;
    }
    Ok(files.len())
}

/// Removes a lock file, which may be gone already.
pub(super) async fn remove(repository: &Repository, id: Id) -> Result<()> {
    match repository.remove(FileType::Lock, id).await {
        Err(Error::Backend(BackendError { kind: BackendErrorKind::NotFound, .. })) => Ok(()),
        other => other,
    }
}

/// Whether a lock file is there.
pub(super) async fn exists(repository: &Repository, id: Id) -> Result<bool> {
    match repository.backend().stat(&Handle::new(FileType::Lock, id)).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == BackendErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
