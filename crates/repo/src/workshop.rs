//! Repositories made by hand, for tests: sound ones, and any other kind.

use std::sync::Arc;

use crate::backend::mem::Mem;
use crate::blob::BlobHandle;
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::identity::Identity;
use crate::index::{IndexFile, PackBlobs};
use crate::key::{Password, ScryptParams};
use crate::node::{Node, NodeType};
use crate::pack::PackBuilder;
use crate::repository::{InitOptions, Options, Repository};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;
use crate::tree::Tree;

/// A repository in memory, into which anything can be put.
pub(crate) struct Workshop {
    pub(crate) mem: Mem,
    pub(crate) repository: Repository,
}

/// A blob to be packed: its name, its plaintext, and the length that the pack claims for that.
pub(crate) struct Piece {
    pub(crate) handle: BlobHandle,
    pub(crate) plaintext: Vec<u8>,
    pub(crate) claim: Option<u32>,
}

impl Workshop {
    /// An empty repository of version 2.
    pub(crate) async fn new() -> Self {
        Self::of_version(2).await
    }

    /// An empty repository.
    pub(crate) async fn of_version(version: u32) -> Self {
        let mem = Mem::new();
        let init = InitOptions {
            version,
            scrypt: Some(ScryptParams { n: 2, r: 1, p: 1 }),
            ..InitOptions::new(Identity::current())
        };
        let options = Options { workers: 2, ..Options::default() };
        let password = Password::new("geheim");
        let backend = Arc::new(mem.clone());
        let repository = Repository::init(backend, &password, init, options).await.unwrap();
        Self { mem, repository }
    }

    /// Packs blobs. The pack is stored, but in no index.
    pub(crate) fn pack(&self, pieces: impl IntoIterator<Item = Piece>) -> PackBlobs {
        let mut encoder = self.repository.encoder().unwrap();
        let mut builder = PackBuilder::default();
        let mut sealed = Vec::new();
        for Piece { handle, plaintext, claim } in pieces {
            let encoded = encoder.encode(handle, &plaintext, &mut sealed).unwrap();
            let claim = claim.unwrap_or(encoded.uncompressed_length);
            builder.push(handle, &sealed, claim).unwrap();
        }
        let pack = builder.finish(self.repository.key(), false).unwrap();
        self.mem.put(&Handle::new(FileType::Pack, pack.id), pack.bytes);
        PackBlobs { pack: pack.id, blobs: pack.entries }
    }

    /// Stores an index file.
    pub(crate) async fn index(&self, packs: impl IntoIterator<Item = PackBlobs>) -> Id {
        let file = IndexFile { packs: packs.into_iter().collect() };
        self.repository.save_unpacked(FileType::Index, &file.encode()).await.unwrap()
    }

    /// Stores a snapshot.
    pub(crate) async fn snapshot(&self, tree: Id) -> Id {
        let snapshot = Snapshot::new(Timestamp::now(), tree, vec!["/source".to_owned()]);
        self.repository.save_snapshot(&snapshot).await.unwrap()
    }

    /// Stores a snapshot whose root has these nodes; the blobs they need are stored by the caller.
    pub(crate) async fn snapshot_of(&self, nodes: Vec<Node>) -> Id {
        let tree = tree(nodes);
        let id = tree.handle.id;
        self.index([self.pack([tree])]).await;
        self.snapshot(id).await
    }

    /// A pack's file.
    pub(crate) fn alter_pack(&self, pack: Id, change: impl FnOnce(&mut Vec<u8>)) {
        self.mem.alter(&Handle::new(FileType::Pack, pack), change);
    }
}

/// A data blob.
pub(crate) fn data(content: impl Into<Vec<u8>>) -> Piece {
    let plaintext = content.into();
    Piece { handle: BlobHandle::data(Id::of(&plaintext)), plaintext, claim: None }
}

/// The tree blob of a folder with these nodes, in this order.
pub(crate) fn tree(nodes: Vec<Node>) -> Piece {
    let nodes: Vec<String> = nodes
        .into_iter()
        .map(|node| {
            let json = Tree::from_nodes(vec![node]).unwrap().encode();
            let json = String::from_utf8(json).unwrap();
            json.trim_end().strip_prefix("{\"nodes\":[").unwrap().strip_suffix("]}").unwrap().into()
        })
        .collect();
    raw_tree(format!("{{\"nodes\":[{}]}}\n", nodes.join(",")))
}

/// A tree blob of any text.
pub(crate) fn raw_tree(json: impl Into<Vec<u8>>) -> Piece {
    let plaintext = json.into();
    Piece { handle: BlobHandle::tree(Id::of(&plaintext)), plaintext, claim: None }
}

/// A file that consists of these blobs.
pub(crate) fn file(name: &str, content: &[&Piece]) -> Node {
    let size = content.iter().map(|piece| piece.plaintext.len() as u64).sum();
    let content = content.iter().map(|piece| piece.handle.id).collect();
    Node { content: Some(content), size, links: 1, inode: 1, ..Node::new(name, NodeType::File) }
}

/// A folder.
pub(crate) fn folder(name: &str, tree: &Piece) -> Node {
    Node { subtree: Some(tree.handle.id), ..Node::new(name, NodeType::Dir) }
}

/// Bytes that do not compress, other ones for each number.
pub(crate) fn noise(number: u32, length: usize) -> Vec<u8> {
    let blocks =
        (0u32..).flat_map(|i| *Id::of(&[number, i].map(u32::to_le_bytes).concat()).as_bytes());
    blocks.take(length).collect()
}
