//! Leaving out what patterns match: the visitor of `rewrite`.

use std::path::Path;

use super::{Fate, Visitor};
use crate::filter::Filter;
use crate::node::{Node, NodeType};

/// Keeps what a filter chooses, and drops the rest.
///
/// With [`Filter::Only`], a folder in which nothing is left goes too, unless a pattern matches the folder
/// itself; so all may go, and [`Rewritten::tree`](super::Rewritten::tree) is nothing.
#[derive(Clone, Debug, Default)]
pub struct Select<F> {
    /// What to keep.
    pub filter: Filter,
    /// Is told of each file and folder whether it stays, except of what is in a dropped folder.
    pub tell: F,
}

impl<F: Fn(&Path, &Node, bool) + Send + Sync + 'static> Visitor for Select<F> {
    fn node(&self, path: &Path, node: &Node) -> Fate {
        let is_folder = node.node_type == NodeType::Dir;
        let choice = self.filter.choose(path, is_folder);
        let stays = choice.selected || choice.descend;
        (self.tell)(path, node, stays);
        if stays { Fate::Keep } else { Fate::Drop }
    }

    fn keeps_empty(&self, path: &Path) -> bool {
        match &self.filter {
            Filter::Only(_) => self.filter.choose(path, true).selected,
            _ => true,
        }
    }

    fn looks_at_paths(&self) -> bool {
        !matches!(self.filter, Filter::Everything)
    }
}
