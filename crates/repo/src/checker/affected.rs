//! What damage means for the snapshots: which files in which of them cannot be restored as they were.
//!
//! Looked for only when something is wrong. First all trees are read once more, each once, and what
//! leads to damage is remembered by the trees' numbers; from that follows how many files each tree has
//! lost below it. Then the paths are listed, going only into folders that have lost something.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::BlobHandle;
use crate::checker::damage::Damage;
use crate::checker::report::NodeFault;
use crate::checker::snapshots::Root;
use crate::checker::trees;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};
use crate::progress::{Phase, Progress};
use crate::repository::Repository;
use crate::time::Timestamp;
use crate::tree::Tree;
use crate::used::UsedBlobs;
use crate::visit;
use crate::walk::MAX_DEPTH;

/// How many folders within folders are remembered, at eight bytes each.
const MOST_EDGES: usize = 32 << 20;
/// How many trees are kept while paths are listed.
const MOST_KEPT: usize = 4096;
/// How long a listed path becomes, in bytes: as long as any that Linux opens.
const MOST_PATH: usize = 4096;

/// What damage means for the snapshots.
#[derive(Debug, Default)]
pub struct Affected {
    /// The snapshots that can be read and have lost something, the newest first.
    pub snapshots: Vec<AffectedSnapshot>,
    /// Whether there were too many folders to follow all of them: then there may be more.
    pub is_partial: bool,
}

/// A snapshot that has lost something.
#[derive(Debug)]
pub struct AffectedSnapshot {
    /// Which.
    pub id: Id,
    /// When it was made.
    pub time: Timestamp,
    /// How many files it has lost. A folder that cannot be read counts as one.
    pub count: u64,
    /// The first of them; at most [`Affected::FILES`], and none after [`Affected::LISTED`] snapshots.
    pub files: Vec<AffectedFile>,
}

/// A file or folder that cannot be restored as it was.
#[derive(Debug)]
pub struct AffectedFile {
    /// Its path in the snapshot.
    pub path: PathBuf,
    /// Why.
    pub loss: Loss,
}

/// Why something cannot be restored as it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// A blob of the file is damaged or missing.
    Blob {
        /// The first that is.
        id: Id,
        /// The pack that should have it.
        pack: Option<Id>,
    },
    /// The folder's tree cannot be read, so nothing in it can be restored.
    Tree {
        /// Which.
        id: Id,
        /// The pack that should have it.
        pack: Option<Id>,
    },
    /// What is stored of it is not as it should be.
    Node(NodeFault),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, id, pack) = match self {
            Self::Blob { id, pack } => ("blob", id, pack),
            Self::Tree { id, pack } => ("all of it: tree", id, pack),
            Self::Node(fault) => return fault.fmt(f),
        };
        match pack {
            Some(pack) => write!(f, "{what} {} in pack {}", id.short(), pack.short()),
            None => write!(f, "{what} {}, which is in no pack", id.short()),
        }
    }
}

impl Affected {
    /// How many files of a snapshot are listed.
    pub const FILES: usize = 100;
    /// Of how many snapshots files are listed.
    pub const LISTED: usize = 100;
}

