//! `diff`

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use restic_repo::Id;
use restic_repo::diff::{self, Event, Options};
use restic_repo::index::Index;
use restic_repo::repository::Repository;
use restic_repo::snapshot::Filter;
use restic_repo::walk;

use crate::exit::{Failure, Result};
use crate::report::diff::{JsonChange, JsonStatistics, line, summary};
use crate::report::terminal::Verbosity;
use crate::session::{Contents, Intent, Session, find_snapshot};

/// Shows what differs between two snapshots.
///
/// Each line begins with what became of a file or folder: + added, - removed, M content changed, T another
/// type, U only metadata changed, ? the content changed although nothing else did, which means bit rot.
#[derive(Args, Debug)]
pub struct Diff {
    /// The two snapshots, the older one first: the beginnings of their ids, or latest; a folder in them
    /// may follow, as in latest:srv
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,

    /// Show changes of metadata too
    #[arg(long)]
    metadata: bool,
}

impl Diff {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let [before, after] = &self.snapshots[..] else {
            return Err(Failure::new("specify two snapshot IDs"));
        };
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let compare =
            async |contents| self.compare(session, &repository, contents, [before, after]).await;
        session.locked(&repository, Intent::Read, read, compare).await
    }

    async fn compare(
        &self,
        session: &Session,
        repository: &Repository,
        Contents { snapshots, index }: Contents,
        queries: [&str; 2],
    ) -> Result {
        let terminal = &session.terminal;
        let filter = Filter::default();
        let (before, before_folder) = find_snapshot(&snapshots, &filter, queries[0])?;
        let (after, after_folder) = find_snapshot(&snapshots, &filter, queries[1])?;
        let (one, other) = (before.0.short(), after.0.short());
        terminal.note(format!("comparing snapshot {one} to {other}:\n\n"));
        let index = Arc::new(index);
        let before = tree(repository, &index, before.1.tree, before_folder).await?;
        let after = tree(repository, &index, after.1.tree, after_folder).await?;
        let shows_changes = terminal.verbosity() > Verbosity::Quiet;
        let mut watch = |event| match event {
            Event::Change(change) if !shows_changes => drop(change),
            Event::Change(change) => match terminal.is_json() {
                true => terminal
                    .print_one_of_many(crate::report::json::line(&JsonChange::from(&change))),
                false => terminal.print_one_of_many(line(&change)),
            },
            Event::Unreadable(error) => terminal.error(format!("error: {error}")),
        };
        let options = Options { metadata: self.metadata };
        let trees = (before, after);
        let found = diff::diff(repository, &index, trees, options, &mut watch).await?;
        match terminal.is_json() {
            true => terminal.print_json(&JsonStatistics::new(queries, &found)),
            false => terminal.print(summary(&found)),
        }
        Ok(())
    }
}

/// The tree of a folder in a snapshot.
async fn tree(repository: &Repository, index: &Arc<Index>, root: Id, folder: &str) -> Result<Id> {
    let path = Path::new("/").join(folder);
    let node = walk::find_path(repository, index, root, &path).await?;
    Ok(walk::subtree(&node, &path)?)
}
