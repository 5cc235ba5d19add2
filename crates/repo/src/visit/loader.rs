//! Loading trees that lie close to each other.

use std::sync::Arc;

use bytes::Bytes;

use crate::bench::{Bench, Benches};
use crate::blob::{BlobHandle, BlobLocation};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::tree::Tree;
use crate::visit::window::Windows;

/// Some trees, or why they cannot be had.
pub(crate) type Loaded = Vec<(Id, Result<Tree>)>;

/// Loads trees for those who load more than one.
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
            benches: Arc::clone(repository.benches()),
        }
    }

    /// How many bytes a tree has in its pack; 0 if the index lacks it.
    pub(crate) fn stored(&self, id: &Id) -> u64 {
        let place = self.index.lookup(&BlobHandle::tree(*id)).next();
        place.map_or(0, |place| place.entry.length.into())
    }

    /// Some trees, in their order.
    pub(crate) async fn load(&self, ids: Vec<Id>) -> Result<Loaded> {
        let place = |id: &Id| self.index.lookup(&BlobHandle::tree(*id)).next();
        let places: Vec<_> = ids.iter().map(place).collect();
        let sealed = self.windows.load(&places).await;
        let decode_all = move |bench: &mut Bench| {
            let pairs = places.iter().zip(sealed);
            Ok(pairs.map(|(place, sealed)| decode(place.as_ref(), sealed, bench)).collect())
        };
        let decoded: Vec<Option<Tree>> = self.benches.work(decode_all).await?;
        let mut trees = Vec::with_capacity(ids.len());
        for (id, tree) in ids.into_iter().zip(decoded) {
            let tree = match tree {
                Some(tree) => Ok(tree),
                None => self.load_elsewhere(id).await,
            };
            trees.push((id, tree));
        }
        Ok(trees)
    }

    /// One tree.
    pub(crate) async fn load_one(&self, id: Id) -> Result<Tree> {
        let loaded = self.load(vec![id]).await?.pop();
        loaded.map_or(Err(Error::BlobNotFound(BlobHandle::tree(id))), |(_, tree)| tree)
    }

    /// The JSON of one tree. If it is `alone`, with none beside it to be loaded, what lies before it is read along
    /// with it: the trees below are likely to be there.
    pub(crate) async fn load_json(&self, id: Id, alone: bool) -> Result<Vec<u8>> {
        let handle = BlobHandle::tree(id);
        let place = self.index.lookup(&handle).next();
        let sealed = match alone {
            true => self.windows.load(&[place]).await.pop().flatten(),
            false => self.windows.find(&place),
        };
        if let (Some(place), Some(sealed)) = (place, sealed)
            && let Ok(json) = self.repository.decode_blob(place.entry, sealed).await
        {
            return Ok(json);
        }
        self.repository.load_blob(&self.index, handle).await
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
    let Bench { decoder, plaintext, .. } = bench;
    let entry = place?.entry;
    decoder.decode(entry.handle, &sealed?, entry.uncompressed_length, plaintext).ok()?;
    Tree::decode(plaintext).ok()
}
