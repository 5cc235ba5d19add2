//! What differs between two snapshots.

use std::collections::HashSet;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::blob::{BlobHandle, BlobType};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{ExtendedAttribute, Node, NodeType};
use crate::repository::Repository;
use crate::tree::Tree;
use crate::used::UsedBlobs;
use crate::visit::{TreeLoader, every_tree};

#[cfg(test)]
mod tests;

/// What counts as a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a file or folder of which only the metadata differs does.
    pub metadata: bool,
}

/// Something in one snapshot or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path, with a slash at the end if it is a folder.
    pub path: PathBuf,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What became of something. Displayed, it is restic's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second snapshot has it: `+`.
    Added,
    /// Only the first snapshot has it: `-`.
    Removed,
    /// Both have it, and it differs.
    Altered {
        /// A file became a link, for example: `T`.
        node_type: bool,
        /// The file's content: `M`.
        content: bool,
        /// The content differs although nothing else does, which no ordinary change does: `?`.
        bit_rot: bool,
        /// Nothing but the metadata, as far as content can be compared: `U`.
        metadata: bool,
    },
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Added => f.write_str("+"),
            Self::Removed => f.write_str("-"),
            Self::Altered { node_type, content, bit_rot, metadata } => {
                let letters = [(node_type, "T"), (content, "M"), (bit_rot, "?"), (metadata, "U")];
                letters.iter().filter(|(is, _)| *is).try_for_each(|(_, letter)| f.write_str(letter))
            }
        }
    }
}

/// What a comparison comes upon.
#[derive(Debug)]
pub enum Event {
    /// A difference. They come in the order of the snapshots, folders before what is in them.
    Change(Change),
    /// A folder that cannot be read. What is in it is not compared.
    Unreadable(Error),
}

/// How much differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Files whose content differs.
    pub changed_files: u64,
    /// What only the second snapshot has.
    pub added: Amount,
    /// What only the first one has.
    pub removed: Amount,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Links, devices and so on.
    pub others: u64,
    /// Data blobs.
    pub data_blobs: u64,
    /// Tree blobs.
    pub tree_blobs: u64,
    /// The plaintext of these blobs, in bytes.
    pub bytes: u64,
}

/// Compares what is below two trees, and tells `watch` of every difference. Folders with equal trees are
/// not looked into, but for their blobs to be counted.
///
/// # Errors
/// If one of the two trees themselves cannot be read.
pub async fn diff(
    repository: &Repository,
    index: &Arc<Index>,
    (before, after): (Id, Id),
    options: Options,
    watch: &mut (dyn FnMut(Event) + Send),
) -> Result<Statistics> {
    let mut comparison = Comparison {
        loader: TreeLoader::new(repository, index),
        options,
        watch,
        before: Blobs::new(index),
        after: Blobs::new(index),
        common: Vec::new(),
        statistics: Statistics::default(),
    };
    comparison.before.add(BlobHandle::tree(before));
    comparison.after.add(BlobHandle::tree(after));
    comparison.run(before, after).await?;
    comparison.count_blobs(repository, index).await
}

struct Comparison<'a> {
    loader: TreeLoader,
    options: Options,
    watch: &'a mut (dyn FnMut(Event) + Send),
    before: Blobs,
    after: Blobs,
    /// Trees that both have at the same place.
    common: Vec<Id>,
    statistics: Statistics,
}

/// A folder that is being compared.
struct Folder {
    /// With a slash at the end.
    path: Vec<u8>,
    /// What is left of it, the next one last.
    pairs: Vec<Pair>,
}

/// What both snapshots have under a name.
struct Pair {
    before: Option<Node>,
    after: Option<Node>,
}

