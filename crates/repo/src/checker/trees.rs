//! Whether all trees can be read, and everything that they name is there.

use std::sync::Arc;

use crate::blob::BlobHandle;
use crate::checker::damage::Damage;
use crate::checker::findings::Findings;
use crate::checker::report::{Hint, NodeFault, Problem};
use crate::checker::snapshots::Root;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};
use crate::progress::Phase;
use crate::repository::Repository;
use crate::tree::Tree;
use crate::used::UsedBlobs;
use crate::visit;

/// Reads every tree below `roots` once. Trees are added to `used`; data blobs only if it is to `track`
/// them.
pub(super) async fn check(
    repository: &Repository,
    index: &Arc<Index>,
    roots: &[Root],
    used: &Arc<UsedBlobs>,
    track: bool,
    damage: &Arc<Damage>,
    findings: &Arc<Findings>,
) -> Result<()> {
    let progress = Arc::clone(&findings.progress);
    let trees: Vec<Id> = roots.iter().map(|root| root.tree).collect();
    progress.begin(Phase::CheckTrees, Some(roots.len() as u64));
    let look = {
        let (index, used, findings) = (Arc::clone(index), Arc::clone(used), Arc::clone(findings));
        let damage = Arc::clone(damage);
        move |id, tree: Result<Tree>| {
            findings.count(|report| report.trees += 1);
            match tree {
                Ok(tree) => {
                    let used = track.then_some(&*used);
                    check_tree(id, &tree, &index, used, &damage, &findings);
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    damage.note();
                    findings.problem(Problem::TreeUnreadable { tree: id, error });
                }
            }
            Ok(())
        }
    };
    visit::every_tree(repository, index, &trees, used, look, || {
        progress.advance(Phase::CheckTrees, 1);
    })
    .await?;
    progress.end(Phase::CheckTrees);
    Ok(())
}

fn check_tree(
    id: Id,
    tree: &Tree,
    index: &Index,
    used: Option<&UsedBlobs>,
    damage: &Damage,
    findings: &Findings,
) {
    if !tree.is_ordered() {
        findings.hint(Hint::UnorderedTree { tree: id });
    }
    for node in tree.nodes() {
        let report = |fault| {
            damage.note();
            findings.problem(Problem::Node { tree: id, name: node.name.clone(), fault });
        };
        check_node(node, index, used, report);
        if !node.name.is_safe() && !node.name.as_bytes().is_empty() {
            findings.hint(Hint::UnsafeName { tree: id, name: node.name.clone() });
        }
    }
}

/// The first thing that is wrong with a node.
pub(super) fn first_fault(node: &Node, index: &Index) -> Option<NodeFault> {
    let mut first = None;
    check_node(node, index, None, |fault| {
        first.get_or_insert(fault);
    });
    first
}

fn check_node(
    node: &Node,
    index: &Index,
    used: Option<&UsedBlobs>,
    mut report: impl FnMut(NodeFault),
) {
    match &node.node_type {
        NodeType::File => match &node.content {
            None => report(NodeFault::NoContent),
            Some(content) => check_content(content, index, used, &mut report),
        },
        NodeType::Dir => match node.subtree {
            None => report(NodeFault::NoSubtree),
            Some(subtree) if subtree == Id::default() => report(NodeFault::NullSubtree),
            Some(_) => {} // it is read in its turn
        },
        NodeType::Symlink
        | NodeType::Dev
        | NodeType::CharDev
        | NodeType::Fifo
        | NodeType::Socket => {}
        unknown @ (NodeType::Irregular | NodeType::Other(_)) => {
            let found = unknown.as_str().chars().take(100).collect();
            report(NodeFault::UnknownType { found });
        }
    }
    if node.name.as_bytes().is_empty() {
        report(NodeFault::EmptyName);
    }
}

/// Whether the file's size is the sum of its blobs is not checked: a file that changed while it was
/// backed up has another, and nobody can mend that.
fn check_content(
    content: &[Id],
    index: &Index,
    used: Option<&UsedBlobs>,
    report: &mut impl FnMut(NodeFault),
) {
    for (position, &id) in content.iter().enumerate() {
        if id == Id::default() {
            report(NodeFault::NullBlob { position });
            continue;
        }
        let blob = BlobHandle::data(id);
        if !index.contains(&blob) {
            report(NodeFault::BlobMissing { id });
        } else if let Some(used) = used {
            used.insert(&blob);
        }
    }
}
