//! The way through all folders of a snapshot.
//!
//! A tree names its sub-trees only once it is there, so a walk that asks for one after the other waits a
//! round trip for each. [`Walk`] asks ahead: the folders that come next, as far down as they are known,
//! many at a time.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};
use crate::repository::{Repository, on_worker};
use crate::tree::Tree;
use crate::visit::TreeLoader;

/// How many folders may lie inside each other. Linux itself opens no path of more than 4096 bytes at
/// once, so nobody has more by accident.
pub const MAX_DEPTH: usize = 4096;
/// The longest path that is followed, in bytes.
const MAX_PATH: usize = 64 << 10;
/// How much JSON the folders that the walk is inside of may have together, in bytes: eight trees of the
/// largest size there is.
const MAX_OPEN: usize = 8 << 30;
/// How many trees may be asked for or waiting ahead of the walk.
const AHEAD_TREES: usize = 512;
/// How much JSON they may have together, in bytes.
const AHEAD_BYTES: u64 = 16 << 20;
/// Decoding longer JSON, in bytes, is left to another thread.
const LONG_JSON: usize = 64 << 10;

/// Walks through a snapshot: each folder, then what is in it, in the order of names.
///
/// A folder that cannot be read is a [`Step`] of its own, and the rest goes on. Dropping the walk, or the
/// future of [`Self::next`], is safe at any time; after the latter the walk can go on.
pub struct Walk {
    repository: Repository,
    index: Arc<Index>,
    trees: Arc<TreeLoader>,
    descend: Box<Descend>,
    /// The folders that the walk is inside of, outermost first.
    inside: Vec<Frame>,
    /// The sum of their trees' lengths.
    open_bytes: usize,
    /// The folder that comes next, before anything else.
    entering: Option<(Position, PathBuf)>,
    /// Folders that nobody has asked for yet, in the order of the walk.
    wanted: BTreeMap<Position, Folder>,
    loading: JoinSet<(Folder, Result<(Tree, usize)>)>,
    loaded: HashMap<Position, Result<Listing>>,
    /// What the index says is the length of all trees in `loading` and `loaded`.
    ahead_bytes: u64,
}

type Descend = dyn Fn(&Path, &Node) -> bool + Send + Sync;

/// What the walk comes to.
#[derive(Debug)]
pub enum Step {
    /// Something in a folder. If it is a folder that the walk goes into, what is in it comes next, and
    /// then its [`Step::Leave`].
    Entry {
        /// Its path. The name at its end may be a hostile one: see [`crate::node::Name::is_safe`].
        path: PathBuf,
        /// What it is.
        node: Box<Node>,
        /// Whether the walk goes into it.
        is_entered: bool,
    },
    /// A folder whose content cannot be read. Its [`Step::Leave`] comes next.
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: Error,
    },
    /// The end of a folder; the end of the top comes last of all.
    Leave {
        /// Its path.
        path: PathBuf,
    },
}

/// The numbers of the entries that lead to a folder. Positions sort as the walk goes.
type Position = Vec<u32>;

#[derive(Debug)]
struct Folder {
    position: Position,
    path: PathBuf,
    /// Its tree; nothing where a damaged node has none.
    tree: Option<Id>,
    /// How long the index says its tree is, in bytes.
    claimed_length: u64,
}

/// A folder's entries, and whether the walk goes into each.
#[derive(Debug)]
struct Listing {
    entries: Vec<(Node, bool)>,
    json_length: usize,
}

struct Frame {
    path: PathBuf,
    position: Position,
    entries: std::iter::Enumerate<std::vec::IntoIter<(Node, bool)>>,
    json_length: usize,
}

impl Walk {
    /// A walk through this tree, which is found at `top`: all paths begin with that.
    pub fn new(repository: &Repository, index: Arc<Index>, tree: Id, top: &Path) -> Self {
        let mut walk = Self {
            repository: repository.clone(),
            trees: Arc::new(TreeLoader::new(repository, &index)),
            index,
            descend: Box::new(|_, _| true),
            inside: Vec::new(),
            open_bytes: 0,
            entering: Some((Vec::new(), top.to_owned())),
            wanted: BTreeMap::new(),
            loading: JoinSet::new(),
            loaded: HashMap::new(),
            ahead_bytes: 0,
        };
        walk.want(Vec::new(), top.to_owned(), Some(tree));
        walk
    }

