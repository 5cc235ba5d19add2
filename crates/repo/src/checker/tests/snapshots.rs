//! Snapshots, trees and nodes.

use super::*;

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_a_problem_and_the_others_are_checked() {
    for change in [|bytes: &mut Vec<u8>| flip(bytes), Vec::clear] {
        let sound = Sound::new().await;
        let other = sound.shop.snapshot(sound.sub).await;
        sound.alter(FileType::Snapshot, sound.snapshot, change);
        let report = sound.check().await;
        assert!(matches!(only(&report), Problem::SnapshotUnreadable { snapshot, .. }
            if *snapshot == sound.snapshot));
        assert_eq!(report.broken_snapshots, BTreeSet::from([sound.snapshot]));
        assert_ne!(other, sound.snapshot);
        assert_eq!((report.snapshots, report.trees), (2, 1));
    }
}

#[tokio::test]
async fn a_damaged_tree_is_a_problem() {
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.trees.pack, |bytes| bytes[20] ^= 1); // in the first: sub
    let report = sound.check().await;
    assert!(matches!(only(&report), Problem::TreeUnreadable { tree, error: Error::Damaged { .. } }
        if *tree == sound.sub));
    let report = sound.check_data().await;
    assert_eq!(report.broken_packs, BTreeSet::from([sound.trees.pack]));
}

#[tokio::test]
async fn a_damaged_tree_of_which_there_is_another_copy_is_none() {
    let sound = Sound::new().await;
    let blob = data(noise(2, 300));
    let again = sound.shop.pack([tree(vec![file("inner", &[&blob])])]);
    sound.shop.index([again]).await;
    sound.alter(FileType::Pack, sound.trees.pack, |bytes| bytes[20] ^= 1);
    assert_sound(&sound.check().await);
    assert!(matches!(only(&sound.check_data().await), Problem::PackDamaged { .. }));
}

#[tokio::test]
async fn a_tree_that_is_no_tree_is_a_problem() {
    for json in ["", "{}", "[]", "{\"nodes\":[{\"name\":7}]}", "{\"nodes\":[", "\u{2}"] {
        let shop = Workshop::new().await;
        let root = raw_tree(json);
        let id = root.handle.id;
        shop.index([shop.pack([root])]).await;
        shop.snapshot(id).await;
        let report = checked(&shop, reading()).await;
        assert!(
            matches!(only(&report), Problem::TreeUnreadable { tree, .. } if *tree == id),
            "{json}"
        );
    }
}

#[tokio::test]
async fn a_missing_tree_is_a_problem_once_however_often_it_is_used() {
    let shop = Workshop::new().await;
    let missing = tree(vec![]);
    let root = tree(vec![folder("a", &missing), folder("b", &missing)]);
    let id = root.handle.id;
    shop.index([shop.pack([root])]).await;
    shop.snapshot(id).await;
    shop.snapshot(missing.handle.id).await;
    let report = checked(&shop, Options::default()).await;
    assert!(
        matches!(only(&report), Problem::TreeUnreadable { tree, error: Error::BlobNotFound(_) }
        if *tree == missing.handle.id)
    );
}

/// What is wrong with a folder of these nodes.
async fn node_faults(nodes: Vec<Node>) -> (Vec<NodeFault>, Vec<Hint>) {
    let shop = Workshop::new().await;
    shop.snapshot_of(nodes).await;
    let report = checked(&shop, Options::default()).await;
    let faults = report.problems.into_iter().map(|problem| match problem {
        Problem::Node { fault, .. } => fault,
        other => panic!("{other:?}"),
    });
    (faults.collect(), report.hints)
}

#[tokio::test]
async fn every_way_in_which_a_node_can_be_wrong_is_a_problem() {
    let missing = data("missing");
    let cases = [
        (Node { content: None, ..Node::new("a", NodeType::File) }, NodeFault::NoContent),
        (
            Node { content: Some(vec![Id::default()]), ..Node::new("a", NodeType::File) },
            NodeFault::NullBlob { position: 0 },
        ),
        (file("a", &[&missing]), NodeFault::BlobMissing { id: missing.handle.id }),
        (Node::new("a", NodeType::Dir), NodeFault::NoSubtree),
        (
            Node { subtree: Some(Id::default()), ..Node::new("a", NodeType::Dir) },
            NodeFault::NullSubtree,
        ),
        (Node::new("a", "door".into()), NodeFault::UnknownType { found: "door".into() }),
        (Node::new("a", NodeType::Irregular), NodeFault::UnknownType { found: "irregular".into() }),
        (Node::new("a", "".into()), NodeFault::UnknownType { found: String::new() }),
        (Node::new("", NodeType::Symlink), NodeFault::EmptyName),
    ];
    for (node, fault) in cases {
        let (faults, hints) = node_faults(vec![node]).await;
        assert_eq!(faults, [fault]);
        assert_eq!(hints, []);
    }
}

#[tokio::test]
async fn nodes_of_every_type_that_restic_stores_are_fine() {
    let types =
        [NodeType::Symlink, NodeType::Dev, NodeType::CharDev, NodeType::Fifo, NodeType::Socket];
    let names = ["a", "b", "c", "d", "e"];
    let nodes = names.into_iter().zip(types).map(|(name, node_type)| Node::new(name, node_type));
    let empty = Node::new("f", NodeType::File);
    assert_eq!(node_faults(nodes.chain([empty]).collect()).await, (vec![], vec![]));
}

#[tokio::test]
async fn names_out_of_order_and_names_that_lead_elsewhere_are_hints() {
    let (faults, hints) = node_faults(vec![file("b", &[]), file("a", &[])]).await;
    assert!(faults.is_empty());
    assert!(matches!(hints[..], [Hint::UnorderedTree { .. }]), "{hints:?}");
    let (faults, hints) = node_faults(vec![file("../a", &[])]).await;
    assert!(faults.is_empty());
    assert!(matches!(hints[..], [Hint::UnsafeName { .. }]), "{hints:?}");
}

#[tokio::test]
async fn many_folders_that_share_trees_are_each_read_once() {
    let shop = Workshop::new().await;
    let leaf = tree(vec![file("empty", &[])]);
    let folders: Vec<_> = (0..300u32)
        .map(|n| tree(vec![folder("leaf", &leaf), folder(&format!("x{n}"), &leaf)]))
        .collect();
    let names: Vec<_> = (0..300).map(|n| format!("f{n:03}")).collect();
    let root = tree(names.iter().zip(&folders).map(|(name, tree)| folder(name, tree)).collect());
    let id = root.handle.id;
    shop.index([shop.pack(folders.into_iter().chain([leaf, root]))]).await;
    for _ in 0..3 {
        shop.snapshot(id).await;
    }
    let watched = Arc::new(Watch::default());
    let report = check(&shop.repository, &Options::default(), watched.clone()).await.unwrap();
    assert_sound(&report);
    assert_eq!((report.trees, report.snapshots), (302, 3));
    assert_eq!(watched.advanced(Phase::CheckTrees), 3, "snapshots");
}
