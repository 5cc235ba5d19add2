//! `copy`

use std::sync::Arc;

use clap::Args;
use restic_repo::Id;
use restic_repo::copy::{Copier, find_copy};
use restic_repo::repository::Repository;
use restic_repo::snapshot::{Filter, Snapshot};

use crate::cache;
use crate::command::init::FromArgs;
use crate::command::snapshots::choose;
use crate::exit::{Failure, Result};
use crate::report::counters::Counters;
use crate::report::snapshots::describe;
use crate::report::terminal::Verbosity;
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session};

/// Copies snapshots from another repository into this one.
#[derive(Args, Debug)]
pub struct Copy {
    /// Only these snapshots, by the beginnings of their ids; or latest
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    #[command(flatten)]
    from: FromArgs,
}

impl Copy {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let from = self.from.clone().resolve(&session.environment);
        if !from.has_location() {
            return Err(Failure::new(
                "no source repository is given; name its location with --from-repo or \
                 --from-repository-file",
            ));
        }
        let filter = self.selection.clone().resolve(&session.environment);
        let source = session.open_at(&from, "enter password for source repository: ").await?;
        let source = cache::attach(session, source);
        let destination = session.open().await?;
        let read = async || session.contents(&source).await;
        let work = async |source_contents| {
            let read = async || session.contents(&destination).await;
            let copy = async |contents| {
                let from = Side { repository: &source, contents: source_contents };
                let to = Side { repository: &destination, contents };
                self.copy(session, &filter, from, to).await
            };
            // Whoever writes needs a lock, whatever the options say.
            session.locked(&destination, Intent::Add, read, copy).await
        };
        session.locked(&source, Intent::Read, read, work).await
    }

    async fn copy(
        &self,
        session: &Session,
        filter: &Filter,
        from: Side<'_>,
        to: Side<'_>,
    ) -> Result {
        let terminal = &session.terminal;
        let (snapshots, others) = (from.contents.snapshots, to.contents.snapshots);
        let index = Arc::new(from.contents.index);
        let chosen = choose(terminal, &snapshots, filter, &self.ids);
        let counters = Arc::new(Counters::new(Arc::clone(terminal)));
        let progress = Arc::clone(&counters) as _;
        let mut copier =
            Copier::new(from.repository, index, to.repository, to.contents.index, progress).await?;
        let pulse = session.pulse(&counters, Counters::show);
        for snapshot in chosen {
            if let Some((copy, _)) = find_copy(&snapshot, &others) {
                self.skip(session, &snapshot, *copy);
                continue;
            }
            terminal.note(format!("\n{}", describe(&snapshot)));
            terminal.note("  copy started, this may take a while...");
            let (id, snapshot) = snapshot;
            copier.add(id, snapshot).await?;
            if copier.is_due() {
                commit(session, &mut copier).await?;
            }
        }
        commit(session, &mut copier).await?;
        drop(pulse);
        Ok(())
    }

    fn skip(&self, session: &Session, snapshot: &(Id, Snapshot), copy: Id) {
        let (source, copy) = (snapshot.0.short(), copy.short());
        let terminal = &session.terminal;
        terminal.say(Verbosity::Verbose, format!("\n{}", describe(snapshot)));
        let skipped =
            format!("skipping source snapshot {source}, was already copied to snapshot {copy}");
        terminal.say(Verbosity::Verbose, skipped);
    }
}

/// A repository, and what is in it.
struct Side<'a> {
    repository: &'a Repository,
    contents: Contents,
}

async fn commit(session: &Session, copier: &mut Copier) -> Result {
    let copied = copier.commit().await?;
    if copied.len() > 1 {
        session.terminal.note("");
    }
    for copy in copied {
        let (id, source) = (copy.id.short(), copy.source.short());
        session.terminal.note(format!("snapshot {id} saved, copied from source snapshot {source}"));
    }
    Ok(())
}
