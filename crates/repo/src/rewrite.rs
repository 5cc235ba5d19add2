//! Making new snapshots of old ones.
//!
//! A snapshot and its trees are named by their content, so nothing in them is ever altered. A
//! [`Rewriter`] walks a tree, shows every node to a [`Visitor`] that keeps, changes or drops it, and
//! stores new trees where that makes a difference; [`replace()`] stores a new snapshot, and removes the old
//! one only then.
//!
//! What need not be touched is not: a tree in which nothing changed keeps its id and is not stored again,
//! whoever wrote it and whatever it holds. A tree that does change is written anew only if this program
//! could have written the old one, too. Otherwise something in it would be lost.
//!
//! Subtrees are worked on side by side, but no more than a few paths at a time, so memory is bounded by
//! these and by what is remembered: some bytes for each tree, so that a tree that a thousand snapshots
//! share is rewritten once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::backend::{BackendError, BackendErrorKind};
use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Name, Node, NodeType};
use crate::packer::Packer;
use crate::repository::{Repository, on_worker};
use crate::tree::Tree;
use crate::visit::TreeLoader;

pub use mend::{Fault, Mend};
pub use replace::{Changes, TagChanges, replace};
pub use select::Select;

mod mend;
mod replace;
mod select;

/// The longest path that is followed, in bytes: twice what Linux can open. Deeper trees are made to do
/// harm.
const DEEPEST: usize = 8 << 10;

/// Says what becomes of each node. It is asked from several threads, and in no particular order.
///
/// Paths begin with `/`, the root of the snapshot.
pub trait Visitor: Send + Sync + 'static {
    /// What becomes of a node. A folder that is kept or changed is looked into afterwards.
    fn node(&self, path: &Path, node: &Node) -> Fate;

    /// Whether a folder stays in which nothing is left, or was. The root is asked for, too.
    fn keeps_empty(&self, path: &Path) -> bool {
        let _ = path;
        true
    }

    /// What becomes of a folder whose tree is lost: damaged, or not in the repository. A storage that
    /// fails otherwise ends the rewriting.
    ///
    /// # Errors
    /// Whatever shall end the rewriting; that very error, unless the visitor knows better.
    fn lost(&self, path: &Path, error: Error) -> Result<Lost> {
        let _ = path;
        Err(error)
    }

    /// Whether a tree may be changed that holds what this program cannot write.
    fn may_lose_unknown(&self) -> bool {
        false
    }

    /// Whether the answers depend on the path. If not, a tree that is in several places is looked at once.
    fn looks_at_paths(&self) -> bool {
        true
    }
}

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is; a folder gets the new tree of what is in it.
    Keep,
    /// This takes its place. The name must be the same.
    Change(Box<Node>),
    /// It goes, and all that is in it.
    Drop,
}

/// What becomes of a folder whose tree is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It stays, without anything in it.
    Empty,
    /// It goes.
    Drop,
}

/// What became of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The new tree, or the old one if nothing changed; nothing if it goes.
    pub tree: Option<Id>,
    /// How many regular files there are in it and below.
    pub files: u64,
    /// Their sizes, in bytes.
    pub bytes: u64,
}

/// Rewrites the trees of any number of snapshots.
pub struct Rewriter<V> {
    shared: Arc<Shared<V>>,
}

struct Shared<V> {
    repository: Repository,
    index: Arc<Index>,
    loader: TreeLoader,
    visitor: V,
    dry_run: bool,
    /// Trees that are done with, by [`Shared::key`].
    done: Mutex<HashMap<Id, Rewritten>>,
    /// So many subtrees may be begun with before the one before them is done.
    ahead: Arc<Semaphore>,
}

