//! What was asked of a storage, as it is recorded.

#[cfg(doc)]
use crate::backend::{Backend, BackendError};
use crate::backend::{BackendErrorKind, Extent};
use crate::handle::{FileType, Handle};

/// The methods of [`Backend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Backend::create`].
    Create,
    /// [`Backend::load`].
    Load,
    /// [`Backend::save`].
    Save,
    /// [`Backend::stat`].
    Stat,
    /// [`Backend::list`].
    List,
    /// [`Backend::remove`].
    Remove,
    /// [`Backend::free_space`].
    FreeSpace,
}

impl Operation {
    /// Whether it changes what is stored.
    pub const fn is_mutating(self) -> bool {
        matches!(self, Self::Create | Self::Save | Self::Remove)
    }

    /// As [`BackendError::operation`] has it.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::Save => "save",
            Self::Stat => "stat",
            Self::List => "list",
            Self::Remove => "remove",
            Self::FreeSpace => "free space",
        }
    }
}

/// One call, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// On which type of file, if on one.
    pub file_type: Option<FileType>,
    /// On which file, if on one.
    pub handle: Option<Handle>,
    /// Which part of it was to be loaded.
    pub extent: Option<Extent>,
    /// How many bytes were handed over to be saved, or came back from a load that has ended.
    pub bytes: u64,
    /// How it ended. Nothing while it lasts, and for ever if it was dropped.
    pub outcome: Option<Result<(), BackendErrorKind>>,
    /// When it began, by a clock that counts beginnings and ends of all calls.
    pub began: u64,
    /// When it ended, by the same clock.
    pub ended: Option<u64>,
}

impl Call {
    /// Whether it is of this kind, on this type of file or on any.
    pub(super) fn is(&self, operation: Operation, file_type: Option<FileType>) -> bool {
        self.operation == operation && (file_type.is_none() || self.file_type == file_type)
    }
}
