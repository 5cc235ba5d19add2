//! What a backup or a restore is busy with: counts, errors, the files in hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::report::pace::Pace;

/// Counts files and bytes while an operation runs. Shared by all threads that work on it.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    /// Files, as far as they are known.
    pub files: Share,
    /// Bytes, as far as they are known.
    pub bytes: Share,
    /// Files or folders that could not be read or written.
    pub errors: AtomicU64,
    pace: Pace,
    in_hand: Mutex<BTreeMap<PathBuf, Instant>>,
}

/// How much of something there is, and how much of it is done.
#[derive(Debug, Default)]
pub struct Share {
    total: AtomicU64,
    done: AtomicU64,
}

impl Share {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// What is done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The total is known.
    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// There is more than was known.
    pub fn add_to_total(&self, amount: u64) {
        self.total.fetch_add(amount, Ordering::Relaxed);
    }

    /// More is done.
    pub fn add_to_done(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
    }

    /// The part that is done, from 0 to 1; 0 if there is no total.
    pub fn ratio(&self) -> f64 {
        match self.total() {
            0 => 0.0,
            total => self.done() as f64 / total as f64,
        }
    }
}

impl Activity {
    /// Begins now.
    #[expect(clippy::new_without_default, reason = "it starts a clock")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            files: Share::default(),
            bytes: Share::default(),
            errors: AtomicU64::new(0),
            pace: Pace::new(),
            in_hand: Mutex::default(),
        }
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Something went wrong.
    pub fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// How many things went wrong.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// A file was begun.
    pub fn take(&self, path: &Path) {
        self.in_hand().insert(path.to_owned(), Instant::now());
    }

    /// A file is done; gives back how long it took, if its beginning was noted.
    pub fn put_down(&self, path: &Path) -> Duration {
        self.in_hand().remove(path).map(|since| since.elapsed()).unwrap_or_default()
    }

    /// The files in hand, sorted.
    pub fn files_in_hand(&self) -> Vec<String> {
        self.in_hand().keys().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    /// Bytes done in a second, lately. To be called now and then: each call is a measurement.
    pub fn bytes_per_second(&self) -> u64 {
        self.pace.done(self.bytes.done());
        self.pace.per_second()
    }

    /// How long the rest will take, if that can be told.
    pub fn time_left(&self) -> Option<Duration> {
        self.pace.time_for(self.bytes.total().saturating_sub(self.bytes.done()))
    }

    fn in_hand(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Instant>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line of JSON about something that went wrong with a file or folder.
#[derive(Debug, Serialize)]
pub struct ItemError {
    message_type: &'static str,
    error: Message,
    during: &'static str,
    item: String,
}

#[derive(Debug, Serialize)]
struct Message {
    message: String,
}

impl ItemError {
    /// During is `scan`, `archival` or `restore`.
    pub fn new(during: &'static str, item: &Path, error: &dyn std::error::Error) -> Self {
        Self {
            message_type: "error",
            error: Message { message: error.to_string() },
            during,
            item: item.to_string_lossy().into_owned(),
        }
    }
}

/// For `skip_serializing_if`: Go leaves out zeros where restic asks for it.
pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_hand_are_sorted_and_leave_when_done() {
        let activity = Activity::new();
        activity.take(Path::new("/b"));
        activity.take(Path::new("/a"));
        assert_eq!(activity.files_in_hand(), ["/a", "/b"]);
        activity.put_down(Path::new("/b"));
        assert_eq!(activity.files_in_hand(), ["/a"]);
        assert_eq!(activity.put_down(Path::new("/never")), Duration::ZERO);
    }

    #[test]
    fn shares_are_counted() {
        let share = Share::default();
        assert_eq!(share.ratio(), 0.0);
        share.add_to_total(3);
        share.add_to_total(1);
        share.add_to_done(1);
        assert_eq!(share.ratio(), 0.25);
        share.set_total(2);
        assert_eq!((share.total(), share.done()), (2, 1));
    }
}
