use super::*;
use crate::node::Node;
use crate::progress::Silent;
use crate::workshop::{Piece, Workshop, data, file, folder, noise, tree};

async fn counted(shop: &Workshop, trees: &[Id], mode: Mode) -> Stats {
    try_count(shop, trees, mode).await.unwrap()
}

async fn try_count(shop: &Workshop, trees: &[Id], mode: Mode) -> Result<Stats> {
    let index = Arc::new(shop.repository.load_index(&Silent).await?);
    stats(&shop.repository, &index, trees, mode, &Silent).await
}

/// A repository with these trees and data blobs, and the ids of the trees.
async fn shop_with(trees: Vec<Piece>, data: Vec<Piece>) -> (Workshop, Vec<Id>) {
    let shop = Workshop::new().await;
    let ids = trees.iter().map(|tree| tree.handle.id).collect();
    shop.index([shop.pack(trees), shop.pack(data)]).await;
    (shop, ids)
}

fn linked(name: &str, inode: u64, device_id: u64, size: u64) -> Node {
    Node { links: 2, inode, device_id, size, ..file(name, &[]) }
}

#[tokio::test]
async fn a_file_with_several_names_counts_once_in_each_snapshot() {
    let sub = tree(vec![linked("again", 5, 1, 1000), linked("other device", 5, 2, 10)]);
    let root = tree(vec![
        Node { size: 100_000, ..file("a", &[]) },
        linked("b", 5, 1, 1000),
        folder("c", &sub),
        linked("d", 5, 1, 1000),
    ]);
    let (shop, ids) = shop_with(vec![root, sub], vec![data("x")]).await;
    let stats = counted(&shop, &ids[..1], Mode::RestoreSize).await;
    assert_eq!((stats.total_size, stats.total_file_count), (101_010, 6));
    let twice = counted(&shop, &[ids[0], ids[0]], Mode::RestoreSize).await;
    assert_eq!((twice.total_size, twice.total_file_count), (202_020, 12));
    assert_eq!((stats.snapshots_count, twice.snapshots_count), (1, 2));
}

#[tokio::test]
async fn files_with_several_names_but_no_inode_all_count() {
    let root = tree(vec![linked("a", 0, 0, 7), linked("b", 0, 0, 7), linked("c", 0, 0, 7)]);
    let (shop, ids) = shop_with(vec![root], vec![data("x")]).await;
    assert_eq!(counted(&shop, &ids, Mode::RestoreSize).await.total_size, 21);
}

#[tokio::test]
async fn what_snapshots_share_counts_again_in_each() {
    let leaf = tree(vec![Node { size: 3, ..file("x", &[]) }]);
    let middle = tree(vec![folder("one", &leaf), folder("two", &leaf)]);
    let first = tree(vec![folder("m", &middle)]);
    let second = tree(vec![folder("m", &middle), folder("n", &leaf)]);
    let (shop, ids) = shop_with(vec![first, second, middle, leaf], vec![data("x")]).await;
    let stats = counted(&shop, &ids[..2], Mode::RestoreSize).await;
    // m, one, x, two, x; and the same again with n, x.
    assert_eq!((stats.total_file_count, stats.total_size), (5 + 7, 6 + 9));
}

#[tokio::test]
async fn trees_that_come_again_among_many_count_each_time_they_come() {
    // 100 folders; the first holds 60 of the others, which are thus known when it is their turn.
    let leaves: Vec<_> = (0..99)
        .map(|n| tree(vec![Node { size: 1 << (n % 20), ..file(&format!("f{n}"), &[]) }]))
        .collect();
    let name = |n: usize| format!("d{n:03}");
    let named = |trees: &[Piece]| -> Vec<Node> {
        trees.iter().enumerate().map(|(n, tree)| folder(&name(n), tree)).collect()
    };
    let first = tree(named(&leaves[20..80]));
    let mut nodes = vec![folder("a", &first)];
    nodes.extend(named(&leaves));
    let root = tree(nodes);
    let all: u64 = (0..99).map(|n| 1 << (n % 20)).sum();
    let inner: u64 = (20..80).map(|n| 1 << (n % 20)).sum();
    let trees = [root, first].into_iter().chain(leaves).collect();
    let (shop, ids) = shop_with(trees, vec![data("x")]).await;
    let stats = counted(&shop, &ids[..1], Mode::RestoreSize).await;
    assert_eq!(stats.total_size, all + inner);
    assert_eq!(stats.total_file_count, 1 + 2 * (99 + 60));
    let stats = counted(&shop, &ids[..1], Mode::FilesByContents).await;
    assert_eq!(stats.total_file_count, 1, "all are without content");
}

#[tokio::test]
async fn files_of_the_same_content_count_once_and_all_without_content_as_one() {
    let (one, two) = (data("one"), data("three"));
    let sub = tree(vec![file("again", &[&one]), file("both", &[&one, &two])]);
    let root = tree(vec![
        file("a", &[&one]),
        file("b", &[&two]),
        file("empty", &[]),
        folder("sub", &sub),
        Node::new("z", NodeType::Symlink),
    ]);
    let (shop, ids) = shop_with(vec![root, sub], vec![one, two]).await;
    let stats = counted(&shop, &[ids[0], ids[0]], Mode::FilesByContents).await;
    assert_eq!((stats.total_file_count, stats.total_size), (4, 3 + 5 + 8));
    assert_eq!(stats.total_blob_count, 0);
}

