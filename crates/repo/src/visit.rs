//! Every tree of some snapshots, each once.
//!
//! Check, statistics and prune look at all trees, and do not care for their order. So trees are read
//! as they come: many at a time, neighbours with one request, decoded on all threads. A repository may
//! have millions of them; what is remembered of each is one bit.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::blob::{BlobHandle, BlobLocation};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::NodeType;
use crate::repository::Repository;
use crate::tree::Tree;
use crate::used::UsedBlobs;
pub(crate) use loader::{Loaded, TreeLoader};

mod loader;
mod window;

/// How many trees are handed to a thread at once: that costs as much as decoding a small tree.
const BATCH: usize = 64;
/// How many sealed bytes are in a batch, unless one tree alone has more.
const BATCH_BYTES: u64 = 1 << 20;
/// How many sealed bytes may be under way. The tree of a folder with a large disk image names all of
/// its blobs, so a single tree may have tens of megabytes.
const BUDGET: u64 = 32 << 20;

/// Loads every tree below `roots` that is not in `used` yet, adds it there, and shows it to `look`: the
/// tree, or why it cannot be had. What is below an unreadable tree remains unknown.
///
/// `look` is called from several threads at a time; its error ends the visit. `root_done` is called
/// whenever all below one of the roots was seen.
pub(crate) async fn every_tree<F>(
    repository: &Repository,
    index: &Arc<Index>,
    roots: &[Id],
    used: &UsedBlobs,
    look: F,
    root_done: impl Fn(),
) -> Result<()>
where
    F: Fn(Id, Result<Tree>) -> Result<()> + Send + Sync + 'static,
{
    let visit = Arc::new(Visit { loader: TreeLoader::new(repository, index), look });
    let mut backlog = Backlog::new(roots);
    let mut running: JoinSet<Result<(u64, Vec<Visited>)>> = JoinSet::new();
    let mut under_way = 0;
    loop {
        while running.len() < repository.parallel_requests() && under_way < BUDGET {
            let batch = backlog.next(index, used, &root_done);
            if batch.is_empty() {
                break;
            }
            let bytes = batch.iter().map(Wanted::stored).sum::<u64>();
            under_way += bytes;
            let visit = Arc::clone(&visit);
            running.spawn(async move { Ok((bytes, visit.visit(batch).await?)) });
        }
        let Some(ended) = running.join_next().await else { return Ok(()) };
        let (bytes, visited) = match ended {
            Ok(visited) => visited?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::Cancelled),
        };
        under_way -= bytes;
        for tree in visited {
            backlog.visited(tree, &root_done);
        }
    }
}

/// A tree to be loaded.
struct Wanted {
    id: Id,
    /// The number of the root it was first met under.
    root: usize,
    /// Where it is; nowhere, if the index lacks it.
    place: Option<BlobLocation>,
}

impl Wanted {
    /// How many bytes it has in its pack.
    fn stored(&self) -> u64 {
        self.place.map_or(0, |place| place.entry.length.into())
    }
}

/// A tree that was loaded.
struct Visited {
    root: usize,
    subtrees: Vec<Id>,
}

/// The trees to come. The last to come in is the first to go out, so that one folder is finished before
/// the next is begun, and few are waiting.
struct Backlog {
    waiting: Vec<(Id, usize)>,
    /// How many trees below each root are waiting or under way.
    open: Vec<usize>,
}

impl Backlog {
    fn new(roots: &[Id]) -> Self {
        let waiting = roots.iter().copied().enumerate().map(|(root, id)| (id, root)).rev();
        Self { waiting: waiting.collect(), open: vec![1; roots.len()] }
    }

    /// The next trees that were not seen before, and marks them as seen.
    fn next(&mut self, index: &Index, used: &UsedBlobs, root_done: &impl Fn()) -> Vec<Wanted> {
        // While few are waiting, each of them goes its own way.
        let most = (self.waiting.len() / 8).clamp(1, BATCH);
        let mut batch = Vec::with_capacity(most);
        let mut bytes = 0;
        while batch.len() < most
            && bytes < BATCH_BYTES
            && let Some((id, root)) = self.waiting.pop()
        {
            let handle = BlobHandle::tree(id);
            if !used.insert(&handle) {
                self.close(root, root_done);
                continue;
            }
            let wanted = Wanted { id, root, place: index.lookup(&handle).next() };
            bytes += wanted.stored();
            batch.push(wanted);
        }
        batch
    }

    fn visited(&mut self, tree: Visited, root_done: &impl Fn()) {
        let Visited { root, subtrees } = tree;
        self.open[root] += subtrees.len();
        self.waiting.extend(subtrees.into_iter().rev().map(|id| (id, root)));
        self.close(root, root_done);
    }

    fn close(&mut self, root: usize, root_done: &impl Fn()) {
        self.open[root] -= 1;
        if self.open[root] == 0 {
            root_done();
        }
    }
}

struct Visit<F> {
    loader: TreeLoader,
    look: F,
}

impl<F> Visit<F>
where
    F: Fn(Id, Result<Tree>) -> Result<()> + Send + Sync + 'static,
{
    async fn visit(self: Arc<Self>, batch: Vec<Wanted>) -> Result<Vec<Visited>> {
        let places: Vec<_> = batch.iter().map(|wanted| wanted.place).collect();
        let sealed = self.loader.windows.load(&places).await;
        let this = Arc::clone(&self);
        let (mut visited, left) =
            self.loader.benches.work(move |bench| this.decode(batch, sealed, bench)).await?;
        for Wanted { id, root, .. } in left {
            let tree = self.loader.load_elsewhere(id).await;
            visited.push(self.show(id, root, tree)?);
        }
        Ok(visited)
    }

    /// Decodes what was loaded. Returns what was not, or does not decode, for another try.
    fn decode(
        &self,
        batch: Vec<Wanted>,
        sealed: Vec<Option<Bytes>>,
        bench: &mut Bench,
    ) -> Result<(Vec<Visited>, Vec<Wanted>)> {
        let mut visited = Vec::with_capacity(batch.len());
        let mut left = Vec::new();
        for (wanted, sealed) in batch.into_iter().zip(sealed) {
            match loader::decode(wanted.place.as_ref(), sealed, bench) {
                Some(tree) => visited.push(self.show(wanted.id, wanted.root, Ok(tree))?),
                None => left.push(wanted),
            }
        }
        Ok((visited, left))
    }

    fn show(&self, id: Id, root: usize, tree: Result<Tree>) -> Result<Visited> {
        let subtrees = tree.as_ref().map_or_else(|_| Vec::new(), subtrees);
        (self.look)(id, tree)?;
        Ok(Visited { root, subtrees })
    }
}

/// The trees of a tree's folders. An id of nothing but zeros names none; that is for `look` to find.
fn subtrees(tree: &Tree) -> Vec<Id> {
    let folders = tree.nodes().iter().filter(|node| node.node_type == NodeType::Dir);
    folders.filter_map(|node| node.subtree).filter(|id| *id != Id::default()).collect()
}
