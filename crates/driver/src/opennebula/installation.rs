//! Where OpenNebula keeps its files on this machine.

use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// OpenNebula's folders: the usual ones, or those below `ONE_LOCATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Where everything that changes is: `/var/lib/one`.
    pub var: PathBuf,
}

impl Installation {
    /// The one that the environment names.
    pub fn of(environment: &Environment) -> Self {
        let var = match environment.value("ONE_LOCATION") {
            Some(location) => Path::new(&location).join("var"),
            None => PathBuf::from("/var/lib/one"),
        };
        Self { var }
    }

    /// The drivers: what the front-end hands out to hosts.
    pub fn remotes(&self) -> PathBuf {
        self.var.join("remotes")
    }

    /// What OpenNebula asks how to read a disk of a backup.
    pub fn downloader(&self) -> PathBuf {
        self.remotes().join("datastore/restic_downloader.rb")
    }

    /// The drivers of this datastore.
    pub fn driver(&self) -> PathBuf {
        self.remotes().join("datastore/restic")
    }
}

/// Where OpenNebula copies its drivers to on hosts and on the backup server.
pub const SCRIPTS_REMOTE: &str = "/var/tmp/one";
