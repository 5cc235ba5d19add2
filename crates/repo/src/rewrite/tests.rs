//! Tests of rewriting, in repositories made by hand.

use std::collections::BTreeMap;

use super::*;
use crate::filter::{Case, Filter, PatternList};
use crate::handle::FileType;
use crate::progress::Silent;
use crate::workshop::{Piece, Workshop, data, file, folder, raw_tree, tree};

/// Keeps everything, and remembers what it was shown.
#[derive(Default)]
struct Watch {
    shown: Arc<Mutex<Vec<String>>>,
    everywhere: bool,
}

impl Visitor for Watch {
    fn node(&self, path: &Path, _: &Node) -> Fate {
        self.shown.lock().unwrap().push(path.display().to_string());
        Fate::Keep
    }

    fn looks_at_paths(&self) -> bool {
        self.everywhere
    }
}

/// Drops all files.
struct WithoutFiles;

impl Visitor for WithoutFiles {
    fn node(&self, _: &Path, node: &Node) -> Fate {
        if node.node_type == NodeType::File { Fate::Drop } else { Fate::Keep }
    }
}

fn except(patterns: &[&str]) -> Select<impl Fn(&Path, &Node, bool) + use<>> {
    let filter = Filter::Except(vec![PatternList::parse(patterns, Case::Sensitive).unwrap()]);
    Select { filter, tell: |_: &Path, _: &Node, _| {} }
}

fn only(patterns: &[&str]) -> Select<impl Fn(&Path, &Node, bool) + use<>> {
    let filter = Filter::Only(vec![PatternList::parse(patterns, Case::Sensitive).unwrap()]);
    Select { filter, tell: |_: &Path, _: &Node, _| {} }
}

/// A repository with `/a/{one,two}`, `/b/{one,two}` with the same tree as `/a`, and `/c/d/three`.
struct Sample {
    workshop: Workshop,
    root: Id,
}

async fn sample() -> Sample {
    let workshop = Workshop::new().await;
    let (one, two, three) = (data(*b"1"), data(*b"22"), data(*b"333"));
    let ab = tree(vec![file("one", &[&one]), file("two", &[&two])]);
    let d = tree(vec![file("three", &[&three])]);
    let c = tree(vec![folder("d", &d)]);
    let root = tree(vec![folder("a", &ab), folder("b", &ab), folder("c", &c)]);
    let (id, pieces) = (root.handle.id, [ab, d, c, root]);
    let packs = [workshop.pack([one, two, three]), workshop.pack(pieces)];
    workshop.index(packs).await;
    Sample { workshop, root: id }
}

impl Sample {
    async fn rewriter<V: Visitor>(&self, visitor: V, dry_run: bool) -> Rewriter<V> {
        let index = self.workshop.repository.load_index(&Silent).await.unwrap();
        Rewriter::new(&self.workshop.repository, Arc::new(index), visitor, dry_run)
    }

    /// What a snapshot of this root holds, as somebody sees it who opens the repository now.
    async fn files(&self, root: Id) -> BTreeMap<String, u64> {
        let repository = &self.workshop.repository;
        let index = repository.load_index(&Silent).await.unwrap();
        let mut files = BTreeMap::new();
        let mut waiting = vec![(String::new(), root)];
        while let Some((path, id)) = waiting.pop() {
            let tree = repository.load_tree(&index, id).await.unwrap();
            if tree.nodes().is_empty() {
                files.insert(format!("{path}/"), 0);
            }
            for node in tree.nodes() {
                let path = format!("{path}/{}", node.name);
                match node.subtree {
                    Some(subtree) => waiting.push((path, subtree)),
                    None => drop(files.insert(path, node.size)),
                }
            }
        }
        files
    }

    async fn packs(&self) -> usize {
        self.workshop.repository.list(FileType::Pack).await.unwrap().len()
    }
}

