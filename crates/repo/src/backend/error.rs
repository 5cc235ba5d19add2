//! What a storage operation can die of.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::handle::Handle;

/// Why a storage operation failed: enough to decide whether to try again, and what to tell people.
#[derive(Debug)]
pub struct BackendError {
    /// What it comes down to.
    pub kind: BackendErrorKind,
    /// What was being done, as a verb: "load", "save", "list".
    pub operation: &'static str,
    /// The file it happened on, if on one.
    pub handle: Option<Handle>,
    /// The cause as the storage told it. Never holds a secret.
    pub cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of storage failures that callers treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The file is not there.
    NotFound,
    /// The storage refuses this user the operation.
    PermissionDenied,
    /// The storage is full, or a quota is reached.
    NoSpace,
    /// The file ends before the range that was asked for does.
    TooShort,
    /// The file is larger than such a file may be ([`crate::FileType::size_limit`]).
    TooLarge,
    /// The storage can be written to by nobody (a read-only file system or server).
    ReadOnly,
    /// Who the server is, or who we are, could not be established.
    Authentication,
    /// A connection broke, a time ran out, an I/O error: trying again can help.
    Transient,
    /// Anything else; trying again does not help.
    Permanent,
}

impl BackendErrorKind {
    /// Whether the same operation may succeed when it is tried again.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Transient)
    }
}

impl BackendError {
    /// An error of this kind, without a file or a cause yet.
    pub fn new(kind: BackendErrorKind, operation: &'static str) -> Self {
        Self { kind, operation, handle: None, cause: None }
    }

    /// The same, on this file.
    #[must_use]
    pub fn on(mut self, handle: &Handle) -> Self {
        self.handle = Some(*handle);
        self
    }

    /// The same, with the storage's own account of it.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What an operating system's error on an operation means.
    pub fn from_io(operation: &'static str, error: io::Error) -> Self {
        use io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::NotFound => BackendErrorKind::NotFound,
            ErrorKind::PermissionDenied => BackendErrorKind::PermissionDenied,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BackendErrorKind::NoSpace,
            ErrorKind::ReadOnlyFilesystem => BackendErrorKind::ReadOnly,
            ErrorKind::UnexpectedEof => BackendErrorKind::TooShort,
            ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::Unsupported
            | ErrorKind::FileTooLarge => BackendErrorKind::Permanent,
            _ => BackendErrorKind::Transient,
        };
        Self::new(kind, operation).because(error)
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            BackendErrorKind::NotFound => "it does not exist",
            BackendErrorKind::PermissionDenied => "permission denied",
            BackendErrorKind::NoSpace => "the storage is full",
            BackendErrorKind::TooShort => "the file is shorter than it should be",
            BackendErrorKind::TooLarge => "the file is larger than such a file may be",
            BackendErrorKind::ReadOnly => "the storage is read-only",
            BackendErrorKind::Authentication => "authentication failed",
            BackendErrorKind::Transient | BackendErrorKind::Permanent => "the storage failed",
        };
        write!(f, "{}", self.operation)?;
        if let Some(handle) = &self.handle {
            write!(f, " {handle}")?;
        }
        write!(f, ": {what}")?;
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl StdError for BackendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
