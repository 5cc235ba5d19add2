//! What goes wrong.

use std::time::Duration;

use restic_repo::backend::BackendErrorKind;
use restic_repo::backend::fault::{Fault, Operation, Rule};
use restic_repo::backend::mem::Mem;

/// What happens at one of the storage operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It fails, and nothing has happened.
    Fail,
    /// It is done, and then fails.
    LoseAnswer,
    /// The process dies: neither it nor anything after it happens.
    Kill,
    /// A file is left cut short under its final name.
    Tear,
    /// Less is read than was asked for.
    Shorten,
    /// A wrong bit is read.
    Flip,
    /// It takes its time.
    Delay,
}

impl Effect {
    pub const ALL: [Self; 7] = [
        Self::Fail,
        Self::LoseAnswer,
        Self::Kill,
        Self::Tear,
        Self::Shorten,
        Self::Flip,
        Self::Delay,
    ];

    /// Whether it happens to operations of this kind.
    pub fn concerns(self, operation: Operation) -> bool {
        match self {
            Self::Fail | Self::LoseAnswer | Self::Delay => true,
            Self::Kill => operation.is_mutating(),
            Self::Tear => operation == Operation::Save,
            Self::Shorten | Self::Flip => operation == Operation::Load,
        }
    }

    /// Lets it happen at the n-th operation that it concerns, counted from 1.
    pub fn inject(self, n: u64, fault: &Fault<Mem>) {
        let rule = match self {
            Self::Kill => return fault.kill_at(n),
            Self::Fail => Rule::fail(BackendErrorKind::Transient),
            Self::LoseAnswer => Rule::lose_answer(BackendErrorKind::Transient),
            Self::Tear => Rule::tear(50),
            Self::Shorten => Rule::shorten(50),
            Self::Flip => Rule::flip(70),
            Self::Delay => Rule::delay(Duration::from_millis(10)),
        };
        fault.inject(rule.nth(n));
    }
}
