use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::*;
use crate::backend::BackendErrorKind;
use crate::backend::fault::{Fault, Operation, Rule};
use crate::backend::mem::Mem;
use crate::blob::{BlobHandle, BlobType};
use crate::error::Error;
use crate::handle::{FileType, Handle};
use crate::index::PackBlobs;
use crate::node::{Node, NodeType};
use crate::progress::{Phase, Silent, Warning};
use crate::workshop::{Workshop, data, file, folder, noise, raw_tree, tree};

/// A sound repository: two files, one of them in a folder, in two data packs and one tree pack.
struct Sound {
    shop: Workshop,
    snapshot: Id,
    root: Id,
    sub: Id,
    first: PackBlobs,
    second: PackBlobs,
    trees: PackBlobs,
    index: Id,
}

impl Sound {
    async fn new() -> Self {
        let shop = Workshop::new().await;
        let blobs = || [data(noise(1, 50_000)), data(b"text".repeat(1000)), data(noise(2, 300))];
        let [one, two, three] = blobs();
        let sub = tree(vec![file("inner", &[&three])]);
        let root = tree(vec![file("a", &[&one, &two]), folder("sub", &sub)]);
        let (sub_id, root_id) = (sub.handle.id, root.handle.id);
        let first = shop.pack([one, two]);
        let second = shop.pack([three]);
        let trees = shop.pack([sub, root]);
        let index = shop.index([first.clone(), second.clone(), trees.clone()]).await;
        let snapshot = shop.snapshot(root_id).await;
        Self { shop, snapshot, root: root_id, sub: sub_id, first, second, trees, index }
    }

    /// Stores another index in place of the one there is.
    async fn reindex(&self, packs: impl IntoIterator<Item = PackBlobs>) {
        self.shop.repository.remove(FileType::Index, self.index).await.unwrap();
        self.shop.index(packs).await;
    }

    async fn remove(&self, file_type: FileType, id: Id) {
        self.shop.repository.remove(file_type, id).await.unwrap();
    }

    fn alter(&self, file_type: FileType, id: Id, change: impl FnOnce(&mut Vec<u8>)) {
        self.shop.mem.alter(&Handle::new(file_type, id), change);
    }

    async fn check(&self) -> Report {
        checked(&self.shop, Options::default()).await
    }

    async fn check_data(&self) -> Report {
        checked(&self.shop, reading()).await
    }
}

fn reading() -> Options {
    Options { read_data: ReadData::All, ..Options::default() }
}

async fn checked(shop: &Workshop, options: Options) -> Report {
    check(&shop.repository, &options, Arc::new(Silent)).await.unwrap()
}

/// The only problem.
fn only(report: &Report) -> &Problem {
    assert_eq!(report.errors, 1, "{:?}", report.problems);
    assert!(!report.is_sound());
    &report.problems[0]
}

#[track_caller]
fn assert_sound(report: &Report) {
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!(report.hints.is_empty(), "{:?}", report.hints);
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

#[tokio::test]
async fn a_sound_repository_has_no_problems_and_everything_was_looked_at() {
    let sound = Sound::new().await;
    let report = sound.check().await;
    assert_sound(&report);
    assert!(!report.suggest_prune && !report.suggest_repair_index);
    let counts = (report.index_files, report.packs, report.snapshots, report.trees);
    assert_eq!((counts, report.packs_read), ((1, 3, 1, 2), 0));

    let report = sound.check_data().await;
    assert_sound(&report);
    let size = [&sound.first, &sound.second, &sound.trees].map(PackBlobs::file_size).iter().sum();
    assert_eq!((report.packs_read, report.bytes_read), (3, size));
}

#[tokio::test]
async fn an_empty_repository_is_sound() {
    assert_sound(&checked(&Workshop::new().await, reading()).await);
}

#[tokio::test]
async fn repositories_of_version_1_are_checked_as_well() {
    let shop = Workshop::of_version(1).await;
    let blob = data(noise(1, 1000));
    let node = file("a", &[&blob]);
    shop.index([shop.pack([blob])]).await;
    shop.snapshot_of(vec![node]).await;
    let report = checked(&shop, reading()).await;
    assert_sound(&report);
    assert_eq!(report.packs_read, 2);
}

#[tokio::test]
async fn a_missing_pack_is_a_problem_whether_it_is_needed_or_not() {
    let sound = Sound::new().await;
    sound.remove(FileType::Pack, sound.second.pack).await;
    for report in [sound.check().await, sound.check_data().await] {
        assert!(
            matches!(only(&report), Problem::PackMissing { pack } if *pack == sound.second.pack)
        );
        assert_eq!(report.broken_packs, BTreeSet::from([sound.second.pack]));
    }
}

#[tokio::test]
async fn a_pack_of_another_size_is_a_problem() {
    for change in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 10),
        |bytes: &mut Vec<u8>| bytes.push(0),
    ] {
        let sound = Sound::new().await;
        sound.alter(FileType::Pack, sound.first.pack, change);
        let report = sound.check().await;
        let Problem::PackSize { pack, expected, found } = only(&report) else {
            panic!("{report:?}")
        };
        assert_eq!((*pack, *expected), (sound.first.pack, sound.first.file_size()));
        assert!(expected.abs_diff(*found) <= 10);
        assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
        let report = sound.check_data().await;
        assert_eq!(report.errors, 2, "as restic, which counts it again when it reads: {report:?}");
    }
}

