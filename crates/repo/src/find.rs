//! Finding files in snapshots by their names, and snapshots by the blobs they hold.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blob::{BlobHandle, BlobType};
use crate::error::{Error, Result};
use crate::filter::PatternList;
use crate::handle::FileType;
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};
use crate::repository::Repository;
use crate::time::Timestamp;
use crate::walk::{Step, Walk};

/// Which files and folders are looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What their paths match. A folder that matches brings along all that is in it.
    pub patterns: PatternList,
    /// Not modified before.
    pub oldest: Option<Timestamp>,
    /// Not modified after.
    pub newest: Option<Timestamp>,
}

impl Wanted {
    fn includes(&self, path: &Path, node: &Node) -> bool {
        self.patterns.matches(path)
            && self.oldest.is_none_or(|oldest| node.mtime >= oldest)
            && self.newest.is_none_or(|newest| node.mtime <= newest)
    }
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A file or folder.
    Node {
        /// Its path.
        path: PathBuf,
        /// What it is.
        node: Box<Node>,
    },
    /// A folder's tree.
    Tree {
        /// Its id.
        id: Id,
        /// The folder.
        path: PathBuf,
    },
    /// A piece of a file.
    Blob {
        /// Its id.
        id: Id,
        /// The file.
        path: PathBuf,
        /// The tree of the folder that the file is in.
        tree: Id,
    },
    /// A folder that cannot be read. What is in it is not searched.
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: Error,
    },
}

/// Looks for files and folders below a tree, in the order of their paths.
pub async fn find_nodes(
    repository: &Repository,
    index: &Arc<Index>,
    tree: Id,
    wanted: &Wanted,
    found: &mut (dyn FnMut(Found) + Send),
) {
    let patterns = wanted.patterns.clone();
    let mut walk = Walk::new(repository, Arc::clone(index), tree, Path::new("/"))
        .descend_if(move |path, _| patterns.choose(path).descend);
    while let Some(step) = walk.next().await {
        match step {
            Step::Entry { path, node, .. } if wanted.includes(&path, &node) => {
                found(Found::Node { path, node });
            }
            Step::Unreadable { path, error } => found(Found::Unreadable { path, error }),
            _ => {}
        }
    }
}

/// The trees and data blobs that are looked for.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    trees: Ids,
    blobs: Ids,
}

impl Objects {
    /// Trees, by the beginnings of their ids.
    pub fn trees(prefixes: impl IntoIterator<Item = String>) -> Self {
        Self { trees: Ids::of(prefixes), ..Self::default() }
    }

    /// Data blobs, by the beginnings of their ids.
    pub fn blobs(prefixes: impl IntoIterator<Item = String>) -> Self {
        Self { blobs: Ids::of(prefixes), ..Self::default() }
    }

    /// All that is in some packs, which are given by the beginnings of their ids.
    ///
    /// # Errors
    /// [`Error::NoMatch`] for a pack that the index does not list.
    pub fn of_packs(index: &Index, prefixes: &[String]) -> Result<Self> {
        let mut objects = Self::default();
        let mut missing: Vec<&String> = prefixes.iter().collect();
        for pack in index.packs().iter() {
            let hex = pack.pack.to_hex();
            let is_meant = |prefix: &&String| hex.starts_with(prefix.as_str());
            if !prefixes.iter().any(|prefix| is_meant(&prefix)) {
                continue;
            }
            missing.retain(|prefix| !is_meant(prefix));
            for blob in pack.blobs {
                match blob.handle.blob_type {
                    BlobType::Tree => objects.trees.known.insert(blob.handle.id),
                    BlobType::Data => objects.blobs.known.insert(blob.handle.id),
                };
            }
        }
        objects.trees.count = objects.trees.known.len();
        objects.blobs.count = objects.blobs.known.len();
        match missing.first() {
            Some(prefix) => {
                Err(Error::NoMatch { file_type: FileType::Pack, query: (*prefix).clone() })
            }
            None => Ok(objects),
        }
    }

