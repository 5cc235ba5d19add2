//! The progress and the outcome of a backup.

use std::sync::Arc;
use std::time::Duration;

use restic_repo::archiver::Outcome;
use restic_repo::progress::{Item, ItemAction, Phase, Progress, Warning};
use restic_repo::time::Timestamp;
use serde::Serialize;

use crate::report::activity::{Activity, ItemError, is_zero};
use crate::report::counters;
use crate::report::number;
use crate::report::terminal::{Terminal, Verbosity, printable};

/// Watches a backup and tells about it.
#[derive(Debug)]
pub struct BackupReport {
    terminal: Arc<Terminal>,
    activity: Activity,
}

impl BackupReport {
    /// A backup begins.
    pub fn new(terminal: Arc<Terminal>) -> Self {
        Self { terminal, activity: Activity::new() }
    }

    /// How many files and folders could not be read.
    pub fn errors(&self) -> u64 {
        self.activity.errors()
    }

    /// Shows how far the backup is. Nothing before there is something to tell.
    pub fn show(&self) {
        let Activity { files, bytes, .. } = &self.activity;
        let has_begun = files.total() + files.done() + bytes.done() + self.errors() > 0;
        if !has_begun {
            return;
        }
        if self.terminal.is_json() {
            self.terminal.print_json(&self.status());
        } else {
            let mut text = self.status_line();
            for file in self.activity.files_in_hand() {
                text.push('\n');
                text.push_str(&printable(&file));
            }
            self.terminal.show_status(&text);
        }
    }

    fn status(&self) -> Status {
        self.activity.bytes_per_second();
        let Activity { files, bytes, .. } = &self.activity;
        Status {
            message_type: "status",
            seconds_elapsed: self.activity.elapsed().as_secs(),
            seconds_remaining: self.activity.time_left().unwrap_or_default().as_secs(),
            percent_done: bytes.ratio(),
            total_files: files.total(),
            files_done: files.done(),
            total_bytes: bytes.total(),
            bytes_done: bytes.done(),
            error_count: self.errors(),
            current_files: self.activity.files_in_hand(),
        }
    }

    fn status_line(&self) -> String {
        let Activity { files, bytes, .. } = &self.activity;
        let elapsed = number::duration(self.activity.elapsed());
        let rate = number::bytes(self.activity.bytes_per_second());
        let done = format!("{} files {}", files.done(), number::bytes(bytes.done()));
        let errors = self.errors();
        if files.total() == 0 {
            return format!("[{elapsed}] {done}, {errors} errors, {rate}/s");
        }
        let total = format!("total {} files {}", files.total(), number::bytes(bytes.total()));
        match self.activity.time_left() {
            Some(left) if bytes.done() < bytes.total() => {
                let percent = number::percent(bytes.done(), bytes.total());
                let left = number::duration(left);
                format!(
                    "[{elapsed}] {percent}  {done}, {total}, {errors} errors, {rate}/s ETA {left}"
                )
            }
            _ => format!("[{elapsed}] {done}, {total}, {errors} errors, {rate}/s"),
        }
    }

    /// Tells how it ended.
    pub fn finish(&self, summary: &Summary) {
        self.terminal.clear_status();
        if self.terminal.is_json() {
            self.terminal.print_json(summary);
        } else {
            for (from, line) in summary.lines() {
                self.terminal.say(from, line);
            }
        }
    }
}

impl Progress for BackupReport {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        match (phase, total) {
            (Phase::BackupFiles, Some(total)) => self.activity.files.set_total(total),
            (Phase::BackupBytes, Some(total)) => self.activity.bytes.set_total(total),
            _ => {}
        }
    }

    fn advance(&self, phase: Phase, amount: u64) {
        match phase {
            Phase::Scan => self.activity.files.add_to_total(amount),
            Phase::ScanBytes => self.activity.bytes.add_to_total(amount),
            Phase::BackupFiles => self.activity.files.add_to_done(amount),
            Phase::BackupBytes => self.activity.bytes.add_to_done(amount),
            _ => {}
        }
    }

    fn end(&self, phase: Phase) {
        if phase != Phase::Scan {
            return;
        }
        let Activity { files, bytes, .. } = &self.activity;
        let seconds = self.activity.elapsed().as_secs_f64();
        if !self.terminal.is_json() {
            let size = number::bytes(bytes.total());
            let line = format!("scan finished in {seconds:.3}s: {} files, {size}", files.total());
            self.terminal.say(Verbosity::Verbose, line);
        } else if self.terminal.verbosity() >= Verbosity::Verbose {
            self.terminal.print_json(&VerboseStatus {
                duration: seconds,
                data_size: bytes.total(),
                total_files: files.total(),
                ..VerboseStatus::new("scan_finished", String::new())
            });
        }
    }

    fn warn(&self, warning: &Warning<'_>) {
        match warning {
            Warning::Unreadable { path, error } => {
                self.activity.count_error();
                self.activity.put_down(path);
                if self.terminal.is_json() {
                    self.terminal.error_json(&ItemError::new("archival", path, error));
                } else {
                    self.terminal.error(format!("error: {error}"));
                }
            }
            warning => self.terminal.error(counters::describe(warning)),
        }
    }

    fn item(&self, item: &Item<'_>) {
        if item.action == ItemAction::Started {
            return self.activity.take(item.path);
        }
        let seconds = self.activity.put_down(item.path).as_secs_f64();
        if !self.terminal.is_json() {
            if let Some(line) = item_line(item, seconds) {
                self.terminal.say(Verbosity::Debug, line);
            }
        } else if self.terminal.verbosity() >= Verbosity::Verbose
            && let Some(status) = VerboseStatus::of(item, seconds)
        {
            self.terminal.print_json(&status);
        }
    }
}

