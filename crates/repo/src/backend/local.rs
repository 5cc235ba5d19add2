//! A repository in a folder of this machine, laid out as restic lays it out.

use std::fs;
use std::io;
use std::panic;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::Errno;
use tokio::task::{JoinError, JoinSet};

use super::BackendErrorKind::{self, Permanent};
use super::{Backend, BackendError, Extent, FileInfo, Properties};
use crate::handle::{FileType, Handle};

use folder::{Folder, files_in};

mod folder;

/// How many threads list the 256 folders of `data/`. Storage answers several questions at once, on a
/// network above all.
const LISTERS: usize = 8;

/// A repository in a folder.
///
/// Temporary files have restic's form, `<name>-tmp-<digits>`, in the folder of the file they are to
/// become. Those that dead processes left are not touched: they look like those of living ones.
#[derive(Clone, Debug)]
pub struct Local {
    folder: Arc<Folder>,
    connections: usize,
}

impl Local {
    /// The repository in this folder, whether there is one yet or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::new(path.into())), connections: 2 }
    }

    /// The same, with so many transfers at once; restic's default is 2.
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        Self { connections: connections.max(1), ..self }
    }
}

#[async_trait]
impl Backend for Local {
    fn properties(&self) -> Properties {
        Properties {
            location: self.folder.path.to_string_lossy().into_owned(),
            connections: self.connections,
        }
    }

    async fn create(&self) -> Result<(), BackendError> {
        let folder = self.folder.clone();
        blocking("create", None, move || Ok(folder.create()?)).await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let (folder, handle) = (self.folder.clone(), *handle);
        blocking("load", Some(&handle), move || folder.load(&handle, extent)).await
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        let (folder, handle) = (self.folder.clone(), *handle);
        blocking("save", Some(&handle), move || Ok(folder.save(&handle, &data)?)).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        let (folder, handle) = (self.folder.clone(), *handle);
        blocking("stat", Some(&handle), move || Ok(folder.open(&handle)?.1)).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        match file_type {
            FileType::Config => Ok(Vec::new()),
            FileType::Pack => self.list_packs().await,
            _ => {
                let path = self.folder.path.join(file_type.folder());
                blocking("list", None, move || Ok(files_in(&path)?)).await
            }
        }
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        let path = self.folder.path_of(handle);
        blocking("remove", Some(handle), move || Ok(fs::remove_file(path)?)).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        let folder = self.folder.clone();
        blocking("free space", None, move || {
            let found = rustix::fs::statvfs(&folder.path)?;
            Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
        })
        .await
    }
}

impl Local {
    async fn list_packs(&self) -> Result<Vec<FileInfo>, BackendError> {
        let mut listers = JoinSet::new();
        for first in 0..LISTERS {
            let data = self.folder.path.join(FileType::Pack.folder());
            listers.spawn_blocking(move || {
                let mut files = Vec::new();
                for prefix in (first..256).step_by(LISTERS) {
                    let found = files_in(&data.join(format!("{prefix:02x}")))?;
                    // A pack in another pack's folder cannot be loaded.
                    let at_home = |file: &FileInfo| usize::from(file.id.as_bytes()[0]) == prefix;
                    files.extend(found.into_iter().filter(at_home));
                }
                Ok(files)
            });
        }
        let mut files = Vec::new();
        while let Some(outcome) = listers.join_next().await {
            files.append(&mut finished(outcome).map_err(|failure| failure.of("list", None))?);
        }
        Ok(files)
    }
}

/// Runs what may block where that is allowed.
///
/// When the caller is dropped, work that has begun comes to its end, and work that has not never begins:
/// that is what a `JoinSet` does.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    handle: Option<&Handle>,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, BackendError> {
    let mut works = JoinSet::new();
    works.spawn_blocking(work);
    let outcome = works.join_next().await.expect("one piece of work was begun");
    finished(outcome).map_err(|failure| failure.of(operation, handle))
}

fn finished<T>(outcome: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    match outcome.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(reason)) => panic::resume_unwind(reason),
        Err(Err(_)) => Err(Failure::Told(Permanent, "the program is ending".to_owned())),
    }
}

/// What can go wrong in a folder.
enum Failure {
    /// What the operating system says.
    Io(io::Error),
    /// What we say.
    Told(BackendErrorKind, String),
}

impl Failure {
    fn of(self, operation: &'static str, handle: Option<&Handle>) -> BackendError {
        let error = match self {
            Self::Io(error) => BackendError::from_io(operation, error),
            Self::Told(kind, cause) => BackendError::new(kind, operation).because(cause),
        };
        match handle {
            Some(handle) => error.on(handle),
            None => error,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

#[cfg(test)]
mod tests;
