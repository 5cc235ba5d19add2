//! `list`

use clap::{Args, ValueEnum};
use restic_repo::lock::{self};
use restic_repo::repository::Repository;
use restic_repo::{BlobHandle, FileType};

use crate::exit::Result;
use crate::report::terminal::Verbosity;
use crate::session::{Intent, Session};

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
        let repository = session.open().await?;
        let nothing = async || Ok(());
        let list = async |()| self.list(session, &repository).await;
        match self.kind {
            // Somebody who looks for locks is not to be kept out by one.
            Kind::Locks => list(()).await,
            _ => session.locked(&repository, Intent::Read, nothing, list).await,
        }
    }

    /// Whether somebody reads this who wants to know more than a script does.
    fn tells(&self, session: &Session) -> bool {
        let terminal = &session.terminal;
        !terminal.is_json() && (terminal.is_terminal() || terminal.verbosity() > Verbosity::Normal)
    }

    async fn list(&self, session: &Session, repository: &Repository) -> Result {
        let terminal = &session.terminal;
        let file_type = match self.kind {
            Kind::Packs => FileType::Pack,
            Kind::Index => FileType::Index,
            Kind::Snapshots => FileType::Snapshot,
            Kind::Keys => FileType::Key,
            Kind::Locks => FileType::Lock,
            Kind::Blobs => {
                let index = session.contents(repository).await?.index;
                for location in index.loaded() {
                    let BlobHandle { blob_type, id } = location.entry.handle;
                    terminal.print_one_of_many(format!("{blob_type} {id}"));
                }
                return Ok(());
            }
        };
        if file_type == FileType::Lock && self.tells(session) {
            return tell_locks(session, repository).await;
        }
        for file in repository.list(file_type).await? {
            terminal.print_one_of_many(file.id.to_string());
        }
        Ok(())
    }
}

/// The locks, and who holds each.
async fn tell_locks(session: &Session, repository: &Repository) -> Result {
    for (id, holder) in lock::list(repository).await? {
        let who = match holder {
            Ok(holder) if holder.exclusive => format!("held {holder}"),
            Ok(holder) => format!("shared, held {holder}"),
            Err(error) => format!("cannot be read: {error}"),
        };
        session.terminal.print(format!("{id} {who}"));
    }
    Ok(())
}