/// Finds out what was lost.
pub(super) async fn find(
    repository: &Repository,
    index: &Arc<Index>,
    roots: &[Root],
    damage: &Arc<Damage>,
    progress: &dyn Progress,
) -> Result<Affected> {
    let trees: Vec<Id> = roots.iter().map(|root| root.tree).collect();
    progress.begin(Phase::FindAffected, Some(roots.len() as u64));
    let judge = Judge { index: Arc::clone(index), damage: Arc::clone(damage) };
    let graph = Arc::new(Mutex::new(Graph::default()));
    let look = {
        let (judge, graph) = (judge.clone(), Arc::clone(&graph));
        move |id, tree: Result<Tree>| match tree {
            Err(Error::Cancelled) => Err(Error::Cancelled),
            tree => {
                lock(&graph).add(id, tree.ok().as_ref(), &judge);
                Ok(())
            }
        }
    };
    let seen = UsedBlobs::new(Arc::clone(index));
    let done = || progress.advance(Phase::FindAffected, 1);
    visit::every_tree(repository, index, &trees, &seen, look, done).await?;
    let graph = std::mem::take(&mut *lock(&graph));
    let is_partial = graph.is_partial;
    let losses = graph.losses();
    let mut lister = Lister { repository, judge, losses, kept: HashMap::new() };
    let mut snapshots = Vec::new();
    for root in roots.iter().rev() {
        let Some(&count) = lister.losses.get(&root.tree, index) else { continue };
        let files = match snapshots.len() < Affected::LISTED {
            true => lister.list(root.tree).await?,
            false => Vec::new(),
        };
        snapshots.push(AffectedSnapshot { id: root.snapshot, time: root.time, count, files });
    }
    progress.end(Phase::FindAffected);
    Ok(Affected { snapshots, is_partial })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what is lost.
#[derive(Clone)]
struct Judge {
    index: Arc<Index>,
    damage: Arc<Damage>,
}

impl Judge {
    /// What a node itself has lost; what is below a folder is another matter.
    fn loss(&self, node: &Node) -> Option<Loss> {
        if let Some(fault) = trees::first_fault(node, &self.index) {
            return Some(match fault {
                NodeFault::BlobMissing { id } => Loss::Blob { id, pack: None },
                fault => Loss::Node(fault),
            });
        }
        let content = node.content.iter().flatten().filter(|_| node.node_type == NodeType::File);
        let blobs = content.map(|&id| BlobHandle::data(id));
        let lost = blobs.into_iter().find(|blob| self.damage.is_lost(blob))?;
        Some(Loss::Blob { id: lost.id, pack: self.pack(&lost) })
    }

    fn tree(&self, id: Id) -> Loss {
        Loss::Tree { id, pack: self.pack(&BlobHandle::tree(id)) }
    }

    fn pack(&self, blob: &BlobHandle) -> Option<Id> {
        self.index.lookup(blob).next().map(|location| location.pack)
    }
}

/// The tree of a folder, if the folder has one.
fn subtree(node: &Node) -> Option<Id> {
    let is_folder = node.node_type == NodeType::Dir;
    node.subtree.filter(|id| is_folder && *id != Id::default())
}

/// Trees by their numbers in the index; the few that it lacks have others.
#[derive(Default)]
struct Numbers(HashMap<Id, u32>);

impl Numbers {
    fn of(&mut self, tree: Id, index: &Index) -> u32 {
        let next = u32::MAX - self.0.len() as u32;
        listed(&tree, index).unwrap_or_else(|| *self.0.entry(tree).or_insert(next))
    }
}

fn listed(tree: &Id, index: &Index) -> Option<u32> {
    index.number(&BlobHandle::tree(*tree)).and_then(|number| u32::try_from(number).ok())
}

/// Which tree is in which, and how much each has lost itself.
#[derive(Default)]
struct Graph {
    numbers: Numbers,
    own: HashMap<u32, u64>,
    /// A child and its parent.
    edges: Vec<(u32, u32)>,
    is_partial: bool,
}

impl Graph {
    fn add(&mut self, id: Id, tree: Option<&Tree>, judge: &Judge) {
        let number = self.numbers.of(id, &judge.index);
        let Some(tree) = tree else {
            self.own.insert(number, 1);
            return;
        };
        let mut own = 0;
        for node in tree.nodes() {
            if judge.loss(node).is_some() {
                own += 1;
            } else if let Some(child) = subtree(node) {
                match self.edges.len() < MOST_EDGES {
                    true => self.edges.push((self.numbers.of(child, &judge.index), number)),
                    false => self.is_partial = true,
                }
            }
        }
        if own > 0 {
            self.own.insert(number, own);
        }
    }

    /// How much each tree has lost, with all below it.
    fn losses(mut self) -> Losses {
        self.edges.sort_unstable();
        let edges = self.edges;
        let parents = |child: u32| {
            let first = edges.partition_point(|edge| edge.0 < child);
            edges[first..].iter().take_while(move |edge| edge.0 == child).map(|edge| edge.1)
        };
        let mut affected: HashSet<u32> = self.own.keys().copied().collect();
        // How many folders of each tree lead to a loss and are not added up yet.
        let mut open: HashMap<u32, u32> = HashMap::new();
        let mut waiting: Vec<u32> = affected.iter().copied().collect();
        while let Some(child) = waiting.pop() {
            for parent in parents(child) {
                *open.entry(parent).or_default() += 1;
                if affected.insert(parent) {
                    waiting.push(parent);
                }
            }
        }
        let mut totals = self.own;
        let mut ready = affected;
        ready.retain(|tree| !open.contains_key(tree));
        let mut ready: Vec<u32> = ready.into_iter().collect();
        while let Some(child) = ready.pop() {
            let below = totals.get(&child).copied().unwrap_or(0);
            for parent in parents(child) {
                let total = totals.entry(parent).or_default();
                *total = total.saturating_add(below);
                let left = open.entry(parent).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push(parent);
                }
            }
        }
        Losses { numbers: self.numbers, totals }
    }
}

