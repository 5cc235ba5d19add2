//! Which blobs the snapshots need.

use std::collections::HashSet;
use std::sync::Arc;

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::id::Id;
use crate::index::Index;
use crate::node::NodeType;
use crate::progress::{Phase, Progress};
use crate::repository::Repository;
use crate::tree::Tree;
use crate::used::UsedBlobs;
use crate::visit;

/// What there was when the plan was made.
pub(super) struct Marked {
    pub(super) index: Arc<Index>,
    /// The index files that the index was made of.
    pub(super) index_files: HashSet<Id>,
    pub(super) snapshots: HashSet<Id>,
    pub(super) used: Arc<UsedBlobs>,
}

impl Marked {
    /// Looks at all snapshots but those that are given.
    ///
    /// # Errors
    /// Whatever cannot be read: what it needs would be unknown.
    pub(super) async fn now(
        repository: &Repository,
        without: &HashSet<Id>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self> {
        let (loaded, index) = repository.load_snapshots_and_index(&**progress).await?;
        let mut snapshots = HashSet::new();
        let mut trees = Vec::new();
        for (id, snapshot) in loaded.into_iter().filter(|(id, _)| !without.contains(id)) {
            snapshots.insert(id);
            trees.push(snapshot?.tree);
        }
        let index = Arc::new(index);
        let index_files = index.files().map(|(id, _)| id).collect();
        let used = Arc::new(UsedBlobs::new(Arc::clone(&index)));
        mark(repository, &index, &trees, &used, progress, |_| {}).await?;
        Ok(Self { index, index_files, snapshots, used })
    }

    /// Looks at the snapshots that were stored since, and adds what they need to the used blobs. Gives the
    /// blobs that were known before, but not needed.
    ///
    /// What others stored since must be in the index already.
    ///
    /// # Errors
    /// As [`Self::now`].
    pub(super) async fn again(
        &self,
        repository: &Repository,
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<BlobHandle>> {
        let files = repository.list(FileType::Snapshot).await?;
        let mut trees = Vec::new();
        for file in files.iter().filter(|file| !self.snapshots.contains(&file.id)) {
            trees.push(repository.load_snapshot(file.id).await?.tree);
        }
        if trees.is_empty() {
            return Ok(Vec::new());
        }
        let (newly, found) = std::sync::mpsc::channel();
        let index = Arc::clone(&self.index);
        let is_new = move |blob| {
            if index.number(&blob).is_some() {
                // The receiver lives until this one is dropped.
                let _ = newly.send(blob);
            }
        };
        mark(repository, &self.index, &trees, &self.used, progress, is_new).await?;
        Ok(found.into_iter().collect())
    }
}

/// Adds what some trees need to the used blobs; tells of each that was not there yet.
async fn mark(
    repository: &Repository,
    index: &Arc<Index>,
    trees: &[Id],
    used: &Arc<UsedBlobs>,
    progress: &Arc<dyn Progress>,
    is_new: impl Fn(BlobHandle) + Send + Sync + 'static,
) -> Result<()> {
    progress.begin(Phase::MarkTrees, Some(trees.len() as u64));
    let look = {
        let (index, used) = (Arc::clone(index), Arc::clone(used));
        move |id, tree: Result<Tree>| {
            is_new(BlobHandle::tree(id));
            for node in tree?.nodes() {
                if node.node_type != NodeType::File {
                    continue;
                }
                for &id in node.content.iter().flatten() {
                    let blob = BlobHandle::data(id);
                    if !used.insert(&blob) {
                        continue;
                    }
                    if !index.contains(&blob) {
                        return Err(Error::IndexIncomplete { blob });
                    }
                    is_new(blob);
                }
            }
            Ok(())
        }
    };
    visit::every_tree(repository, index, trees, used, look, || {
        progress.advance(Phase::MarkTrees, 1);
    })
    .await?;
    progress.end(Phase::MarkTrees);
    Ok(())
}
