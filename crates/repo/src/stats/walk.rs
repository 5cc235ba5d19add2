//! All nodes of some snapshots, in restic's order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec;

use tokio::task::JoinHandle;

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};
use crate::progress::{Phase, Progress};
use crate::repository::Repository;
use crate::tree::Tree;
use crate::visit::{Loaded, TreeLoader};

/// Counts nodes.
pub(super) trait Counter {
    /// A snapshot begins.
    fn snapshot(&mut self) {}

    /// Whether this tree need not be walked because the counter knows what comes of it.
    fn knows(&self, tree: &Id) -> bool;

    /// A tree that it knows comes once more.
    fn repeat(&mut self, tree: &Id) {
        let _ = tree;
    }

    /// A tree begins.
    fn enter(&mut self, tree: Id);

    /// The next node. The folder's path has no slash at its end.
    fn node(&mut self, folder: &[u8], node: &Node) -> Result<()>;

    /// The tree that began last and is not over yet, is over.
    fn leave(&mut self) {}
}

/// How many trees of an open folder are loaded together before it is their turn.
const AHEAD: usize = 32;
/// How many sealed bytes these have, unless one alone has more.
const AHEAD_BYTES: u64 = 1 << 20;

/// Shows all nodes to the counter: those of a folder in the order of its tree, and what is in a folder
/// right after the folder itself.
pub(super) async fn walk(
    repository: &Repository,
    index: &Arc<Index>,
    roots: &[Id],
    counter: &mut impl Counter,
    progress: &dyn Progress,
) -> Result<()> {
    let loader = Arc::new(TreeLoader::new(repository, index));
    for &root in roots {
        counter.snapshot();
        if counter.knows(&root) {
            counter.repeat(&root);
        } else {
            walk_below(&loader, root, counter).await?;
        }
        progress.advance(Phase::CheckTrees, 1);
    }
    Ok(())
}

async fn walk_below(loader: &Arc<TreeLoader>, root: Id, counter: &mut impl Counter) -> Result<()> {
    let mut open = vec![Folder::new(root, Vec::new(), loader.load_one(root).await?)];
    counter.enter(root);
    while let Some(folder) = open.last_mut() {
        let Some(node) = folder.nodes.next() else {
            open.pop();
            counter.leave();
            continue;
        };
        folder.check(&node)?;
        counter.node(&folder.path, &node)?;
        let Some(subtree) = node.subtree.filter(|_| node.node_type == NodeType::Dir) else {
            continue;
        };
        if counter.knows(&subtree) {
            counter.repeat(&subtree);
            continue;
        }
        let tree = folder.tree(subtree, loader, &*counter).await?;
        let path = [&*folder.path, b"/", node.name.as_bytes()].concat();
        counter.enter(subtree);
        open.push(Folder::new(subtree, path, tree));
    }
    Ok(())
}

/// A folder that the walk is in.
struct Folder {
    tree: Id,
    path: Vec<u8>,
    /// What is still to come.
    nodes: vec::IntoIter<Node>,
    /// The trees of the folders in it that are not being loaded yet, in order.
    waiting: VecDeque<Id>,
    /// Those that are.
    loading: Option<Loading>,
    /// Those that are loaded.
    loaded: VecDeque<(Id, Result<Tree>)>,
}

impl Folder {
    fn new(id: Id, path: Vec<u8>, tree: Tree) -> Self {
        let folders = tree.nodes().iter().filter(|node| node.node_type == NodeType::Dir);
        let waiting = folders.filter_map(|node| node.subtree).collect();
        let nodes = tree.into_nodes().into_iter();
        Self { tree: id, path, nodes, waiting, loading: None, loaded: VecDeque::new() }
    }

    /// What restic refuses to count.
    fn check(&self, node: &Node) -> Result<()> {
        let fault = match &node.node_type {
            NodeType::Other(word) if word.is_empty() => "a node without a type",
            NodeType::Dir if node.subtree.is_none() => "a folder without a tree",
            _ => return Ok(()),
        };
        let detail = format!("it has {fault}, {}", node.name);
        Err(Error::damaged(BlobHandle::tree(self.tree), detail))
    }

    /// The tree of the next folder. Those of the folders behind it are loaded meanwhile.
    async fn tree(
        &mut self,
        id: Id,
        loader: &Arc<TreeLoader>,
        counter: &impl Counter,
    ) -> Result<Tree> {
        loop {
            // Those before it have become known since they were asked for.
            while let Some((next, tree)) = self.loaded.pop_front() {
                if self.loaded.len() <= AHEAD / 2 {
                    self.load_ahead(loader, counter);
                }
                if next == id {
                    return tree;
                }
            }
            self.load_ahead(loader, counter);
            match self.loading.take() {
                Some(loading) => self.loaded.extend(loading.trees().await?),
                None => return loader.load_one(id).await,
            }
        }
    }

    fn load_ahead(&mut self, loader: &Arc<TreeLoader>, counter: &impl Counter) {
        if self.loading.is_some() {
            return;
        }
        let mut ids = Vec::new();
        let mut bytes = 0;
        while ids.len() < AHEAD
            && bytes < AHEAD_BYTES
            && let Some(id) = self.waiting.pop_front()
        {
            if !counter.knows(&id) {
                bytes += loader.stored(&id);
                ids.push(id);
            }
        }
        if !ids.is_empty() {
            self.loading = Some(Loading::new(loader, ids));
        }
    }
}

/// Trees on their way. Dropped, they are not loaded any more.
struct Loading(JoinHandle<Result<Loaded>>);

impl Loading {
    fn new(loader: &Arc<TreeLoader>, ids: Vec<Id>) -> Self {
        let loader = Arc::clone(loader);
        Self(tokio::spawn(async move { loader.load(ids).await }))
    }

    async fn trees(mut self) -> Result<Loaded> {
        match (&mut self.0).await {
            Ok(trees) => trees,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::Cancelled),
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.abort();
    }
}
