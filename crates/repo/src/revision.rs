//! A new version of what a snapshot holds, with a few files changed.
//!
//! The tree of a snapshot is never altered. A [`Revision`] makes another one from it: files are put in their
//! places, or taken away, and all folders on the way get a new tree in which nothing else is different. Only
//! the trees on the way are read. What the files consist of is stored through the revision too, so that one
//! pass over packs and index files makes all of it durable.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Name, Node};
use crate::packer::{Added, Packer};
use crate::patch::{Patch, Patched};
use crate::progress::Progress;
use crate::repository::{Repository, on_worker};
use crate::tree::Tree;
use crate::walk::subtree;

/// A tree that is being changed in a few places. Dropping it ends all storing.
#[derive(Debug)]
pub struct Revision {
    repository: Repository,
    packer: Option<Arc<Packer>>,
    edits: Edits,
}

/// What changes in a folder, by name.
#[derive(Debug, Default)]
struct Edits(BTreeMap<OsString, Edit>);

#[derive(Debug)]
enum Edit {
    Put(Box<Node>),
    Remove,
    Within(Edits),
}

/// A tree that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revised {
    /// Its id.
    pub tree: Id,
    /// What was new to the repository.
    pub added: Added,
}

impl Revision {
    /// Changes nothing yet. The index must not know packs that are not there: see
    /// [`archiver::distrust`](crate::archiver::distrust).
    pub fn new(repository: &Repository, index: Arc<Index>) -> Self {
        let packer = Some(Arc::new(Packer::new(repository, index, false)));
        Self { repository: repository.clone(), packer, edits: Edits::default() }
    }

    /// Stores what is new in a file: see [`Patch::write`]. [`Self::put`] gives it a place.
    ///
    /// # Errors
    /// As [`Patch::write`].
    pub async fn write(&self, patch: Patch, progress: &dyn Progress) -> Result<Patched> {
        patch.write(&self.repository, self.packer()?, progress).await
    }

    /// Puts a node at a path, in place of what is there. Its name becomes that of the path, and its content must
    /// be stored or have been written by [`Self::write`]. The folder that it goes into must be there.
    ///
    /// # Errors
    /// [`Error::Refused`] if the path is the root, or another change is in its way.
    pub fn put(&mut self, path: &Path, node: Node) -> Result<()> {
        self.edit(path, |name| {
            Edit::Put(Box::new(Node { name: Name::from(name.as_os_str()), ..node }))
        })
    }

    /// Takes a file or folder away, which must be there.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        self.edit(path, |_| Edit::Remove)
    }

    /// Stores the tree that comes of `root` with all changes. All of it is durable when this returns, so that
    /// a snapshot may refer to it.
    ///
    /// # Errors
    /// [`Error::PathNotFound`] and [`Error::WrongNodeType`] if a path does not lead to where something is to be
    /// changed; [`Error::Refused`] if a folder on the way holds what this program cannot write; whatever
    /// keeps trees from being read and stored.
    pub async fn store(mut self, root: Id) -> Result<Revised> {
        let edits = std::mem::take(&mut self.edits);
        let tree = self.revised(root, PathBuf::from("/"), edits).await?;
        let packer = self.packer.take().and_then(Arc::into_inner).ok_or(Error::Cancelled)?;
        Ok(Revised { tree, added: packer.finish().await? })
    }

    fn packer(&self) -> Result<&Arc<Packer>> {
        self.packer.as_ref().ok_or(Error::Cancelled)
    }

    fn edit(&mut self, path: &Path, edit: impl FnOnce(OsString) -> Edit) -> Result<()> {
        let refused =
            || Error::Refused(format!("{path:?} cannot be changed along with the others"));
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_owned()),
                Component::ParentDir => return Err(refused()),
                _ => {}
            }
        }
        let name = names.pop().ok_or_else(refused)?;
        let mut edits = &mut self.edits;
        for folder in names {
            let within = edits.0.entry(folder).or_insert(Edit::Within(Edits::default()));
            let Edit::Within(within) = within else { return Err(refused()) };
            edits = within;
        }
        match edits.0.get(&name) {
            Some(Edit::Within(_)) => return Err(refused()),
            _ => edits.0.insert(name.clone(), edit(name)),
        };
        Ok(())
    }

    /// Stores a folder's tree, and those below it that change.
    fn revised(&self, id: Id, path: PathBuf, edits: Edits) -> BoxFuture<'_, Result<Id>> {
        Box::pin(async move {
            let index = Arc::clone(self.packer()?.index());
            let tree = self.repository.load_tree(&index, id).await?;
            if Id::of(&tree.encode()) != id {
                return Err(Error::Refused(format!(
                    "cannot change the folder {path:?} without losing information: its tree {} holds \
                     what this program does not know",
                    id.short()
                )));
            }
            let mut nodes = tree.into_nodes();
            for (name, edit) in edits.0 {
                let path = path.join(&name);
                let at = nodes.iter().position(|node| node.name.as_bytes() == name.as_bytes());
                let there = at.ok_or_else(|| Error::PathNotFound { path: path.clone() });
                match edit {
                    Edit::Put(node) => match at {
                        Some(at) => nodes[at] = *node,
                        None => nodes.push(*node),
                    },
                    Edit::Remove => drop(nodes.remove(there?)),
                    Edit::Within(edits) => {
                        let node = &mut nodes[there?];
                        let below = subtree(node, &path)?;
                        node.subtree = Some(self.revised(below, path, edits).await?);
                    }
                }
            }
            let tree = Tree::from_nodes(nodes);
            let tree =
                tree.map_err(|error| Error::damaged(BlobHandle::tree(id), error.to_string()))?;
            self.save(tree).await
        })
    }

    async fn save(&self, tree: Tree) -> Result<Id> {
        let (repository, packer) = (self.repository.clone(), Arc::clone(self.packer()?));
        on_worker(move || {
            let (plaintext, mut sealed) = (tree.encode(), Vec::new());
            let handle = BlobHandle::tree(Id::of(&plaintext));
            packer.save(&mut repository.encoder()?, handle, &plaintext, &mut sealed)?;
            Ok(handle.id)
        })
        .await
    }
}

