//! A repository in memory, a folder on disk, and snapshots made by hand.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use restic_repo::archiver::Backup;
use restic_repo::backend::Backend;
use restic_repo::backend::mem::Mem;
use restic_repo::codec::Encoder;
use restic_repo::identity::Identity;
use restic_repo::index::Index;
use restic_repo::key::{Password, ScryptParams};
use restic_repo::node::{Node, NodeType};
use restic_repo::packer::Packer;
use restic_repo::progress::{Item, ItemAction, Progress, Silent, Warning};
use restic_repo::repository::{InitOptions, Options, Repository};
use restic_repo::restorer::{Outcome, Restore};
use restic_repo::tree::Tree;
use restic_repo::{BlobHandle, BlobType, Id};

/// A node with some fields changed; it has others that only the library sees.
macro_rules! with {
    ($node:expr, $($field:ident: $value:expr),+) => {{
        let mut node: restic_repo::node::Node = $node;
        $(node.$field = $value;)+
        node
    }};
}
pub(crate) use with;

pub struct Scratch {
    pub backend: Mem,
    pub repository: Repository,
    folder: restic_oracle::Scratch,
}

impl Scratch {
    pub async fn new() -> Self {
        let backend = Mem::new();
        let repository = init(Arc::new(backend.clone())).await;
        let folder = restic_oracle::Scratch::new();
        folder.folder("work");
        Self { backend, repository, folder }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    pub async fn index(&self) -> Arc<Index> {
        Arc::new(self.repository.load_index(&Silent).await.unwrap())
    }

    /// Backs a folder up, and gives the tree of what is in it.
    pub async fn back_up(&self, folder: &Path) -> Id {
        let identity = Identity::current();
        let backup = Backup::of_paths(vec![folder.to_owned()], identity);
        let index = self.repository.load_index(&Silent).await.unwrap();
        let outcome = backup.run(&self.repository, index, Arc::new(Silent)).await.unwrap();
        assert_eq!(outcome.unreadable, 0);
        let index = self.index().await;
        let node =
            restic_repo::walk::find_path(&self.repository, &index, outcome.snapshot.tree, folder)
                .await
                .unwrap();
        node.subtree.unwrap()
    }

    /// Begins a snapshot made by hand.
    pub async fn by_hand(&self) -> ByHand {
        ByHand::new(&self.repository, self.index().await)
    }

    /// Restores what is in a tree to the folder "target".
    pub async fn restore(&self, tree: Id, change: impl FnOnce(&mut Restore)) -> Restored {
        self.restore_with(self.index().await, tree, change).await
    }

    pub async fn restore_with(
        &self,
        index: Arc<Index>,
        tree: Id,
        change: impl FnOnce(&mut Restore),
    ) -> Restored {
        let mut restore = Restore::new(self.path("target"));
        change(&mut restore);
        let log = Arc::new(Log::default());
        let progress: Arc<dyn Progress> = log.clone();
        let outcome = restore.run(&self.repository, index, tree, progress).await.unwrap();
        let log = Arc::into_inner(log).unwrap();
        let restored = Restored {
            outcome,
            warnings: log.warnings.into_inner().unwrap(),
            items: log.items.into_inner().unwrap(),
        };
        assert_eq!(restored.outcome.errors, restored.warnings.len() as u64);
        restored
    }
}

pub async fn init(backend: Arc<dyn Backend>) -> Repository {
    let cheap = ScryptParams { n: 2, r: 1, p: 1 };
    let init = InitOptions { scrypt: Some(cheap), ..InitOptions::new(Identity::current()) };
    let options = Options { workers: 2, ..Options::default() };
    Repository::init(backend, &Password::new("geheim"), init, options).await.unwrap()
}

/// A snapshot made by hand, as a hostile program may make it.
pub struct ByHand {
    packer: Packer,
    encoder: Encoder,
    sealed: Vec<u8>,
}

impl ByHand {
    pub fn new(repository: &Repository, index: Arc<Index>) -> Self {
        let packer = Packer::new(repository, index, false);
        Self { packer, encoder: repository.encoder().unwrap(), sealed: Vec::new() }
    }

    pub fn data(&mut self, content: &[u8]) -> Id {
        self.blob(BlobType::Data, content)
    }

    /// A node for a file of these blobs.
    pub fn file(&mut self, name: impl AsRef<[u8]>, blobs: &[&[u8]]) -> Node {
        let content = blobs.iter().map(|blob| self.data(blob)).collect();
        let size = blobs.iter().map(|blob| blob.len() as u64).sum();
        let node = Node::new(name.as_ref(), NodeType::File);
        with!(node, content: Some(content), size: size, mode: mode(0o644), links: 1)
    }

    pub fn folder(&mut self, name: impl AsRef<[u8]>, nodes: Vec<Node>) -> Node {
        let subtree = Some(self.tree(nodes));
        with!(Node::new(name.as_ref(), NodeType::Dir), subtree: subtree, mode: mode(0o755))
    }

    pub fn tree(&mut self, nodes: Vec<Node>) -> Id {
        let json = Tree::from_nodes(nodes).unwrap().encode();
        self.json(&json)
    }

    /// A tree that nobody should write.
    pub fn json(&mut self, json: &[u8]) -> Id {
        self.blob(BlobType::Tree, json)
    }

    fn blob(&mut self, blob_type: BlobType, content: &[u8]) -> Id {
        let handle = BlobHandle { blob_type, id: Id::of(content) };
        let Self { packer, encoder, sealed } = self;
        tokio::task::block_in_place(|| packer.save(encoder, handle, content, sealed)).unwrap();
        handle.id
    }

    pub async fn finish(self) {
        self.packer.finish().await.unwrap();
    }
}

pub fn link(name: &str, target: &str) -> Node {
    let node = Node::new(name, NodeType::Symlink);
    with!(node, link_target: target.into(), mode: mode(0o120_777), links: 1)
}

pub fn mode(unix: u32) -> restic_repo::node::Mode {
    restic_repo::node::Mode::from_unix(if unix < 0o10_000 { unix | 0o100_000 } else { unix })
}

/// What became of a restore, and all that it said.
#[derive(Debug)]
pub struct Restored {
    pub outcome: Outcome,
    pub warnings: Vec<String>,
    items: Vec<(PathBuf, ItemAction)>,
}

impl Restored {
    /// Nothing went wrong.
    pub fn good(self) -> Self {
        assert_eq!(self.warnings, Vec::<String>::new());
        self
    }

    /// This went wrong, and nothing else.
    pub fn warned(self, text: &str) -> Self {
        assert!(matches!(&self.warnings[..], [one] if one.contains(text)), "{:?}", self.warnings);
        self
    }

    pub fn action(&self, path: &str) -> Option<ItemAction> {
        let found = self.items.iter().find(|(at, _)| at == Path::new(path));
        found.map(|(_, action)| *action)
    }
}

#[derive(Default)]
struct Log {
    warnings: Mutex<Vec<String>>,
    items: Mutex<Vec<(PathBuf, ItemAction)>>,
}

impl Progress for Log {
    fn warn(&self, warning: &Warning<'_>) {
        let text = match warning {
            Warning::NotRestored { path, error } => format!("{path:?}: {error}"),
            other => format!("{other:?}"),
        };
        self.warnings.lock().unwrap().push(text);
    }

    fn item(&self, item: &Item<'_>) {
        self.items.lock().unwrap().push((item.path.to_owned(), item.action));
    }
}

/// Bytes that look like chance, and are always the same.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