/// The name of a file or folder as `-vv` shows it: folders end in a slash.
fn item_name(item: &Item<'_>) -> String {
    let name = item.path.to_string_lossy();
    let slash = if item.is_folder && !name.ends_with('/') { "/" } else { "" };
    format!("{name}{slash}")
}

fn item_line(item: &Item<'_>, seconds: f64) -> Option<String> {
    let action = match item.action {
        ItemAction::New => "new",
        ItemAction::Changed => "modified",
        ItemAction::Unmodified => {
            return Some(format!("unchanged {}", printable(&item_name(item))));
        }
        _ => return None,
    };
    let name = printable(&item_name(item));
    let added = number::bytes(item.data_added);
    let stored = number::bytes(item.data_stored);
    Some(match item.is_folder {
        false => {
            format!("{action:<9} {name}, saved in {seconds:.3}s ({added} added, {stored} stored)")
        }
        true => format!(
            "{action:<9} {name}, saved in {seconds:.3}s (0 B added, 0 B stored, {stored} metadata)"
        ),
    })
}

#[derive(Debug, Serialize)]
struct Status {
    message_type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    seconds_elapsed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    seconds_remaining: u64,
    percent_done: f64,
    #[serde(skip_serializing_if = "is_zero")]
    total_files: u64,
    #[serde(skip_serializing_if = "is_zero")]
    files_done: u64,
    #[serde(skip_serializing_if = "is_zero")]
    total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    bytes_done: u64,
    #[serde(skip_serializing_if = "is_zero")]
    error_count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    current_files: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct VerboseStatus {
    message_type: &'static str,
    action: &'static str,
    item: String,
    duration: f64,
    data_size: u64,
    data_size_in_repo: u64,
    metadata_size: u64,
    metadata_size_in_repo: u64,
    total_files: u64,
}

impl VerboseStatus {
    fn new(action: &'static str, item: String) -> Self {
        Self { message_type: "verbose_status", action, item, ..Self::default() }
    }

