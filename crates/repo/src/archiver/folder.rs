//! A folder of the new snapshot while its entries come in.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::node::Node;
use crate::tree::Tree;

/// A folder whose nodes are being collected. Whoever brings in the last one closes it.
#[derive(Debug)]
pub(super) struct Folder {
    /// Its path in the snapshot.
    pub path: PathBuf,
    /// Its own node, still without a tree. The top has none.
    pub node: Option<Node>,
    /// What holds it. The top is held by nothing.
    pub parent: Option<Arc<Folder>>,
    /// Its node in the parent snapshot.
    pub before: Option<Node>,
    /// What was in it then.
    pub tree_before: Option<Tree>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    /// Entries that are still to come, and one for the walk as long as it is in the folder.
    awaited: usize,
}

impl Folder {
    /// A folder that the walk is about to enter.
    pub fn new(
        path: PathBuf,
        node: Option<Node>,
        parent: Option<Arc<Self>>,
        before: Option<Node>,
        tree_before: Option<Tree>,
    ) -> Self {
        let state = Mutex::new(State { nodes: Vec::new(), awaited: 1 });
        Self { path, node, parent, before, tree_before, state }
    }

    /// One more entry is to come.
    pub fn expect_one(&self) {
        self.lock().awaited += 1;
    }

    /// An entry that was to come is there, or turned out not to be one. True if it was the last.
    #[must_use = "the last one closes the folder"]
    pub fn arrive(&self, node: Option<Node>) -> bool {
        let mut state = self.lock();
        state.nodes.extend(node);
        state.awaited -= 1;
        state.awaited == 0
    }

    /// All nodes that came in.
    pub fn take_nodes(&self) -> Vec<Node> {
        std::mem::take(&mut self.lock().nodes)
    }

    /// The entry of this name in the parent snapshot.
    pub fn entry_before(&self, name: &[u8]) -> Option<&Node> {
        self.tree_before.as_ref()?.find(name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
