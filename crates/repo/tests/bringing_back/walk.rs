//! Walking through a snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use restic_repo::backend::mem::Mem;
use restic_repo::backend::{Backend, BackendError, Extent, FileInfo, Properties};

use restic_repo::node::{Node, NodeType};
use restic_repo::progress::Silent;
use restic_repo::walk::{MAX_DEPTH, Step, Walk, find_path};
use restic_repo::{BlobHandle, Error, FileType, Handle, Id};

use crate::scratch::{ByHand, Scratch, init, link, with};

async fn steps(mut walk: Walk) -> Vec<String> {
    let mut steps = Vec::new();
    while let Some(step) = walk.next().await {
        steps.push(match step {
            Step::Entry { path, .. } => path.display().to_string(),
            Step::Unreadable { path, error } => format!("{}: {error}", path.display()),
            Step::Leave { path } => format!("< {}", path.display()),
        });
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_comes_to_everything_in_the_order_of_names() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let inner = vec![hand.file("z", &[]), hand.folder("empty", vec![])];
    let nodes = vec![
        hand.file("b", &[]),
        hand.folder("a", inner),
        hand.folder("a.b", vec![link("l", "x")]),
        hand.file(b"\xff", &[]),
    ];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let index = scratch.index().await;
    let walk = Walk::new(&scratch.repository, Arc::clone(&index), tree, Path::new("/"));
    let all = [
        "/a",
        "/a/empty",
        "< /a/empty",
        "/a/z",
        "< /a",
        "/a.b",
        "/a.b/l",
        "< /a.b",
        "/b",
        "/\u{fffd}",
        "< /",
    ];
    assert_eq!(steps(walk).await, all);
    let walk = Walk::new(&scratch.repository, index, tree, Path::new("/top"));
    let walk = walk.descend_if(|path, _| path != Path::new("/top/a"));
    let some =
        ["/top/a", "/top/a.b", "/top/a.b/l", "< /top/a.b", "/top/b", "/top/\u{fffd}", "< /top"];
    assert_eq!(steps(walk).await, some);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_through_many_folders_asks_for_many_at_a_time() {
    let backend = Arc::new(Busy::default());
    let repository = init(backend.clone()).await;
    let index = Arc::new(repository.load_index(&Silent).await.unwrap());
    let mut hand = ByHand::new(&repository, index);
    let mut nodes = Vec::new();
    for outer in 0..20u32 {
        let mut inner = Vec::new();
        for number in 0..20u32 {
            // So many chunks that the folders are not close together in their pack.
            let chunks =
                (0..200u32).map(|n| Id::of(&[outer, number, n].map(u32::to_le_bytes).concat()));
            let file = Node::new(format!("{outer}-{number}").as_str(), NodeType::File);
            let file = with!(file, content: Some(chunks.collect()));
            inner.push(hand.folder(format!("{number:02}"), vec![file]));
        }
        nodes.push(hand.folder(format!("{outer:02}"), inner));
    }
    let tree = hand.tree(nodes);
    hand.finish().await;
    let index = Arc::new(repository.load_index(&Silent).await.unwrap());
    backend.most.store(0, Ordering::SeqCst);
    let walk = Walk::new(&repository, index, tree, Path::new("/"));
    let steps = steps(walk).await;
    // Several requests for each connection: it is latency that counts.
    let most = backend.most.load(Ordering::SeqCst);
    assert!(most >= 16, "{most} requests at a time");
    assert_eq!(steps.len(), 20 + 20 * 20 * 3 + 20 + 1);
    let mut paths: Vec<PathBuf> =
        steps.iter().filter(|step| step.starts_with('/')).map(PathBuf::from).collect();
    assert!(paths.is_sorted());
    paths.dedup();
    assert_eq!(paths.len(), 20 + 20 * 20 * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_inside_each_other_are_not_asked_for_one_by_one() {
    let backend = Arc::new(Busy::default());
    let repository = init(backend.clone()).await;
    let index = Arc::new(repository.load_index(&Silent).await.unwrap());
    let mut hand = ByHand::new(&repository, index);
    let disk = hand.file("disk.0", &[]);
    let names = ["var", "lib", "one", "datastores", "100", "7", "backup"];
    let folder = |nodes, name: &&str| vec![hand.folder(*name, nodes)];
    let nodes = names.iter().rev().fold(vec![disk], folder);
    let tree = hand.tree(nodes);
    hand.finish().await;
    let index = Arc::new(repository.load_index(&Silent).await.unwrap());
    let path = Path::new("/var/lib/one/datastores/100/7/backup/disk.0");
    // Two: what was packed by chance in two halves, each of which has the inner folders first.
    let loads = || backend.loads.swap(0, Ordering::SeqCst);
    loads();
    assert_eq!(
        find_path(&repository, &index, tree, path).await.unwrap().name.as_bytes(),
        b"disk.0"
    );
    assert!((1..=2).contains(&loads()));
    let all = steps(Walk::new(&repository, index, tree, Path::new("/"))).await;
    assert_eq!(all[names.len()], path.to_str().unwrap());
    assert!((1..=2).contains(&loads()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_read_is_told_of_and_the_rest_goes_on() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let gone = with!(Node::new("gone", NodeType::Dir), subtree: Some(Id::of(b"gone")));
    let garbage = hand.json(b"{\"nodes\":[{]}");
    let garbage = with!(Node::new("garbage", NodeType::Dir), subtree: Some(garbage));
    let none = Node::new("none", NodeType::Dir);
    let good = hand.folder("other", vec![link("l", "x")]);
    let tree = hand.tree(vec![gone, garbage, none, good]);
    hand.finish().await;
    let walk = Walk::new(&scratch.repository, scratch.index().await, tree, Path::new("/"));
    let steps = steps(walk).await;
    let texts = [
        "/garbage",
        "/garbage: tree blob",
        "< /garbage",
        "/gone",
        "/gone: tree blob",
        "< /gone",
        "/none",
        "/none: \"/none\" is not",
        "< /none",
        "/other",
        "/other/l",
        "< /other",
        "< /",
    ];
    assert_eq!(steps.len(), texts.len(), "{steps:?}");
    for (step, text) in steps.iter().zip(texts) {
        assert!(step.starts_with(text), "{step} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_elsewhere_stay_below_their_folder() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let inner = hand.file("x", &[]);
    let nodes = vec![hand.folder("/etc", vec![inner]), link("..", "x"), link("", "x")];
    let tree = hand.tree(nodes);
    hand.finish().await;
    let walk = Walk::new(&scratch.repository, scratch.index().await, tree, Path::new("/a"));
    assert_eq!(steps(walk).await, ["/a/", "/a/..", "/a//etc", "/a//etc/x", "< /a//etc", "< /a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_does_not_go_down_for_ever() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let mut nodes = vec![link("bottom", "x")];
    for _ in 0..=MAX_DEPTH {
        nodes = vec![hand.folder("d", nodes)];
    }
    let tree = hand.tree(nodes);
    hand.finish().await;
    let walk = Walk::new(&scratch.repository, scratch.index().await, tree, Path::new("/"));
    let steps = steps(walk).await;
    let deepest = steps.iter().find(|step| step.contains("too deep")).unwrap();
    assert!(deepest.starts_with("/d/d/d"));
    assert_eq!(steps.last().unwrap(), "< /");
    assert!(!steps.iter().any(|step| step.contains("bottom")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_found_or_it_is_told_why_not() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let file = hand.file("file", &[b"content"]);
    let inner = hand.folder("inner", vec![file.clone(), link("link", "file")]);
    let tree = {
        let outer = hand.folder("outer", vec![inner.clone()]);
        hand.tree(vec![outer])
    };
    hand.finish().await;
    let index = scratch.index().await;
    let find =
        async |path: &str| find_path(&scratch.repository, &index, tree, Path::new(path)).await;
    assert_eq!(find("/").await.unwrap().subtree, Some(tree));
    assert_eq!(find("/outer/inner").await.unwrap().subtree, inner.subtree);
    for path in [
        "/outer/inner/file",
        "outer//inner/./file",
        "/outer/x/../inner/file",
        "/../outer/inner/file/",
    ] {
        assert_eq!(find(path).await.unwrap().content, file.content, "{path}");
    }
    let missing = find("/outer/none/file").await.unwrap_err();
    assert!(matches!(missing, Error::PathNotFound { path } if path == Path::new("/outer/none")));
    for through in ["/outer/inner/file/x", "/outer/inner/link/x"] {
        let error = find(through).await.unwrap_err();
        assert!(matches!(error, Error::WrongNodeType { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tree_that_comes_is_verified() {
    let scratch = Scratch::new().await;
    let mut hand = scratch.by_hand().await;
    let folder = hand.folder("f", vec![link("l", "x")]);
    let tree = hand.tree(vec![folder.clone()]);
    hand.finish().await;
    let index = scratch.index().await;
    let handle = BlobHandle::tree(folder.subtree.unwrap());
    let location = index.lookup(&handle).next().unwrap();
    scratch.backend.alter(&Handle::new(FileType::Pack, location.pack), |pack| {
        pack[location.entry.offset as usize + 20] ^= 1;
    });
    let walk = Walk::new(&scratch.repository, index, tree, Path::new("/"));
    let steps = steps(walk).await;
    assert!(steps[1].starts_with("/f: "), "{steps:?}");
    assert!(!steps.iter().any(|step| step == "/f/l"));
}

/// Far away, and remembers how many files it was asked for at a time.
#[derive(Debug, Default)]
struct Busy {
    files: Mem,
    loads: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Backend for Busy {
    fn properties(&self) -> Properties {
        Properties { connections: 5, ..self.files.properties() }
    }

    async fn create(&self) -> Result<(), BackendError> {
        self.files.create().await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.files.load(handle, extent).await
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        self.files.save(handle, data).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        self.files.stat(handle).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        self.files.list(file_type).await
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        self.files.remove(handle).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        self.files.free_space().await
    }
}
