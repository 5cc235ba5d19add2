//! Backup: files and folders into packs, trees and a snapshot.
//!
//! Worker threads take the next step of the walk, or the next chunk of an open file, under a mutex;
//! everything that costs time (hashing, compressing, sealing) they do side by side. So a single large
//! disk image keeps every processor busy, and so do many small files; and no more is in memory than what
//! the workers hold and what waits to be stored.
//!
//! A folder is stored when the last of its entries is, by whoever brought that one in. The snapshot is
//! stored when all packs and index files are: what it refers to is there, whatever happens.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::chunker::Chunker;
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::id::Id;
use crate::identity::Identity;
use crate::index::Index;
use crate::node::{Ignored, Name, Node, NodeReader, Reading};
use crate::packer::Packer;
use crate::progress::{Phase, Progress, Warning};
use crate::repository::Repository;
use crate::snapshot::{Snapshot, Summary};
use crate::time::Timestamp;
use crate::tree::Tree;

mod file;
mod folder;
mod jobs;
mod scan;
mod stdin;
mod targets;
#[cfg(test)]
mod tests;
mod walk;
mod worker;

pub use scan::scan;

use jobs::Jobs;
use targets::Targets;
use walk::Walk;
use worker::Work;

/// Decides what is left out. restic's `--exclude` and its kin are such filters.
pub trait Filter: Send + Sync {
    /// Whether to keep this path, of which nothing is known yet.
    fn by_name(&self, path: &Path) -> bool {
        let _ = path;
        true
    }

    /// Whether to keep it, now that its metadata is known.
    fn by_node(&self, path: &Path, node: &Node) -> bool {
        let _ = (path, node);
        true
    }
}

/// Leaves nothing out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Filter for Everything {}

/// What to back up.
pub enum Source {
    /// Files and folders, by path.
    Paths(Vec<PathBuf>),
    /// One file whose content comes from a stream, under this path in the snapshot.
    Stream {
        /// Its path; a relative one is taken as from the top.
        path: PathBuf,
        /// Its content.
        content: Box<dyn Read + Send>,
    },
}

/// A backup to be made.
pub struct Backup {
    /// What to back up.
    pub source: Source,
    /// What to leave out.
    pub filter: Arc<dyn Filter>,
    /// The patterns that the filter is made of, for the record in the snapshot.
    pub excludes: Vec<String>,
    /// When the snapshot says it was made; when it begins, if not given.
    pub time: Option<Timestamp>,
    /// In whose name.
    pub identity: Identity,
    /// Its tags.
    pub tags: Vec<String>,
    /// An older snapshot: files that look the same as there are not read.
    pub parent: Option<(Id, Snapshot)>,
    /// What does not count when a file is compared with the parent's.
    pub ignored: Ignored,
    /// Whether access times are stored; the time of modification stands in for them otherwise.
    pub with_atime: bool,
    /// How many files are read at a time.
    pub read_concurrency: usize,
    /// Whether to store no snapshot when it would have the parent's tree.
    pub skip_if_unchanged: bool,
    /// Whether to store no snapshot unless everything could be read.
    pub all_or_nothing: bool,
    /// Whether to do everything but store.
    pub dry_run: bool,
    /// The program's name and version, for the record in the snapshot.
    pub program_version: String,
}

/// What became of a backup.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The snapshot; nothing where none was stored, in a dry run or because nothing changed.
    pub id: Option<Id>,
    /// The snapshot as stored, or as it would be.
    pub snapshot: Snapshot,
    /// How many files and folders could not be read. They are not in the snapshot.
    pub unreadable: u64,
}

impl Backup {
    /// A backup of these files and folders with restic's defaults.
    pub fn of_paths(paths: Vec<PathBuf>, identity: Identity) -> Self {
        Self::new(Source::Paths(paths), identity)
    }

    /// A backup of what comes from a stream.
    pub fn of_stream(path: PathBuf, content: Box<dyn Read + Send>, identity: Identity) -> Self {
        Self::new(Source::Stream { path, content }, identity)
    }