impl Comparison<'_> {
    async fn run(&mut self, before: Id, after: Id) -> Result<()> {
        let mut open = vec![self.folder(b"/".to_vec(), Some(before), Some(after)).await?];
        while let Some(folder) = open.last_mut() {
            let Some(pair) = folder.pairs.pop() else {
                open.pop();
                continue;
            };
            let mut path = folder.path.clone();
            if let Some(node) = pair.after.as_ref().or(pair.before.as_ref()) {
                path.extend_from_slice(node.name.as_bytes());
                if is_folder(node) {
                    path.push(b'/');
                }
            }
            let (before, after) = match self.compare(&path, &pair) {
                Ok(subtrees) => subtrees,
                Err(error) => {
                    (self.watch)(Event::Unreadable(error));
                    continue;
                }
            };
            if before.is_none() && after.is_none() {
                continue;
            }
            match self.folder(path, before, after).await {
                Ok(folder) => open.push(folder),
                Err(error) => (self.watch)(Event::Unreadable(error)),
            }
        }
        Ok(())
    }

    async fn folder(&self, path: Vec<u8>, before: Option<Id>, after: Option<Id>) -> Result<Folder> {
        let wanted = before.into_iter().chain(after).collect();
        let mut loaded = self.loader.load(wanted).await?.into_iter();
        let mut nodes = |id: Option<Id>| match id.and_then(|_| loaded.next()) {
            Some((_, tree)) => tree.map(sorted_nodes),
            None => Ok(Vec::new()),
        };
        let (before, after) = (nodes(before)?, nodes(after)?);
        Ok(Folder { path, pairs: pairs(before, after) })
    }

    /// Tells and counts what differs. Returns the trees that are to be compared next.
    fn compare(&mut self, path: &[u8], pair: &Pair) -> Result<(Option<Id>, Option<Id>)> {
        let before = pair.before.as_ref().map(|node| self.before.add_node(node, path));
        let after = pair.after.as_ref().map(|node| self.after.add_node(node, path));
        let (before, after) = (before.transpose()?.flatten(), after.transpose()?.flatten());
        match (&pair.before, &pair.after) {
            (Some(one), Some(other)) => {
                self.compare_nodes(path, one, other);
                Ok(match (before, after) {
                    (Some(before), Some(after)) if before == after => {
                        self.common.push(before);
                        (None, None)
                    }
                    (Some(_), Some(_)) => (before, after),
                    _ => (None, None),
                })
            }
            (Some(node), None) => {
                self.statistics.removed.add(node);
                self.tell(path, ChangeKind::Removed);
                Ok((before, after))
            }
            (None, Some(node)) => {
                self.statistics.added.add(node);
                self.tell(path, ChangeKind::Added);
                Ok((before, after))
            }
            (None, None) => Ok((None, None)),
        }
    }

    fn compare_nodes(&mut self, path: &[u8], one: &Node, other: &Node) {
        let are_files = one.node_type == NodeType::File && other.node_type == NodeType::File;
        let node_type = one.node_type != other.node_type;
        let content = are_files && one.content != other.content;
        let bit_rot = content && has_same_metadata(one, other);
        let metadata = !content
            && self.options.metadata
            && !(has_same_metadata(one, other) && one.content == other.content);
        self.statistics.changed_files += u64::from(content);
        if node_type || content || metadata {
            self.tell(path, ChangeKind::Altered { node_type, content, bit_rot, metadata });
        }
    }

    fn tell(&mut self, path: &[u8], kind: ChangeKind) {
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        (self.watch)(Event::Change(Change { path, kind }));
    }

    /// Counts the blobs of one snapshot that the other does not have, at least not in what was compared.
    async fn count_blobs(
        mut self,
        repository: &Repository,
        index: &Arc<Index>,
    ) -> Result<Statistics> {
        let common = Arc::new(UsedBlobs::new(Arc::clone(index)));
        let failures: Arc<Mutex<Vec<Error>>> = Arc::default();
        let look = {
            let (common, failures) = (Arc::clone(&common), Arc::clone(&failures));
            move |_, tree: Result<Tree>| {
                match tree {
                    Ok(tree) => {
                        let nodes = tree.nodes().iter();
                        for id in nodes.filter_map(|node| node.content.as_ref()).flatten() {
                            common.insert(&BlobHandle::data(*id));
                        }
                    }
                    Err(error) => {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                    }
                }
                Ok(())
            }
        };
        every_tree(repository, index, &self.common, &common, look, || {}).await?;
        for error in failures.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            (self.watch)(Event::Unreadable(error));
        }
        let pairs = [
            (&self.before, &self.after, &mut self.statistics.removed),
            (&self.after, &self.before, &mut self.statistics.added),
        ];
        for (these, others, amount) in pairs {
            let own = these
                .list
                .iter()
                .filter(|blob| !others.met.contains(blob) && !common.contains(blob));
            for blob in own {
                match index.plaintext_length(blob) {
                    Some(length) => amount.bytes += length,
                    None => (self.watch)(Event::Unreadable(Error::BlobNotFound(*blob))),
                }
                match blob.blob_type {
                    BlobType::Data => amount.data_blobs += 1,
                    BlobType::Tree => amount.tree_blobs += 1,
                }
            }
        }
        Ok(self.statistics)
    }
}