    /// The blobs whose full ids are known by now: all but those that are given by the beginnings of
    /// their ids and were not found yet. Data blobs come first.
    pub fn known(&self) -> Vec<BlobHandle> {
        let sorted = |ids: &Ids, handle: fn(Id) -> BlobHandle| {
            let mut ids: Vec<Id> = ids.known.iter().copied().collect();
            ids.sort_unstable();
            ids.into_iter().map(handle).collect::<Vec<_>>()
        };
        [sorted(&self.blobs, BlobHandle::data), sorted(&self.trees, BlobHandle::tree)].concat()
    }
}

/// Ids in full, and the beginnings of others.
#[derive(Clone, Debug, Default)]
struct Ids {
    known: HashSet<Id>,
    prefixes: Vec<String>,
    /// How many were asked for.
    count: usize,
}

impl Ids {
    fn of(prefixes: impl IntoIterator<Item = String>) -> Self {
        let mut ids = Self::default();
        for prefix in prefixes {
            ids.count += 1;
            match prefix.parse() {
                Ok(id) => drop(ids.known.insert(id)),
                Err(_) => ids.prefixes.push(prefix),
            }
        }
        ids
    }

    /// Whether it is one of these. From then on its full id is known.
    fn contains(&mut self, id: &Id) -> bool {
        if self.known.contains(id) {
            return true;
        }
        if self.prefixes.is_empty() {
            return false;
        }
        let hex = id.to_hex();
        let is_meant = self.prefixes.iter().any(|prefix| hex.starts_with(prefix.as_str()));
        if is_meant {
            self.known.insert(*id);
        }
        is_meant
    }
}

