//! Repositories and targets that want to write elsewhere.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use restic_repo::Id;
use restic_repo::node::{Node, NodeType};

use crate::scratch::{Scratch, link, with};

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_elsewhere_are_refused() {
    let scratch = Scratch::new().await;
    fs::create_dir(scratch.path("outside")).unwrap();
    let outside = scratch.path("outside").to_str().unwrap().to_owned();
    let mut hand = scratch.by_hand().await;
    let names = ["", ".", "..", "../outside/x", "a/b", "nul\0x", &format!("{outside}/abs")];
    let mut nodes: Vec<Node> = names.iter().map(|name| hand.file(name, &[b"evil"])).collect();
    nodes.push(hand.file("good", &[b"good"]));
    let files = hand.tree(nodes);
    let mut nodes = Vec::new();
    for name in names {
        let file = hand.file("x", &[b"evil"]);
        nodes.push(hand.folder(name, vec![file]));
    }
    let folders = hand.tree(nodes);
    let links = hand.tree(names.iter().map(|name| link(name, "/")).collect());
    hand.finish().await;
    for tree in [files, folders, links] {
        let restored = scratch.restore(tree, |restore| restore.delete = true).await;
        assert_eq!(restored.warnings.len(), names.len(), "{restored:?}");
        assert!(restored.warnings.iter().all(|warning| warning.contains("refused the name")));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 2);
    }
    assert_eq!(fs::read_dir(scratch.path("target")).unwrap().count(), 0);
    scratch.restore(files, |_| {}).await;
    assert_eq!(fs::read(scratch.path("target/good")).unwrap(), b"good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_target_is_not_followed() {
    let scratch = Scratch::new().await;
    let (outside, target) = (scratch.path("outside"), scratch.path("target"));
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    fs::write(outside.join("sub/x"), "mine").unwrap();
    fs::create_dir(&target).unwrap();
    symlink(&outside, target.join("folder")).unwrap();
    symlink(outside.join("file"), target.join("file")).unwrap();
    symlink(outside.join("new"), target.join("dangling")).unwrap();
    symlink(outside.join("file"), target.join("kept")).unwrap();
    let mut hand = scratch.by_hand().await;
    let sub = vec![hand.file("x", &[b"theirs"])];
    let folder = vec![hand.file("file", &[b"theirs"]), hand.folder("sub", sub)];
    let nodes = vec![
        hand.folder("folder", folder),
        hand.file("file", &[b"theirs"]),
        hand.file("dangling", &[b"theirs"]),
        link("kept", outside.join("file").to_str().unwrap()),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let before = fs::metadata(outside.join("file")).unwrap();
    scratch.restore(tree, |_| {}).await.good();
    for name in ["file", "dangling", "folder/file", "folder/sub/x"] {
        assert_eq!(fs::read(target.join(name)).unwrap(), b"theirs", "{name}");
        assert!(!target.join(name).is_symlink());
    }
    assert!(!target.join("folder").is_symlink());
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"mine");
    assert_eq!(fs::read(outside.join("sub/x")).unwrap(), b"mine");
    assert!(!outside.join("new").exists());
    let after = fs::metadata(outside.join("file")).unwrap();
    assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_comes_twice_is_not_a_way_out() {
    let scratch = Scratch::new().await;
    let outside = scratch.path("outside");
    fs::create_dir(&outside).unwrap();
    let mut hand = scratch.by_hand().await;
    let out = link("a", outside.to_str().unwrap());
    let file = hand.file("evil", &[b"evil"]);
    let folder = hand.folder("a", vec![file]);
    let mut trees = Vec::new();
    for pair in [[&out, &folder], [&folder, &out]] {
        // No tree of ours holds a name twice, so these are put together from two.
        let parts = pair.map(|node| {
            let tree = restic_repo::tree::Tree::from_nodes(vec![node.clone()]).unwrap().encode();
            let text = String::from_utf8(tree).unwrap();
            text.trim_end().trim_start_matches("{\"nodes\":[").trim_end_matches("]}").to_owned()
        });
        trees.push(hand.json(format!("{{\"nodes\":[{},{}]}}\n", parts[0], parts[1]).as_bytes()));
    }
    hand.finish().await;
    for tree in trees {
        scratch.restore(tree, |_| {}).await.warned("comes twice");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_not_set_through_a_link() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    fs::write(scratch.path("outside"), "mine").unwrap();
    let before = fs::metadata(scratch.path("outside")).unwrap();
    let target = scratch.path("outside").to_str().unwrap().to_owned();
    // A link with the permissions and times of something else.
    let node = with!(link("link", &target), mtime: "2001-01-01T00:00:00Z".parse().unwrap(), mode: crate::scratch::mode(0o104_777));
    let tree = hand.tree(vec![node]);
    hand.finish().await;
    scratch.restore(tree, |_| {}).await.good();
    assert!(scratch.path("target/link").is_symlink());
    let after = fs::metadata(scratch.path("outside")).unwrap();
    assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_one_knows_how_to_make_is_told_of() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let nodes = vec![
        with!(Node::new("no-content", NodeType::File), content: None),
        Node::new("no-tree", NodeType::Dir),
        Node::new("door", NodeType::from("door")),
        Node::new("socket", NodeType::Socket),
        with!(Node::new("lost", NodeType::File), content: Some(vec![Id::of(b"lost")]), size: 4),
        hand.file("good", &[b"good"]),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let restored = scratch.restore(tree, |_| {}).await;
    assert_eq!(restored.warnings.len(), 4, "{restored:?}");
    for (name, warning) in ["door", "lost", "no-content", "no-tree"].iter().zip({
        let mut warnings = restored.warnings.clone();
        warnings.sort();
        warnings
    }) {
        assert!(warning.starts_with(&format!("\"/{name}\"")), "{warning}");
    }
    assert_eq!(fs::read(scratch.path("target/good")).unwrap(), b"good");
    assert!(!scratch.path("target/socket").exists());
}