#[tokio::test]
async fn a_pack_of_no_bytes_is_a_problem_and_nothing_worse() {
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.first.pack, Vec::clear);
    let report = sound.check_data().await;
    assert_eq!(report.errors, 2);
    assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
}

#[tokio::test]
async fn an_orphaned_pack_is_a_hint_to_prune() {
    let sound = Sound::new().await;
    let orphan = sound.shop.pack([data("left behind")]);
    let report = sound.check_data().await;
    assert!(report.is_sound() && report.suggest_prune && !report.suggest_repair_index);
    assert_eq!(report.orphaned_packs, 1);
    assert_eq!(report.packs_read, 3, "nobody knows what should be in it");
    let size = orphan.file_size();
    assert_eq!(report.hints, [Hint::OrphanedPack { pack: orphan.pack, size }]);
}

#[tokio::test]
async fn a_pack_in_two_indexes_that_agree_is_a_hint_to_repair_the_index() {
    let sound = Sound::new().await;
    let mut turned = sound.first.clone();
    turned.blobs.reverse(); // the order within an index means nothing
    let second = sound.shop.index([turned]).await;
    let report = sound.check_data().await;
    assert!(report.is_sound() && report.suggest_repair_index && !report.suggest_prune);
    let [Hint::DuplicateIndex { pack, indexes }] = &*report.hints else { panic!("{report:?}") };
    assert_eq!(*pack, sound.first.pack);
    assert_eq!(BTreeSet::from_iter(indexes), BTreeSet::from([&sound.index, &second]));
}

#[tokio::test]
async fn two_indexes_that_say_different_things_of_a_pack_are_a_problem() {
    let sound = Sound::new().await;
    let mut part = sound.first.clone();
    part.blobs.pop();
    sound.shop.index([part]).await;
    let report = sound.check().await;
    assert!(matches!(only(&report), Problem::IndexesDisagree { pack, indexes }
        if *pack == sound.first.pack && indexes.len() == 2));
    assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
}

#[tokio::test]
async fn a_pack_that_one_index_lists_in_two_parts_is_fine() {
    let sound = Sound::new().await;
    let mut parts = [sound.first.clone(), sound.first.clone()];
    parts[0].blobs.pop();
    parts[1].blobs.remove(0);
    let others = [sound.second.clone(), sound.trees.clone()];
    sound.reindex(parts.into_iter().chain(others)).await;
    assert_sound(&sound.check().await);
}

#[tokio::test]
async fn a_mixed_pack_is_a_hint_to_prune() {
    let shop = Workshop::new().await;
    let blob = data("text");
    let root = tree(vec![file("a", &[&blob])]);
    let id = root.handle.id;
    let mixed = shop.pack([blob, root]);
    let pack = mixed.pack;
    shop.index([mixed]).await;
    shop.snapshot(id).await;
    let report = checked(&shop, reading()).await;
    assert!(report.is_sound() && report.suggest_prune);
    assert_eq!(report.hints, [Hint::MixedPack { pack }]);
}

