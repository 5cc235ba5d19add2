//! The outcome of a backup.

use std::time::Duration;

use restic_repo::archiver::Outcome;
use restic_repo::time::Timestamp;
use serde::Serialize;

use crate::report::number;
use crate::report::terminal::Verbosity;

/// The outcome of a backup, as `--json` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Always `summary`.
    pub message_type: &'static str,
    /// Files that the parent snapshot does not have.
    pub files_new: u64,
    /// Files that differ from the parent snapshot.
    pub files_changed: u64,
    /// Files that are as in the parent snapshot.
    pub files_unmodified: u64,
    /// The same, of folders.
    pub dirs_new: u64,
    /// The same, of folders.
    pub dirs_changed: u64,
    /// The same, of folders.
    pub dirs_unmodified: u64,
    /// Blobs of files that were new to the repository.
    pub data_blobs: u64,
    /// Blobs of folders that were new to the repository.
    pub tree_blobs: u64,
    /// Their bytes.
    pub data_added: u64,
    /// The bytes stored for them.
    pub data_added_packed: u64,
    /// All files.
    pub total_files_processed: u64,
    /// All bytes read, or taken over from the parent.
    pub total_bytes_processed: u64,
    /// Seconds.
    pub total_duration: f64,
    /// When it began.
    pub backup_start: Timestamp,
    /// When it ended.
    pub backup_end: Timestamp,
    /// The snapshot; none if it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<restic_repo::Id>,
    /// Whether nothing was stored in fact.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl Summary {
    /// The outcome of a backup that took so long.
    pub fn new(outcome: &Outcome, took: Duration, dry_run: bool) -> Self {
        let counts = outcome.snapshot.summary.clone().unwrap_or_default();
        Self {
            message_type: "summary",
            files_new: counts.files_new,
            files_changed: counts.files_changed,
            files_unmodified: counts.files_unmodified,
            dirs_new: counts.dirs_new,
            dirs_changed: counts.dirs_changed,
            dirs_unmodified: counts.dirs_unmodified,
            data_blobs: counts.data_blobs,
            tree_blobs: counts.tree_blobs,
            data_added: counts.data_added,
            data_added_packed: counts.data_added_packed,
            total_files_processed: counts.total_files_processed,
            total_bytes_processed: counts.total_bytes_processed,
            total_duration: took.as_secs_f64(),
            backup_start: counts.backup_start,
            backup_end: counts.backup_end,
            snapshot_id: outcome.id,
            dry_run,
        }
    }

    /// The lines for people, each with the verbosity it is for.
    pub(super) fn lines(&self) -> Vec<(Verbosity, String)> {
        let counts = |new, changed, unmodified| {
            format!("{new:5} new, {changed:5} changed, {unmodified:5} unmodified")
        };
        let verb = if self.dry_run { "Would add" } else { "Added" };
        let added = number::bytes(self.data_added);
        let stored = number::bytes(self.data_added_packed);
        let files = self.total_files_processed;
        let size = number::bytes(self.total_bytes_processed);
        let time =
            number::duration(Duration::try_from_secs_f64(self.total_duration).unwrap_or_default());
        let (normal, verbose) = (Verbosity::Normal, Verbosity::Verbose);
        let mut lines = vec![
            (normal, String::new()),
            (
                normal,
                format!(
                    "Files:       {}",
                    counts(self.files_new, self.files_changed, self.files_unmodified)
                ),
            ),
            (
                normal,
                format!(
                    "Dirs:        {}",
                    counts(self.dirs_new, self.dirs_changed, self.dirs_unmodified)
                ),
            ),
            (verbose, format!("Data Blobs:  {:5} new", self.data_blobs)),
            (verbose, format!("Tree Blobs:  {:5} new", self.tree_blobs)),
            (normal, format!("{verb} to the repository: {added:<5} ({stored:<5} stored)")),
            (normal, String::new()),
            (normal, format!("processed {files} files, {size} in {time}")),
        ];
        match (self.dry_run, &self.snapshot_id) {
            (true, _) => {}
            (false, None) => lines.push((normal, "skipped creating snapshot".to_owned())),
            (false, Some(id)) => lines.push((normal, format!("snapshot {} saved", id.short()))),
        }
        lines
    }
}
