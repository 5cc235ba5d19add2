//! `repair`

use clap::Subcommand;

use crate::exit::Result;
use crate::session::Session;

pub mod index;
pub mod packs;
pub mod snapshots;

/// Makes good what can be made good of a damaged repository.
#[derive(Debug, Subcommand)]
pub enum Repair {
    /// Make new snapshots of damaged ones, without what is lost
    Snapshots(snapshots::RepairSnapshots),
    /// Build a new index from the packs
    Index(index::RepairIndex),
    /// Bring what is sound in damaged packs into new ones
    Packs(packs::RepairPacks),
}

impl Repair {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        match self {
            Self::Snapshots(command) => command.run(session).await,
            Self::Index(command) => command.run(session).await,
            Self::Packs(command) => command.run(session).await,
        }
    }
}