#[tokio::test]
async fn an_index_that_cannot_be_read_ends_the_check_with_a_hint_to_repair_it() {
    for change in
        [|bytes: &mut Vec<u8>| flip(bytes), Vec::clear, |bytes: &mut Vec<u8>| bytes.truncate(40)]
    {
        let sound = Sound::new().await;
        sound.alter(FileType::Index, sound.index, change);
        let report = sound.check_data().await;
        assert!(
            matches!(only(&report), Problem::IndexUnreadable { index, .. } if *index == sound.index)
        );
        assert!(report.suggest_repair_index);
        assert_eq!((report.snapshots, report.trees, report.packs_read), (1, 0, 0));
    }
}

#[tokio::test]
async fn an_index_that_is_no_index_is_a_problem() {
    for json in ["", "{}", "[]", "{\"packs\":[{}]}", "{\"packs\":7}", "\u{0}"] {
        let sound = Sound::new().await;
        sound.shop.repository.save_unpacked(FileType::Index, json.as_bytes()).await.unwrap();
        let report = sound.check().await;
        assert!(matches!(only(&report), Problem::IndexUnreadable { .. }), "{json}");
    }
}

#[tokio::test]
async fn all_indexes_gone_is_a_problem_of_each_root_and_packs_are_orphans() {
    let sound = Sound::new().await;
    sound.remove(FileType::Index, sound.index).await;
    let report = sound.check().await;
    assert!(
        matches!(only(&report), Problem::TreeUnreadable { tree, error: Error::BlobNotFound(_) }
        if *tree == sound.root)
    );
    assert_eq!(report.orphaned_packs, 3);
}

#[tokio::test]
async fn blobs_that_overlap_in_the_index_are_a_problem_at_once_and_reading_ends() {
    for offset in [1, 40_000, u32::MAX] {
        let sound = Sound::new().await;
        let mut wrong = sound.first.clone();
        let moved = wrong.blobs[1].handle;
        wrong.blobs[1].offset = offset;
        sound.reindex([wrong, sound.second.clone(), sound.trees.clone()]).await;
        let report = sound.check().await;
        let end = u64::from(sound.first.blobs[0].length);
        let misplaced = report.problems.iter().any(|problem| {
            matches!(problem, Problem::Misplaced { blob, offset: at, end: expected, .. }
                if *blob == moved && *at == offset && *expected == end)
        });
        assert!(misplaced, "{report:?}");
        let report = sound.check_data().await;
        let damaged = report.problems.iter().find_map(|problem| match problem {
            Problem::PackDamaged { pack, faults } if *pack == sound.first.pack => Some(faults),
            _ => None,
        });
        let faults = damaged.unwrap();
        assert!(
            faults
                .iter()
                .any(|fault| matches!(fault, PackFault::NotInIndex { blob } if *blob == moved))
        );
    }
}

#[tokio::test]
async fn a_length_that_no_sealed_blob_has_is_a_problem() {
    let sound = Sound::new().await;
    let mut wrong = sound.second.clone();
    wrong.blobs[0].length = 31;
    sound.reindex([sound.first.clone(), wrong, sound.trees.clone()]).await;
    let report = sound.check_data().await;
    let has = |wanted: fn(&Problem) -> bool| report.problems.iter().any(wanted);
    assert!(has(|problem| matches!(problem, Problem::ImpossibleLength { length: 31, .. })));
    assert!(has(|problem| matches!(problem, Problem::PackSize { .. })));
    assert!(has(|problem| matches!(problem, Problem::PackDamaged { .. })));
    assert!(has(|problem| matches!(
        problem,
        Problem::Node { fault: NodeFault::BlobMissing { .. }, .. }
    )));
}

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

#[tokio::test]
async fn reading_finds_what_a_plain_check_does_not() {
    type Change = fn(&mut Vec<u8>);
    type Shows = fn(&PackFault) -> bool;
    let changes: [(Change, Shows); 4] = [
        (|bytes| bytes[100] ^= 1, |fault| matches!(fault, PackFault::Blob(_))),
        // In the sealed header; in its length.
        (
            |bytes| {
                let at = bytes.len() - 30;
                bytes[at] ^= 1
            },
            |fault| matches!(fault, PackFault::Header(_)),
        ),
        (
            |bytes| {
                let at = bytes.len() - 4;
                bytes[at..].fill(0xff)
            },
            |fault| matches!(fault, PackFault::Header(_)),
        ),
        (|bytes| bytes.fill(0), |fault| matches!(fault, PackFault::Header(_))),
    ];
    for (change, expected) in changes {
        let sound = Sound::new().await;
        sound.alter(FileType::Pack, sound.first.pack, change);
        assert_sound(&sound.check().await);
        let report = sound.check_data().await;
        let Problem::PackDamaged { pack, faults } = only(&report) else { panic!("{report:?}") };
        assert_eq!(*pack, sound.first.pack);
        assert!(faults.iter().any(|fault| matches!(fault, PackFault::Hash { .. })), "{faults:?}");
        assert!(faults.iter().any(expected), "{faults:?}");
        assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
        assert_eq!(report.packs_read, 3, "the others are read all the same");
    }
}