fn sizes(files: &[(&str, u64)]) -> BTreeMap<String, u64> {
    files.iter().map(|&(path, size)| (path.to_owned(), size)).collect()
}

#[tokio::test]
async fn what_is_not_changed_keeps_its_id_and_is_not_stored_again() {
    let sample = sample().await;
    let packs = sample.packs().await;
    let watch = Watch::default();
    let shown = Arc::clone(&watch.shown);
    let rewriter = sample.rewriter(watch, false).await;
    for _ in 0..2 {
        let rewritten = rewriter.rewrite(sample.root).await.unwrap();
        assert_eq!(rewritten, Rewritten { tree: Some(sample.root), files: 5, bytes: 9 });
    }
    assert_eq!(sample.packs().await, packs);
    let mut shown = shown.lock().unwrap().clone();
    shown.sort();
    // Where the path does not count, /a and /b may both be looked at if they are at the same time.
    shown.retain(|path| !path.starts_with("/a/") && !path.starts_with("/b/"));
    assert_eq!(shown, ["/a", "/b", "/c", "/c/d", "/c/d/three"], "a tree was looked at twice");
}

#[tokio::test]
async fn where_paths_count_each_place_of_a_tree_is_looked_at_once() {
    let sample = sample().await;
    let watch = Watch { everywhere: true, ..Watch::default() };
    let shown = Arc::clone(&watch.shown);
    let rewriter = sample.rewriter(watch, false).await;
    rewriter.rewrite(sample.root).await.unwrap();
    rewriter.rewrite(sample.root).await.unwrap();
    let mut shown = shown.lock().unwrap().clone();
    shown.sort();
    let expected = ["/a", "/a/one", "/a/two", "/b", "/b/one", "/b/two", "/c", "/c/d", "/c/d/three"];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn what_patterns_match_is_gone_and_nothing_else() {
    let sample = sample().await;
    let rewriter = sample.rewriter(except(&["/a/one", "three"]), false).await;
    let rewritten = rewriter.rewrite(sample.root).await.unwrap();
    assert_eq!((rewritten.files, rewritten.bytes), (3, 5));
    let left = sizes(&[("/a/two", 2), ("/b/one", 1), ("/b/two", 2), ("/c/d/", 0)]);
    assert_eq!(sample.files(rewritten.tree.unwrap()).await, left);
    assert_eq!(sample.files(sample.root).await.len(), 5, "the old tree is still there");
}

#[tokio::test]
async fn what_is_taken_stays_without_empty_folders_around_it() {
    let sample = sample().await;
    let rewriter = sample.rewriter(only(&["/b/two", "/c"]), false).await;
    let rewritten = rewriter.rewrite(sample.root).await.unwrap();
    let left = sizes(&[("/b/two", 2), ("/c/d/three", 3)]);
    assert_eq!(sample.files(rewritten.tree.unwrap()).await, left);
    let nothing = sample.rewriter(only(&["/x"]), false).await;
    assert_eq!(nothing.rewrite(sample.root).await.unwrap(), Rewritten::default());
}

#[tokio::test]
async fn a_dry_run_finds_the_same_and_stores_nothing() {
    let sample = sample().await;
    let before = sample.workshop.mem.files();
    let dry = sample.rewriter(except(&["one"]), true).await;
    let dry = dry.rewrite(sample.root).await.unwrap();
    assert_eq!(sample.workshop.mem.files(), before);
    let wet = sample.rewriter(except(&["one"]), false).await;
    assert_eq!(wet.rewrite(sample.root).await.unwrap(), dry);
    assert_ne!(sample.workshop.mem.files(), before);
}

#[tokio::test]
async fn a_tree_that_holds_more_than_we_can_write_is_left_or_refused_never_robbed() {
    let workshop = Workshop::new().await;
    let plain =
        String::from_utf8(tree(vec![file("one", &[]), file("two", &[])]).plaintext).unwrap();
    let strange = raw_tree(plain.replace("{\"nodes\"", "{\"future\":1,\"nodes\""));
    let root = tree(vec![folder("new", &strange), file("one", &[])]);
    let id = root.handle.id;
    workshop.index([workshop.pack([strange, root])]).await;
    let sample = Sample { workshop, root: id };
    let beside = sample.rewriter(except(&["/one"]), false).await;
    let rewritten = beside.rewrite(id).await.unwrap();
    assert_eq!(rewritten.files, 2);
    let within = sample.rewriter(except(&["/new/one"]), false).await;
    let refused = within.rewrite(id).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(why) if why.contains("\"/new\"")), "{refused}");
}

