//! New snapshots in place of old ones: what `rewrite` and `repair snapshots` have in common.

use std::path::Path;

use clap::Args;
use restic_repo::node::Name;
use restic_repo::repository::Repository;
use restic_repo::rewrite::{Changes, replace};
use restic_repo::snapshot::Snapshot;
use restic_repo::{FileType, Id};

use crate::exit::Result;
use crate::report::snapshots::go_time;
use crate::report::terminal::Terminal;

/// A path in quotes, in which nothing harms a terminal.
pub fn quoted(path: &Path) -> String {
    format!("\"{}\"", Name::from(path.as_os_str()).quoted())
}

/// `--forget` and `--dry-run`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ReplacementArgs {
    /// Remove the old snapshots once the new ones are stored
    #[arg(long)]
    pub forget: bool,

    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

impl ReplacementArgs {
    /// A tag for new snapshots where the old ones stay beside them.
    pub fn tag(self, tag: &str) -> Option<String> {
        (!self.forget).then(|| tag.to_owned())
    }

    /// Stores a new snapshot if there is something new in it, and says so. Returns whether there was.
    pub async fn replace(
        self,
        terminal: &Terminal,
        repository: &Repository,
        old: &(Id, Snapshot),
        changes: &Changes,
    ) -> Result<bool> {
        let Some(new) = changes.apply(old) else { return Ok(false) };
        let set = |time_text: &str, host_text: &str| {
            if let Some(time) = changes.time {
                terminal.note(format!("{time_text} {}", go_time(&time)));
            }
            if let Some(host) = &changes.hostname {
                terminal.note(format!("{host_text} {host}"));
            }
        };
        if self.dry_run {
            terminal.note("would save new snapshot");
            if self.forget {
                terminal.note("would remove old snapshot");
            }
            set("would set time to", "would set hostname to");
            return Ok(true);
        }
        set("setting time to", "setting host to");
        let id = replace(repository, old.0, &new, self.forget).await?;
        terminal.note(format!("saved new snapshot {}", id.short()));
        if self.forget {
            terminal.note(format!("removed old snapshot {}", old.0.short()));
        }
        Ok(true)
    }

    /// Removes a snapshot of which nothing is left, if old ones are to be removed. Returns whether they
    /// are.
    pub async fn remove_empty(
        self,
        terminal: &Terminal,
        repository: &Repository,
        old: Id,
    ) -> Result<bool> {
        match (self.forget, self.dry_run) {
            // It may be the index that is not right, and then nothing is lost yet.
            (false, _) => terminal.note("snapshot was left as it is; --forget removes it"),
            (true, true) => terminal.note("would delete empty snapshot"),
            (true, false) => {
                repository.remove(FileType::Snapshot, old).await?;
                terminal.note(format!("removed empty snapshot {}", old.short()));
            }
        }
        Ok(self.forget)
    }

    /// Says how many snapshots there was something new in.
    pub fn sum_up(self, terminal: &Terminal, changed: usize) {
        terminal.note("");
        terminal.note(match (changed, self.dry_run) {
            (0, false) => "no snapshots were modified".to_owned(),
            (0, true) => "no snapshots would be modified".to_owned(),
            (changed, false) => format!("modified {changed} snapshots"),
            (changed, true) => format!("would modify {changed} snapshots"),
        });
    }
}
