//! Trees and snapshots that restic 0.14, 0.18 and 0.19 wrote are read and written again unchanged.
//!
//! `data/trees/golden.zst` holds all trees and snapshots of 14 small repositories that these releases
//! made of folders with odd names, links, devices and attributes, in three time zones: lines of
//! `kind repository id json`.

// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used)]

use restic_repo::Id;
use restic_repo::node::{Node, NodeType};
use restic_repo::snapshot::Snapshot;
use restic_repo::tree::{Tree, TreeBuilder};

struct Golden {
    kind: String,
    repository: String,
    id: Id,
    json: Vec<u8>,
}

fn golden(kind: &str) -> Vec<Golden> {
    let compressed = &include_bytes!("data/trees/golden.zst")[..];
    let text = String::from_utf8(zstd::decode_all(compressed).unwrap()).unwrap();
    let entries = text.split_inclusive('\n').map(|line| {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        let [kind, repository, id, json] = fields[..] else { panic!("{line}") };
        Golden {
            kind: kind.to_owned(),
            repository: repository.to_owned(),
            id: id.parse().unwrap(),
            json: json.as_bytes().to_vec(),
        }
    });
    let entries: Vec<_> = entries.filter(|entry| entry.kind == kind).collect();
    assert!(!entries.is_empty());
    entries
}

fn trees() -> impl Iterator<Item = (Golden, Tree)> {
    golden("tree").into_iter().map(|entry| {
        let tree = Tree::decode(&entry.json).unwrap();
        (entry, tree)
    })
}

/// A node as a program would make it that has read the file and not the tree.
fn made_afresh(node: &Node) -> Node {
    let mut fresh = Node::new(node.name.clone(), node.node_type.clone());
    fresh.mode = node.mode;
    fresh.mtime = node.mtime;
    fresh.atime = node.atime;
    fresh.ctime = node.ctime;
    fresh.uid = node.uid;
    fresh.gid = node.gid;
    fresh.user = node.user.clone();
    fresh.group = node.group.clone();
    fresh.inode = node.inode;
    fresh.device_id = node.device_id;
    fresh.size = node.size;
    fresh.links = node.links;
    fresh.link_target = node.link_target.clone();
    fresh.extended_attributes = node.extended_attributes.clone();
    fresh.device = node.device;
    fresh.content = node.content.clone();
    fresh.subtree = node.subtree;
    fresh
}

#[test]
fn every_tree_is_written_again_under_its_own_id() {
    let mut nodes = 0;
    for (golden, tree) in trees() {
        let Golden { repository, id, json, .. } = golden;
        assert_eq!(Id::of(&json), id);
        assert_eq!(
            String::from_utf8(tree.encode()).unwrap(),
            String::from_utf8(json.clone()).unwrap(),
            "{repository} {id}"
        );
        assert!(tree.is_ordered());
        nodes += tree.nodes().len();
    }
    assert!(nodes > 1000, "{nodes}");
}

#[test]
fn nodes_made_afresh_are_spelled_as_today_s_restic_spells_them() {
    let alone = |node: &Node| {
        let mut json = Vec::new();
        node.encode_to(&mut json);
        json
    };
    for (golden, tree) in trees() {
        let mut builder = TreeBuilder::new();
        for node in tree.nodes() {
            let fresh = made_afresh(node);
            builder.push(&fresh).unwrap();
            // restic 0.14 quotes letters that came with Unicode 14 and 15, and has lost what is no
            // UTF-8 in a link's target.
            let is_old = golden.repository.contains("r014");
            let is_odd = matches!(&*node.name.quoted(), "uni15-\u{1fae8}" | "nonutf8");
            assert_eq!(alone(&fresh) != alone(node), is_old && is_odd, "{}", node.name);
        }
        assert_eq!(builder.len(), tree.nodes().len());
        assert_eq!(
            builder.finish(),
            Tree::from_nodes(tree.nodes().iter().map(made_afresh).collect()).unwrap().encode()
        );
    }
}

#[test]
fn every_node_has_what_its_type_must_have() {
    for (golden, tree) in trees() {
        for node in tree.nodes() {
            let what = format!("{} {}", golden.repository, node.name);
            assert_eq!(node.content.is_some(), node.node_type == NodeType::File, "{what}");
            assert_eq!(node.subtree.is_some(), node.node_type == NodeType::Dir, "{what}");
            assert_eq!(NodeType::from(node.mode), node.node_type, "{what}");
            assert_eq!(tree.find(node.name.as_bytes()), Some(node), "{what}");
            assert!(node.name.is_safe(), "{what}");
            assert!(node.unknown.is_empty(), "{what}");
        }
    }
}

#[test]
fn every_snapshot_is_written_again_unchanged() {
    for Golden { repository, id, json, .. } in golden("snapshot") {
        let json = json.strip_suffix(b"\n").unwrap();
        let snapshot = Snapshot::decode(json).unwrap();
        assert_eq!(
            String::from_utf8(snapshot.encode()).unwrap(),
            std::str::from_utf8(json).unwrap(),
            "{repository} {id}"
        );
        assert!(snapshot.unknown.is_empty());
        assert!(trees().any(|(tree, _)| tree.repository == repository && tree.id == snapshot.tree));
    }
}
