//! `repair`

use clap::Subcommand;

use crate::exit::Result;
use crate::session::Session;

pub mod snapshots;

/// Makes good what can be made good of a damaged repository.
#[derive(Debug, Subcommand)]
pub enum Repair {
    /// Make new snapshots of damaged ones, without what is lost
    Snapshots(snapshots::RepairSnapshots),
}

impl Repair {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        match self {
            Self::Snapshots(command) => command.run(session).await,
        }
    }
}