#[tokio::test]
async fn fields_of_the_future_go_along_where_a_node_is_changed() {
    let workshop = Workshop::new().await;
    let inner = tree(vec![file("one", &[]), file("two", &[])]);
    let plain = String::from_utf8(tree(vec![folder("a", &inner)]).plaintext).unwrap();
    let root = raw_tree(plain.replace("}]}", ",\"birth\":{\"x\": 1.0}}]}"));
    let id = root.handle.id;
    workshop.index([workshop.pack([inner, root])]).await;
    let sample = Sample { workshop, root: id };
    let rewriter = sample.rewriter(except(&["one"]), false).await;
    let new = rewriter.rewrite(sample.root).await.unwrap().tree.unwrap();
    assert_ne!(new, id);
    let repository = &sample.workshop.repository;
    let index = repository.load_index(&Silent).await.unwrap();
    let json = repository.load_blob(&index, BlobHandle::tree(new)).await.unwrap();
    assert!(String::from_utf8(json).unwrap().contains(",\"birth\":{\"x\": 1.0}}"));
}

#[tokio::test]
async fn a_lost_tree_stops_who_does_not_expect_it() {
    let sample = sample().await;
    let lost = Id::of(b"lost");
    let root = tree(vec![Node { subtree: Some(lost), ..Node::new("x", NodeType::Dir) }]);
    let id = root.handle.id;
    sample.workshop.index([sample.workshop.pack([root])]).await;
    let rewriter = sample.rewriter(Watch::default(), false).await;
    let error = rewriter.rewrite(id).await.unwrap_err();
    assert!(matches!(error, Error::BlobNotFound(handle) if handle == BlobHandle::tree(lost)));
}

#[tokio::test]
async fn a_very_deep_tree_is_rewritten_or_refused_without_harm() {
    let workshop = Workshop::new().await;
    let mut innermost = tree(vec![file("x", &[])]);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut roots = Vec::new();
    for depth in 0..4500 {
        let outer = tree(vec![folder("d", &innermost)]);
        if [2000, 4499].contains(&depth) {
            roots.push(outer.handle.id);
        }
        pieces.push(std::mem::replace(&mut innermost, outer));
    }
    pieces.push(innermost);
    workshop.index([workshop.pack(pieces)]).await;
    let sample = Sample { workshop, root: roots[0] };
    let rewriter = sample.rewriter(WithoutFiles, false).await;
    assert_eq!(rewriter.rewrite(sample.root).await.unwrap().files, 0);
    assert!(matches!(rewriter.rewrite(roots[1]).await, Err(Error::Refused(_))));
}

/// Mends a root, and gives what is left and what was told.
async fn mended(sample: &Sample, root: Id) -> (Rewritten, Vec<String>) {
    let index = Arc::new(sample.workshop.repository.load_index(&Silent).await.unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = {
        let told = Arc::clone(&told);
        move |path: &Path, fault: Fault<'_>| {
            let fault = format!("{fault:?}");
            let word = fault.split(['(', ' ']).next().unwrap_or_default().to_owned();
            told.lock().unwrap().push(format!("{} {word}", path.display()));
        }
    };
    let mend = Mend::new(Arc::clone(&index), tell);
    let rewriter = Rewriter::new(&sample.workshop.repository, index, mend, false);
    let rewritten = rewriter.rewrite(root).await.unwrap();
    let mut told = told.lock().unwrap().clone();
    told.sort();
    (rewritten, told)
}