/// Looks for trees and data blobs below a tree, at every path where they are. If only trees are looked
/// for, it ends when it has found as many places as there are trees: as restic does.
pub async fn find_objects(
    repository: &Repository,
    index: &Arc<Index>,
    root: Id,
    objects: &mut Objects,
    found: &mut (dyn FnMut(Found) + Send),
) {
    let Objects { trees, blobs } = objects;
    let only_trees = blobs.count == 0;
    let mut trees_found = 0;
    let mut is_tree = |id: Id, path: &Path, found: &mut (dyn FnMut(Found) + Send)| {
        if trees.contains(&id) {
            found(Found::Tree { id, path: path.to_owned() });
            trees_found += 1;
        }
        only_trees && trees_found >= trees.count
    };
    let mut inside = vec![root];
    if is_tree(root, Path::new("/"), found) {
        return;
    }
    let mut walk = Walk::new(repository, Arc::clone(index), root, Path::new("/"));
    while let Some(step) = walk.next().await {
        match step {
            Step::Entry { path, node, is_entered } => {
                if let Some(id) = node.subtree.filter(|_| node.node_type == NodeType::Dir)
                    && is_tree(id, &path, found)
                {
                    return;
                }
                if node.node_type == NodeType::File {
                    let tree = inside.last().copied().unwrap_or(root);
                    for id in node.content.iter().flatten() {
                        if blobs.contains(id) {
                            found(Found::Blob { id: *id, path: path.clone(), tree });
                        }
                    }
                }
                if is_entered {
                    inside.push(node.subtree.unwrap_or_default());
                }
            }
            Step::Unreadable { path, error } => found(Found::Unreadable { path, error }),
            Step::Leave { .. } => drop(inside.pop()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Case;
    use crate::progress::Silent;
    use crate::workshop::{Workshop, data, file, folder, tree};

    /// `/a`, `/d/b`, `/d/e/b` and `/lost`, which is a folder without its tree.
    async fn shop() -> (Workshop, Id, [Id; 4]) {
        let shop = Workshop::new().await;
        let (one, other) = (data("one"), data("other"));
        let deep = tree(vec![file("b", &[&other])]);
        let below = tree(vec![file("b", &[&one, &other]), folder("e", &deep)]);
        let lost = tree(vec![file("never stored", &[])]);
        let time = |second| Timestamp::from_unix(second, 0);
        let old = Node { mtime: time(10), ..file("a", &[&one]) };
        let root = tree(vec![old, folder("d", &below), folder("lost", &lost)]);
        let ids = [one.handle.id, other.handle.id, below.handle.id, deep.handle.id];
        let root_id = root.handle.id;
        shop.index([shop.pack([one, other]), shop.pack([deep, below, root])]).await;
        (shop, root_id, ids)
    }

    fn told(found: &[Found]) -> Vec<String> {
        let tell = |found: &Found| match found {
            Found::Node { path, .. } => path.display().to_string(),
            Found::Tree { path, .. } => format!("tree {}", path.display()),
            Found::Blob { path, .. } => format!("blob {}", path.display()),
            Found::Unreadable { path, .. } => format!("! {}", path.display()),
        };
        found.iter().map(tell).collect()
    }

    async fn nodes(patterns: &[&str], case: Case, oldest: Option<i64>) -> Vec<String> {
        let (shop, root, _) = shop().await;
        let index = Arc::new(shop.repository.load_index(&Silent).await.unwrap());
        let wanted = Wanted {
            patterns: PatternList::parse(patterns, case).unwrap(),
            oldest: oldest.map(|second| Timestamp::from_unix(second, 0)),
            newest: Some(Timestamp::from_unix(1 << 33, 0)),
        };
        let mut all = Vec::new();
        let mut found = |each| all.push(each);
        find_nodes(&shop.repository, &index, root, &wanted, &mut found).await;
        told(&all)
    }

    #[tokio::test]
    async fn files_are_found_by_name_path_and_time() {
        assert_eq!(nodes(&["b"], Case::Sensitive, None).await, ["/d/b", "/d/e/b", "! /lost"]);
        assert_eq!(nodes(&["/d/b"], Case::Sensitive, None).await, ["/d/b"]);
        assert_eq!(nodes(&["/d/e"], Case::Sensitive, None).await, ["/d/e", "/d/e/b"]);
        assert_eq!(nodes(&["/A", "/x"], Case::Insensitive, None).await, ["/a"]);
        assert_eq!(nodes(&["/A"], Case::Sensitive, None).await, [""; 0]);
        assert_eq!(nodes(&["/a"], Case::Sensitive, Some(10)).await, ["/a"]);
        assert_eq!(nodes(&["/a"], Case::Sensitive, Some(11)).await, [""; 0]);
    }

    #[tokio::test]
    async fn blobs_and_trees_are_found_wherever_they_are() {
        let (shop, root, [one, other, below, deep]) = shop().await;
        let index = Arc::new(shop.repository.load_index(&Silent).await.unwrap());
        let find = async |mut objects: Objects| {
            let mut all = Vec::new();
            let mut found = |each| all.push(each);
            find_objects(&shop.repository, &index, root, &mut objects, &mut found).await;
            (told(&all), objects.known())
        };
        let hex = |id: Id| id.to_hex();
        let (found, known) = find(Objects::blobs([hex(one)])).await;
        assert_eq!(found, ["blob /a", "blob /d/b", "! /lost"]);
        assert_eq!(known, [BlobHandle::data(one)]);
        let (found, known) = find(Objects::blobs([hex(other)[..8].to_owned()])).await;
        assert_eq!(found, ["blob /d/b", "blob /d/e/b", "! /lost"]);
        assert_eq!(known, [BlobHandle::data(other)]);
        assert_eq!(find(Objects::trees([hex(root)])).await.0, ["tree /"]);
        let both = [hex(below), hex(deep)[..6].to_owned()];
        assert_eq!(find(Objects::trees(both)).await.0, ["tree /d", "tree /d/e"]);
        let packs: Vec<String> = index.packs().iter().map(|pack| pack.pack.short()).collect();
        let all = find(Objects::of_packs(&index, &packs).unwrap()).await.0;
        assert_eq!(all.len(), 3 + 4 + 1);
        let unknown = Objects::of_packs(&index, &["zz".to_owned()]);
        assert!(matches!(unknown, Err(Error::NoMatch { query, .. }) if query == "zz"));
    }
}
