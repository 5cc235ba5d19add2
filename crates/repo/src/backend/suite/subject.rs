//! What is tested, and what it is tested with.

use std::any::Any;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{Backend, BackendError, Extent, FileInfo};
use crate::handle::{FileType, Handle};
use crate::id::Id;

/// A backend that is to be tested, over storage that is empty.
#[derive(Debug)]
pub struct Subject {
    pub(super) backend: Arc<dyn Backend>,
    folder: Option<PathBuf>,
    _kept: Vec<Kept>,
}

/// Something that is only kept alive.
struct Kept(
    #[expect(dead_code, reason = "dropping it is what it is for")] Box<dyn Any + Send + Sync>,
);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Subject {
    /// This backend.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, folder: None, _kept: Vec::new() }
    }

    /// The same, and its files are in this folder of this machine.
    #[must_use]
    pub fn in_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..self }
    }

    /// The same, and this is dropped only after the test: a temporary folder, a server.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self._kept.push(Kept(Box::new(kept)));
        self
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.as_deref().expect("these promises need a subject in a folder")
    }

    pub(super) async fn created(self) -> Self {
        self.backend.create().await.unwrap();
        self
    }

    pub(super) async fn save(&self, file: &Sample) {
        self.backend.save(&file.handle, file.data.clone()).await.unwrap();
    }

    pub(super) async fn load(&self, file: &Sample) -> Bytes {
        self.backend.load(&file.handle, Extent::Whole).await.unwrap()
    }

    /// A part of a file.
    pub(super) async fn range(
        &self,
        file: &Sample,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, BackendError> {
        self.backend.load(&file.handle, Extent::Range { offset, length }).await
    }

    /// The names and sizes listed. None may be listed twice.
    pub(super) async fn list(&self, file_type: FileType) -> BTreeSet<FileInfo> {
        let listed = self.backend.list(file_type).await.unwrap();
        let unique: BTreeSet<_> = listed.iter().copied().collect();
        assert_eq!(unique.len(), listed.len(), "a file is listed twice");
        unique
    }
}

/// A file to store.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) handle: Handle,
    pub(super) data: Bytes,
}

impl Sample {
    /// A file of this type and length, different for every seed.
    pub(super) fn new(file_type: FileType, seed: u64, length: usize) -> Self {
        let mut state = seed;
        let mut step = || {
            // A step of SplitMix64, so that no two stretches are alike.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 27)
        };
        let words = std::iter::repeat_with(|| step().to_le_bytes()).take(length.div_ceil(8));
        let mut data: Vec<u8> = words.flatten().collect();
        data.truncate(length);
        let handle = match file_type {
            FileType::Config => Handle::CONFIG,
            _ => Handle::new(file_type, Id::of(&data)),
        };
        Self { handle, data: data.into() }
    }

    pub(super) fn info(&self) -> FileInfo {
        FileInfo { id: self.handle.id, size: self.data.len() as u64 }
    }
}

/// Every type but the config, which behaves in its own way.
pub(super) fn listed_types() -> impl Iterator<Item = FileType> {
    FileType::ALL.into_iter().filter(|file_type| *file_type != FileType::Config)
}
