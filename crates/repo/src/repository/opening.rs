//! How a repository comes to be open: made, opened with a password, or handed over by another program.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future;

use crate::backend::{Backend, BackendError, BackendErrorKind, Extent};
use crate::chunker::Polynomial;
use crate::config::Config;
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::identity::Identity;
use crate::key::{Password, ScryptParams};
use crate::progress::Progress;
use crate::repository::{Options, Repository, keys};

/// How to make a repository.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The format's version, 1 or 2.
    pub version: u32,
    /// Where to cut files: one's own, so that two repositories share chunks, or a random one.
    pub polynomial: Option<Polynomial>,
    /// Who makes it.
    pub identity: Identity,
    /// What guessing a password costs; measured here and now if not given.
    pub scrypt: Option<ScryptParams>,
}

impl InitOptions {
    /// Version 2, with random polynomial and calibrated scrypt.
    pub fn new(identity: Identity) -> Self {
        Self { version: 2, polynomial: None, identity, scrypt: None }
    }
}

impl Repository {
    /// Makes a new repository.
    ///
    /// The config comes last: until it is there, there is no repository.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialized`] where there is a config, a key or a snapshot.
    pub async fn init(
        backend: Arc<dyn Backend>,
        password: &Password,
        init: InitOptions,
        options: Options,
    ) -> Result<Self> {
        refuse_remains(&*backend).await?;
        let config = Config::new(init.version, init.polynomial)?;
        let key = Key::random()?;
        backend.create().await?;
        let key_id = keys::store_new(&backend, &key, password, init.scrypt, &init.identity).await?;
        backend.save(&Handle::CONFIG, config.seal(&key)?.into()).await?;
        Ok(Self::opened(backend, config, key, key_id, options))
    }

    /// Opens a repository. `key_hint` is the id (or its beginning) of the key to try first.
    ///
    /// # Errors
    /// [`Error::NotARepository`], [`Error::WrongPassword`], [`Error::Damaged`],
    /// [`Error::UnsupportedVersion`], [`Error::TooManyKeys`].
    pub async fn open(
        backend: Arc<dyn Backend>,
        password: &Password,
        key_hint: Option<&str>,
        options: Options,
        progress: &dyn Progress,
    ) -> Result<Self> {
        // Both at once: where the storage is far away, each is a few round trips.
        let (stored, found) = future::join(
            backend.load(&Handle::CONFIG, Extent::Whole),
            keys::search(&backend, password, key_hint, progress),
        )
        .await;
        let stored = stored_config(&*backend, stored)?;
        let (key_id, key) = found?;
        let config = Config::open(&key, &stored)?;
        Ok(Self::opened(backend, config, key, key_id, options))
    }

    /// Opens a repository for another program that has it open: `key` and `key_id` are its
    /// [`Self::key`] and [`Self::key_id`]. That costs no scrypt, and tells no password.
    ///
    /// # Errors
    /// [`Error::NotARepository`]; [`Error::Damaged`] also if it is the key of another repository;
    /// [`Error::UnsupportedVersion`].
    pub async fn open_with_key(
        backend: Arc<dyn Backend>,
        key: Key,
        key_id: Id,
        options: Options,
    ) -> Result<Self> {
        let stored = stored_config(&*backend, backend.load(&Handle::CONFIG, Extent::Whole).await)?;
        let config = Config::open(&key, &stored)?;
        Ok(Self::opened(backend, config, key, key_id, options))
    }
}

/// What was loaded of the config file.
fn stored_config(backend: &dyn Backend, loaded: Result<Bytes, BackendError>) -> Result<Bytes> {
    loaded.map_err(|error| match error.kind {
        BackendErrorKind::NotFound => {
            Error::NotARepository { location: backend.properties().location }
        }
        _ => error.into(),
    })
}

async fn refuse_remains(backend: &dyn Backend) -> Result<()> {
    let found = match backend.stat(&Handle::CONFIG).await {
        Ok(_) => Some("a config file"),
        Err(BackendError { kind: BackendErrorKind::NotFound, .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let found = match found {
        Some(found) => Some(found),
        None if !backend.list(FileType::Key).await?.is_empty() => Some("a key"),
        None if !backend.list(FileType::Snapshot).await?.is_empty() => Some("a snapshot"),
        None => None,
    };
    match found {
        None => Ok(()),
        Some(found) => Err(Error::AlreadyInitialized {
            location: backend.properties().location,
            found: found.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workshop::Workshop;

    #[tokio::test]
    async fn a_key_that_is_handed_over_opens_its_repository_and_no_other() {
        let (one, other) = (Workshop::new().await.repository, Workshop::new().await.repository);
        let open = async |repository: &Repository| {
            let backend = Arc::clone(repository.backend());
            let key = Key::from_json(&one.key().to_json()).unwrap();
            Repository::open_with_key(backend, key, one.key_id(), Options::default()).await
        };
        let opened = open(&one).await.unwrap();
        assert_eq!((opened.config().id, opened.key_id()), (one.config().id, one.key_id()));
        assert!(matches!(open(&other).await, Err(Error::Damaged { .. })));
    }
}
