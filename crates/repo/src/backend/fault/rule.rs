//! What is to go wrong.

use std::time::Duration;

use super::call::{Call, Operation};
use crate::backend::BackendErrorKind;
use crate::handle::FileType;

/// What is to go wrong, and when. Without more ado, it is the next call of any kind, once.
#[derive(Clone, Debug)]
pub struct Rule {
    effect: Effect,
    operation: Option<Operation>,
    file_type: Option<FileType>,
    /// How many matching calls go well before.
    spare: u64,
    /// How many after those are hit.
    hits: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    Fail(BackendErrorKind),
    LoseAnswer(BackendErrorKind),
    Delay(Duration),
    Hang,
    Tear(usize),
    Shorten(usize),
    Flip(usize),
}

impl Rule {
    /// It fails, and nothing has happened: a save that crashed leaves nothing.
    pub fn fail(kind: BackendErrorKind) -> Self {
        Self::new(Effect::Fail(kind))
    }

    /// It is done, and then fails: a connection broke before the answer came.
    pub fn lose_answer(kind: BackendErrorKind) -> Self {
        Self::new(Effect::LoseAnswer(kind))
    }

    /// It begins only after this long (tokio's time).
    pub fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// It never ends, and nothing has happened. The caller can only be dropped.
    pub fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// A save leaves only so many bytes under the final name, and fails with
    /// [`BackendErrorKind::Transient`]. Backends that keep the contract never do; other programs, and
    /// servers that lose power, do.
    pub fn tear(keep: usize) -> Self {
        Self::new(Effect::Tear(keep)).on(Operation::Save)
    }

    /// A load gives only the first so many bytes of what it should, and does not say so: storage lies.
    pub fn shorten(keep: usize) -> Self {
        Self::new(Effect::Shorten(keep)).on(Operation::Load)
    }

    /// A load gives one wrong bit in the byte at this place of what it gives, counted round and round.
    pub fn flip(at: usize) -> Self {
        Self::new(Effect::Flip(at)).on(Operation::Load)
    }

    fn new(effect: Effect) -> Self {
        Self { effect, operation: None, file_type: None, spare: 0, hits: 1 }
    }

    /// Counts and hits only this operation.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Counts and hits only operations on this type of file.
    #[must_use]
    pub fn of(self, file_type: FileType) -> Self {
        Self { file_type: Some(file_type), ..self }
    }

    /// Hits the n-th matching call from now, counted from 1, and not those before.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { spare: n.saturating_sub(1), ..self }
    }

    /// Hits so many matching calls in a row.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { hits: times, ..self }
    }

    /// Hits every matching call from the first on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Counts a call, and gives the effect if it is hit.
    pub(super) fn hit(&mut self, call: &Call) -> Option<Effect> {
        let matches = self.operation.is_none_or(|operation| operation == call.operation)
            && (self.file_type.is_none() || self.file_type == call.file_type);
        if !matches || self.hits == 0 {
            return None;
        }
        if self.spare > 0 {
            self.spare -= 1;
            return None;
        }
        self.hits -= 1;
        Some(self.effect)
    }
}
