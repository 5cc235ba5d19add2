//! How full a server is.

use restic_repo::backend::BackendError;

use crate::backend::{Sftp, error, make_with_parents};
use crate::saving;

/// The file system of a repository's folder, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All that there is.
    pub total: u64,
    /// What is taken.
    pub used: u64,
    /// What this user can still store. Some is often kept for others, so this and what is taken are less
    /// than the total.
    pub free: u64,
}

impl Sftp {
    /// The space of the file system that the repository's folder is on; nothing if the server cannot tell
    /// (`statvfs@openssh.com`).
    ///
    /// # Errors
    /// Of kind `NotFound` if there is no such folder.
    pub async fn space(&self) -> Result<Option<Space>, BackendError> {
        let root = self.layout().root();
        let told = self.redo(|session, _| async move { session.space(root).await }).await;
        let told = told.map_err(|failure| error("free space", None, failure))?;
        Ok(told.map(|told| Space { total: told.total, used: told.used, free: told.bytes }))
    }

    /// Makes the repository's folder, and those above it that are missing, but no repository in it.
    pub async fn make_folder(&self) -> Result<(), BackendError> {
        let root = self.layout().root();
        let made = self.redo(|session, _| async move {
            match make_with_parents(&session, root).await {
                Err(failure) => Err(saving::why(&session, self.layout(), failure, 0).await),
                made => made,
            }
        });
        made.await.map_err(|failure| error("make the folder", None, failure))
    }
}