    /// Goes only into folders for which this is true. It is asked ahead of the walk, once for each
    /// folder in those that the walk goes into.
    #[must_use]
    pub fn descend_if(
        self,
        descend: impl Fn(&Path, &Node) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { descend: Box::new(descend), ..self }
    }

    /// The next step; nothing at the end.
    pub async fn next(&mut self) -> Option<Step> {
        if let Some((position, path)) = self.entering.clone() {
            let listing = self.listing(&position).await;
            self.entering = None;
            return match listing.and_then(|listing| self.may_open(listing)) {
                Ok(listing) => {
                    self.enter(path, position, listing);
                    self.advance()
                }
                Err(error) => {
                    let nothing = Listing { entries: Vec::new(), json_length: 0 };
                    self.enter(path.clone(), position, nothing);
                    Some(Step::Unreadable { path, error })
                }
            };
        }
        self.advance()
    }

    fn enter(&mut self, path: PathBuf, position: Position, listing: Listing) {
        let Listing { entries, json_length } = listing;
        self.open_bytes += json_length;
        let entries = entries.into_iter().enumerate();
        self.inside.push(Frame { path, position, entries, json_length });
    }

    fn advance(&mut self) -> Option<Step> {
        let frame = self.inside.last_mut()?;
        let Some((number, (node, is_entered))) = frame.entries.next() else {
            let frame = self.inside.pop()?;
            self.open_bytes -= frame.json_length;
            return Some(Step::Leave { path: frame.path });
        };
        let path = join(&frame.path, node.name.as_bytes());
        if is_entered {
            let position = below(&frame.position, number);
            self.entering = Some((position, path.clone()));
        }
        Some(Step::Entry { path, node: Box::new(node), is_entered })
    }

    /// A repository may be hostile, and memory must stay bounded.
    fn may_open(&self, listing: Listing) -> Result<Listing> {
        match self.open_bytes.saturating_add(listing.json_length) {
            0..=MAX_OPEN => Ok(listing),
            _ => Err(Error::Refused("the folders inside each other are too large".to_owned())),
        }
    }

    /// The folder that comes next, as soon as it is there.
    async fn listing(&mut self, position: &Position) -> Result<Listing> {
        loop {
            while let Some(arrived) = self.loading.try_join_next() {
                self.arrive(arrived);
            }
            if let Some(listing) = self.loaded.remove(position) {
                self.request_ahead();
                return listing;
            }
            // Whatever the budget says: without this one nothing goes on.
            if let Some(folder) = self.wanted.remove(position) {
                self.request(folder);
            }
            self.request_ahead();
            match self.loading.join_next().await {
                Some(arrived) => self.arrive(arrived),
                None => return Err(Error::Cancelled),
            }
        }
    }

    fn request_ahead(&mut self) {
        let limit = self.repository.parallel_requests();
        while self.loading.len() < limit
            && self.loading.len() + self.loaded.len() < AHEAD_TREES
            && self.ahead_bytes < AHEAD_BYTES
            && let Some((_, folder)) = self.wanted.pop_first()
        {
            self.request(folder);
        }
    }

    fn request(&mut self, folder: Folder) {
        self.ahead_bytes = self.ahead_bytes.saturating_add(folder.claimed_length);
        let alone = self.loading.is_empty() && self.wanted.is_empty();
        let trees = Arc::clone(&self.trees);
        self.loading.spawn(async move {
            let loaded = load(&trees, &folder, alone).await;
            (folder, loaded)
        });
    }