    fn of(item: &Item<'_>, seconds: f64) -> Option<Self> {
        let action = match item.action {
            ItemAction::New => "new",
            ItemAction::Changed => "modified",
            ItemAction::Unmodified => return Some(Self::new("unchanged", item_name(item))),
            _ => return None,
        };
        let mut status = Self { duration: seconds, ..Self::new(action, item_name(item)) };
        if item.is_folder {
            status.metadata_size = item.data_added;
            status.metadata_size_in_repo = item.data_stored;
        } else {
            status.data_size = item.data_added;
            status.data_size_in_repo = item.data_stored;
        }
        Some(status)
    }
}

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
    fn lines(&self) -> Vec<(Verbosity, String)> {
        let counts = |new, changed, unmodified| {
            format!("{new:5} new, {changed:5} changed, {unmodified:5} unmodified")
        };
        let verb = if self.dry_run { "Would add" } else { "Added" };
        let added = number::bytes(self.data_added);
        let stored = number::bytes(self.data_added_packed);
        let files = self.total_files_processed;
        let size = number::bytes(self.total_bytes_processed);
        let time = number::duration(
            std::time::Duration::try_from_secs_f64(self.total_duration).unwrap_or_default(),
        );
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use restic_repo::Id;

    use super::*;
    use crate::report::json;

    fn text(value: &impl Serialize) -> String {
        String::from_utf8(json::line(value)).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        serde_json::from_value(text.into()).unwrap()
    }

    fn summary() -> Summary {
        Summary {
            message_type: "summary",
            files_new: 2,
            files_changed: 0,
            files_unmodified: 1,
            dirs_new: 2,
            dirs_changed: 0,
            dirs_unmodified: 0,
            data_blobs: 3,
            tree_blobs: 6,
            data_added: 5850,
            data_added_packed: 667,
            total_files_processed: 3,
            total_bytes_processed: 3896,
            total_duration: 0.690174918,
            backup_start: time("2026-11-22T19:19:16.296493531+01:00"),
            backup_end: time("2026-11-22T19:19:16.986668456+01:00"),
            snapshot_id: Some(Id::of(b"")),
            dry_run: false,
        }
    }

    fn normal_lines(summary: &Summary) -> Vec<String> {
        let lines = summary.lines().into_iter();
        lines.filter(|(from, _)| *from <= Verbosity::Normal).map(|(_, line)| line).collect()
    }

    #[test]
    fn the_summary_is_restics() {
        assert_eq!(
            normal_lines(&summary()),
            [
                "",
                "Files:           2 new,     0 changed,     1 unmodified",
                "Dirs:            2 new,     0 changed,     0 unmodified",
                "Added to the repository: 5.713 KiB (667 B stored)",
                "",
                "processed 3 files, 3.805 KiB in 0:00",
                "snapshot e3b0c442 saved",
            ]
        );
        let verbose: Vec<_> = summary().lines().into_iter().map(|(_, line)| line).collect();
        assert_eq!(verbose[3..5], ["Data Blobs:      3 new", "Tree Blobs:      6 new"]);
    }

    #[test]
    fn the_summary_tells_if_nothing_was_stored() {
        let skipped = Summary { snapshot_id: None, ..summary() };
        assert_eq!(normal_lines(&skipped).last().unwrap(), "skipped creating snapshot");
        let dry = Summary { dry_run: true, data_added: 0, data_added_packed: 0, ..summary() };
        assert_eq!(normal_lines(&dry)[3], "Would add to the repository: 0 B   (0 B   stored)");
        assert_eq!(normal_lines(&dry).last().unwrap(), "processed 3 files, 3.805 KiB in 0:00");
    }

    #[test]
    fn the_summary_in_json_has_restics_fields() {
        let id = Id::of(b"");
        assert_eq!(
            text(&summary()),
            format!(
                "{{\"message_type\":\"summary\",\"files_new\":2,\"files_changed\":0,\
                 \"files_unmodified\":1,\"dirs_new\":2,\"dirs_changed\":0,\"dirs_unmodified\":0,\
                 \"data_blobs\":3,\"tree_blobs\":6,\"data_added\":5850,\"data_added_packed\":667,\
                 \"total_files_processed\":3,\"total_bytes_processed\":3896,\
                 \"total_duration\":0.690174918,\
                 \"backup_start\":\"2026-11-22T19:19:16.296493531+01:00\",\
                 \"backup_end\":\"2026-11-22T19:19:16.986668456+01:00\",\"snapshot_id\":\"{id}\"}}\n"
            )
        );
        let dry = text(&Summary { snapshot_id: None, dry_run: true, ..summary() });
        assert!(dry.ends_with("+01:00\",\"dry_run\":true}\n"), "{dry}");
    }

    #[test]
    fn the_status_counts_what_the_library_reports() {
        let report = BackupReport::new(Arc::new(Terminal::new(Verbosity::Normal, true)));
        assert_eq!(text(&report.status()), "{\"message_type\":\"status\",\"percent_done\":0}\n");
        report.advance(Phase::Scan, 4);
        report.advance(Phase::ScanBytes, 4096);
        report.advance(Phase::BackupFiles, 1);
        report.advance(Phase::BackupBytes, 1024);
        let path = Path::new("/srv/disk.0");
        report.item(&Item {
            path,
            action: ItemAction::Started,
            is_folder: false,
            size: 9,
            data_added: 0,
            data_stored: 0,
        });
        assert_eq!(
            text(&report.status()),
            "{\"message_type\":\"status\",\"percent_done\":0.25,\"total_files\":4,\"files_done\":1,\
             \"total_bytes\":4096,\"bytes_done\":1024,\"current_files\":[\"/srv/disk.0\"]}\n"
        );
        let line = report.status_line();
        assert!(line.contains("1 files 1.000 KiB, total 4 files 4.000 KiB, 0 errors, "), "{line}");
        assert_eq!(report.errors(), 0);
    }

    #[test]
    fn items_are_told_as_restic_does() {
        let item = |action, is_folder| Item {
            path: Path::new("/src/d"),
            action,
            is_folder,
            size: 5,
            data_added: 300,
            data_stored: 241,
        };
        let line = |action, is_folder| item_line(&item(action, is_folder), 0.0034);
        assert_eq!(
            line(ItemAction::New, false).unwrap(),
            "new       /src/d, saved in 0.003s (300 B added, 241 B stored)"
        );
        assert_eq!(
            line(ItemAction::Changed, true).unwrap(),
            "modified  /src/d/, saved in 0.003s (0 B added, 0 B stored, 241 B metadata)"
        );
        assert_eq!(line(ItemAction::Unmodified, false).unwrap(), "unchanged /src/d");
        assert_eq!(line(ItemAction::Restored, false), None);
        assert_eq!(
            text(&VerboseStatus::of(&item(ItemAction::New, true), 0.5)),
            "{\"message_type\":\"verbose_status\",\"action\":\"new\",\"item\":\"/src/d/\",\
             \"duration\":0.5,\"data_size\":0,\"data_size_in_repo\":0,\"metadata_size\":300,\
             \"metadata_size_in_repo\":241,\"total_files\":0}\n"
        );
    }
}
