//! `recover`

use std::collections::HashSet;
use std::sync::Arc;

use clap::Args;
use restic_repo::progress::Progress;
use restic_repo::recover::{save_as_snapshot, unreferenced_roots};
use restic_repo::repository::Repository;
use restic_repo::{FileType, Id};

use crate::command::version;
use crate::exit::Result;
use crate::report::counters::Counters;
use crate::report::terminal::Verbosity;
use crate::session::{Contents, Intent, Session};

/// Makes a snapshot of all folders in the repository that no snapshot refers to any more.
#[derive(Args, Debug)]
pub struct Recover {}

impl Recover {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let work = async |contents| recover(session, &repository, contents).await;
        session.locked(&repository, Intent::Add, read, work).await
    }
}

async fn recover(
    session: &Session,
    repository: &Repository,
    Contents { snapshots, index }: Contents,
) -> Result {
    let terminal = &session.terminal;
    let index = Arc::new(index);
    let listed: HashSet<Id> = index.pack_sizes().map(|pack| pack.id).collect();
    let packs = repository.list(FileType::Pack).await?;
    let unlisted = packs.iter().filter(|pack| !listed.contains(&pack.id)).count();
    if unlisted > 0 {
        terminal.error(format!(
            "{unlisted} packs are in no index, and what they hold is not looked for; run \
             `repair index` first to have them looked through too"
        ));
    }
    let counters = Arc::new(Counters::new(Arc::clone(terminal)));
    let pulse = session.pulse(&counters, Counters::show);
    let progress: Arc<dyn Progress> = counters;
    let roots = unreferenced_roots(repository, &index, &snapshots, &progress).await?;
    drop(pulse);
    for root in &roots {
        terminal.say(Verbosity::Verbose, format!("found root tree {}", root.short()));
    }
    terminal.print(format!("\nfound {} unreferenced roots", roots.len()));
    if roots.is_empty() {
        terminal.note("no snapshot to write.");
        return Ok(());
    }
    let identity = session.identity();
    let program = version::NAME_AND_VERSION;
    let id = save_as_snapshot(repository, index, &roots, identity, program).await?;
    terminal.print(format!("saved new snapshot {}", id.short()));
    Ok(())
}
