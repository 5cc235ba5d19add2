//! Where the parts of a check put what they find.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checker::report::{Hint, Problem, Report};
use crate::progress::{Progress, Warning};

/// A report that several threads write, told to the progress as it grows.
pub(super) struct Findings {
    report: Mutex<Report>,
    pub(super) progress: Arc<dyn Progress>,
}

impl Findings {
    pub(super) fn new(progress: Arc<dyn Progress>) -> Self {
        Self { report: Mutex::default(), progress }
    }

    pub(super) fn problem(&self, problem: Problem) {
        self.progress.warn(&Warning::Problem(&problem));
        self.report().add(problem);
    }

    pub(super) fn hint(&self, hint: Hint) {
        self.report().add_hint(hint);
    }

    /// Changes the report's counts.
    pub(super) fn count(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report());
    }

    /// The report as it is now; what is left behind is empty.
    pub(super) fn take(&self) -> Report {
        std::mem::take(&mut self.report())
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