impl Amount {
    fn add(&mut self, node: &Node) {
        match node.node_type {
            NodeType::File => self.files += 1,
            NodeType::Dir => self.dirs += 1,
            _ => self.others += 1,
        }
    }
}

/// Some blobs, each once.
struct Blobs {
    met: UsedBlobs,
    list: Vec<BlobHandle>,
}

impl Blobs {
    fn new(index: &Arc<Index>) -> Self {
        Self { met: UsedBlobs::new(Arc::clone(index)), list: Vec::new() }
    }

    fn add(&mut self, blob: BlobHandle) {
        if self.met.insert(&blob) {
            self.list.push(blob);
        }
    }

    /// Adds what a node refers to. Returns the tree of a folder.
    fn add_node(&mut self, node: &Node, path: &[u8]) -> Result<Option<Id>> {
        match node.node_type {
            NodeType::File => {
                for id in node.content.iter().flatten() {
                    self.add(BlobHandle::data(*id));
                }
                Ok(None)
            }
            NodeType::Dir => {
                let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
                let tree = crate::walk::subtree(node, &path)?;
                self.add(BlobHandle::tree(tree));
                Ok(Some(tree))
            }
            _ => Ok(None),
        }
    }
}

fn is_folder(node: &Node) -> bool {
    node.node_type == NodeType::Dir
}

/// As they should be; other programs may have stored them in another order.
fn sorted_nodes(tree: Tree) -> Vec<Node> {
    let mut nodes = tree.into_nodes();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    nodes
}

/// What is called the same on both sides, the last name first.
fn pairs(before: Vec<Node>, after: Vec<Node>) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(before.len().max(after.len()));
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        let (takes_before, takes_after) = match (before.peek(), after.peek()) {
            (Some(one), Some(other)) => (one.name <= other.name, one.name >= other.name),
            (one, other) => (one.is_some(), other.is_some()),
        };
        let pair = Pair {
            before: before.next_if(|_| takes_before),
            after: after.next_if(|_| takes_after),
        };
        if pair.before.is_none() && pair.after.is_none() {
            break;
        }
        pairs.push(pair);
    }
    pairs.reverse();
    pairs
}

/// Whether all that restic compares is the same, but for the content of files.
fn has_same_metadata(one: &Node, other: &Node) -> bool {
    fn set(attributes: &[ExtendedAttribute]) -> HashSet<(&[u8], &[u8])> {
        attributes.iter().map(|each| (each.name.as_bytes(), each.value.as_slice())).collect()
    }
    one.node_type == other.node_type
        && one.mode == other.mode
        && (one.mtime, one.atime, one.ctime) == (other.mtime, other.atime, other.ctime)
        && (one.uid, one.gid) == (other.uid, other.gid)
        && (&one.user, &one.group) == (&other.user, &other.group)
        && (one.inode, one.device_id) == (other.inode, other.device_id)
        && (one.size, one.links) == (other.size, other.links)
        && one.link_target == other.link_target
        && one.device == other.device
        && one.subtree == other.subtree
        && one.error == other.error
        && set(&one.extended_attributes) == set(&other.extended_attributes)
        && one.generic_attributes == other.generic_attributes
}