#[tokio::test]
async fn a_sound_pack_under_another_name_is_a_problem() {
    let sound = Sound::new().await;
    let mut renamed = sound.second.clone();
    renamed.pack = Id::of(b"another");
    let bytes = sound.shop.mem.files()[&Handle::new(FileType::Pack, sound.second.pack)].clone();
    sound.shop.mem.put(&Handle::new(FileType::Pack, renamed.pack), bytes);
    sound.remove(FileType::Pack, sound.second.pack).await;
    sound.reindex([sound.first.clone(), renamed, sound.trees.clone()]).await;
    assert_sound(&sound.check().await);
    let report = sound.check_data().await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert!(matches!(faults[..], [PackFault::Hash { found }] if found == sound.second.pack));
}

#[tokio::test]
async fn an_index_that_differs_from_the_header_is_a_problem() {
    type Change = fn(&mut PackBlobs);
    let changes: [Change; 3] = [
        |pack| pack.blobs[1].uncompressed_length += 7,
        |pack| pack.blobs[1].handle.id = Id::of(b"other"),
        // Same place, same length, other type.
        |pack| pack.blobs[1].handle.blob_type = BlobType::Tree,
    ];
    for change in changes {
        let sound = Sound::new().await;
        let mut wrong = sound.first.clone();
        let right = wrong.blobs[1].handle;
        change(&mut wrong);
        let listed = wrong.blobs[1].handle;
        // Both entries, so that no file lacks a blob.
        let copy = sound.shop.pack([data(b"text".repeat(1000))]);
        sound.reindex([wrong, sound.second.clone(), sound.trees.clone(), copy]).await;
        assert!(sound.check().await.is_sound());
        let report = sound.check_data().await;
        let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
        let has = |wanted: &dyn Fn(&PackFault) -> bool| faults.iter().any(wanted);
        assert!(has(&|fault| matches!(fault, PackFault::NotInIndex { blob } if *blob == right)));
        assert!(has(&|fault| matches!(fault, PackFault::NotInHeader { blob } if *blob == listed)));
    }
}

#[tokio::test]
async fn a_wrong_length_on_which_index_and_header_agree_is_a_problem() {
    let shop = Workshop::new().await;
    let mut blob = data(b"text".repeat(1000));
    let node = file("a", &[&blob]);
    blob.claim = Some(4001);
    shop.index([shop.pack([blob])]).await;
    shop.snapshot_of(vec![node]).await;
    assert_sound(&checked(&shop, Options::default()).await);
    let report = checked(&shop, reading()).await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert!(matches!(faults[..], [PackFault::BlobLength { expected: 4001, found: 4000, .. }]));
}

#[tokio::test]
async fn other_content_and_bombs_under_a_blobs_name_are_problems() {
    for (content, claim) in [(b"other".to_vec(), None), (vec![0; 80 << 20], Some(5))] {
        let shop = Workshop::new().await;
        let mut blob = data("right");
        let (node, handle) = (file("a", &[&blob]), blob.handle);
        (blob.plaintext, blob.claim) = (content, claim);
        shop.index([shop.pack([blob])]).await;
        shop.snapshot_of(vec![node]).await;
        assert_sound(&checked(&shop, Options::default()).await);
        let report = checked(&shop, reading()).await;
        let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
        let [PackFault::Blob(Error::Damaged { what, .. })] = &faults[..] else {
            panic!("{faults:?}")
        };
        assert_eq!(*what, handle.into());
    }
}

