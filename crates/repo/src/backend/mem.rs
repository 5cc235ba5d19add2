//! A repository in memory: for tests, and for programs that embed this library.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, BackendError, BackendErrorKind, Extent, FileInfo, Properties};
use crate::handle::{FileType, Handle};

/// Files in memory. A clone is another way to the same files; for a copy of its own, see
/// [`Mem::from_files`].
#[derive(Clone, Default)]
pub struct Mem {
    files: Arc<Mutex<BTreeMap<Handle, Bytes>>>,
}

impl Mem {
    /// Without any files.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these files: to go on from a state that [`Mem::files`] gave.
    pub fn from_files(files: BTreeMap<Handle, Bytes>) -> Self {
        Self { files: Arc::new(Mutex::new(files)) }
    }

    /// All files as they are now. Cheap: the contents are shared.
    pub fn files(&self) -> BTreeMap<Handle, Bytes> {
        self.lock().clone()
    }

    /// Puts a file there as it is, whatever was there before. For tests: this is how damaged, short
    /// and foreign files come in, which [`Backend::save`] would take for the right ones.
    pub fn put(&self, handle: &Handle, data: impl Into<Bytes>) {
        self.lock().insert(*handle, data.into());
    }

    /// Changes a file's content in place. For tests: this is how a file is damaged.
    ///
    /// # Panics
    ///
    /// If there is no such file: the test would damage nothing.
    pub fn alter(&self, handle: &Handle, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.lock();
        let data = files.get_mut(handle).expect("only a file that exists can be damaged");
        let mut altered = data.to_vec();
        change(&mut altered);
        *data = altered.into();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Handle, Bytes>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Mem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mem({} files)", self.lock().len())
    }
}

#[async_trait]
impl Backend for Mem {
    fn properties(&self) -> Properties {
        Properties { location: "memory".to_owned(), connections: 2 }
    }

    async fn create(&self) -> Result<(), BackendError> {
        Ok(())
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let failed = |kind| BackendError::new(kind, "load").on(handle);
        let data = self.lock().get(handle).cloned();
        let data = data.ok_or_else(|| failed(BackendErrorKind::NotFound))?;
        match extent {
            Extent::Whole if data.len() as u64 > handle.file_type.size_limit() => {
                Err(failed(BackendErrorKind::TooLarge))
            }
            Extent::Whole => Ok(data),
            Extent::Range { offset, length } => {
                range(&data, offset, length).ok_or_else(|| failed(BackendErrorKind::TooShort))
            }
        }
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        let mut files = self.lock();
        let there = handle.file_type != FileType::Config
            && files.get(handle).is_some_and(|old| old.len() == data.len());
        if !there {
            files.insert(*handle, data);
        }
        Ok(())
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        match self.lock().get(handle) {
            Some(data) => Ok(data.len() as u64),
            None => Err(BackendError::new(BackendErrorKind::NotFound, "stat").on(handle)),
        }
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        let files = self.lock();
        let listed =
            |handle: &Handle| handle.file_type == file_type && handle.file_type != FileType::Config;
        Ok(files
            .iter()
            .filter(|(handle, _)| listed(handle))
            .map(|(handle, data)| FileInfo { id: handle.id, size: data.len() as u64 })
            .collect())
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        match self.lock().remove(handle) {
            Some(_) => Ok(()),
            None => Err(BackendError::new(BackendErrorKind::NotFound, "remove").on(handle)),
        }
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        Ok(None)
    }
}

/// The bytes of a range, if the data reaches to its end.
fn range(data: &Bytes, offset: u64, length: usize) -> Option<Bytes> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(length)?;
    (end <= data.len()).then(|| data.slice(start..end))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::suite::Subject;
    use crate::id::Id;

    async fn subject() -> Subject {
        Subject::new(Arc::new(Mem::new()))
    }

    crate::backend_suite!(subject);

    fn handle() -> Handle {
        Handle::new(FileType::Lock, Id::of(b"a lock"))
    }

    #[tokio::test]
    async fn a_clone_sees_the_same_files_and_a_copy_its_own() {
        let mem = Mem::new();
        let clone = mem.clone();
        let copy = Mem::from_files(mem.files());
        mem.save(&handle(), Bytes::from_static(b"a lock")).await.unwrap();
        assert_eq!(clone.stat(&handle()).await.unwrap(), 6);
        assert!(copy.files().is_empty());
    }

    #[tokio::test]
    async fn damage_is_seen_and_a_short_file_is_replaced_by_the_next_save() {
        let mem = Mem::new();
        mem.save(&handle(), Bytes::from_static(b"a lock")).await.unwrap();
        mem.alter(&handle(), |data| data.truncate(3));
        assert_eq!(mem.load(&handle(), Extent::Whole).await.unwrap(), "a l");
        mem.save(&handle(), Bytes::from_static(b"a lock")).await.unwrap();
        assert_eq!(mem.load(&handle(), Extent::Whole).await.unwrap(), "a lock");
    }

    #[tokio::test]
    async fn a_file_above_its_types_limit_is_not_loaded_whole() {
        let mem = Mem::new();
        let limit = FileType::Lock.size_limit() as usize;
        mem.put(&handle(), vec![0; limit]);
        assert_eq!(mem.load(&handle(), Extent::Whole).await.unwrap().len(), limit);
        mem.put(&handle(), vec![0; limit + 1]);
        let error = mem.load(&handle(), Extent::Whole).await.unwrap_err();
        assert_eq!(error.kind, BackendErrorKind::TooLarge);
    }
}
