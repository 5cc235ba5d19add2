//! `recover`

use std::sync::Arc;

use clap::Args;
use restic_repo::progress::Progress;
use restic_repo::recover::{save_as_snapshot, unreferenced_roots};
use restic_repo::repair::index;
use restic_repo::repository::Repository;

use crate::command::repair::index::tell;
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
        let repository = session.open_uncached().await?;
        let nothing = async || Ok(());
        let work = async |()| {
            repair_index(session, &repository).await?;
            recover(session, &repository, session.contents(&repository).await?).await
        };
        session.locked(&repository, Intent::Replace, nothing, work).await
    }
}

/// What is in packs that no index lists is looked for, too.
async fn repair_index(session: &Session, repository: &Repository) -> Result {
    let terminal = &session.terminal;
    terminal.note("ensuring index is complete");
    let counters = Arc::new(Counters::new(Arc::clone(terminal)));
    let _pulse = session.pulse(&counters, Counters::show);
    let outcome = index::repair(repository, index::Options::default(), counters).await?;
    terminal.clear_status();
    tell(terminal, &outcome);
    Ok(())
}

async fn recover(
    session: &Session,
    repository: &Repository,
    Contents { snapshots, index }: Contents,
) -> Result {
    let terminal = &session.terminal;
    let index = Arc::new(index);
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
