//! Why an operation on a server failed.

use std::sync::Arc;

use restic_repo::backend::BackendErrorKind;

use crate::error::Error;

/// Why an operation on a server failed: its answer, or that there was none.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The connection broke, or the server fell silent. What was asked may have been done or not.
    #[error("the connection to the server broke: {0}")]
    Lost(String),
    /// The connection broke, and there is no new one.
    #[error("the connection to the server broke, and there is no new one: {0}")]
    Unreachable(Arc<Error>),
    /// The server offers no SFTP.
    #[error(
        "the server offers no SFTP; switch on its `sftp` subsystem (Subsystem in sshd_config), or \
         allow it for this user"
    )]
    NoSftp,
    /// The file or folder does not exist.
    #[error("the server says that it does not exist")]
    NotFound,
    /// The server does not allow it.
    #[error("the server does not allow it: {0}")]
    Denied(String),
    /// The server's disk, or this user's share of it, is full.
    #[error("the disk of the server is full, or the quota of this user")]
    Full,
    /// The server's disk cannot be written to.
    #[error("the file system of the server is read-only")]
    ReadOnly,
    /// The server does not know this request.
    #[error("the server does not support the request: {0}")]
    Unsupported(String),
    /// The server says that it went wrong, and SFTP has no words for why.
    #[error("the server says: {0}")]
    Refused(String),
    /// The server answers what nobody asked, or what makes no sense.
    #[error("the server does not keep to the SFTP protocol: {0}")]
    Nonsense(String),
    /// A file ends before the range that was asked for does.
    #[error("the file ends before byte {0}")]
    TooShort(u64),
    /// A file is larger than such a file may be.
    #[error("it has {0} bytes")]
    TooLarge(u64),
    /// Something else is under a file's name.
    #[error("it is not a regular file")]
    NotAFile,
    /// A file has another size on the server than what was written to it.
    #[error("the server has stored {found} bytes of {written}")]
    WrongSize {
        /// How much was written.
        written: u64,
        /// How much arrived.
        found: u64,
    },
    /// There is no memory for it.
    #[error("there is no memory for {0} bytes")]
    NoMemory(u64),
    /// The system has no random numbers.
    #[error("the system has no random numbers: {0}")]
    NoRandom(String),
}

impl Failure {
    /// What this means for whoever wants to try again.
    pub fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Lost(_) | Self::Refused(_) | Self::WrongSize { .. } | Self::Nonsense(_) => {
                BackendErrorKind::Transient
            }
            Self::Unreachable(error) => error.kind(),
            Self::NotFound => BackendErrorKind::NotFound,
            Self::Denied(_) => BackendErrorKind::PermissionDenied,
            Self::Full => BackendErrorKind::NoSpace,
            Self::ReadOnly => BackendErrorKind::ReadOnly,
            Self::TooShort(_) => BackendErrorKind::TooShort,
            Self::TooLarge(_) => BackendErrorKind::TooLarge,
            Self::NoSftp
            | Self::Unsupported(_)
            | Self::NotAFile
            | Self::NoMemory(_)
            | Self::NoRandom(_) => BackendErrorKind::Permanent,
        }
    }

    /// Whether nobody knows if what was asked has been done, because the connection is gone.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}