#[tokio::test]
async fn blobs_count_once_for_each_path_that_has_a_content_first() {
    let [a, b, c] = ["first", "second!", "third!!!!"].map(data);
    // The same file in two versions that share a blob; and elsewhere the first version again.
    let old = tree(vec![file("f", &[&a, &b, &a]), file("g", &[&a, &b, &a])]);
    let new = tree(vec![file("f", &[&a, &c]), file("h", &[&a])]);
    let (shop, ids) = shop_with(vec![old, new], vec![a, b, c]).await;
    let stats = counted(&shop, &ids, Mode::BlobsPerFile).await;
    // f: a b, and later c; g: nothing new; h: a.
    assert_eq!((stats.total_file_count, stats.total_blob_count), (2, 4));
    assert_eq!(stats.total_size, 5 + 7 + 9 + 5);
    // The other way round f has a, c first, then h has a, then f has b besides.
    let turned: Vec<Id> = ids.into_iter().rev().collect();
    assert_eq!(counted(&shop, &turned, Mode::BlobsPerFile).await, stats);
}

#[tokio::test]
async fn raw_data_are_the_blobs_that_are_used_each_once() {
    let (used, unused) = (data(noise(1, 5000)), data("unused"));
    let root = tree(vec![file("a", &[&used, &used]), file("b", &[&used])]);
    let plain = (used.plaintext.len() + root.plaintext.len() + 64) as u64;
    let shop = Workshop::new().await;
    let id = root.handle.id;
    let packs = [shop.pack([used, unused]), shop.pack([root])];
    let stored = u64::from(packs[0].blobs[0].length + packs[1].blobs[0].length);
    let copy = shop.pack([data(noise(1, 5000))]);
    shop.index(packs).await;
    shop.index([copy]).await;
    let stats = counted(&shop, &[id, id], Mode::RawData).await;
    assert_eq!((stats.total_blob_count, stats.total_size), (2, stored));
    assert_eq!(stats.total_uncompressed_size, plain);
    let ratio = plain as f64 / stored as f64;
    let saving = (1.0 - stored as f64 / plain as f64) * 100.0;
    assert_eq!((stats.compression_ratio, stats.compression_space_saving), (ratio, saving));
    assert_eq!(stats.compression_progress, 100.0);
    assert_eq!(stats.total_file_count, 0);
}

#[tokio::test]
async fn version_1_knows_no_compression() {
    let shop = Workshop::of_version(1).await;
    let blob = data("text");
    let root = tree(vec![file("a", &[&blob])]);
    let (id, size) = (root.handle.id, (root.plaintext.len() + 4 + 64) as u64);
    shop.index([shop.pack([blob]), shop.pack([root])]).await;
    let stats = counted(&shop, &[id], Mode::RawData).await;
    let expected =
        Stats { total_size: size, total_blob_count: 2, snapshots_count: 1, ..Stats::default() };
    assert_eq!(stats, expected);
}

#[test]
fn the_json_is_restics() {
    let text = |stats: &Stats| String::from_utf8(crate::json::to_vec(stats)).unwrap();
    let stats = Stats {
        total_size: 3444,
        total_uncompressed_size: 11296,
        compression_ratio: 3.279_907_084_785_133_7,
        compression_progress: 100.0,
        compression_space_saving: 69.511_331_444_759_21,
        total_blob_count: 15,
        snapshots_count: 3,
        total_file_count: 0,
    };
    assert_eq!(
        text(&stats),
        "{\"total_size\":3444,\"total_uncompressed_size\":11296,\
         \"compression_ratio\":3.2799070847851337,\"compression_progress\":100,\
         \"compression_space_saving\":69.51133144475921,\"total_blob_count\":15,\
         \"snapshots_count\":3}"
    );
    assert_eq!(text(&Stats::default()), "{\"total_size\":0,\"snapshots_count\":0}");
}

#[test]
fn modes_have_restics_names() {
    for mode in Mode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert!("debug".parse::<Mode>().is_err());
}

#[tokio::test]
async fn what_cannot_be_counted_is_an_error_and_no_wrong_number() {
    let missing = tree(vec![file("never stored", &[])]);
    let lost = data("never stored");
    let trees = vec![
        tree(vec![folder("a", &missing)]),
        tree(vec![Node::new("a", NodeType::Dir)]),
        tree(vec![Node::new("a", "".into())]),
        tree(vec![file("a", &[&lost])]),
    ];
    let (shop, ids) = shop_with(trees, vec![data("x")]).await;
    for mode in Mode::ALL {
        let gone = try_count(&shop, &ids[..1], mode).await;
        assert!(matches!(gone, Err(Error::BlobNotFound(_))), "{mode}: {gone:?}");
    }
    for id in &ids[1..3] {
        for mode in [Mode::RestoreSize, Mode::FilesByContents, Mode::BlobsPerFile] {
            let result = try_count(&shop, &[*id], mode).await;
            assert!(matches!(result, Err(Error::Damaged { .. })), "{mode}: {result:?}");
        }
    }
    for mode in [Mode::BlobsPerFile, Mode::RawData] {
        let result = try_count(&shop, &ids[3..], mode).await;
        assert!(matches!(result, Err(Error::BlobNotFound(blob)) if blob == lost.handle), "{mode}");
    }
}

#[tokio::test]
async fn no_snapshots_are_no_files() {
    let shop = Workshop::new().await;
    for mode in Mode::ALL {
        assert_eq!(counted(&shop, &[], mode).await, Stats::default());
    }
}