    fn new(source: Source, identity: Identity) -> Self {
        Self {
            source,
            filter: Arc::new(Everything),
            excludes: Vec::new(),
            time: None,
            identity,
            tags: Vec::new(),
            parent: None,
            ignored: Ignored::default(),
            with_atime: false,
            read_concurrency: 2,
            skip_if_unchanged: false,
            all_or_nothing: false,
            dry_run: false,
            program_version: concat!("restic-repo ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Makes the backup. The repository must be locked by the caller, shared at least; see
    /// [`crate::lock`]. Dropping the future cancels it: no snapshot is stored then, and what was stored
    /// for it is found again by the next backup or removed by the next prune.
    ///
    /// # Errors
    /// What keeps a snapshot from being stored. A file that cannot be read is a warning, and counted.
    pub async fn run(
        self,
        repository: &Repository,
        mut index: Index,
        progress: Arc<dyn Progress>,
    ) -> Result<Outcome> {
        let begun = Timestamp::now();
        distrust(repository, &mut index, &*progress).await?;
        let index = Arc::new(index);
        let chunker = Arc::new(
            Chunker::new(repository.config().chunker_polynomial)
                .map_err(|error| Error::Refused(error.to_string()))?,
        );
        let tree_before = match &self.parent {
            Some((_, parent)) => repository.load_tree(&index, parent.tree).await.map(Some)?,
            None => None,
        };
        let surroundings = Surroundings {
            repository: repository.clone(),
            index: Arc::clone(&index),
            runtime: Handle::current(),
            filter: Arc::clone(&self.filter),
            progress: Arc::clone(&progress),
            nodes: NodeReader::new().with_atime(self.with_atime),
            ignored: self.ignored,
            unreadable: AtomicU64::new(0),
        };
        let paths = self.source.recorded_paths()?;
        let is_stream = matches!(self.source, Source::Stream { .. });
        let (walk, open) = match self.source {
            Source::Paths(paths) => (Walk::new(Targets::new(&paths)?, tree_before).0, Vec::new()),
            Source::Stream { path, content } => {
                let (walk, top) = Walk::new(Targets::default(), None);
                let file = stdin::open(&top, &path, content, Arc::clone(&chunker), begun)?;
                (walk, vec![Arc::new(file)])
            }
        };
        let jobs = Jobs::new(walk, open, self.read_concurrency);
        let packer = Arc::new(Packer::new(repository, index, self.dry_run));
        let work = Arc::new(Work::new(surroundings, chunker, Arc::clone(&packer), jobs));
        let stop = StopOnDrop(Arc::clone(&work.stop), Arc::clone(&packer));
        progress.begin(Phase::BackupFiles, None);
        progress.begin(Phase::BackupBytes, None);
        let mut workers = JoinSet::new();
        for _ in 0..repository.options().workers.max(1) {
            let work = Arc::clone(&work);
            workers.spawn_blocking(move || work.run());
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        let work = Arc::into_inner(work).expect("all workers have ended");
        let (failure, result) = work.into_result();
        stop.disarm();
        let packer = Arc::into_inner(packer).expect("all who held it have ended");
        if let Some(failure) = failure {
            // Storing that failed made the workers fail as well, and is the cause.
            return Err(match packer.finish().await {
                Err(cause) if !matches!(cause, Error::Cancelled) => cause,
                _ => failure,
            });
        }
        if is_stream && result.unreadable > 0 {
            // Half of a stream is not worth having, and must not pass for the whole.
            return Err(Error::Refused(
                "the stream could not be read to its end, so no snapshot was stored".into(),
            ));
        }
        if self.all_or_nothing && result.unreadable > 0 {
            return Err(Error::Refused(format!(
                "no snapshot was stored, because not everything could be read ({} errors)",
                result.unreadable
            )));
        }
        let added = packer.finish().await?;
        progress.end(Phase::BackupFiles);
        progress.end(Phase::BackupBytes);
        let tree = result.tree.ok_or_else(|| {
            Error::Refused("there is nothing to back up: none of the sources could be read".into())
        })?;
        let summary = Summary {
            backup_start: begun,
            backup_end: Timestamp::now(),
            data_blobs: added.data_blobs,
            tree_blobs: added.tree_blobs,
            data_added: added.plaintext,
            data_added_packed: added.stored,
            ..result.counts
        };
        let unchanged = self.parent.as_ref().is_some_and(|(_, parent)| parent.tree == tree);
        let snapshot = Snapshot {
            parent: self.parent.map(|(id, _)| id),
            hostname: self.identity.hostname,
            username: self.identity.username,
            uid: self.identity.uid,
            gid: self.identity.gid,
            excludes: self.excludes,
            tags: self.tags,
            program_version: self.program_version,
            summary: Some(summary),
            ..Snapshot::new(self.time.unwrap_or(begun), tree, paths)
        };
        let id = match self.dry_run || (self.skip_if_unchanged && unchanged) {
            true => None,
            false => Some(repository.save_snapshot(&snapshot).await?),
        };
        Ok(Outcome { id, snapshot, unreadable: result.unreadable })
    }
}

/// Stops the workers when the backup's future is dropped.
struct StopOnDrop(Arc<AtomicBool>, Arc<Packer>);

impl StopOnDrop {
    /// The workers have ended by themselves.
    fn disarm(self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if !self.0.swap(true, Ordering::Relaxed) {
            self.1.abort();
        }
    }
}

impl Source {
    /// The paths as the snapshot records them: absolute and clean, and otherwise as they were given.
    pub fn recorded_paths(&self) -> Result<Vec<String>> {
        let absolute = |path: &Path| {
            let path = std::path::absolute(path).map_err(|error| Error::io("find", path, error))?;
            Ok(targets::clean(&path).to_string_lossy().into_owned())
        };
        match self {
            Self::Paths(paths) => paths.iter().map(|path| absolute(path)).collect(),
            Self::Stream { path, .. } => {
                let path = targets::clean(&Path::new("/").join(path));
                Ok(vec![path.to_string_lossy().into_owned()])
            }
        }
    }
}

/// Looks whether the packs that the index lists are there and have the right size. The blobs of those
/// that are not count as unknown and are stored anew: a snapshot must not refer to what is gone.
/// (restic does not look, and stores a snapshot that cannot be restored.)
///
/// [`Backup::run`] does this itself. Other operations that take over what is stored need an index on which
/// it was done.
///
/// # Errors
/// What keeps the packs from being listed.
pub async fn distrust(
    repository: &Repository,
    index: &mut Index,
    progress: &dyn Progress,
) -> Result<()> {
    let mut listed = repository.list(FileType::Pack).await?;
    listed.sort_unstable();
    let mut unusable = HashSet::new();
    for expected in index.pack_sizes() {
        let found = listed.binary_search_by_key(&expected.id, |file| file.id).ok();
        let found = found.map(|i| listed[i].size);
        if found != Some(expected.size) {
            progress.warn(&Warning::PackUnusable { expected, found });
            unusable.insert(expected.id);
        }
    }
    index.exclude_packs(&unusable);
    Ok(())
}

/// What walk and workers share.
struct Surroundings {
    repository: Repository,
    index: Arc<Index>,
    runtime: Handle,
    filter: Arc<dyn Filter>,
    progress: Arc<dyn Progress>,
    nodes: NodeReader,
    ignored: Ignored,
    unreadable: AtomicU64,
}

impl Surroundings {
    /// A folder of the parent snapshot. A damaged one only costs time, since everything is read then.
    fn load_tree(&self, id: Id) -> Result<Option<Tree>> {
        match self.runtime.block_on(self.repository.load_tree(&self.index, id)) {
            Ok(tree) => Ok(Some(tree)),
            Err(Error::Damaged { .. } | Error::BlobNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The node of what was read, under its name in the snapshot. What it lacks is warned of.
    fn node(&self, reading: Reading, name: &OsStr) -> Node {
        let Reading { mut node, warnings } = reading;
        for warning in warnings {
            let path = warning.path.clone();
            let source = std::io::Error::new(warning.source.kind(), warning.to_string());
            self.unreadable(&path, Error::io("read all of", &path, source));
        }
        node.name = Name::from(name);
        node
    }

    fn unreadable(&self, path: &Path, error: Error) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        self.progress.warn(&Warning::Unreadable { path, error: &error });
    }
}

/// A lock that a panic elsewhere does not spoil.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
