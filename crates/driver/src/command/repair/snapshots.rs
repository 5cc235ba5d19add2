//! `repair snapshots`

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use restic_repo::repository::Repository;
use restic_repo::rewrite::{Changes, Fault, Mend, Rewriter};

use crate::command::snapshots::choose;
use crate::exit::{Failure, Result};
use crate::replacement::{ReplacementArgs, quoted};
use crate::report::snapshots::describe;
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session};

/// Makes new snapshots of damaged ones, without what is lost.
///
/// What the index lists is taken to be there: run `repair index` first. And what is still there on the
/// machine that was backed up is better brought back by `backup`, which stores again what is missing.
#[derive(Args, Debug)]
pub struct RepairSnapshots {
    /// Only these snapshots, by the beginnings of their ids; or latest
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    replacement: ReplacementArgs,

    #[command(flatten)]
    selection: SelectionArgs,
}

impl RepairSnapshots {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let repair = async |contents| self.repair(session, &repository, contents).await;
        let intent = if self.replacement.dry_run { Intent::Read } else { Intent::Replace };
        session.locked(&repository, intent, read, repair).await
    }

    async fn repair(
        &self,
        session: &Session,
        repository: &Repository,
        Contents { snapshots, index }: Contents,
    ) -> Result {
        let terminal = &session.terminal;
        let selection = self.selection.clone().resolve(&session.environment);
        let index = Arc::new(index);
        let tell = {
            let terminal = Arc::clone(terminal);
            move |path: &Path, fault: Fault<'_>| terminal.note(describe_fault(path, &fault))
        };
        let mend = Mend::new(Arc::clone(&index), tell);
        let rewriter = Rewriter::new(repository, index, mend, self.replacement.dry_run);
        let changes = Changes { tag: self.replacement.tag("repaired"), ..Changes::default() };
        let mut changed = 0;
        for old in choose(terminal, &snapshots, &selection, &self.ids) {
            terminal.note(format!("\n{}", describe(&old)));
            let mended = rewriter.rewrite(old.1.tree).await.map_err(|error| {
                let what = format!("unable to rewrite snapshot ID \"{}\"", old.0.short());
                Failure::from(error).while_doing(what)
            })?;
            let is_new = match mended.tree {
                None => self.replacement.remove_empty(terminal, repository, old.0).await?,
                Some(_) => {
                    let changes = changes.clone().with_tree(&mended, false);
                    self.replacement.replace(terminal, repository, &old, &changes).await?
                }
            };
            changed += usize::from(is_new);
        }
        self.replacement.sum_up(terminal, changed);
        Ok(())
    }
}

/// What was wrong with a file or folder, and what was done.
fn describe_fault(path: &Path, fault: &Fault<'_>) -> String {
    let path = quoted(path);
    match fault {
        Fault::InvalidType(word) => {
            format!("  file {path}: removed node with invalid type \"{word}\"")
        }
        Fault::MissingContent => format!("  file {path}: removed missing content"),
        Fault::WrongSize => format!("  file {path}: fixed incorrect size"),
        Fault::LostFolder(_) => format!("  dir {path}: replaced with empty directory"),
        Fault::LostRoot(_) => format!("  dir {path}: not readable"),
    }
}
