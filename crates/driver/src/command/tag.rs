//! `tag`

use std::sync::Arc;

use clap::Args;
use restic_repo::Id;
use restic_repo::repository::Repository;
use restic_repo::rewrite::{TagChanges, replace};
use restic_repo::snapshot::{Snapshot, TagList};
use serde::Serialize;

use crate::command::snapshots::choose;
use crate::exit::{Failure, Result};
use crate::report::counters::Counters;
use crate::report::terminal::Verbosity;
use crate::selection::SelectionArgs;
use crate::session::{Intent, Session};

/// Gives snapshots other tags.
#[derive(Args, Debug)]
pub struct Tag {
    /// Only these snapshots, by the beginnings of their ids; or latest
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    /// These tags, and no others
    #[arg(long, value_name = "TAG[,TAG...]")]
    set: Vec<String>,

    /// These tags more
    #[arg(long, value_name = "TAG[,TAG...]")]
    add: Vec<String>,

    /// These tags less
    #[arg(long, value_name = "TAG[,TAG...]")]
    remove: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,
}

/// A line of `tag --json`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
enum Line {
    Changed { old_snapshot_id: Id, new_snapshot_id: Id },
    Summary { changed_snapshots: usize },
}

impl Tag {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let changes = self.changes()?;
        let filter = self.selection.clone().resolve(&session.environment);
        session.terminal.note("create exclusive lock for repository");
        let repository = session.open().await?;
        let read = async || {
            let counters = Counters::new(Arc::clone(&session.terminal));
            repository.readable_snapshots(&counters).await
        };
        let tag = async |snapshots: Vec<(Id, Snapshot)>| {
            let chosen = choose(&session.terminal, &snapshots, &filter, &self.ids);
            change_all(session, &repository, &chosen, &changes).await
        };
        session.locked(&repository, Intent::Replace, read, tag).await
    }

    fn changes(&self) -> Result<TagChanges> {
        let alters = !self.add.is_empty() || !self.remove.is_empty();
        match (self.set.is_empty(), alters) {
            (true, false) => return Err(Failure::new("nothing to do!")),
            (false, true) => {
                return Err(Failure::new(
                    "--set and --add/--remove cannot be given at the same time",
                ));
            }
            _ => {}
        }
        let tags = |texts: &[String]| {
            let lists: Vec<TagList> = texts.iter().map(|text| TagList::parse(text)).collect();
            TagList::flatten(&lists)
        };
        let (set, add, remove) = (tags(&self.set), tags(&self.add), tags(&self.remove));
        // As in restic, no tags at all cannot be set.
        let nothing_to_set = set.is_empty();
        Ok(if nothing_to_set { TagChanges::Alter { add, remove } } else { TagChanges::Set(set) })
    }
}

async fn change_all(
    session: &Session,
    repository: &Repository,
    chosen: &[(Id, Snapshot)],
    changes: &TagChanges,
) -> Result {
    let terminal = &session.terminal;
    let (mut changed, mut failed) = (0, 0);
    for entry in chosen {
        let Some(new) = changes.apply(entry) else { continue };
        let old = entry.0;
        match replace(repository, old, &new, true).await {
            Ok(new) => {
                changed += 1;
                let text = format!("old snapshot ID: {old} -> new snapshot ID: {new}");
                terminal.say(Verbosity::Verbose, text);
                if terminal.is_json() {
                    let (old_snapshot_id, new_snapshot_id) = (old, new);
                    terminal.print_json(&Line::Changed { old_snapshot_id, new_snapshot_id });
                }
            }
            Err(error) => {
                failed += 1;
                terminal.error(format!(
                    "unable to modify the tags for snapshot ID \"{old}\", ignoring: {error}"
                ));
            }
        }
    }
    match changed {
        0 => terminal.note("no snapshots were modified"),
        changed => terminal.note(format!("modified {changed} snapshots")),
    }
    if terminal.is_json() {
        terminal.print_json(&Line::Summary { changed_snapshots: changed });
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(format_args!("{failed} snapshots could not be modified"))),
    }
}
