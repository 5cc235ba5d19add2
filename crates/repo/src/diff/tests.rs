use super::*;
use crate::progress::Silent;
use crate::time::Timestamp;
use crate::workshop::{Piece, Workshop, data, file, folder, tree};

async fn compare(
    shop: &Workshop,
    before: Id,
    after: Id,
    metadata: bool,
) -> (Vec<String>, Statistics) {
    let index = Arc::new(shop.repository.load_index(&Silent).await.unwrap());
    let mut told = Vec::new();
    let mut watch = |event| match event {
        Event::Change(change) => told.push(format!("{} {}", change.kind, change.path.display())),
        Event::Unreadable(error) => told.push(format!("! {error}")),
    };
    let options = Options { metadata };
    let trees = (before, after);
    let found = diff(&shop.repository, &index, trees, options, &mut watch).await.unwrap();
    (told, found)
}

fn at(second: i64, node: Node) -> Node {
    Node { mtime: Timestamp::from_unix(second, 0), ..node }
}

async fn store(shop: &Workshop, pieces: Vec<Piece>) -> Vec<Id> {
    let ids = pieces.iter().map(|piece| piece.handle.id).collect();
    shop.index([shop.pack(pieces)]).await;
    ids
}

#[tokio::test]
async fn every_kind_of_change_has_its_letter() {
    let shop = Workshop::new().await;
    let (old, new, kept) = (data("old"), data("new!"), data("kept"));
    let common = tree(vec![file("same", &[&kept])]);
    let gone = tree(vec![file("x", &[&old])]);
    let before = tree(vec![
        folder("common", &common),
        at(1, file("edited", &[&old])),
        folder("gone", &gone),
        file("link", &[&kept]),
        file("rotten", &[&kept]),
        at(1, file("touched", &[&kept])),
    ]);
    let after = tree(vec![
        file("added", &[&new]),
        folder("common", &common),
        at(2, file("edited", &[&new])),
        Node::new("link", NodeType::Symlink),
        Node { size: 4, ..file("rotten", &[&new]) },
        at(2, file("touched", &[&kept])),
    ]);
    let (one, other) = (before.handle.id, after.handle.id);
    store(&shop, vec![old, new, kept]).await;
    store(&shop, vec![common, gone, before, after]).await;
    let (told, statistics) = compare(&shop, one, other, false).await;
    let all = ["+ /added", "M /edited", "- /gone/", "- /gone/x", "T /link", "M? /rotten"];
    assert_eq!(told, all);
    let trees = shop.repository.load_index(&Silent).await.unwrap();
    let length = |id| trees.plaintext_length(&BlobHandle::tree(id)).unwrap();
    let gone = BlobHandle::tree(told_tree(&shop, one, "gone").await);
    assert_eq!(
        statistics,
        Statistics {
            changed_files: 2,
            added: Amount {
                files: 1,
                data_blobs: 1,
                tree_blobs: 1,
                bytes: 4 + length(other),
                ..Amount::default()
            },
            removed: Amount {
                files: 1,
                dirs: 1,
                data_blobs: 1,
                tree_blobs: 2,
                bytes: 3 + length(one) + length(gone.id),
                ..Amount::default()
            },
        }
    );
    let (told, _) = compare(&shop, one, other, true).await;
    assert!(told.contains(&"U /touched".to_owned()) && told.contains(&"TU /link".to_owned()));
    assert_eq!(compare(&shop, one, one, true).await, (vec![], Statistics::default()));
}

async fn told_tree(shop: &Workshop, root: Id, name: &str) -> Id {
    let index = shop.repository.load_index(&Silent).await.unwrap();
    let tree = shop.repository.load_tree(&index, root).await.unwrap();
    tree.find(name.as_bytes()).unwrap().subtree.unwrap()
}

#[tokio::test]
async fn a_folder_that_is_lost_is_told_and_the_rest_is_compared() {
    let shop = Workshop::new().await;
    let lost = tree(vec![file("never seen", &[])]);
    let before = tree(vec![folder("d", &lost), file("f", &[])]);
    let after = tree(vec![]);
    let (one, other) = (before.handle.id, after.handle.id);
    store(&shop, vec![before, after]).await;
    let (told, statistics) = compare(&shop, one, other, false).await;
    assert_eq!((told.len(), statistics.removed.dirs, statistics.removed.files), (4, 1, 1));
    assert_eq!((&*told[0], &*told[2]), ("- /d/", "- /f"));
    assert!(told[1].starts_with("! tree blob"), "{told:?}");
    assert!(diff_of_nothing(&shop).await);
}

async fn diff_of_nothing(shop: &Workshop) -> bool {
    let index = Arc::new(shop.repository.load_index(&Silent).await.unwrap());
    let none = (Id::of(b"none"), Id::of(b"none"));
    let mut watch = |_| {};
    diff(&shop.repository, &index, none, Options::default(), &mut watch).await.is_err()
}
