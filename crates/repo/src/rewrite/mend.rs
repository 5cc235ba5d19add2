//! Dropping what is lost: the visitor of `repair snapshots`.

use std::path::Path;
use std::sync::Arc;

use super::{Fate, Lost, Visitor};
use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};

/// Makes trees whole by leaving out what is lost: blobs that no index lists, and folders whose trees
/// cannot be read. Sizes are set right.
///
/// What the index lists is taken to be there, so the index has to be right before.
pub struct Mend<F> {
    index: Arc<Index>,
    tell: F,
}

/// Something wrong with a file or folder, and with it what was done.
#[derive(Debug)]
pub enum Fault<'a> {
    /// A node is of no type that is ever stored; it is dropped.
    InvalidType(&'a NodeType),
    /// Blobs of a file are lost; the others make up the file now.
    MissingContent,
    /// A file had all of its blobs, but not the size that these have; or no list of blobs.
    WrongSize,
    /// The tree of a folder is lost: the folder is empty now.
    LostFolder(&'a Error),
    /// The tree of the root is lost, and so the snapshot.
    LostRoot(&'a Error),
}

impl<F: Fn(&Path, Fault<'_>) + Send + Sync + 'static> Mend<F> {
    /// Mends by this index; `tell` hears of every fault. A tree that is in several places is looked at in
    /// one of them.
    pub fn new(index: Arc<Index>, tell: F) -> Self {
        Self { index, tell }
    }

    fn file(&self, path: &Path, node: &Node) -> Fate {
        let content = node.content.as_deref().unwrap_or_default();
        let length = |id: &Id| self.index.plaintext_length(&BlobHandle::data(*id));
        let there: Vec<_> = content.iter().filter_map(|id| Some((*id, length(id)?))).collect();
        let size = there.iter().fold(0u64, |size, (_, length)| size.saturating_add(*length));
        let mended =
            Node { content: Some(there.iter().map(|(id, _)| *id).collect()), size, ..node.clone() };
        if mended == *node {
            return Fate::Keep;
        }
        let is_whole = there.len() == content.len();
        (self.tell)(path, if is_whole { Fault::WrongSize } else { Fault::MissingContent });
        Fate::Change(Box::new(mended))
    }
}

impl<F: Fn(&Path, Fault<'_>) + Send + Sync + 'static> Visitor for Mend<F> {
    fn node(&self, path: &Path, node: &Node) -> Fate {
        match &node.node_type {
            NodeType::File => self.file(path, node),
            NodeType::Irregular => {
                (self.tell)(path, Fault::InvalidType(&node.node_type));
                Fate::Drop
            }
            NodeType::Other(word) if word.is_empty() => {
                (self.tell)(path, Fault::InvalidType(&node.node_type));
                Fate::Drop
            }
            _ => Fate::Keep,
        }
    }

    fn lost(&self, path: &Path, error: Error) -> Result<Lost> {
        if path == Path::new("/") {
            (self.tell)(path, Fault::LostRoot(&error));
            return Ok(Lost::Drop);
        }
        (self.tell)(path, Fault::LostFolder(&error));
        Ok(Lost::Empty)
    }

    fn may_lose_unknown(&self) -> bool {
        true
    }

    fn looks_at_paths(&self) -> bool {
        false
    }
}
