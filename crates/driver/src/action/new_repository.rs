//! Makes the repository of a VM, or of a backup job, before the first backup that goes there.

use std::fs::File;
use std::time::Duration;

use restic_repo::backend::Backend;
use restic_repo::repository::{InitOptions, Repository};
use restic_repo::{Error, FileType, Handle};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::sleep;

use crate::exit::{Failure, Result};
use crate::session::Session;

/// This program, which whoever makes a repository locks.
const MYSELF: &str = "/proc/self/exe";
/// How often to look whether somebody else has made his.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a key without a repository is left alone: somebody on another front-end may be about to
/// make the repository that it belongs to, which takes him a moment.
const GRACE: Duration = Duration::from_secs(10);

/// Makes the repository that a session names. The VMs of a backup job are backed up side by side, so
/// others may be about to make the same one, or have just made it: then that is fine.
pub async fn make(session: &Session) -> Result {
    let _turn = turn().await;
    let access = &session.settings.access;
    let backend = session.backend(access).await?;
    let mut has_cleared = false;
    loop {
        let password = session.password(access, "").await?;
        let init = InitOptions::new(session.identity());
        let options = session.repository_options();
        match Repository::init(backend.clone(), &password, init, options).await {
            Ok(_) => return Ok(()),
            Err(Error::AlreadyInitialized { .. }) if has_cleared => return Ok(()),
            Err(Error::AlreadyInitialized { .. }) => {
                has_cleared = true;
                if !clear_remains(&*backend, GRACE).await? {
                    // Whether it is a repository, the backup will see.
                    return Ok(());
                }
            }
            Err(error) => return Err(Failure::from(error)),
        }
    }
}

/// Removes keys that belong to no repository, and tells whether there were any: somebody was killed who
/// was making one. Where there is anything that a key could open, nothing is removed.
async fn clear_remains(backend: &dyn Backend, grace: Duration) -> Result<bool> {
    if !has_only_keys(backend).await? {
        return Ok(false);
    }
    sleep(grace).await;
    if !has_only_keys(backend).await? {
        return Ok(false);
    }
    for key in backend.list(FileType::Key).await? {
        backend.remove(&Handle::new(FileType::Key, key.id)).await?;
    }
    Ok(true)
}

async fn has_only_keys(backend: &dyn Backend) -> Result<bool> {
    if backend.stat(&Handle::CONFIG).await.is_ok() {
        return Ok(false);
    }
    for data in [FileType::Snapshot, FileType::Index, FileType::Pack] {
        if !backend.list(data).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(!backend.list(FileType::Key).await?.is_empty())
}

/// Waits until nobody else on this front-end makes a repository: two who make the same one would each
/// have a key of their own to it, one of which is wrong. Where there is no telling, it goes without.
async fn turn() -> Option<File> {
    let file = File::open(MYSELF).ok()?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) => sleep(PAUSE).await,
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use restic_repo::Id;
    use restic_repo::backend::mem::Mem;

    use super::*;

    async fn storage(files: &[Handle]) -> Mem {
        let storage = Mem::new();
        for file in files {
            storage.save(file, Bytes::from_static(b"content")).await.unwrap();
        }
        storage
    }

    #[tokio::test]
    async fn a_key_is_removed_only_where_there_is_nothing_else() {
        let file = |file_type| Handle::new(file_type, Id::of(b"content"));
        let key = file(FileType::Key);
        let alone = storage(&[key]).await;
        assert_eq!(clear_remains(&alone, Duration::ZERO).await, Ok(true));
        assert!(alone.list(FileType::Key).await.unwrap().is_empty());
        assert_eq!(clear_remains(&alone, Duration::ZERO).await, Ok(false));
        let kinds = [FileType::Snapshot, FileType::Index, FileType::Pack].map(file);
        for other in kinds.into_iter().chain([Handle::CONFIG]) {
            let storage = storage(&[key, other]).await;
            assert_eq!(clear_remains(&storage, Duration::ZERO).await, Ok(false));
            assert_eq!(storage.list(FileType::Key).await.unwrap().len(), 1);
        }
    }
}
