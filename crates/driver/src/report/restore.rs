//! The progress and the outcome of a restore.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restic_repo::progress::{Item, ItemAction, Phase, Progress, Warning};
use serde::Serialize;

use crate::report::activity::{Activity, ItemError, is_zero};
use crate::report::counters;
use crate::report::number;
use crate::report::terminal::{Terminal, Verbosity, printable};

/// Watches a restore and tells about it.
#[derive(Debug)]
pub struct RestoreReport {
    terminal: Arc<Terminal>,
    activity: Activity,
    files_skipped: AtomicU64,
    bytes_skipped: AtomicU64,
    files_deleted: AtomicU64,
}

/// A status or a summary: restic's differ in one field.
#[derive(Clone, Debug, Default, Serialize)]
struct Status {
    message_type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    seconds_elapsed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent_done: Option<f64>,
    #[serde(skip_serializing_if = "is_zero")]
    total_files: u64,
    #[serde(skip_serializing_if = "is_zero")]
    files_restored: u64,
    #[serde(skip_serializing_if = "is_zero")]
    files_skipped: u64,
    #[serde(skip_serializing_if = "is_zero")]
    files_deleted: u64,
    #[serde(skip_serializing_if = "is_zero")]
    total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    bytes_restored: u64,
    #[serde(skip_serializing_if = "is_zero")]
    bytes_skipped: u64,
}

impl RestoreReport {
    /// A restore begins.
    pub fn new(terminal: Arc<Terminal>) -> Self {
        Self {
            terminal,
            activity: Activity::new(),
            files_skipped: AtomicU64::new(0),
            bytes_skipped: AtomicU64::new(0),
            files_deleted: AtomicU64::new(0),
        }
    }

    /// How many files and folders could not be restored as they were.
    pub fn errors(&self) -> u64 {
        self.activity.errors()
    }

    /// Shows how far the restore is.
    pub fn show(&self) {
        let rate = self.activity.bytes_per_second();
        if self.terminal.is_json() {
            let percent_done = Some(self.activity.bytes.ratio());
            self.terminal.print_json(&Status { percent_done, ..self.status("status") });
        } else {
            self.terminal.show_status(&self.status_line(rate));
        }
    }

    /// Tells how it ended.
    pub fn finish(&self) {
        self.terminal.clear_status();
        if self.terminal.is_json() {
            self.terminal.print_json(&self.status("summary"));
        } else {
            // restic prints this even with --quiet.
            self.terminal.print(self.summary_line());
        }
    }

    fn status(&self, message_type: &'static str) -> Status {
        let Activity { files, bytes, .. } = &self.activity;
        Status {
            message_type,
            seconds_elapsed: self.activity.elapsed().as_secs(),
            percent_done: None,
            total_files: files.total(),
            files_restored: files.done(),
            files_skipped: self.files_skipped.load(Ordering::Relaxed),
            files_deleted: self.files_deleted.load(Ordering::Relaxed),
            total_bytes: bytes.total(),
            bytes_restored: bytes.done(),
            bytes_skipped: self.bytes_skipped.load(Ordering::Relaxed),
        }
    }

    fn status_line(&self, rate: u64) -> String {
        let status = self.status("");
        let left = match self.activity.time_left() {
            Some(left) if status.bytes_restored < status.total_bytes => {
                format!(" ETA {}", number::duration(left))
            }
            _ => String::new(),
        };
        format!(
            "[{}] {}  {} files/dirs {}, total {} files/dirs {}{}, {}/s{left}",
            number::duration(self.activity.elapsed()),
            number::percent(status.bytes_restored, status.total_bytes),
            status.files_restored,
            number::bytes(status.bytes_restored),
            status.total_files,
            number::bytes(status.total_bytes),
            status.rest(),
            number::bytes(rate),
        )
    }

    fn summary_line(&self) -> String {
        let status = self.status("");
        let time = number::duration(self.activity.elapsed());
        let (files, all_files) = (status.files_restored, status.total_files);
        let all_bytes = number::bytes(status.total_bytes);
        let rest = status.rest();
        if files == all_files && status.bytes_restored == status.total_bytes {
            format!("Summary: Restored {files} files/dirs ({all_bytes}) in {time}{rest}")
        } else {
            let bytes = number::bytes(status.bytes_restored);
            format!(
                "Summary: Restored {files} / {all_files} files/dirs ({bytes} / {all_bytes}) in \
                 {time}{rest}"
            )
        }
    }
}

impl Status {
    /// What was left alone or removed.
    fn rest(&self) -> String {
        let mut rest = String::new();
        if self.files_skipped > 0 {
            let size = number::bytes(self.bytes_skipped);
            rest.push_str(&format!(", skipped {} files/dirs {size}", self.files_skipped));
        }
        if self.files_deleted > 0 {
            rest.push_str(&format!(", deleted {} files/dirs", self.files_deleted));
        }
        rest
    }
}

