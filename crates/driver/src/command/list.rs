//! `list`

use clap::{Args, ValueEnum};

use crate::exit::Result;
use crate::session::Session;

/// Lists the files of the repository by type.
#[derive(Args, Debug)]
pub struct List {
    /// What to list
    #[arg(value_name = "TYPE")]
    kind: Kind,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Blobs that the index knows.
    Blobs,
    /// Packs.
    Packs,
    /// Index files.
    Index,
    /// Snapshots.
    Snapshots,
    /// Keys.
    Keys,
    /// Locks.
    Locks,
}

impl List {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        session.open().await
    }
}
