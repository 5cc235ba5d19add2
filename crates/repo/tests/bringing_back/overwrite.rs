//! Restoring to where something is already.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use restic_repo::chunker::MIN_SIZE;
use restic_repo::node::Node;
use restic_repo::progress::ItemAction;
use restic_repo::restorer::Overwrite;
use restic_repo::{BlobType, FileType, Handle, Id};

use crate::scratch::{Scratch, link, mode, noise, with};

const TIME: &str = "2020-01-01T00:00:00Z";
const TIME_UNIX: i64 = 1_577_836_800;

fn timed(node: Node) -> Node {
    with!(node, mtime: TIME.parse().unwrap())
}

fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn read(scratch: &Scratch, name: &str) -> String {
    String::from_utf8(fs::read(scratch.path("target").join(name)).unwrap()).unwrap()
}

/// Files called "equal", "newer", "older" and "missing", all there but the last, with other content.
async fn scene(scratch: &Scratch) -> Id {
    let mut hand = scratch.by_hand().await;
    let names = ["equal", "newer", "older", "missing"];
    let nodes = names.map(|name| timed(hand.file(name, &[b"theirs", b"!"])));
    let tree = hand.tree(nodes.to_vec());
    hand.finish().await;
    fs::create_dir(scratch.path("target")).unwrap();
    for (name, time) in [("equal", 0), ("newer", 1), ("older", -1)] {
        let path = scratch.path("target").join(name);
        fs::write(&path, "mine...").unwrap();
        set_time(&path, TIME_UNIX.checked_add(time).unwrap() as u64);
    }
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn overwrite_decides_what_becomes_of_files_that_are_there() {
    let expected = [
        (Overwrite::Always, ["theirs!", "theirs!", "theirs!"]),
        (Overwrite::IfChanged, ["mine...", "theirs!", "theirs!"]),
        (Overwrite::IfNewer, ["mine...", "mine...", "theirs!"]),
        (Overwrite::Never, ["mine...", "mine...", "mine..."]),
    ];
    for (overwrite, contents) in expected {
        let scratch = Scratch::new().await;
        let tree = scene(&scratch).await;
        let restored = scratch.restore(tree, |restore| restore.overwrite = overwrite).await.good();
        for (name, content) in ["equal", "newer", "older"].iter().zip(contents) {
            assert_eq!(read(&scratch, name), content, "{overwrite:?} {name}");
        }
        assert_eq!(read(&scratch, "missing"), "theirs!");
        let skipped = contents.iter().filter(|content| **content == "mine...").count() as u64;
        assert_eq!(restored.outcome.files_skipped, skipped);
        assert_eq!(restored.outcome.bytes_skipped, skipped * 7);
        assert_eq!(restored.outcome.files_restored, 4 - skipped);
        assert_eq!(restored.outcome.total_files, 4 - skipped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_overwritten_as_files_are() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let tree = hand.tree(vec![timed(link("l", "theirs"))]);
    hand.finish().await;
    fs::create_dir(scratch.path("target")).unwrap();
    let path = scratch.path("target/l");
    symlink("mine", &path).unwrap();
    for overwrite in [Overwrite::Never, Overwrite::IfNewer] {
        let restored = scratch.restore(tree, |restore| restore.overwrite = overwrite).await.good();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("mine"));
        assert_eq!(restored.outcome.files_skipped, 1);
    }
    let restored = scratch.restore(tree, |_| {}).await.good();
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("theirs"));
    assert_eq!(restored.action("/l"), Some(ItemAction::Updated));
    let inode = fs::symlink_metadata(&path).unwrap().ino();
    let restored = scratch.restore(tree, |_| {}).await.good();
    assert_eq!(restored.action("/l"), Some(ItemAction::Unchanged));
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_written_again() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let blobs: Vec<_> = (0..30).map(|seed| noise(seed, 1 << 20)).collect();
    let mut parts: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let zeros = vec![0; MIN_SIZE];
    parts.insert(7, &zeros);
    parts.insert(20, &zeros);
    let node = hand.file("f", &parts);
    let tree = hand.tree(vec![node]);
    hand.finish().await;
    let whole = parts.concat();
    let target = scratch.path("target/f");
    scratch.restore(tree, |_| {}).await.good();
    assert!(fs::read(&target).unwrap() == whole);
    let inode = fs::metadata(&target).unwrap().ino();
    let again = scratch.restore(tree, |_| {}).await.good();
    assert_eq!(again.action("/f"), Some(ItemAction::Unchanged));
    assert_eq!(again.outcome.bytes_skipped, whole.len() as u64);

    // All other blobs are damaged: what has not changed is not even looked for.
    let index = scratch.index().await;
    for pack in index.packs().iter() {
        scratch.backend.alter(&Handle::new(FileType::Pack, pack.pack), |bytes| {
            for entry in pack.blobs {
                if entry.handle.blob_type == BlobType::Data && entry.handle.id != Id::of(&blobs[5])
                {
                    bytes[entry.offset as usize + 20] ^= 1;
                }
            }
        });
    }
    for sparse in [false, true] {
        // One byte in a blob, one in zeros, one too many.
        let mut changed = whole.clone();
        changed[5 << 20] ^= 1;
        changed[(7 << 20) + 10] = 1;
        changed.push(1);
        fs::write(&target, &changed).unwrap();
        let restored = scratch
            .restore(tree, |restore| (restore.sparse, restore.verify) = (sparse, true))
            .await
            .good();
        assert_eq!(restored.action("/f"), Some(ItemAction::Updated));
        assert!(fs::read(&target).unwrap() == whole);
        assert_eq!(fs::metadata(&target).unwrap().ino(), inode);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_gives_way() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let inner = vec![hand.file("x", &[b"x"])];
    let nodes = vec![
        hand.folder("folder", inner),
        hand.file("over-folder", &[b"1"]),
        hand.file("over-pipe", &[b"2"]),
        hand.file("full-folder", &[b"3"]),
        link("link", "x"),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let target = scratch.path("target");
    let set_up = || {
        let _ = fs::remove_dir_all(&target);
        fs::create_dir_all(target.join("full-folder/sub")).unwrap();
        fs::create_dir(target.join("over-folder")).unwrap();
        fs::write(target.join("folder"), "a file").unwrap();
        fs::write(target.join("link"), "a file").unwrap();
        let pipe = target.join("over-pipe");
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    };
    set_up();
    scratch.restore(tree, |_| {}).await.warned("\"/full-folder\": ");
    assert_eq!(read(&scratch, "folder/x"), "x");
    assert_eq!(read(&scratch, "over-folder"), "1");
    assert_eq!(read(&scratch, "over-pipe"), "2");
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("x"));
    assert!(target.join("full-folder/sub").is_dir());
    set_up();
    scratch.restore(tree, |restore| restore.delete = true).await.good();
    assert_eq!(read(&scratch, "full-folder"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_other_names_is_replaced_and_not_written_to() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let (one, two) = (noise(1, 100_000), noise(2, 100_000));
    let node = hand.file("f", &[&one, &two]);
    let tree = hand.tree(vec![node]);
    hand.finish().await;
    fs::create_dir(scratch.path("target")).unwrap();
    let mine = [&one[..], &[0; 100_000]].concat();
    fs::write(scratch.path("mine"), &mine).unwrap();
    fs::hard_link(scratch.path("mine"), scratch.path("target/f")).unwrap();
    scratch.restore(tree, |_| {}).await.good();
    assert!(fs::read(scratch.path("mine")).unwrap() == mine);
    assert!(fs::read(scratch.path("target/f")).unwrap() == [one, two].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_owner_may_not_write_to_is_written_to() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let file = with!(hand.file("file", &[b"theirs"]), mode: mode(0o400));
    let folder = with!(hand.folder("folder", vec![file]), mode: mode(0o040_500));
    let tree = hand.tree(vec![folder]);
    hand.finish().await;
    for content in [None, Some("mine"), Some("theirs")] {
        let file = scratch.path("target/folder/file");
        if let Some(content) = content {
            let set = |path: &Path, mode| {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            };
            set(&file, 0o600);
            fs::write(&file, content).unwrap();
            set(&file, 0o000);
            set(file.parent().unwrap(), 0o500);
        }
        scratch.restore(tree, |_| {}).await.good();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o400);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o7777, 0o500);
        assert_eq!(fs::read(&file).unwrap(), b"theirs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_snapshot_does_not_have_is_removed_if_wanted() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let inner = vec![hand.file("kept", &[b"1"])];
    let nodes = vec![hand.folder("folder", inner), hand.file("file", &[b"2"])];
    let tree = hand.tree(nodes);
    let gone = with!(hand.folder("folder", vec![]), subtree: Some(Id::of(b"gone")));
    let damaged = hand.tree(vec![gone]);
    hand.finish().await;
    let target = scratch.path("target");
    let outside = scratch.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("mine"), "mine").unwrap();
    let set_up = || {
        fs::create_dir_all(target.join("folder/extra/deep")).unwrap();
        fs::write(target.join("folder/extra/deep/x"), "x").unwrap();
        fs::write(target.join("extra"), "x").unwrap();
        let _ = symlink(&outside, target.join("folder/link"));
    };
    set_up();
    scratch.restore(tree, |_| {}).await.good();
    assert!(target.join("folder/extra/deep/x").exists() && target.join("extra").exists());
    let restored = scratch.restore(tree, |restore| restore.delete = true).await.good();
    assert_eq!(restored.outcome.files_deleted, 5);
    assert_eq!(restored.action("/folder/extra/deep/x"), Some(ItemAction::Deleted));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
    assert_eq!(fs::read_dir(target.join("folder")).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("mine")).unwrap(), b"mine");
    // Nothing is removed where it is not known what should be there.
    set_up();
    let restored = scratch.restore(damaged, |restore| restore.delete = true).await;
    assert_eq!(restored.warnings.len(), 1);
    assert!(target.join("folder/extra/deep/x").exists() && !target.join("extra").exists());
}