impl Progress for RestoreReport {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        match (phase, total) {
            (Phase::RestoreItems, Some(total)) => self.activity.files.set_total(total),
            (Phase::RestoreBytes, Some(total)) => self.activity.bytes.set_total(total),
            _ => {}
        }
    }

    fn advance(&self, phase: Phase, amount: u64) {
        match phase {
            Phase::RestoreItems => self.activity.files.add_to_done(amount),
            Phase::RestoreBytes => self.activity.bytes.add_to_done(amount),
            _ => {}
        }
    }

    fn warn(&self, warning: &Warning<'_>) {
        match warning {
            Warning::NotRestored { path, error } => {
                self.activity.count_error();
                if self.terminal.is_json() {
                    self.terminal.error_json(&ItemError::new("restore", path, error));
                } else {
                    self.terminal.error(counters::describe(warning));
                }
            }
            warning => self.terminal.error(counters::describe(warning)),
        }
    }

    fn item(&self, item: &Item<'_>) {
        let Some(action) = action_word(item.action) else { return };
        match item.action {
            ItemAction::Unchanged => {
                self.files_skipped.fetch_add(1, Ordering::Relaxed);
                self.bytes_skipped.fetch_add(item.size, Ordering::Relaxed);
            }
            ItemAction::Deleted => {
                self.files_deleted.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if self.terminal.verbosity() < Verbosity::Debug {
            return;
        }
        if self.terminal.is_json() {
            self.terminal.print_json(&VerboseStatus {
                message_type: "verbose_status",
                action,
                item: item.path.to_string_lossy().into_owned(),
                size: item.size,
            });
        } else {
            let name = printable(&item.path.to_string_lossy());
            let has_size = !item.is_folder && item.action != ItemAction::Deleted && item.size > 0;
            let size = match has_size {
                true => format!(" with size {}", number::bytes(item.size)),
                false => String::new(),
            };
            self.terminal.print(format!("{action:<9} {name}{size}"));
        }
    }
}

fn action_word(action: ItemAction) -> Option<&'static str> {
    match action {
        ItemAction::Restored => Some("restored"),
        ItemAction::Updated => Some("updated"),
        ItemAction::Unchanged => Some("unchanged"),
        ItemAction::Deleted => Some("deleted"),
        _ => None,
    }
}

#[derive(Debug, Serialize)]
struct VerboseStatus {
    message_type: &'static str,
    action: &'static str,
    item: String,
    size: u64,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::report::json;

    fn report() -> RestoreReport {
        RestoreReport::new(Arc::new(Terminal::new(Verbosity::Quiet, true)))
    }

    fn text(value: &impl Serialize) -> String {
        String::from_utf8(json::line(value)).unwrap()
    }

    fn item(action: ItemAction, size: u64) -> Item<'static> {
        Item {
            path: Path::new("/src/a"),
            action,
            is_folder: false,
            size,
            data_added: 0,
            data_stored: 0,
        }
    }

    #[test]
    fn the_summary_is_restics() {
        let report = report();
        report.begin(Phase::RestoreItems, Some(8));
        report.begin(Phase::RestoreBytes, Some(5005));
        report.advance(Phase::RestoreItems, 8);
        report.advance(Phase::RestoreBytes, 5005);
        assert_eq!(
            text(&report.status("summary")),
            "{\"message_type\":\"summary\",\"total_files\":8,\"files_restored\":8,\
             \"total_bytes\":5005,\"bytes_restored\":5005}\n"
        );
        assert_eq!(report.summary_line(), "Summary: Restored 8 files/dirs (4.888 KiB) in 0:00");
    }

    #[test]
    fn what_was_there_already_is_told_apart() {
        let report = report();
        report.begin(Phase::RestoreItems, Some(4));
        report.advance(Phase::RestoreItems, 4);
        report.item(&item(ItemAction::Unchanged, 3));
        report.item(&item(ItemAction::Unchanged, 3893));
        assert_eq!(
            text(&report.status("summary")),
            "{\"message_type\":\"summary\",\"total_files\":4,\"files_restored\":4,\
             \"files_skipped\":2,\"bytes_skipped\":3896}\n"
        );
        report.item(&item(ItemAction::Deleted, 0));
        assert_eq!(
            report.summary_line(),
            "Summary: Restored 4 files/dirs (0 B) in 0:00, skipped 2 files/dirs 3.805 KiB, \
             deleted 1 files/dirs"
        );
    }

    #[test]
    fn a_restore_that_missed_something_says_so() {
        let report = report();
        report.begin(Phase::RestoreItems, Some(3));
        report.begin(Phase::RestoreBytes, Some(2048));
        report.advance(Phase::RestoreItems, 2);
        report.advance(Phase::RestoreBytes, 1024);
        assert_eq!(
            report.summary_line(),
            "Summary: Restored 2 / 3 files/dirs (1.000 KiB / 2.000 KiB) in 0:00"
        );
        let line = report.status_line(512);
        assert_eq!(
            line,
            "[0:00] 50.00%  2 files/dirs 1.000 KiB, total 3 files/dirs 2.000 KiB, 512 B/s"
        );
    }

    #[test]
    fn the_status_tells_how_far_it_is() {
        let report = report();
        let status = Status { percent_done: Some(0.5), ..report.status("status") };
        assert_eq!(text(&status), "{\"message_type\":\"status\",\"percent_done\":0.5}\n");
    }
}
