//! The keys of a repository: which one a password opens, and adding and removing them.

use std::sync::Arc;

use crate::backend::{Backend, BackendError, BackendErrorKind, Extent};
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::identity::Identity;
use crate::key::{Failure, KeyFile, Password, ScryptParams};
use crate::progress::{Progress, Warning};
use crate::repository::{Repository, on_worker};
use crate::snapshot::find_id;
use crate::time::Timestamp;

/// How many keys are tried before giving up: restic's limit. Each try costs scrypt's half second.
pub const MAX_KEYS: usize = 20;

/// A key, as it is listed.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// Its name.
    pub id: Id,
    /// Whether it is the one that opened the repository.
    pub current: bool,
    /// Who added it.
    pub username: String,
    /// Where.
    pub hostname: String,
    /// When.
    pub created: Timestamp,
}

impl Repository {
    /// All keys that can be read; others are warned of.
    pub async fn keys(&self, progress: &dyn Progress) -> Result<Vec<KeyInfo>> {
        let mut keys = Vec::new();
        for file in self.list(FileType::Key).await? {
            match load(self.backend(), file.id).await {
                Ok(key) => keys.push(KeyInfo {
                    id: file.id,
                    current: file.id == self.key_id(),
                    username: key.username,
                    hostname: key.hostname,
                    created: key.created,
                }),
                Err(error) => warn(progress, file.id, &error),
            }
        }
        keys.sort_by_key(|key| key.id);
        Ok(keys)
    }

    /// Adds a key for `password`, and opens the repository with it before saying so.
    pub async fn add_key(
        &self,
        password: &Password,
        identity: &Identity,
        scrypt: Option<ScryptParams>,
    ) -> Result<Id> {
        let id = store_new(self.backend(), self.key(), password, scrypt, identity).await?;
        let opened = match load(self.backend(), id).await {
            Ok(key) => open(key, password).await,
            Err(error) => Err(Failure::Unusable(error.to_string())),
        };
        match opened {
            Ok(_) => Ok(id),
            Err(_) => {
                self.remove(FileType::Key, id).await?;
                Err(Error::VerifyFailed { what: Handle::new(FileType::Key, id).into() })
            }
        }
    }

    /// Removes a key. The one in use stays: nobody locks himself out by a slip.
    pub async fn remove_key(&self, id: Id) -> Result<()> {
        if id == self.key_id() {
            return Err(Error::Refused(format!(
                "key {} is the one in use; open the repository with another to remove it",
                id.short()
            )));
        }
        self.remove(FileType::Key, id).await
    }

    /// Replaces the key in use by one for `password`. The old one goes last.
    pub async fn change_password(
        &self,
        password: &Password,
        identity: &Identity,
        scrypt: Option<ScryptParams>,
    ) -> Result<Id> {
        let id = self.add_key(password, identity, scrypt).await?;
        self.remove(FileType::Key, self.key_id()).await?;
        Ok(id)
    }
}

/// Stores a new key file for `master`.
pub(super) async fn store_new(
    backend: &Arc<dyn Backend>,
    master: &Key,
    password: &Password,
    scrypt: Option<ScryptParams>,
    identity: &Identity,
) -> Result<Id> {
    let (master, password, identity) = (master.clone(), password.clone(), identity.clone());
    let stored = on_worker(move || {
        let params = scrypt.unwrap_or_else(ScryptParams::calibrate);
        Ok(KeyFile::new(&master, &password, params, &identity)?.encode())
    })
    .await?;
    let id = Id::of(&stored);
    backend.save(&Handle::new(FileType::Key, id), stored.into()).await?;
    Ok(id)
}

/// The key that `password` opens: the hinted one first, then the others as they are listed.
///
/// restic gives up at the first key file that it cannot read. One broken file should not keep an
/// operator from the data, so here it is warned of and passed over. Where there is nothing but broken
/// key files, the damage is the error.
pub(super) async fn search(
    backend: &Arc<dyn Backend>,
    password: &Password,
    hint: Option<&str>,
    progress: &dyn Progress,
) -> Result<(Id, Key)> {
    let mut ids: Vec<Id> = backend.list(FileType::Key).await?.iter().map(|key| key.id).collect();
    ids.sort();
    if let Some(hint) = hint
        && let Ok(hinted) = find_id(FileType::Key, ids.iter().copied(), hint)
    {
        ids.sort_by_key(|id| *id != hinted);
    }
    let mut passed_over = None;
    let mut refused = false;
    for (tried, id) in ids.into_iter().enumerate() {
        if tried >= MAX_KEYS {
            return Err(Error::TooManyKeys { limit: MAX_KEYS });
        }
        let failure = match load(backend, id).await {
            Ok(key) => match open(key, password).await {
                Ok(master) => return Ok((id, master)),
                Err(Failure::WrongPassword) => {
                    refused = true;
                    continue;
                }
                Err(Failure::Unusable(detail)) => damaged(id, detail),
            },
            Err(error @ Error::Damaged { .. }) => error,
            Err(Error::Backend(BackendError { kind: BackendErrorKind::NotFound, .. })) => continue,
            Err(error) => return Err(error),
        };
        warn(progress, id, &failure);
        passed_over = Some(failure);
    }
    Err(passed_over.filter(|_| !refused).unwrap_or(Error::WrongPassword))
}

async fn load(backend: &Arc<dyn Backend>, id: Id) -> Result<KeyFile> {
    let stored = backend.load(&Handle::new(FileType::Key, id), Extent::Whole).await?;
    if Id::of(&stored) != id {
        return Err(damaged(id, "its content does not match its name".into()));
    }
    KeyFile::decode(&stored).map_err(|detail| damaged(id, detail))
}

async fn open(key: KeyFile, password: &Password) -> std::result::Result<Key, Failure> {
    let password = password.clone();
    on_worker(move || Ok(key.open(&password)))
        .await
        .unwrap_or_else(|error| Err(Failure::Unusable(error.to_string())))
}

fn damaged(id: Id, detail: String) -> Error {
    Error::damaged(Handle::new(FileType::Key, id), detail)
}

fn warn(progress: &dyn Progress, id: Id, error: &Error) {
    progress.warn(&Warning::Damaged { handle: Handle::new(FileType::Key, id), error });
}
