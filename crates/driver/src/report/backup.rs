//! The progress and the outcome of a backup.

use std::sync::Arc;

use restic_repo::progress::{Item, ItemAction, Phase, Progress, Warning};
use serde::Serialize;

use crate::report::activity::{Activity, ItemError, is_zero};
use crate::report::counters;
use crate::report::number;
use crate::report::terminal::{Terminal, Verbosity, printable};

pub use summary::Summary;

use item::{VerboseStatus, item_line};

mod item;
mod summary;

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
            let (files, bytes) = (files.total(), bytes.total());
            self.terminal.print_json(&VerboseStatus::scan_finished(seconds, files, bytes));
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

#[cfg(test)]
mod tests;