#[tokio::test]
async fn mending_leaves_what_is_sound_and_names_what_is_not() {
    let workshop = Workshop::new().await;
    let (there, lost) = (data(*b"there"), data(*b"lost"));
    let lost_tree = tree(vec![file("never seen", &[])]);
    let sound = tree(vec![file("sound", &[&there])]);
    let root = tree(vec![
        folder("a-sound", &sound),
        folder("b-lost", &lost_tree),
        file("c-half", &[&there, &lost, &there]),
        Node { size: 77, ..file("d-size", &[&there]) },
        Node { content: None, ..file("e-no-list", &[]) },
        Node::new("f-irregular", NodeType::Irregular),
        Node::new("g-none", NodeType::default()),
        Node { subtree: None, ..folder("h-no-tree", &sound) },
        Node::new("i-door", NodeType::from("door")),
    ]);
    let id = root.handle.id;
    workshop.index([workshop.pack([there]), workshop.pack([sound, root])]).await;
    let sample = Sample { workshop, root: id };
    let (rewritten, told) = mended(&sample, id).await;
    let expected = [
        "/b-lost LostFolder",
        "/c-half MissingContent",
        "/d-size WrongSize",
        "/e-no-list WrongSize",
        "/f-irregular InvalidType",
        "/g-none InvalidType",
        "/h-no-tree LostFolder",
    ];
    assert_eq!(told, expected);
    let new = rewritten.tree.unwrap();
    let left = sizes(&[
        ("/a-sound/sound", 5),
        ("/b-lost/", 0),
        ("/c-half", 10),
        ("/d-size", 5),
        ("/e-no-list", 0),
        ("/h-no-tree/", 0),
        ("/i-door", 0),
    ]);
    assert_eq!(sample.files(new).await, left);
    assert_eq!(mended(&sample, new).await, (rewritten, vec![]), "what is mended stays as it is");
}

#[tokio::test]
async fn an_empty_folder_whose_tree_is_lost_gets_it_back() {
    let workshop = Workshop::new().await;
    let empty = tree(vec![]);
    let root = tree(vec![folder("empty", &empty)]);
    let id = root.handle.id;
    let lost = workshop.pack([empty]);
    let pack = lost.pack;
    workshop.index([lost, workshop.pack([root])]).await;
    workshop.repository.remove(FileType::Pack, pack).await.unwrap();
    let sample = Sample { workshop, root: id };
    let (rewritten, told) = mended(&sample, id).await;
    assert_eq!((rewritten.tree, told), (Some(id), vec!["/empty LostFolder".to_owned()]));
    assert_eq!(sample.files(id).await, sizes(&[("/empty/", 0)]));
}

#[tokio::test]
async fn a_lost_root_leaves_nothing() {
    let sample = sample().await;
    let (rewritten, told) = mended(&sample, Id::of(b"lost")).await;
    assert_eq!((rewritten, told), (Rewritten::default(), vec!["/ LostRoot".to_owned()]));
}

#[tokio::test]
async fn a_storage_that_cannot_be_reached_is_not_taken_for_loss() {
    use crate::backend::fault::{Fault as Failing, Operation, Rule};
    let sample = sample().await;
    let failing = Failing::new(sample.workshop.mem.clone());
    let repository = &sample.workshop.repository;
    let index = Arc::new(repository.load_index(&Silent).await.unwrap());
    let rule = Rule::fail(BackendErrorKind::Transient).on(Operation::Load).of(FileType::Pack);
    failing.inject(rule.always());
    let repository = repository.with_backend(Arc::new(failing));
    let mend = Mend::new(Arc::clone(&index), |_: &Path, _: Fault<'_>| {});
    let rewriter = Rewriter::new(&repository, index, mend, false);
    assert!(matches!(rewriter.rewrite(sample.root).await, Err(Error::Backend(_))));
}
