//! Bringing a repository to a newer version of the format.
//!
//! Version 2 differs from version 1 in nothing but what may be written from now on: the config says
//! which it is, and all that is stored stays valid as it is. So the config is the one file that changes,
//! and the one file without which everything else is lost: it holds the chunker polynomial, and nobody
//! takes a folder without a config for a repository.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::backend::{Backend, BackendError, BackendErrorKind, Extent};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::json::{self, Members, Text};
use crate::repository::Repository;

/// What can be done to a repository to bring it up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Migration {
    /// From version 1 to version 2, which knows compression.
    UpgradeRepoV2,
}

impl Migration {
    /// All there are.
    pub const ALL: [Self; 1] = [Self::UpgradeRepoV2];

    /// restic's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpgradeRepoV2 => "upgrade_repo_v2",
        }
    }

    /// What it does, in restic's words.
    pub const fn description(self) -> &'static str {
        match self {
            Self::UpgradeRepoV2 => "upgrade a repository to version 2",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|migration| migration.name() == name)
    }

    /// Why it cannot be applied to this repository; nothing if it can.
    pub fn obstacle(self, repository: &Repository) -> Option<String> {
        let version = repository.config().version;
        match self {
            Self::UpgradeRepoV2 if version == 1 => None,
            Self::UpgradeRepoV2 => {
                Some(format!("repository is already upgraded to version {version}"))
            }
        }
    }
}

/// The config as it is stored, for a copy of it to be kept elsewhere until all has gone well.
pub async fn stored_config(repository: &Repository) -> Result<Bytes> {
    Ok(repository.backend().load(&Handle::CONFIG, Extent::Whole).await?)
}

/// Makes a repository of version 1 one of version 2. The caller holds an exclusive lock, has checked
/// that the repository is sound, and opens it anew afterwards.
///
/// The config is replaced in one step, or by removing it first on storage that cannot do so. Whatever
/// goes wrong, either the new config is there in the end or the old one is put back.
///
/// # Errors
/// [`Error::Refused`] for another version. [`Error::ConfigLost`] if neither config could be stored.
pub async fn upgrade_to_version_2(repository: &Repository) -> Result<()> {
    if let Some(obstacle) = Migration::UpgradeRepoV2.obstacle(repository) {
        return Err(Error::Refused(obstacle));
    }
    let old = stored_config(repository).await?;
    let json = repository.key().open(&old);
    let json = json.map_err(|error| Error::damaged(Handle::CONFIG, error.to_string()))?;
    let new = Bytes::from(repository.key().seal(&with_version_2(&json)?)?);
    let backend = repository.backend();
    let Err(failure) = replace(backend, &new).await else { return Ok(()) };
    match stored_config(repository).await {
        // It is done, and only the answer was lost.
        Ok(found) if found == new => Ok(()),
        Ok(found) if found == old => Err(failure),
        _ => match replace(backend, &old).await {
            Ok(()) => Err(failure),
            Err(second) => Err(Error::ConfigLost { source: Box::new(second) }),
        },
    }
}

/// Stores a config, and reads it back.
async fn replace(backend: &impl Backend, config: &Bytes) -> Result<()> {
    backend.save(&Handle::CONFIG, config.clone()).await?;
    if backend.load(&Handle::CONFIG, Extent::Whole).await? == config {
        return Ok(());
    }
    let error = BackendError::new(BackendErrorKind::Transient, "save");
    Err(error.on(&Handle::CONFIG).because("another content was found there").into())
}

/// The config with another version, and otherwise as it was: also with members that are unknown here.
fn with_version_2(config: &[u8]) -> Result<Vec<u8>> {
    let damaged = |error: serde_json::Error| Error::damaged(Handle::CONFIG, error.to_string());
    let Members(members) = serde_json::from_slice(config).map_err(damaged)?;
    let version: &RawValue = serde_json::from_str("2").map_err(damaged)?;
    let members = members.into_iter().map(|(Text(name), value)| {
        let value = if name == "version" { version } else { value };
        (name, value)
    });
    Ok(json::to_vec(&Object(members.collect())))
}

struct Object<'a>(Vec<(std::borrow::Cow<'a, str>, &'a RawValue)>);

impl serde::Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::fault::{Fault, Operation, Rule};
    use crate::handle::FileType;
    use crate::key::Password;
    use crate::progress::Silent;
    use crate::repository::Options;
    use crate::workshop::{Workshop, data, file};

    async fn opened(shop: &Workshop) -> Repository {
        let backend = Arc::new(shop.mem.clone());
        let password = Password::new("geheim");
        Repository::open(backend, &password, None, Options::default(), &Silent).await.unwrap()
    }

    #[tokio::test]
    async fn version_1_becomes_version_2_and_keeps_all_else() {
        let shop = Workshop::of_version(1).await;
        let piece = data("hello");
        let node = file("a", &[&piece]);
        shop.index([shop.pack([piece])]).await;
        shop.snapshot_of(vec![node]).await;
        assert_eq!(Migration::UpgradeRepoV2.obstacle(&shop.repository), None);
        upgrade_to_version_2(&shop.repository).await.unwrap();
        let after = opened(&shop).await;
        let (before, now) = (shop.repository.config().clone(), after.config().clone());
        assert_eq!(now, crate::config::Config { version: 2, ..before });
        let options = crate::checker::Options::default();
        let found = crate::checker::check(&after, &options, Arc::new(Silent)).await.unwrap();
        assert!(found.is_sound());
        assert!(matches!(upgrade_to_version_2(&after).await, Err(Error::Refused(_))));
    }

    #[test]
    fn members_of_other_programs_stay() {
        let before = br#"{"version":1,"id":"x","chunker_polynomial":"y","append_only":{"a":[1]}}"#;
        let after = with_version_2(before).unwrap();
        assert_eq!(
            String::from_utf8(after).unwrap(),
            r#"{"version":2,"id":"x","chunker_polynomial":"y","append_only":{"a":[1]}}"#
        );
    }

    #[tokio::test]
    async fn there_is_a_config_whatever_goes_wrong() {
        let faults = [
            Rule::fail(BackendErrorKind::NoSpace).on(Operation::Save),
            Rule::lose_answer(BackendErrorKind::Transient).on(Operation::Save),
            Rule::tear(5),
            Rule::flip(3).nth(2),
        ];
        for fault in faults {
            let shop = Workshop::of_version(1).await;
            let faulty = Arc::new(Fault::new(shop.mem.clone()));
            faulty.inject(fault.of(FileType::Config));
            let repository = shop.repository.with_backend(faulty);
            let outcome = upgrade_to_version_2(&repository).await;
            let version = opened(&shop).await.config().version;
            assert_eq!(version == 2, outcome.is_ok(), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn who_loses_the_config_is_told() {
        let shop = Workshop::of_version(1).await;
        let faulty = Arc::new(Fault::new(shop.mem.clone()));
        faulty.inject(Rule::tear(5));
        faulty.inject(Rule::fail(BackendErrorKind::Permanent).on(Operation::Save).nth(2));
        let repository = shop.repository.with_backend(faulty);
        let outcome = upgrade_to_version_2(&repository).await;
        assert!(matches!(outcome, Err(Error::ConfigLost { .. })), "{outcome:?}");
    }
}
