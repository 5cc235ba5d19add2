//! What restoring would write.

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::id::Id;
use crate::node::{Node, NodeType};
use crate::stats::Stats;
use crate::stats::walk::Counter;

/// Counts every node, and the size of every file but the further names of one that has several.
///
/// Snapshots share most of their trees. What a tree comes to is remembered, so that it is walked once;
/// unless there is a file with several names in it, whose other names may be anywhere in a snapshot.
#[derive(Default)]
pub(super) struct RestoreSize {
    total: Sum,
    /// The trees that have begun, and what they have come to so far.
    open: Vec<(Id, Sum)>,
    known: HashMap<Id, Sum>,
    /// Inode and device of files with several names that this snapshot has.
    linked: HashSet<(u64, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    files: u64,
    size: u64,
    /// Whether the size depends on what else is in the snapshot.
    depends: bool,
}

impl RestoreSize {
    pub(super) fn stats(self) -> Stats {
        let Sum { files, size, .. } = self.total;
        Stats { total_file_count: files, total_size: size, ..Stats::default() }
    }

    fn current(&mut self) -> &mut Sum {
        self.open.last_mut().map_or(&mut self.total, |(_, sum)| sum)
    }
}

impl Sum {
    fn add(&mut self, other: Self) {
        // Hostile trees may claim any size.
        self.files = self.files.saturating_add(other.files);
        self.size = self.size.saturating_add(other.size);
        self.depends |= other.depends;
    }
}

impl Counter for RestoreSize {
    fn snapshot(&mut self) {
        self.linked.clear();
    }

    fn knows(&self, tree: &Id) -> bool {
        self.known.contains_key(tree)
    }

    fn repeat(&mut self, tree: &Id) {
        if let Some(sum) = self.known.get(tree).copied() {
            self.current().add(sum);
        }
    }

    fn enter(&mut self, tree: Id) {
        self.open.push((tree, Sum::default()));
    }

    fn node(&mut self, _: &[u8], node: &Node) -> Result<()> {
        let single = node.links == 1 || node.node_type == NodeType::Dir;
        // Without an inode nobody can tell which names belong together, and all count.
        let first = single || self.linked.insert((node.inode, node.device_id)) || node.inode == 0;
        let size = if first { node.size } else { 0 };
        self.current().add(Sum { files: 1, size, depends: !single });
        Ok(())
    }

    fn leave(&mut self) {
        if let Some((tree, sum)) = self.open.pop() {
            if !sum.depends {
                self.known.insert(tree, sum);
            }
            self.current().add(sum);
        }
    }
}