#[tokio::test]
async fn blobs_larger_than_what_is_read_at_once_are_checked() {
    let shop = Workshop::new().await;
    let pieces = || [data(noise(1, 3 << 20)), data(noise(2, 9 << 20)), data(noise(3, 10))];
    let [one, two, three] = pieces();
    let node = file("a", &[&one, &two, &three]);
    let pack = shop.pack(pieces());
    let id = pack.pack;
    shop.index([pack]).await;
    shop.snapshot_of(vec![node]).await;
    assert_sound(&checked(&shop, reading()).await);
    shop.alter_pack(id, |bytes| flip(bytes));
    let report = checked(&shop, reading()).await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert_eq!(faults.len(), 2, "the hash and one blob: {faults:?}");
}

#[tokio::test]
async fn a_pack_full_of_faults_lists_only_some_of_them() {
    let shop = Workshop::new().await;
    let pack = shop.pack((0..500).map(|n| data(noise(n, 20))));
    let id = pack.pack;
    shop.index([pack]).await;
    shop.alter_pack(id, |bytes| bytes.fill(7));
    let report = checked(&shop, reading()).await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert!(matches!(faults.last(), Some(PackFault::More(402))), "{:?}", faults.last());
    assert_eq!(faults.len(), 101);
}

fn faulty(sound: &Sound) -> (Arc<Fault<Mem>>, Repository) {
    let fault = Arc::new(Fault::new(sound.shop.mem.clone()));
    (Arc::clone(&fault), sound.shop.repository.with_backend(fault))
}

#[tokio::test]
async fn every_byte_of_every_pack_is_read_once() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    let options = Options { snapshots: Some(vec![]), ..reading() };
    assert_sound(&check(&repository, &options, Arc::new(Silent)).await.unwrap());
    assert_eq!(fault.bytes(Operation::Load, Some(FileType::Pack)), 0, "nothing is needed");
    let report = check(&repository, &Options::default(), Arc::new(Silent)).await.unwrap();
    assert_sound(&report);
    let for_trees = fault.bytes(Operation::Load, Some(FileType::Pack));
    fault.reset();
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    let read = fault.bytes(Operation::Load, Some(FileType::Pack));
    assert_eq!(read - for_trees, report.bytes_read);
    assert!(for_trees <= sound.trees.file_size(), "neighbouring trees come with one request");
}

#[tokio::test]
async fn a_pack_that_is_sound_only_when_read_again_is_a_problem_of_the_storage() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    // The first two loads are for the trees, one after the other.
    fault.inject(Rule::flip(40).of(FileType::Pack).nth(3));
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    assert!(matches!(only(&report), Problem::PackUnsteady { .. }), "{report:?}");
    assert!(report.broken_packs.is_empty(), "there is nothing to mend in it");
}

#[tokio::test]
async fn a_pack_that_cannot_be_read_is_a_problem_but_not_called_broken() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    let failing = Rule::fail(BackendErrorKind::Permanent).on(Operation::Load).of(FileType::Pack);
    fault.inject(failing.always());
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    assert_eq!(report.errors, 4, "the root, and three packs");
    let unreadable = |problem: &&Problem| matches!(problem, Problem::PackUnreadable { .. });
    assert_eq!(report.problems.iter().filter(unreadable).count(), 3);
    assert!(report.broken_packs.is_empty());
}

#[tokio::test]
async fn storage_that_gives_less_than_asked_for_is_a_problem_and_no_panic() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    fault.inject(Rule::shorten(10).of(FileType::Pack).always());
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    assert_eq!(report.errors, 4, "{report:?}");
}

#[tokio::test]
async fn a_transfer_that_fails_once_is_no_problem() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    for file_type in [FileType::Index, FileType::Snapshot] {
        fault.inject(Rule::flip(40).of(file_type));
    }
    assert_sound(&check(&repository, &Options::default(), Arc::new(Silent)).await.unwrap());
}

#[tokio::test]
async fn storage_that_cannot_be_listed_is_an_error() {
    let sound = Sound::new().await;
    for file_type in [FileType::Index, FileType::Snapshot, FileType::Pack] {
        let (fault, repository) = faulty(&sound);
        let rule = Rule::fail(BackendErrorKind::Permanent).on(Operation::List).of(file_type);
        fault.inject(rule);
        let result = check(&repository, &Options::default(), Arc::new(Silent)).await;
        assert!(matches!(result, Err(Error::Backend(_))), "{file_type}: {result:?}");
    }
}

