//! Bringing back what no snapshot refers to any more.
//!
//! If a snapshot was removed by accident and nothing was pruned since, its trees are still there. Those
//! that no other tree refers to are the roots of lost snapshots; a new snapshot has them as folders.

use std::collections::HashSet;
use std::sync::Arc;

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::identity::Identity;
use crate::index::Index;
use crate::node::{Mode, Node, NodeType};
use crate::packer::Packer;
use crate::progress::{Phase, Progress, Warning};
use crate::repository::{Repository, on_worker};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;
use crate::tree::Tree;
use crate::used::UsedBlobs;
use crate::visit::every_tree;

/// How the new snapshot is called: restic's path and tag.
const PATH: &str = "/recover";
const TAG: &str = "recovered";

/// The trees of the index that neither a tree nor one of these snapshots refers to, in no particular
/// order. One that cannot be read is warned of and left out.
pub async fn unreferenced_roots(
    repository: &Repository,
    index: &Arc<Index>,
    snapshots: &[(Id, Snapshot)],
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Id>> {
    let trees = all_trees(index);
    progress.begin(Phase::LoadTrees, Some(trees.len() as u64));
    let referenced = Arc::new(UsedBlobs::new(Arc::clone(index)));
    for (_, snapshot) in snapshots {
        referenced.insert(&BlobHandle::tree(snapshot.tree));
    }
    let look = {
        let (referenced, progress) = (Arc::clone(&referenced), Arc::clone(progress));
        move |id, tree: Result<Tree>| {
            match tree {
                Ok(tree) => {
                    let folders =
                        tree.nodes().iter().filter(|node| node.node_type == NodeType::Dir);
                    for subtree in folders.filter_map(|node| node.subtree) {
                        referenced.insert(&BlobHandle::tree(subtree));
                    }
                }
                Err(error) => {
                    // What cannot be read is of no use to anybody.
                    referenced.insert(&BlobHandle::tree(id));
                    progress.warn(&Warning::UnreadableTree { id, error: &error });
                }
            }
            progress.advance(Phase::LoadTrees, 1);
            Ok(())
        }
    };
    let seen = UsedBlobs::new(Arc::clone(index));
    every_tree(repository, index, &trees, &seen, look, || {}).await?;
    progress.end(Phase::LoadTrees);
    let is_root = |id: &Id| !referenced.contains(&BlobHandle::tree(*id));
    Ok(trees.into_iter().filter(is_root).collect())
}

/// All trees that the index lists, in the order in which they are quickly read: pack by pack, and from
/// its end, since a folder's tree comes after those of what is in it.
fn all_trees(index: &Index) -> Vec<Id> {
    let mut places: Vec<(Id, u32, Id)> = Vec::new();
    for location in index.loaded() {
        let BlobHandle { id, .. } = location.entry.handle;
        // All places of a blob come one after another.
        let is_known = places.last().is_some_and(|(.., last)| *last == id);
        if location.entry.handle == BlobHandle::tree(id) && !is_known {
            places.push((location.pack, u32::MAX - location.entry.offset, id));
        }
    }
    places.sort_unstable();
    places.into_iter().map(|(.., id)| id).collect()
}

/// Stores a snapshot that has these trees as folders, each named by the beginning of its id.
///
/// # Errors
/// What keeps it from being stored. The snapshot comes last, so there is none then.
pub async fn save_as_snapshot(
    repository: &Repository,
    index: Arc<Index>,
    roots: &[Id],
    identity: Identity,
    program_version: &str,
) -> Result<Id> {
    let json = folder_of(roots)?;
    let tree = BlobHandle::tree(Id::of(&json));
    let packer = Arc::new(Packer::new(repository, index, false));
    let (saver, encoder) = (Arc::clone(&packer), repository.encoder());
    on_worker(move || saver.save(&mut encoder?, tree, &json, &mut Vec::new()).map(drop)).await?;
    let packer = Arc::into_inner(packer).ok_or(Error::Cancelled)?;
    packer.finish().await?;
    let Identity { hostname, username, uid, gid, .. } = identity;
    let snapshot = Snapshot {
        hostname,
        username,
        uid,
        gid,
        tags: vec![TAG.to_owned()],
        program_version: program_version.to_owned(),
        ..Snapshot::new(Timestamp::now(), tree.id, vec![PATH.to_owned()])
    };
    repository.save_snapshot(&snapshot).await
}

/// The JSON of a folder with these trees in it.
fn folder_of(roots: &[Id]) -> Result<Vec<u8>> {
    let now = Timestamp::now();
    let mut names = HashSet::new();
    let mut nodes = Vec::with_capacity(roots.len());
    for &id in roots {
        // Two of very many may begin alike.
        let short = id.short();
        let name = if names.insert(short.clone()) { short } else { id.to_hex() };
        nodes.push(Node {
            mode: Mode::DIR | Mode::from_bits(0o755),
            mtime: now,
            atime: now,
            ctime: now,
            subtree: Some(id),
            ..Node::new(&*name, NodeType::Dir)
        });
    }
    let tree = Tree::from_nodes(nodes).map_err(|error| Error::Refused(error.to_string()))?;
    Ok(tree.encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::FileType;
    use crate::progress::Silent;
    use crate::workshop::{Workshop, data, file, folder, tree};

    async fn roots(shop: &Workshop) -> (Arc<Index>, Vec<Id>) {
        let index = Arc::new(shop.repository.load_index(&Silent).await.unwrap());
        let snapshots = shop.repository.readable_snapshots(&Silent).await.unwrap();
        let progress: Arc<dyn Progress> = Arc::new(Silent);
        let mut found =
            unreferenced_roots(&shop.repository, &index, &snapshots, &progress).await.unwrap();
        found.sort_unstable();
        (index, found)
    }

    #[tokio::test]
    async fn a_lost_snapshot_comes_back_as_a_folder() {
        let shop = Workshop::new().await;
        let piece = data("hello");
        let below = tree(vec![file("a", &[&piece])]);
        let lost = tree(vec![folder("d", &below), folder("e", &below)]);
        let lost_id = lost.handle.id;
        shop.index([shop.pack([piece, below]), shop.pack([lost])]).await;
        shop.snapshot_of(vec![file("kept", &[])]).await;
        let (index, found) = roots(&shop).await;
        assert_eq!(found, [lost_id]);
        let me = Identity::current();
        let saved = save_as_snapshot(&shop.repository, index, &found, me, "test").await.unwrap();
        let snapshot = shop.repository.load_snapshot(saved).await.unwrap();
        assert_eq!((&*snapshot.paths, &*snapshot.tags), (&[PATH.into()][..], &[TAG.into()][..]));
        let (index, found) = roots(&shop).await;
        assert!(found.is_empty());
        let top = shop.repository.load_tree(&index, snapshot.tree).await.unwrap();
        let node = top.find(lost_id.short().as_bytes()).unwrap();
        assert_eq!(node.subtree, Some(lost_id));
        let options = crate::checker::Options::default();
        let checked =
            crate::checker::check(&shop.repository, &options, Arc::new(Silent)).await.unwrap();
        assert!(checked.is_sound());
    }

    #[tokio::test]
    async fn a_tree_that_cannot_be_read_is_no_root() {
        let shop = Workshop::new().await;
        let (sound, damaged) = (tree(vec![file("a", &[])]), tree(vec![file("b", &[])]));
        let sound_id = sound.handle.id;
        let bad = shop.pack([damaged]);
        shop.alter_pack(bad.pack, |bytes| bytes[20] ^= 1);
        shop.index([shop.pack([sound]), bad]).await;
        assert_eq!(roots(&shop).await.1, [sound_id]);
        assert!(shop.repository.list(FileType::Snapshot).await.unwrap().is_empty());
    }

    #[test]
    fn ids_that_begin_alike_get_different_names() {
        let mut bytes = [7; 32];
        let one = Id::from_bytes(bytes);
        bytes[31] = 8;
        let json = folder_of(&[one, Id::from_bytes(bytes)]).unwrap();
        assert_eq!(Tree::decode(&json).unwrap().nodes().len(), 2);
    }
}