    fn arrive(&mut self, arrived: Result<(Folder, Result<(Tree, usize)>), tokio::task::JoinError>) {
        let (folder, loaded) = match arrived {
            Ok(arrived) => arrived,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        self.ahead_bytes = self.ahead_bytes.saturating_sub(folder.claimed_length);
        let listing = loaded.map(|(tree, json_length)| {
            let mut nodes = tree.into_nodes();
            // Names sort by their bytes, as they do in a tree unless somebody else wrote it.
            nodes.sort_by(|one, other| one.name.cmp(&other.name));
            let entries = nodes
                .into_iter()
                .enumerate()
                .map(|(number, node)| {
                    let descend = node.node_type == NodeType::Dir && {
                        let path = join(&folder.path, node.name.as_bytes());
                        let descend = (self.descend)(&path, &node);
                        if descend {
                            self.want(below(&folder.position, number), path, node.subtree);
                        }
                        descend
                    };
                    (node, descend)
                })
                .collect();
            Listing { entries, json_length }
        });
        self.loaded.insert(folder.position, listing);
    }

    /// From now on this folder can be asked for.
    fn want(&mut self, position: Position, path: PathBuf, tree: Option<Id>) {
        let location = tree.and_then(|id| self.index.lookup(&BlobHandle::tree(id)).next());
        let claimed_length = location.map_or(0, |location| location.entry.plaintext_length());
        let folder = Folder { position: position.clone(), path, tree, claimed_length };
        self.wanted.insert(position, folder);
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.inside.last().map(|frame| &frame.path);
        f.debug_struct("Walk").field("inside", &inside).finish_non_exhaustive()
    }
}

/// The node at a path in a snapshot, whose top is the tree `root`. Links are not followed. For the top
/// itself a node is made up, since it has none.
///
/// # Errors
/// [`Error::PathNotFound`]; [`Error::WrongNodeType`] where the path leads through what is no folder;
/// whatever keeps a tree from being read.
pub async fn find_path(
    repository: &Repository,
    index: &Arc<Index>,
    root: Id,
    path: &Path,
) -> Result<Node> {
    // The folders on the way are mostly close together: one request brings all of them.
    let trees = TreeLoader::new(repository, index);
    let mut node = Node { subtree: Some(root), ..Node::new("", NodeType::Dir) };
    let mut reached = PathBuf::from("/");
    for name in names(path) {
        let tree = trees.load_one(subtree(&node, &reached)?).await?;
        reached = join(&reached, name.as_bytes());
        match tree.find(name.as_bytes()) {
            Some(found) => node = found.clone(),
            None => return Err(Error::PathNotFound { path: reached }),
        }
    }
    Ok(node)
}

/// The tree of a node that has to be a folder.
///
/// # Errors
/// [`Error::WrongNodeType`] if it is none, [`Error::Mismatch`] if it is damaged.
pub fn subtree(node: &Node, path: &Path) -> Result<Id> {
    if node.node_type != NodeType::Dir {
        return Err(Error::WrongNodeType {
            path: path.to_owned(),
            found: node.node_type.to_string(),
            wanted: "folder",
        });
    }
    node.subtree.ok_or_else(|| Error::mismatch(path, "it is a folder without a tree"))
}

/// The names on the way to a path, with `.` and `..` resolved.
fn names(path: &Path) -> Vec<OsString> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    names
}

/// The folder's path and a name. [`Path::join`] would let a hostile name replace the path.
fn join(folder: &Path, name: &[u8]) -> PathBuf {
    let mut path = folder.as_os_str().as_bytes().to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    OsString::from_vec(path).into()
}

fn below(position: &Position, number: usize) -> Position {
    // A tree of 1 GiB, the most there is, has fewer entries than that.
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    position.iter().copied().chain([number]).collect()
}

async fn load(trees: &TreeLoader, folder: &Folder, alone: bool) -> Result<(Tree, usize)> {
    let path = &folder.path;
    let id = folder.tree.ok_or_else(|| Error::mismatch(path, "it is a folder without a tree"))?;
    let handle = BlobHandle::tree(id);
    if folder.position.len() > MAX_DEPTH || path.as_os_str().len() > MAX_PATH {
        return Err(Error::damaged(handle, "it lies too deep"));
    }
    let json = trees.load_json(id, alone).await?;
    let json_length = json.len();
    let decode = move || {
        let tree = Tree::decode(&json).map_err(|error| Error::damaged(handle, error.to_string()));
        tree.map(|tree| (tree, json_length))
    };
    if json_length < LONG_JSON { decode() } else { on_worker(decode).await }
}
