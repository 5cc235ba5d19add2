//! What the two halves say to each other. The server's half begins with a [`message::Hello`] and is given an
//! [`Order`]. It gives one [`Answer`], or two if there was something to merge.

use restic_repo::prune::{MaxUnused, Options};
use restic_repo::{Compression, Id};
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::action::repository::{BackupRepository, LOCK_PATIENCE};
use crate::environment::Environment;
use crate::exit::Result;
use crate::flatten::Flattened;
use crate::global::{GlobalArgs, Settings};
use crate::host::message;
use crate::opennebula::datastore::{Confinement, Datastore};
use crate::opennebula::increments::Increment;
use crate::password::Secret;

/// Work to be done on a repository on the server. At its end, space is reclaimed.
///
/// How long others' locks are waited for is not said: the same version of the program knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The repository's folder.
    pub folder: String,
    /// The repository's id. There may be another one under that name where SFTP shows not all that is there.
    pub repository: Id,
    /// Its master key, as key files have it. The password, which may open others too, stays on the front-end.
    #[serde(with = "message::secret")]
    pub key: Secret,
    /// The key file that the front-end opened it with.
    pub key_id: Id,
    /// How hard to compress.
    #[serde(with = "message::mode")]
    pub compression: Compression,
    /// Threads that compute.
    pub workers: Option<usize>,
    /// What the work may take of the server; only `nice` and `ionice` count.
    pub confinement: Confinement,
    /// What to merge first.
    pub merge: Option<Merge>,
    /// How much may stay that nobody needs.
    #[serde(with = "Unused")]
    pub max_unused: MaxUnused,
    /// How many bytes of packs to copy out of, at most.
    pub max_repack: Option<u64>,
}

/// Increments to be put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The VM that they are backups of.
    pub vm: u64,
    /// They.
    pub increments: Vec<Increment>,
}

/// What came of an order, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It cannot be done here, for this reason, and nothing has been done.
    Elsewhere(String),
    /// The increments are put together. Space is going to be reclaimed.
    Merged(Flattened),
    /// All is done.
    Done,
    /// It failed, for this reason.
    Failed(String),
}

/// The same, in a message.
#[derive(Serialize, Deserialize)]
#[serde(remote = "MaxUnused", rename_all = "kebab-case")]
enum Unused {
    Unlimited,
    Percent(f64),
    Bytes(u64),
}

impl Order {
    /// Work to be done on a repository of a datastore.
    pub fn new(backup: &BackupRepository, datastore: &Datastore, merge: Option<Merge>) -> Self {
        Self {
            folder: datastore.location(backup.id()).path,
            repository: backup.repository.config().id,
            key: Secret::new(String::from_utf8_lossy(&backup.repository.key().to_json())),
            key_id: backup.repository.key_id(),
            compression: datastore.compression,
            workers: datastore.workers,
            confinement: datastore.confinement.clone(),
            merge,
            max_unused: datastore.prune.max_unused,
            max_repack: datastore.prune.max_repack,
        }
    }

    /// How to work with the repository.
    pub fn settings(&self) -> Result<Settings> {
        // The variables that restic knows are an operator's, and not meant for datastores.
        let defaults = Settings::resolve(GlobalArgs::default(), &Environment::of(&[]))?;
        Ok(Settings {
            access: Access { location: Some(format!("local:{}", self.folder)), ..defaults.access },
            retry_lock: LOCK_PATIENCE,
            compression: self.compression,
            workers: self.workers,
            // Copies of what is on this machine.
            cache: false,
            ..defaults
        })
    }

    /// How much to clean up.
    pub fn prune(&self) -> Options {
        Options { max_unused: self.max_unused, max_repack: self.max_repack, ..Options::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(max_unused: MaxUnused) -> Order {
        let increments = vec![Increment { id: 3, snapshot: "66c01fd7".to_owned() }];
        Order {
            folder: "/srv/'a\n:b/5".to_owned(),
            repository: Id::from_bytes([7; 32]),
            key: Secret::new("ge\"heim\n"),
            key_id: Id::from_bytes([6; 32]),
            compression: Compression::Max,
            workers: Some(2),
            confinement: Confinement { nice: Some(3), ..Confinement::default() },
            merge: Some(Merge { vm: 5, increments }),
            max_unused,
            max_repack: Some(1 << 40),
        }
    }

    #[test]
    fn an_order_is_one_line_and_comes_out_as_it_went_in() {
        for max_unused in
            [MaxUnused::Unlimited, MaxUnused::Percent(0.1), MaxUnused::Bytes(u64::MAX)]
        {
            let sent = message::line(&order(max_unused));
            assert_eq!(sent.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(message::read::<Order>(&sent[..]).unwrap(), order(max_unused));
        }
        assert!(!format!("{:?}", order(MaxUnused::Unlimited)).contains("heim"));
    }

    #[test]
    fn a_folder_is_one_of_this_machine_whatever_its_name() {
        use crate::location::Location;
        let settings = order(MaxUnused::Unlimited).settings().unwrap();
        let location = settings.access.location().unwrap();
        assert_eq!(location, Location::Local("/srv/'a\n:b/5".into()));
    }

    #[test]
    fn answers_are_told_from_one_another() {
        let id = Id::from_bytes([1; 32]);
        let flattened = Flattened { snapshot: id, size: 7, old: vec![id], reread: 1 };
        for answer in [
            Answer::Elsewhere("why".to_owned()),
            Answer::Merged(flattened),
            Answer::Done,
            Answer::Failed("why".to_owned()),
        ] {
            assert_eq!(message::read::<Answer>(&message::line(&answer)[..]).unwrap(), answer);
        }
    }
}