#[tokio::test]
async fn of_a_subset_only_the_packs_in_it_are_read() {
    let shop = Workshop::new().await;
    let packs: Vec<_> = (0..40).map(|n| shop.pack([data(noise(n, 100))])).collect();
    for pack in &packs {
        shop.alter_pack(pack.pack, |bytes| bytes[50] ^= 1);
    }
    shop.index(packs.clone()).await;
    let read = async |subset| {
        let options = Options { read_data: ReadData::Subset(subset), ..Options::default() };
        checked(&shop, options).await
    };
    let report = read(Subset::Group { number: 1, of: 4 }).await;
    let expected = packs.iter().map(|pack| pack.pack).filter(|id| id.as_bytes()[0] % 4 == 0);
    assert_eq!(report.broken_packs, expected.collect());
    assert_eq!(read(Subset::Percent(25.0)).await.packs_read, 10);
    assert_eq!(read(Subset::Bytes(packs[0].file_size() * 5)).await.packs_read, 5);
}

#[tokio::test]
async fn of_given_snapshots_only_what_they_use_is_looked_at() {
    let sound = Sound::new().await;
    let other = sound.shop.snapshot(sound.sub).await;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| bytes[50] ^= 1);
    let of = |ids: Vec<Id>| Options { snapshots: Some(ids), ..reading() };
    let report = checked(&sound.shop, of(vec![other])).await;
    assert_sound(&report);
    assert_eq!((report.snapshots, report.trees, report.packs_read), (1, 1, 2));
    let report = checked(&sound.shop, of(vec![sound.snapshot, other])).await;
    assert!(matches!(only(&report), Problem::PackDamaged { .. }));
    assert_eq!((report.snapshots, report.packs_read), (2, 3));

    let missing = of(vec![Id::of(b"no")]);
    let result = check(&sound.shop.repository, &missing, Arc::new(Silent)).await;
    assert!(matches!(result, Err(Error::NoMatch { .. })));
}

#[tokio::test]
async fn unused_blobs_are_listed_if_that_is_asked_for() {
    let sound = Sound::new().await;
    let handles = [data("unused"), tree(vec![])].map(|piece| piece.handle);
    sound.shop.index([sound.shop.pack([data("unused")]), sound.shop.pack([tree(vec![])])]).await;
    assert_eq!(sound.check().await.unused, []);
    let options = Options { find_unused: true, ..Options::default() };
    let report = checked(&sound.shop, options).await;
    assert_sound(&report);
    let unused: std::collections::HashSet<BlobHandle> = report.unused.into_iter().collect();
    assert_eq!(unused, std::collections::HashSet::from(handles));
}

#[tokio::test]
async fn problems_are_told_as_they_are_found() {
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| bytes[50] ^= 1);
    let watch = Arc::new(Watch::default());
    check(&sound.shop.repository, &reading(), watch.clone()).await.unwrap();
    let told = watch.problems.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(&sound.first.pack.to_hex()), "{told:?}");
    assert!(told[0].contains("MAC"), "{told:?}");
    assert_eq!(watch.advanced(Phase::ReadPacks), 3);
}

#[test]
fn a_report_counts_all_problems_but_keeps_only_so_many() {
    let mut report = Report::default();
    for n in 0..Report::LONGEST + 5 {
        report.add(Problem::PackMissing { pack: Id::of(&n.to_le_bytes()) });
    }
    assert_eq!(report.errors as usize, Report::LONGEST + 5);
    assert_eq!(report.problems.len(), Report::LONGEST);
    assert_eq!(report.broken_packs.len(), Report::LONGEST + 5);
}

/// Remembers what it is told.
#[derive(Default)]
struct Watch {
    problems: Mutex<Vec<String>>,
    advanced: Mutex<Vec<(Phase, u64)>>,
}

impl Watch {
    fn advanced(&self, phase: Phase) -> u64 {
        let advanced = self.advanced.lock().unwrap();
        advanced.iter().filter(|(of, _)| *of == phase).map(|(_, amount)| amount).sum()
    }
}

impl Progress for Watch {
    fn advance(&self, phase: Phase, amount: u64) {
        self.advanced.lock().unwrap().push((phase, amount));
    }

    fn warn(&self, warning: &Warning<'_>) {
        let Warning::Problem(problem) = warning else { panic!("{warning:?}") };
        self.problems.lock().unwrap().push(problem.to_string());
    }
}
