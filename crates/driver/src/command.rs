//! The commands. Each file has one: its options, and what it does with them.

use clap::Subcommand;

use crate::exit::Result;
use crate::session::Session;

pub mod backup;
pub mod cache;
pub mod cat;
pub mod check;
pub mod copy;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod find;
pub mod forget;
pub mod init;
pub mod key;
pub mod list;
pub mod ls;
pub mod migrate;
pub mod prune;
pub mod recover;
pub mod repair;
pub mod restore;
pub mod rewrite;
pub mod selftest;
pub mod snapshots;
pub mod stats;
pub mod tag;
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
    /// Find files in snapshots, or snapshots by the blobs they hold
    Find(find::Find),
    /// Show what differs between two snapshots
    Diff(diff::Diff),
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
    /// Remove what no snapshot needs
    Prune(prune::Prune),
    /// Remove snapshots, by a policy or by their ids
    Forget(forget::Forget),
    /// Give snapshots other tags
    Tag(tag::Tag),
    /// Make new snapshots of old ones, without some files
    Rewrite(rewrite::Rewrite),
    /// Make good what can be made good of a damaged repository
    #[command(subcommand, arg_required_else_help = true)]
    Repair(repair::Repair),
    /// Copy snapshots from another repository into this one
    Copy(copy::Copy),
    /// As `repair index`, by its old name
    #[command(hide = true)]
    RebuildIndex(repair::index::RepairIndex),
    /// Count what is in the repository
    Stats(stats::Stats),
    /// Make a snapshot of what no snapshot refers to any more
    Recover(recover::Recover),
    /// Bring a repository to a newer version of the format
    Migrate(migrate::Migrate),
    /// Show, add, change and remove passwords
    #[command(subcommand, arg_required_else_help = true)]
    Key(key::Key),
    /// List or remove the copies of metadata on this machine
    Cache(cache::Cache),
    /// Remove locks that others have left behind
    Unlock(unlock::Unlock),
    /// Find out whether this machine and its storage can be relied upon
    Selftest(selftest::Selftest),
    /// Find out whether everything is in place for OpenNebula's backups
    Doctor(doctor::Doctor),
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
            Self::Find(command) => command.run(session).await,
            Self::Diff(command) => command.run(session).await,
            Self::Dump(command) => command.run(session).await,
            Self::Restore(command) => command.run(session).await,
            Self::Cat(command) => command.run(session).await,
            Self::List(command) => command.run(session).await,
            Self::Check(command) => command.run(session).await,
            Self::Prune(command) => command.run(session).await,
            Self::Forget(command) => command.run(session).await,
            Self::Tag(command) => command.run(session).await,
            Self::Rewrite(command) => command.run(session).await,
            Self::Repair(command) => command.run(session).await,
            Self::Copy(command) => command.run(session).await,
            Self::RebuildIndex(command) => command.run(session).await,
            Self::Stats(command) => command.run(session).await,
            Self::Recover(command) => command.run(session).await,
            Self::Migrate(command) => command.run(session).await,
            Self::Key(command) => command.run(session).await,
            Self::Cache(command) => command.run(session).await,
            Self::Unlock(command) => command.run(session).await,
            Self::Selftest(command) => command.run(session).await,
            Self::Doctor(command) => command.run(session).await,
            Self::Version(command) => command.run(session),
        }
    }
}
