//! Restoring to an empty folder.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use restic_repo::chunker::MIN_SIZE;
use restic_repo::filter::Choice;
use restic_repo::index::{Builder, IndexFile, PackBlobs};
use restic_repo::node::{Node, NodeType};
use restic_repo::progress::ItemAction;
use restic_repo::restorer::{Filter, Outcome};
use restic_repo::{BlobHandle, FileType, Handle, Id};

use crate::scratch::{Scratch, mode, noise, with};

/// All that can be seen of a folder's content, but for access times.
fn look(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let status = fs::symlink_metadata(&path).unwrap();
            let content = match status.file_type() {
                kind if kind.is_file() => Id::of(&fs::read(&path).unwrap()).short(),
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                _ => String::new(),
            };
            let size = if status.is_dir() { 0 } else { status.len() };
            let links = if status.is_dir() { 0 } else { status.nlink() };
            found.push(format!(
                "{:?} {:o} {}:{} {size} {links} {}.{} {} {content}",
                path.strip_prefix(folder).unwrap(),
                status.mode(),
                status.uid(),
                status.gid(),
                status.mtime(),
                status.mtime_nsec(),
                status.rdev(),
            ));
            if status.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set_time(path: &Path, time: &str) {
    let done = Command::new("touch").args(["-h", "-d", time]).arg(path).status().unwrap();
    assert!(done.success());
}

/// A folder with one of everything.
fn one_of_everything(folder: &Path) {
    fs::create_dir_all(folder.join("a/deep/empty")).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("small"), "small").unwrap();
    fs::write(folder.join("a/large"), noise(1, 5 << 20)).unwrap();
    fs::write(folder.join("a/zeros"), vec![0; 3 * MIN_SIZE + 5]).unwrap();
    let mixed = [noise(2, 700_000), vec![0; 4 << 20], noise(3, 9)].concat();
    fs::write(folder.join("a/deep/mixed"), mixed).unwrap();
    fs::write(folder.join("name"), "linked").unwrap();
    fs::hard_link(folder.join("name"), folder.join("a/other name")).unwrap();
    symlink("nowhere/at all", folder.join("link")).unwrap();
    symlink("small", folder.join("a/link")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    fs::write(folder.join(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\"\\\n")), "x")
        .unwrap();
    set_mode(&folder.join("small"), 0o4711);
    // Nobody else could back it up.
    let forbidden = if rustix::process::geteuid().is_root() { 0o000 } else { 0o400 };
    set_mode(&folder.join("empty"), forbidden);
    set_mode(&folder.join("a/deep"), 0o2555);
    set_mode(&folder.join("pipe"), 0o622);
    for name in ["small", "link", "pipe", "a/deep/empty", "a/deep", "a/other name", "a"] {
        set_time(&folder.join(name), "1999-12-31 23:59:59.123456789");
    }
    set_time(&folder.join("empty"), "1960-01-01 00:00:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back() {
    let scratch = Scratch::new().await;
    let source = scratch.path("source");
    one_of_everything(&source);
    let tree = scratch.back_up(&source).await;
    let wanted = look(&source);
    for (sparse, verify) in [(false, false), (true, true)] {
        let restored = scratch
            .restore(tree, |restore| {
                restore.target = scratch.path(&format!("sparse-{sparse}"));
                (restore.sparse, restore.verify) = (sparse, verify);
            })
            .await
            .good();
        assert_eq!(look(&scratch.path(&format!("sparse-{sparse}"))), wanted);
        assert_eq!(restored.outcome.total_files, wanted.len() as u64);
        assert_eq!(restored.outcome.files_restored, wanted.len() as u64);
        assert_eq!(restored.outcome.bytes_restored, restored.outcome.total_bytes);
        // The second name of a file is neither written nor read again.
        let verified = if verify { 7 } else { 0 };
        assert_eq!(restored.outcome.files_verified, verified);
        assert_eq!(restored.action("/a/large"), Some(ItemAction::Restored));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_become_holes_only_if_wanted() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let zeros = vec![0; MIN_SIZE];
    let inner = [noise(1, 200_000), vec![0; 400_000], noise(2, 10)].concat();
    let nodes = vec![
        hand.file("zeros", &[&zeros, &zeros, &zeros, b"\0\0\0"]),
        hand.file("inner", &[&inner, &zeros, b"end"]),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let allocated = |name: &str| fs::metadata(scratch.path(name)).unwrap().blocks() * 512;
    scratch.restore(tree, |restore| restore.sparse = true).await.good();
    assert_eq!(fs::read(scratch.path("target/zeros")).unwrap(), vec![0; 3 * MIN_SIZE + 3]);
    assert_eq!(allocated("target/zeros"), 0);
    let whole = [&inner[..], &zeros, b"end"].concat();
    assert!(fs::read(scratch.path("target/inner")).unwrap() == whole);
    assert!(allocated("target/inner") < 400_000, "{}", allocated("target/inner"));

    scratch.restore(tree, |restore| restore.target = scratch.path("full")).await.good();
    assert_eq!(fs::read(scratch.path("full/zeros")).unwrap(), vec![0; 3 * MIN_SIZE + 3]);
    assert!(fs::read(scratch.path("full/inner")).unwrap() == whole);
    assert!(allocated("full/zeros") >= 3 * MIN_SIZE as u64);
    assert!(allocated("full/inner") >= whole.len() as u64);
}

struct Choose(fn(&Path, bool) -> Choice);

impl Filter for Choose {
    fn choose(&self, path: &Path, is_folder: bool) -> Choice {
        (self.0)(path, is_folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_chosen_comes_back_with_the_folders_on_the_way() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let inner = vec![hand.file("yes", &[b"1"]), hand.file("no", &[b"2"])];
    let inner = hand.folder("inner", inner);
    let outer = vec![hand.file("no", &[b"3"]), with!(inner, mode: mode(0o040_750))];
    let other = vec![hand.file("no", &[b"4"])];
    let nodes = vec![hand.folder("outer", outer), hand.folder("other", other)];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let chosen =
        |path: &Path, is_folder| Choice { selected: path.ends_with("yes"), descend: is_folder };
    let restored =
        scratch.restore(tree, |restore| restore.filter = Arc::new(Choose(chosen))).await.good();
    let found: Vec<_> = look(&scratch.path("target"));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[1].starts_with("\"outer/inner\" 40750 "), "{found:?}");
    assert!(found[2].starts_with("\"outer/inner/yes\" "));
    assert_eq!(restored.outcome.files_restored, 3);

    let chosen = |path: &Path, _: bool| Choice {
        selected: !path.ends_with("no"),
        descend: !path.ends_with("inner"),
    };
    scratch
        .restore(tree, |restore| {
            restore.filter = Arc::new(Choose(chosen));
            restore.target = scratch.path("second");
            restore.delete = true;
        })
        .await
        .good();
    let found: Vec<_> = look(&scratch.path("second"));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("\"other\" ") && found[2].starts_with("\"outer/inner\" 40750 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_leaves_everything_alone() {
    let scratch = Scratch::new().await;
    let source = scratch.path("source");
    one_of_everything(&source);
    let tree = scratch.back_up(&source).await;
    let nothing = scratch.restore(tree, |restore| restore.dry_run = true).await.good();
    assert!(!scratch.path("target").exists());
    assert_eq!(nothing.action("/a/large"), Some(ItemAction::Restored));
    let real = scratch.restore(tree, |_| {}).await.good();
    assert_eq!(nothing.outcome, real.outcome);

    fs::write(scratch.path("target/small"), "smell").unwrap();
    fs::write(scratch.path("target/unknown"), "unknown").unwrap();
    let before = look(&scratch.path("target"));
    let again = scratch
        .restore(tree, |restore| (restore.dry_run, restore.delete) = (true, true))
        .await
        .good();
    assert_eq!(look(&scratch.path("target")), before);
    assert_eq!(again.action("/small"), Some(ItemAction::Updated));
    assert_eq!(again.action("/unknown"), Some(ItemAction::Deleted));
    assert_eq!(again.action("/a/large"), Some(ItemAction::Unchanged));
    assert_eq!(again.outcome.files_deleted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_costs_no_more_than_itself() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let nodes = vec![
        hand.file("damaged", &[b"begin", b"middle", b"end"]),
        hand.file("good", &[b"begin", b"end"]),
        hand.file("last", &[b"middle", b"last"]),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let index = scratch.index().await;
    let location = index.lookup(&BlobHandle::data(Id::of(b"middle"))).next().unwrap();
    scratch.backend.alter(&Handle::new(FileType::Pack, location.pack), |pack| {
        pack[location.entry.offset as usize + 20] ^= 1;
    });
    let restored = scratch.restore(tree, |_| {}).await;
    assert_eq!(restored.warnings.len(), 2, "{restored:?}");
    assert!(restored.warnings[0].starts_with("\"/damaged\": data blob"));
    assert!(restored.warnings[1].starts_with("\"/last\": data blob"));
    assert_eq!(fs::read(scratch.path("target/damaged")).unwrap(), b"begin\0\0\0\0\0\0end");
    assert_eq!(fs::read(scratch.path("target/good")).unwrap(), b"beginend");
    assert_eq!(fs::read(scratch.path("target/last")).unwrap(), b"\0\0\0\0\0\0last");
    // Nobody is to take them for whole because of their time.
    assert_ne!(fs::metadata(scratch.path("target/damaged")).unwrap().mtime(), 0);
    assert_eq!(restored.outcome.files_restored, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lengths_in_the_index_do_no_harm() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let blobs: Vec<_> = (0..4).map(|seed| noise(seed, 10_000)).collect();
    let node = hand.file("f", &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let tree = hand.tree(vec![node]);
    hand.finish().await;
    // The same index, but that it says that the second blob is shorter than it is.
    let index = scratch.index().await;
    let builder = Builder::new(2);
    let mut packs: Vec<PackBlobs> = index.packs().iter().collect();
    for entry in packs.iter_mut().flat_map(|pack| &mut pack.blobs) {
        if entry.handle.id == Id::of(&blobs[1]) {
            entry.uncompressed_length = 9000;
        }
    }
    builder.add_file(Id::of(b"lie"), &IndexFile { packs }.encode()).unwrap();
    let lying = Arc::new(builder.finish());
    let whole = blobs.concat();
    let target = scratch.path("target/f");
    scratch.restore_with(Arc::clone(&lying), tree, |restore| restore.verify = true).await.good();
    assert!(fs::read(&target).unwrap() == whole);
    // Now the third blob is where a believer in the index would look for it.
    let mut trap = whole.clone();
    trap[10_000..20_000].fill(7);
    trap[19_000..29_000].copy_from_slice(&blobs[2]);
    fs::write(&target, &trap).unwrap();
    scratch.restore_with(lying, tree, |restore| restore.verify = true).await.good();
    assert!(fs::read(&target).unwrap() == whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_a_lie_is_told_of_and_the_content_is_whole() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let node = with!(hand.file("f", &[b"content"]), size: 3);
    let tree = hand.tree(vec![node]);
    hand.finish().await;
    scratch.restore(tree, |_| {}).await.warned("it has 7 bytes, not 3");
    assert_eq!(fs::read(scratch.path("target/f")).unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_one_file_are_linked_but_only_if_it_is_one_file() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let mut linked =
        |name: &str, content: &[u8]| with!(hand.file(name, &[content]), inode: 5, links: 2);
    let (one, two) = (linked("a", b"same"), linked("b", b"same"));
    let impostor = linked("c", b"different");
    let elsewhere = with!(linked("d", b"same"), device_id: 9);
    let folder = hand.folder("f", vec![two]);
    let tree = hand.tree(vec![one, folder, impostor, elsewhere]);
    hand.finish().await;
    let restored = scratch.restore(tree, |_| {}).await.good();
    let inode = |name: &str| fs::metadata(scratch.path(name)).unwrap().ino();
    assert_eq!(inode("target/a"), inode("target/f/b"));
    assert_ne!(inode("target/a"), inode("target/d"));
    assert_eq!(fs::read(scratch.path("target/c")).unwrap(), b"different");
    assert_eq!(restored.outcome.files_restored, 5);
    let again = scratch.restore(tree, |_| {}).await.good();
    assert_eq!(again.action("/a"), Some(ItemAction::Unchanged));
    assert_eq!(inode("target/a"), inode("target/f/b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_a_batch_holds_come_back() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let mut nodes = Vec::new();
    for number in 0..3u32 {
        let files = (0..5000u32)
            .map(|i| hand.file(format!("{i:04}"), &[&(i % 100).to_le_bytes()]))
            .collect();
        let folder = hand.folder(format!("{number}"), files);
        nodes.push(
            with!(folder, mode: mode(0o040_555), mtime: "2001-02-03T04:05:06Z".parse().unwrap()),
        );
    }
    let tree = hand.tree(nodes);
    hand.finish().await;
    let restored = scratch.restore(tree, |restore| restore.verify = true).await.good();
    assert_eq!(
        restored.outcome,
        Outcome {
            total_files: 15_003,
            files_restored: 15_003,
            total_bytes: 60_000,
            bytes_restored: 60_000,
            files_verified: 15_000,
            ..Outcome::default()
        }
    );
    for number in 0..3 {
        let folder = scratch.path(&format!("target/{number}"));
        let status = fs::metadata(&folder).unwrap();
        assert_eq!((status.mode(), status.mtime()), (0o040_555, 981_173_106));
        assert_eq!(fs::read(folder.join("4999")).unwrap(), 99u32.to_le_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_deeper_than_a_path_may_be_come_back() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let name = "d".repeat(200);
    let mut node = hand.file("bottom", &[b"deep"]);
    for _ in 0..50 {
        node = hand.folder(&name, vec![node]);
    }
    let tree = hand.tree(vec![node]);
    hand.finish().await;
    let restored = scratch.restore(tree, |restore| restore.verify = true).await.good();
    assert_eq!(restored.outcome.files_restored, 51);
    assert_eq!(restored.outcome.files_verified, 1);
    // The standard library can remove it, but not look at it.
    let mut path = scratch.path("target");
    path.extend([&name; 10]);
    assert!(path.is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_come_back_where_that_is_allowed() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let null = with!(Node::new("null", NodeType::CharDev), device: 0x103, mode: mode(0o020_666));
    let tree = hand.tree(vec![null]);
    hand.finish().await;
    let restored = scratch.restore(tree, |_| {}).await;
    match rustix::process::geteuid().is_root() && restored.outcome.errors == 0 {
        true => {
            let status = fs::symlink_metadata(scratch.path("target/null")).unwrap();
            assert_eq!((status.rdev(), status.mode()), (0x103, 0o020_666));
        }
        false => drop(restored.warned("\"/null\": make")),
    }
}
