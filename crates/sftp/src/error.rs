//! Why there is no connection.

use restic_repo::backend::BackendErrorKind;

use crate::failure::Failure;

/// Why a server could not be reached, or not be worked with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The SSH connection failed.
    #[error("cannot connect: {0}")]
    Ssh(#[from] russh::Error),
    /// The server refuses us.
    #[error("the server accepts none of our keys")]
    Refused,
    /// The connection is there, but SFTP on it is not.
    #[error(transparent)]
    Session(#[from] Failure),
}

impl Error {
    /// What this means for whoever wants to try again.
    pub fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Ssh(_) => BackendErrorKind::Transient,
            Self::Refused => BackendErrorKind::Authentication,
            Self::Session(failure) => failure.kind(),
        }
    }
}
