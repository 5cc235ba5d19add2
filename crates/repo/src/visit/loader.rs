//! Loading trees that lie close to each other.

use std::sync::Arc;

use bytes::Bytes;

use crate::bench::{Bench, Benches};
use crate::blob::{BlobHandle, BlobLocation};
use crate::error::Result;
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::tree::Tree;
use crate::visit::window::Windows;

/// Loads trees for those who load very many.
pub(crate) struct TreeLoader {
    repository: Repository,
    index: Arc<Index>,
    pub(super) windows: Windows,
    pub(super) benches: Arc<Benches>,
}

impl TreeLoader {
    pub(crate) fn new(repository: &Repository, index: &Arc<Index>) -> Self {
        Self {
            repository: repository.clone(),
            index: Arc::clone(index),
            windows: Windows::new(repository),
            benches: Benches::new(repository),
        }
    }

    /// One tree.
    pub(crate) async fn load(&self, id: Id) -> Result<Tree> {
        let place = self.index.lookup(&BlobHandle::tree(id)).next();
        let sealed = self.windows.load(&[place]).await.pop().flatten();
        let decoded =
            self.benches.work(move |bench| Ok(decode(place.as_ref(), sealed, bench))).await?;
        match decoded {
            Some(tree) => Ok(tree),
            None => self.load_elsewhere(id).await,
        }
    }

    /// A tree that could not be had at its first place. If there is no other, this says why.
    pub(super) async fn load_elsewhere(&self, id: Id) -> Result<Tree> {
        self.repository.load_tree(&self.index, id).await
    }
}

/// The tree that was loaded from a place, if it was and is sound.
pub(super) fn decode(
    place: Option<&BlobLocation>,
    sealed: Option<Bytes>,
    bench: &mut Bench,
) -> Option<Tree> {
    let Bench { decoder, plaintext } = bench;
    let entry = place?.entry;
    decoder.decode(entry.handle, &sealed?, entry.uncompressed_length, plaintext).ok()?;
    Tree::decode(plaintext).ok()
}