/// How many files each tree has lost; nothing of trees that are whole.
struct Losses {
    numbers: Numbers,
    totals: HashMap<u32, u64>,
}

impl Losses {
    fn get(&self, tree: &Id, index: &Index) -> Option<&u64> {
        let number = listed(tree, index).or_else(|| self.numbers.0.get(tree).copied())?;
        self.totals.get(&number)
    }
}

/// Lists paths.
struct Lister<'r> {
    repository: &'r Repository,
    judge: Judge,
    losses: Losses,
    /// What is lost in trees that were read: most snapshots share most of them.
    kept: HashMap<Id, Arc<[Lost]>>,
}

/// An entry of a tree that leads to a loss.
struct Lost {
    name: Box<[u8]>,
    what: Way,
}

enum Way {
    Here(Loss),
    Below(Id),
}

impl Lister<'_> {
    /// The first paths below a root.
    async fn list(&mut self, root: Id) -> Result<Vec<AffectedFile>> {
        let mut files = Vec::new();
        let mut path = Vec::new();
        let mut inside = Vec::new();
        match self.read(root).await? {
            Some(entries) => inside.push((entries, 0, 0)),
            None => files.push(file(b"/", self.judge.tree(root))),
        }
        loop {
            let is_deep = inside.len() >= MAX_DEPTH || path.len() > MOST_PATH;
            let Some((entries, next, length)) = inside.last_mut() else { break };
            if files.len() >= Affected::FILES {
                break;
            }
            path.truncate(*length);
            let Some(lost) = entries.get(*next) else {
                inside.pop();
                continue;
            };
            *next += 1;
            path.push(b'/');
            path.extend_from_slice(&lost.name);
            match &lost.what {
                Way::Here(loss) => files.push(file(&path, loss.clone())),
                // What nobody has by accident is not followed any further.
                Way::Below(id) if is_deep => {
                    files.push(file(&path, self.judge.tree(*id)));
                }
                Way::Below(id) => {
                    let (id, length) = (*id, path.len());
                    match self.read(id).await? {
                        Some(entries) => inside.push((entries, 0, length)),
                        None => files.push(file(&path, self.judge.tree(id))),
                    }
                }
            }
        }
        Ok(files)
    }

    /// The first entries of a tree that lead to a loss; nothing if the tree itself is lost.
    async fn read(&mut self, id: Id) -> Result<Option<Arc<[Lost]>>> {
        if let Some(kept) = self.kept.get(&id) {
            return Ok(Some(Arc::clone(kept)));
        }
        let tree = match self.repository.load_tree(&self.judge.index, id).await {
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(_) => return Ok(None),
            Ok(tree) => tree,
        };
        let lost = tree.nodes().iter().filter_map(|node| {
            let what = match self.judge.loss(node) {
                Some(loss) => Way::Here(loss),
                None => {
                    let below = subtree(node)?;
                    self.losses.get(&below, &self.judge.index)?;
                    Way::Below(below)
                }
            };
            Some(Lost { name: node.name.as_bytes().into(), what })
        });
        // Each entry leads to a path at least.
        let lost: Arc<[Lost]> = lost.take(Affected::FILES).collect();
        if self.kept.len() >= MOST_KEPT {
            self.kept.clear();
        }
        self.kept.insert(id, Arc::clone(&lost));
        Ok(Some(lost))
    }
}

fn file(path: &[u8], loss: Loss) -> AffectedFile {
    AffectedFile { path: PathBuf::from(OsString::from_vec(path.to_vec())), loss }
}
