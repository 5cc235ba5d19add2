//! What can go wrong with a repository, as facts to match on.

use std::io;
use std::path::PathBuf;

use crate::backend::{BackendError, BackendErrorKind};
use crate::blob::BlobHandle;
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::lock::LockHolder;

/// The result of most operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a repository failed. No message ever holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds a lock that excludes ours.
    #[error("the repository is locked: {}", describe_holders(.holders))]
    Locked {
        /// Who; never empty.
        holders: Vec<LockHolder>,
    },
    /// Our own lock could not be kept alive, so all writing was stopped.
    #[error("the lock on the repository was lost, so all work on it was stopped: {reason}")]
    LockLost {
        /// What happened to it.
        reason: String,
    },
    /// A lock file that cannot be read. Whether it excludes us is unknown, so it does.
    #[error("lock {} cannot be read, so it may belong to somebody at work", .id.short())]
    InvalidLock {
        /// Its name.
        id: Id,
        /// Why it cannot be read.
        #[source]
        source: Box<Error>,
    },
    /// No key in the repository opens with this password.
    #[error("wrong password, or no key found")]
    WrongPassword,
    /// Too many key files to try them all: restic's limit.
    #[error("the repository has more than {limit} keys; name the right one with a key hint")]
    TooManyKeys {
        /// How many are tried.
        limit: usize,
    },
    /// There is no repository at the location.
    #[error("there is no repository at {location}: it has no config file")]
    NotARepository {
        /// Where.
        location: String,
    },
    /// There is a repository already where one was to be made.
    #[error("there is already a repository at {location}, or the remains of one: {found}")]
    AlreadyInitialized {
        /// Where.
        location: String,
        /// What was found.
        found: String,
    },
    /// The repository asks for something this program does not know.
    #[error("repository version {version} is not supported: this program knows versions 1 and 2")]
    UnsupportedVersion {
        /// The version it claims.
        version: u64,
    },
    /// Something in the repository is not as it was written.
    #[error("{what} is damaged: {detail}")]
    Damaged {
        /// What is damaged.
        what: Subject,
        /// How it shows.
        detail: String,
    },
    /// A blob that is needed is not in the index.
    #[error("{0} is not in the index")]
    BlobNotFound(BlobHandle),
    /// A snapshot needs a blob that the index lacks, so that nobody can tell what else is missing.
    #[error("a snapshot needs {blob}, which is not in the index; nothing was removed")]
    IndexIncomplete {
        /// One of the missing blobs.
        blob: BlobHandle,
    },
    /// Somebody else rewrote the index that a plan is about, between making the plan and carrying it out.
    #[error("somebody else rewrote the index meanwhile")]
    Overtaken,
    /// No file matches the id or prefix that was given.
    #[error("no {file_type} matches {query:?}")]
    NoMatch {
        /// What was looked for.
        file_type: FileType,
        /// The id, prefix, or "latest".
        query: String,
    },
    /// Several files match the prefix that was given.
    #[error("{query:?} is ambiguous: it matches {count} {file_type} files")]
    Ambiguous {
        /// What was looked for.
        file_type: FileType,
        /// The prefix.
        query: String,
        /// How many match.
        count: usize,
    },
    /// A path is not in the snapshot.
    #[error("{path:?} is not in the snapshot")]
    PathNotFound {
        /// The path that was looked for.
        path: PathBuf,
    },
    /// A path in the snapshot is not of the type that is needed.
    #[error("{path:?} is a {found}, not a {wanted}")]
    WrongNodeType {
        /// Which.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Something is not as a snapshot says that it is.
    #[error("{path:?} is not what the snapshot says: {detail}")]
    Mismatch {
        /// Its path, in the snapshot or where it was restored.
        path: PathBuf,
        /// How it differs.
        detail: String,
    },
    /// A name in the repository that would lead outside the folder it belongs in.
    #[error("refused the name {name:?} in the repository: it would leave the target folder")]
    UnsafeName {
        /// The name.
        name: PathBuf,
    },
    /// What was written does not decode to what it was made from: bad memory, or a bug. Not stored.
    #[error("{what} does not decode to what it was made from; it was not stored (faulty memory?)")]
    VerifyFailed {
        /// What.
        what: Subject,
    },
    /// The config was being replaced, and neither the new one nor the old one could be stored.
    #[error("the repository has no config any more: storing it failed: {source}")]
    ConfigLost {
        /// What was wrong when the old one was to be put back.
        #[source]
        source: Box<Error>,
    },
    /// The operation cannot do what was asked; the text says why and what to do instead.
    #[error("{0}")]
    Refused(String),
    /// The file system on this side failed: a source that is read, a target that is written.
    #[error("{operation} {path:?}: {source}")]
    Io {
        /// What was being done: "open", "read", "write".
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operation was cancelled from outside.
    #[error("cancelled")]
    Cancelled,
    /// The storage failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A thing in a repository that can be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A stored file.
    File(Handle),
    /// A blob.
    Blob(BlobHandle),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(handle) => handle.fmt(f),
            Self::Blob(handle) => handle.fmt(f),
        }
    }
}

impl From<Handle> for Subject {
    fn from(handle: Handle) -> Self {
        Self::File(handle)
    }
}

impl From<BlobHandle> for Subject {
    fn from(handle: BlobHandle) -> Self {
        Self::Blob(handle)
    }
}

impl Error {
    /// Damage, in words.
    pub fn damaged(what: impl Into<Subject>, detail: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), detail: detail.into() }
    }

    /// Something that is not as a snapshot says, in words.
    pub fn mismatch(path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Self::Mismatch { path: path.into(), detail: detail.into() }
    }

    /// Whether the storage said that there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Backend(error) if error.kind == BackendErrorKind::NotFound)
    }

    /// A failure of the file system on this side.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { operation, path: path.into(), source }
    }
}

fn describe_holders(holders: &[LockHolder]) -> String {
    match holders {
        [] => "by an unknown holder".to_owned(),
        [one] => one.to_string(),
        [one, more @ ..] => format!("{one}, and {} more", more.len()),
    }
}
