//! Progress of operations that count things: `[0:05] 45.00%  9 / 20 packs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use restic_repo::progress::{Phase, Progress, Warning};

use crate::report::number;
use crate::report::terminal::Terminal;

/// Shows one line for each phase that restic shows one for.
#[derive(Debug)]
pub struct Counters {
    terminal: Arc<Terminal>,
    running: Mutex<HashMap<Phase, Count>>,
}

#[derive(Debug)]
struct Count {
    started: Instant,
    done: u64,
    total: u64,
}

impl Counters {
    /// Nothing is counted yet.
    pub fn new(terminal: Arc<Terminal>) -> Self {
        Self { terminal, running: Mutex::default() }
    }

    /// Shows the state of every phase under way. Not in JSON mode, where restic does not either.
    pub fn show(&self) {
        if self.terminal.is_json() {
            return;
        }
        self.with_running(|running| {
            for (&phase, count) in running.iter() {
                if let Some(noun) = self.noun(phase) {
                    self.terminal.show_status(&count.line(noun));
                }
            }
        });
    }

    /// The word for what a phase counts; nothing if its line is not wanted.
    fn noun(&self, phase: Phase) -> Option<&'static str> {
        let for_people_at_a_terminal = self.terminal.is_terminal();
        match phase {
            Phase::CheckTrees => Some("snapshots"),
            Phase::ReadPacks | Phase::ReadHeaders => Some("packs"),
            Phase::MarkTrees => Some("snapshots"),
            Phase::RepackPacks => Some("packs repacked"),
            Phase::RemoveIndex => Some("index files deleted"),
            Phase::RemovePacks => Some("packs deleted"),
            Phase::RemoveSnapshots => Some("files deleted"),
            Phase::LoadTrees => Some("trees loaded"),
            Phase::CopyPacks => Some("packs copied"),
            Phase::WriteIndex => Some("indexes stored"),
            Phase::FindAffected => Some("snapshots looked through for what is affected"),
            Phase::LoadIndex if for_people_at_a_terminal => Some("index files loaded"),
            _ => None,
        }
    }

    fn with_running<R>(&self, work: impl FnOnce(&mut HashMap<Phase, Count>) -> R) -> R {
        work(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress for Counters {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        self.with_running(|running| {
            let count = running.entry(phase).or_insert_with(|| Count {
                started: Instant::now(),
                done: 0,
                total: 0,
            });
            count.total = total.unwrap_or(count.total);
        });
    }

    fn advance(&self, phase: Phase, amount: u64) {
        self.with_running(|running| {
            if let Some(count) = running.get_mut(&phase) {
                count.done += amount;
            }
        });
    }

    fn end(&self, phase: Phase) {
        let ended = self.with_running(|running| running.remove(&phase));
        if let (Some(count), Some(noun)) = (ended, self.noun(phase)) {
            self.terminal.clear_status();
            self.terminal.note(count.line(noun));
        }
    }

    fn warn(&self, warning: &Warning<'_>) {
        self.terminal.error(describe(warning));
    }
}

impl Count {
    fn line(&self, noun: &str) -> String {
        let elapsed = number::duration(self.started.elapsed());
        match self.total {
            0 => format!("[{elapsed}]          {} {noun}", self.done),
            total => {
                let percent = number::percent(self.done, total);
                format!("[{elapsed}] {percent}  {} / {total} {noun}", self.done)
            }
        }
    }
}

/// A warning in words.
pub fn describe(warning: &Warning<'_>) -> String {
    match warning {
        Warning::Unreadable { error, .. } => format!("error: {error}"),
        Warning::NotRestored { path, error } => {
            format!("ignoring error for {}: {error}", path.display())
        }
        Warning::Damaged { handle, error } => format!("Ignoring {:?}: {error}", handle.id.to_hex()),
        Warning::NotRemoved { handle, error } => format!("{handle} could not be removed: {error}"),
        Warning::UnreadableTree { id, error } => {
            format!("unable to load tree {}: {error}", id.short())
        }
        Warning::Problem(problem) => format!("error: {problem}"),
        Warning::PackUnusable { expected, found: None } => {
            format!("pack {} is missing; what it held is stored anew", expected.id.short())
        }
        Warning::PackUnusable { expected, found: Some(size) } => format!(
            "pack {} has {size} bytes instead of {}; what it held is stored anew",
            expected.id.short(),
            expected.size
        ),
        warning => format!("{warning:?}"),
    }
}

#[cfg(test)]
mod tests {
    use restic_repo::backend::FileInfo;
    use restic_repo::{Error, FileType, Handle, Id};

    use super::*;

    #[test]
    fn lines_look_as_in_check() {
        let count = |done, total| Count { started: Instant::now(), done, total };
        assert_eq!(count(3, 3).line("snapshots"), "[0:00] 100.00%  3 / 3 snapshots");
        assert_eq!(count(1, 6).line("packs"), "[0:00] 16.67%  1 / 6 packs");
        assert_eq!(count(4, 0).line("packs"), "[0:00]          4 packs");
    }

    #[test]
    fn warnings_name_what_they_are_about() {
        let id = Id::of(b"");
        let handle = Handle::new(FileType::Snapshot, id);
        let error = Error::damaged(handle, "the hash is wrong");
        assert_eq!(
            describe(&Warning::Damaged { handle, error: &error }),
            format!("Ignoring \"{id}\": snapshot e3b0c442 is damaged: the hash is wrong")
        );
        let expected = FileInfo { id, size: 100 };
        assert_eq!(
            describe(&Warning::PackUnusable { expected, found: Some(7) }),
            "pack e3b0c442 has 7 bytes instead of 100; what it held is stored anew"
        );
    }
}