impl<V: Visitor> Rewriter<V> {
    /// A rewriter of trees in this repository. In a dry run nothing is stored.
    pub fn new(repository: &Repository, index: Arc<Index>, visitor: V, dry_run: bool) -> Self {
        let shared = Shared {
            repository: repository.clone(),
            loader: TreeLoader::new(repository, &index),
            index,
            visitor,
            dry_run,
            done: Mutex::default(),
            ahead: Arc::new(Semaphore::new(repository.parallel_requests())),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Rewrites the tree of a snapshot. What is new is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Refused`] where a tree would have to be changed that holds what we cannot write; else
    /// whatever the visitor or the storage say. What was stored by then is in no index, or is not
    /// referred to; the next prune removes it.
    pub async fn rewrite(&self, root: Id) -> Result<Rewritten> {
        let Shared { repository, index, dry_run, .. } = &*self.shared;
        let packer = Arc::new(Packer::new(repository, Arc::clone(index), *dry_run));
        let mut storing = Storing(Some(Arc::clone(&packer)));
        let run = Run { shared: Arc::clone(&self.shared), packer: Arc::clone(&packer) };
        let rewritten = run.tree(PathBuf::from("/"), root).await?;
        storing.0 = None;
        let packer = Arc::into_inner(packer).expect("all that used it has ended");
        packer.finish().await?;
        Ok(rewritten)
    }
}

impl<V: Visitor> Shared<V> {
    /// What the fate of a tree depends on.
    fn key(&self, path: &Path, tree: Id) -> Id {
        use std::os::unix::ffi::OsStrExt;
        match self.visitor.looks_at_paths() {
            true => Id::of(&[tree.as_bytes(), path.as_os_str().as_bytes()].concat()),
            false => tree,
        }
    }

    fn done(&self) -> std::sync::MutexGuard<'_, HashMap<Id, Rewritten>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends all storing when the rewriting ends before its time: a thread may still be at work then.
struct Storing(Option<Arc<Packer>>);

impl Drop for Storing {
    fn drop(&mut self) {
        if let Some(packer) = &self.0 {
            packer.abort();
        }
    }
}

/// The rewriting of one snapshot's tree.
struct Run<V> {
    shared: Arc<Shared<V>>,
    packer: Arc<Packer>,
}

impl<V> Clone for Run<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), packer: Arc::clone(&self.packer) }
    }
}

impl<V: Visitor> Run<V> {
    /// Rewrites a folder's tree and all below.
    fn tree(self, path: PathBuf, id: Id) -> BoxFuture<'static, Result<Rewritten>> {
        Box::pin(async move {
            let key = self.shared.key(&path, id);
            let known = self.shared.done().get(&key).copied();
            if let Some(rewritten) = known {
                return Ok(rewritten);
            }
            let rewritten = self.unknown_tree(path, id).await?;
            self.shared.done().insert(key, rewritten);
            Ok(rewritten)
        })
    }

    async fn unknown_tree(&self, path: PathBuf, id: Id) -> Result<Rewritten> {
        let visitor = &self.shared.visitor;
        let tree = match self.load(&path, id).await {
            Ok(tree) => tree,
            Err(error) if is_lost(&error) => {
                return match visitor.lost(&path, error)? {
                    Lost::Drop => Ok(Rewritten::default()),
                    Lost::Empty => {
                        // It may have been empty, and then the index knows the tree already.
                        let tree = Some(self.store(Tree::default(), Some(id)).await?);
                        Ok(Rewritten { tree, ..Rewritten::default() })
                    }
                };
            }
            Err(error) => return Err(error),
        };
        let fates = tree.nodes().iter().map(|node| visitor.node(&below(&path, &node.name), node));
        let mut fates: Vec<Fate> = fates.collect();
        let subtrees = self.subtrees(&path, &tree, &fates).await?;

        let mut total = Rewritten { tree: Some(id), ..Rewritten::default() };
        let mut changed = false;
        for (position, (node, fate)) in tree.nodes().iter().zip(&mut fates).enumerate() {
            if let Some(subtree) = subtrees.get(&position) {
                total.files = total.files.saturating_add(subtree.files);
                total.bytes = total.bytes.saturating_add(subtree.bytes);
                with_subtree(node, fate, subtree.tree);
            }
            let left = match &*fate {
                Fate::Keep => Some(node),
                Fate::Change(node) => Some(&**node),
                Fate::Drop => None,
            };
            if let Some(node) = left.filter(|node| node.node_type == NodeType::File) {
                total.files = total.files.saturating_add(1);
                total.bytes = total.bytes.saturating_add(node.size);
            }
            changed |= *fate != Fate::Keep;
        }
        if fates.iter().all(|fate| *fate == Fate::Drop) && !visitor.keeps_empty(&path) {
            return Ok(Rewritten::default());
        }
        if changed {
            if !visitor.may_lose_unknown() && Id::of(&tree.encode()) != id {
                return Err(Error::Refused(format!(
                    "cannot rewrite the folder {path:?} without losing information: its tree {} \
                     holds what this program does not know",
                    id.short()
                )));
            }
            total.tree = Some(self.store(altered(tree, fates, id)?, None).await?);
        }
        Ok(total)
    }

    async fn load(&self, path: &Path, id: Id) -> Result<Tree> {
        let handle = BlobHandle::tree(id);
        if id == Id::default() {
            return Err(Error::BlobNotFound(handle));
        }
        if path.as_os_str().len() > DEEPEST {
            return Err(Error::Refused(format!("the folder of tree {} lies too deep", id.short())));
        }
        let loaded = self.shared.loader.load(vec![id]).await?.pop();
        loaded.map_or(Err(Error::BlobNotFound(handle)), |(_, tree)| tree)
    }

    /// Rewrites the trees of all folders that stay, by their position among the nodes.
    async fn subtrees(
        &self,
        path: &Path,
        tree: &Tree,
        fates: &[Fate],
    ) -> Result<HashMap<usize, Rewritten>> {
        let mut rewritten = HashMap::new();
        let mut running: JoinSet<(usize, Option<OwnedSemaphorePermit>, Result<Rewritten>)> =
            JoinSet::new();
        for (position, (node, fate)) in tree.nodes().iter().zip(fates).enumerate() {
            let node = match fate {
                Fate::Keep => node,
                Fate::Change(node) => node,
                Fate::Drop => continue,
            };
            if node.node_type != NodeType::Dir {
                continue;
            }
            let (run, path) = (self.clone(), below(path, &node.name));
            let subtree = node.subtree.unwrap_or_default();
            let permit = Arc::clone(&self.shared.ahead).try_acquire_owned().ok();
            let must_wait = permit.is_none();
            // Each is a task of its own, so that no depth exhausts the stack.
            running.spawn(async move {
                let result = run.tree(path, subtree).await;
                (position, permit, result)
            });
            while must_wait && !rewritten.contains_key(&position) {
                let Some(ended) = running.join_next().await else { break };
                let (position, _, result) = joined(ended)?;
                rewritten.insert(position, result?);
            }
        }
        while let Some(ended) = running.join_next().await {
            let (position, _, result) = joined(ended)?;
            rewritten.insert(position, result?);
        }
        Ok(rewritten)
    }

    /// Stores a tree unless it is known; and also then, if it is the one that was found to be lost.
    async fn store(&self, tree: Tree, lost: Option<Id>) -> Result<Id> {
        let (repository, packer) = (self.shared.repository.clone(), Arc::clone(&self.packer));
        on_worker(move || {
            let plaintext = tree.encode();
            let id = Id::of(&plaintext);
            let (handle, mut encoder) = (BlobHandle::tree(id), repository.encoder()?);
            let mut scratch = Vec::new();
            match lost == Some(id) {
                true => packer.save_again(&mut encoder, handle, &plaintext, &mut scratch)?,
                false => packer.save(&mut encoder, handle, &plaintext, &mut scratch)?,
            };
            Ok(id)
        })
        .await
    }
}

/// The path of what is in a folder. A name that is no name, as `../..`, leads nowhere else.
fn below(folder: &Path, name: &Name) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    if folder != Path::new("/") {
        path.push("/");
    }
    path.push(name.as_os_str());
    path.into()
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> Result<T> {
    match ended {
        Ok(result) => Ok(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Cancelled),
    }
}

/// Whether a tree cannot be had, now or later: not because the storage cannot be reached.
fn is_lost(error: &Error) -> bool {
    use BackendErrorKind::{NotFound, TooLarge, TooShort};
    match error {
        Error::Damaged { .. } | Error::BlobNotFound(_) => true,
        Error::Backend(BackendError { kind, .. }) => matches!(kind, NotFound | TooLarge | TooShort),
        _ => false,
    }
}

/// A folder's fate, now that the fate of what is in it is known.
fn with_subtree(node: &Node, fate: &mut Fate, subtree: Option<Id>) {
    let current = match &*fate {
        Fate::Change(node) => node,
        _ => node,
    };
    match subtree {
        None => *fate = Fate::Drop,
        Some(_) if current.subtree == subtree => {}
        Some(_) => *fate = Fate::Change(Box::new(Node { subtree, ..current.clone() })),
    }
}

fn altered(tree: Tree, fates: Vec<Fate>, id: Id) -> Result<Tree> {
    let nodes = tree.into_nodes().into_iter().zip(fates).filter_map(|(node, fate)| match fate {
        Fate::Keep => Some(node),
        Fate::Change(node) => Some(*node),
        Fate::Drop => None,
    });
    let damaged =
        |error: crate::tree::TreeError| Error::damaged(BlobHandle::tree(id), error.to_string());
    Tree::from_nodes(nodes.collect()).map_err(damaged)
}

#[cfg(test)]
mod tests;
