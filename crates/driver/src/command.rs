//! The commands. Each file has one: its options, and what it does with them.

use clap::Subcommand;

use crate::exit::Result;
use crate::session::Session;

pub mod backup;
pub mod cat;
pub mod check;
pub mod dump;
pub mod init;
pub mod key;
pub mod list;
pub mod ls;
pub mod repair;
pub mod restore;
pub mod selftest;
pub mod snapshots;
pub mod stats;
pub mod unlock;
pub mod version;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new repository
    Init(init::Init),
    /// Back up files and folders
    Backup(backup::Backup),
    /// List the snapshots
    Snapshots(snapshots::Snapshots),
    /// List the files in a snapshot
    Ls(ls::Ls),
    /// Write a file, or a folder as an archive, to standard output
    Dump(dump::Dump),
    /// Bring back the files of a snapshot
    Restore(restore::Restore),
    /// Print what is stored in the repository, decrypted
    Cat(cat::Cat),
    /// List the files of the repository by type
    List(list::List),
    /// Look for damage in the repository
    Check(check::Check),
    /// Make good what can be made good of a damaged repository
    #[command(subcommand, arg_required_else_help = true)]
    Repair(repair::Repair),
    /// As `repair index`, by its old name
    #[command(hide = true)]
    RebuildIndex(repair::index::RepairIndex),
    /// Count what is in the repository
    Stats(stats::Stats),
    /// Show, add, change and remove passwords
    #[command(subcommand, arg_required_else_help = true)]
    Key(key::Key),
    /// Remove locks that others have left behind
    Unlock(unlock::Unlock),
    /// Find out whether this machine and its storage can be relied upon
    Selftest(selftest::Selftest),
    /// Show the version of this program
    Version(version::Version),
}

impl Command {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        match self {
            Self::Init(command) => command.run(session).await,
            Self::Backup(command) => command.run(session).await,
            Self::Snapshots(command) => command.run(session).await,
            Self::Ls(command) => command.run(session).await,
            Self::Dump(command) => command.run(session).await,
            Self::Restore(command) => command.run(session).await,
            Self::Cat(command) => command.run(session).await,
            Self::List(command) => command.run(session).await,
            Self::Check(command) => command.run(session).await,
            Self::Repair(command) => command.run(session).await,
            Self::RebuildIndex(command) => command.run(session).await,
            Self::Stats(command) => command.run(session).await,
            Self::Key(command) => command.run(session).await,
            Self::Unlock(command) => command.run(session).await,
            Self::Selftest(command) => command.run(session).await,
            Self::Version(command) => command.run(session),
        }
    }
}