impl Drop for Revision {
    fn drop(&mut self) {
        if let Some(packer) = &self.packer {
            packer.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeType;
    use crate::progress::Silent;
    use crate::walk::find_path;
    use crate::workshop::{Workshop, data, file, folder, raw_tree, tree};

    /// A repository with `/a/b/one`, `/a/b/two` and `/c/three`.
    struct Sample {
        workshop: Workshop,
        root: Id,
        c: Id,
    }

    async fn sample() -> Sample {
        let workshop = Workshop::new().await;
        let (one, two, three) = (data(*b"1"), data(*b"22"), data(*b"333"));
        let b = tree(vec![file("one", &[&one]), file("two", &[&two])]);
        let (a, c) = (tree(vec![folder("b", &b)]), tree(vec![file("three", &[&three])]));
        let root = tree(vec![folder("a", &a), folder("c", &c)]);
        let (root_id, c_id) = (root.handle.id, c.handle.id);
        let packs = [workshop.pack([one, two, three]), workshop.pack([a, b, c, root])];
        workshop.index(packs).await;
        Sample { workshop, root: root_id, c: c_id }
    }

    impl Sample {
        async fn revision(&self) -> Revision {
            let index = self.workshop.repository.load_index(&Silent).await.unwrap();
            Revision::new(&self.workshop.repository, Arc::new(index))
        }

        async fn node(&self, root: Id, path: &str) -> Result<Node> {
            let index = Arc::new(self.workshop.repository.load_index(&Silent).await.unwrap());
            find_path(&self.workshop.repository, &index, root, path.as_ref()).await
        }
    }

    #[tokio::test]
    async fn files_are_replaced_renamed_and_removed_and_all_else_stays() {
        let sample = sample().await;
        let mut revision = sample.revision().await;
        let two = sample.node(sample.root, "/a/b/two").await.unwrap();
        let one = Node { size: 7, uid: 5, ..Node::new("other", NodeType::File) };
        revision.put("/a/b/one".as_ref(), one).unwrap();
        revision.remove("/a/b/two".as_ref()).unwrap();
        revision.put("/a/b/zwei".as_ref(), two.clone()).unwrap();
        let Revised { tree, added } = revision.store(sample.root).await.unwrap();
        assert_eq!((added.data_blobs, added.tree_blobs), (0, 3));
        let one = sample.node(tree, "/a/b/one").await.unwrap();
        assert_eq!((one.name.to_string(), one.size, one.uid), ("one".to_owned(), 7, 5));
        assert!(matches!(sample.node(tree, "/a/b/two").await, Err(Error::PathNotFound { .. })));
        assert_eq!(sample.node(tree, "/a/b/zwei").await.unwrap().content, two.content);
        assert_eq!(sample.node(tree, "/c").await.unwrap().subtree, Some(sample.c));
    }

    #[tokio::test]
    async fn without_changes_the_tree_is_the_same() {
        let sample = sample().await;
        let revised = sample.revision().await.store(sample.root).await.unwrap();
        assert_eq!(revised, Revised { tree: sample.root, added: Added::default() });
    }

    #[tokio::test]
    async fn a_path_that_leads_nowhere_is_an_error() {
        let sample = sample().await;
        for path in ["/a/x/one", "/a/b/three", "/c/three/x"] {
            let mut revision = sample.revision().await;
            revision.remove(path.as_ref()).unwrap();
            let failed = revision.store(sample.root).await.unwrap_err();
            let is_expected =
                matches!(failed, Error::PathNotFound { .. } | Error::WrongNodeType { .. });
            assert!(is_expected, "{path}: {failed}");
        }
        let mut revision = sample.revision().await;
        for path in ["/", "/a/../c/three"] {
            assert!(revision.remove(path.as_ref()).is_err(), "{path}");
        }
        revision.remove("/a/b".as_ref()).unwrap();
        assert!(revision.remove("/a/b/one".as_ref()).is_err());
    }

    #[tokio::test]
    async fn a_folder_that_would_lose_something_is_not_changed() {
        let workshop = Workshop::new().await;
        let root = raw_tree("{\"nodes\":[],\"more\":1}\n");
        let id = root.handle.id;
        workshop.index([workshop.pack([root])]).await;
        let index = workshop.repository.load_index(&Silent).await.unwrap();
        let mut revision = Revision::new(&workshop.repository, Arc::new(index));
        revision.put("/x".as_ref(), Node::new("x", NodeType::File)).unwrap();
        assert!(matches!(revision.store(id).await, Err(Error::Refused(_))));
    }
}
