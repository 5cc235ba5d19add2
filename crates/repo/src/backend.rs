//! Storage: whole files and ranges of them. What a backend must do is written here, once.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::handle::{FileType, Handle};
use crate::id::Id;

pub use error::{BackendError, BackendErrorKind};

pub mod cache;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
pub mod limit;
pub mod local;
pub mod mem;
pub mod retry;
#[cfg(any(test, feature = "testing"))]
pub mod suite;

/// Where a repository's files are. The contract, for those who write a backend; the suite in
/// `backend::suite` (feature `testing`) checks all of it:
///
/// * **A file is whole or absent.** `save` stores a file under its final name only once all of it is
///   durable, and returns once the name is durable too. A save that fails, is dropped or is killed
///   leaves under the final name what was there before, or the whole new file: an error can come after
///   the last step, and what was begun may come to its end after the future is gone. All else that it
///   may leave is a temporary file beside it that `list` does not show. Who must know the outcome (a
///   lock, say, that has to be removed again) does not drop the save, but runs it in a task of its own.
/// * **What is saved is seen** by every `load`, `stat` and `list` that begins after `save` returned.
/// * **`save` is idempotent.** Saving what is already there succeeds and leaves the same content. A file
///   that is there with another length (left by a broken program) is replaced. The config is the
///   exception: it is replaced by whatever is saved. A folder that is missing is made, but the
///   repository's own is not: where it is gone, a disk is not mounted.
/// * **`load` gives exactly what was asked for**, or an error: `NotFound`, or `TooShort` when the file
///   ends before the range does. That goes for an empty range too: the file must be there and reach as
///   far as the range's offset.
/// * **`list` shows files that can be loaded**: regular files whose name is exactly 64 lower-case hex
///   digits, in the folder where `load` looks for them. Anything else in a folder belongs to somebody
///   else and is passed over. A folder that is missing is empty. The config is never listed.
/// * **`remove` of a missing file is `NotFound`.**
/// * **Every call can be dropped at any point** without harm, and calls run at the same time, also on
///   one file.
/// * **An error's kind says whether trying again can help**, and the error names the file.
///
/// Behaviour is added by wrapping one backend in another: see [`retry`] and [`limit`].
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug {
    /// What the layers above need to know of this storage.
    fn properties(&self) -> Properties;

    /// Makes the folders of an empty repository. What is there already is left as it is.
    async fn create(&self) -> Result<(), BackendError>;

    /// Reads a file or a range of it.
    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError>;

    /// Stores a file, whole, durable and under its final name when this returns.
    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError>;

    /// The size of a file in bytes.
    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError>;

    /// All files of a type, in no particular order. None for [`FileType::Config`]: use [`Self::stat`].
    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError>;

    /// Removes a file.
    async fn remove(&self, handle: &Handle) -> Result<(), BackendError>;

    /// Bytes that can still be stored, where the storage can tell.
    async fn free_space(&self) -> Result<Option<u64>, BackendError>;
}

/// A shared backend is a backend, so that wrappers can hold either.
#[async_trait]
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn properties(&self) -> Properties {
        (**self).properties()
    }

    async fn create(&self) -> Result<(), BackendError> {
        (**self).create().await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        (**self).load(handle, extent).await
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        (**self).save(handle, data).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        (**self).stat(handle).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        (**self).list(file_type).await
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        (**self).remove(handle).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        (**self).free_space().await
    }
}

/// What the layers above a backend need to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// For people: a path or URL that holds no secret.
    pub location: String,
    /// How many transfers at once are worth while; restic's default is 2 for local, 5 for SFTP.
    pub connections: usize,
}

/// Which part of a file to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, refused with [`BackendErrorKind::TooLarge`] above [`FileType::size_limit`].
    Whole,
    /// Exactly `length` bytes from `offset` on.
    Range {
        /// The first byte.
        offset: u64,
        /// How many bytes.
        length: usize,
    },
}

/// A file as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileInfo {
    /// The file's name.
    pub id: Id,
    /// Its size in bytes.
    pub size: u64,
}
