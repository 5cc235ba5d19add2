//! Restore: a snapshot, or a folder of it, back into the file system.
//!
//! The walk through the snapshot is cut into batches, so that memory stays bounded however many files
//! there are. For each batch:
//!
//! 1. `plan` decides what is to be restored: folders, files, links, in the order of the walk;
//! 2. `prepare` makes the folders, and looks which files are there already and which of their blobs;
//! 3. `write` fetches what is missing, for all files in one stream, and writes it;
//! 4. `verify`, if it is wanted, reads the files again;
//! 5. `finish` makes links and devices, removes what does not belong, and sets owners, times and
//!    permissions: those of a folder after everything in it.
//!
//! A snapshot may be hostile: names that would lead elsewhere are refused, and nothing is ever reached
//! through a link (see `target`). What cannot be restored is a warning, and counted; the rest goes on.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::Stat;

use crate::backend::BackendErrorKind;
use crate::error::{Error, Result};
use crate::filter::{self, Choice};
use crate::handle::Handle;
use crate::id::Id;
use crate::index::Index;
use crate::lock::Gate;
use crate::node::{Name, Node, NodeType};
use crate::progress::{Item, ItemAction, Phase, Progress, Warning};
use crate::repository::{Repository, on_worker};

mod compare;
mod delete;
mod finish;
mod metadata;
mod output;
mod plan;
mod prepare;
mod target;
mod verify;
mod write;

use metadata::Owners;
use plan::Planner;
use prepare::Preparer;
use target::{Place, Target};

/// Decides what is restored. restic's `--include`, `--exclude` and their kin are such filters.
pub trait Filter: Send + Sync {
    /// What to restore of this path, which begins with `/` at what is restored. Asked more than once
    /// for each path.
    fn choose(&self, path: &Path, is_folder: bool) -> Choice;

    /// Whether to restore extended attributes of this name.
    fn attribute(&self, name: &OsStr) -> bool {
        let _ = name;
        true
    }
}

impl Filter for crate::filter::Filter {
    fn choose(&self, path: &Path, is_folder: bool) -> Choice {
        self.choose(path, is_folder)
    }
}

/// What happens to files that are in the target already.
///
/// For folders it does not matter: they are kept, and take the snapshot's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// They become what the snapshot has. What is right already is not written again.
    #[default]
    Always,
    /// As before, but a file of the same size and time of modification is taken to be right.
    IfChanged,
    /// They are replaced where the snapshot's time of modification is later.
    IfNewer,
    /// They are left alone.
    Never,
}

/// Who will own what is restored, where the restoring process may decide that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The users and groups of the same numbers.
    #[default]
    ByNumber,
    /// The users and groups of the same names, where there are such.
    ByName,
}

/// A restore to be made.
pub struct Restore {
    /// Where to. The folder is made if need be.
    pub target: PathBuf,
    /// What.
    pub filter: Arc<dyn Filter>,
    /// What happens to files that are there already.
    pub overwrite: Overwrite,
    /// Whether to remove what the snapshot does not have, in all folders that are restored. Of that
    /// only what the filter selects. A whole folder then also makes room for what is no folder.
    pub delete: bool,
    /// Whether zeros become holes. They are written, or the room for them is reserved, otherwise.
    pub sparse: bool,
    /// Whether to read again what was written.
    pub verify: bool,
    /// Whether only to find out what would be done.
    pub dry_run: bool,
    /// Who will own it.
    pub ownership: Ownership,
    /// Passed before anything is written or removed. A folder that is not there yet, or empty, may get
    /// folders before, so that content is on its way already when the gate opens.
    pub gate: Gate,
}

/// What became of a restore; the counts are those of restic's summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files, folders, links and others to be restored, without those skipped.
    pub total_files: u64,
    /// Those of them that were restored.
    pub files_restored: u64,
    /// Those that were there already, or are left alone.
    pub files_skipped: u64,
    /// Files, folders and others that were removed from the target.
    pub files_deleted: u64,
    /// Bytes in the files to be restored, without those skipped.
    pub total_bytes: u64,
    /// Those of them that were restored.
    pub bytes_restored: u64,
    /// Bytes in files that were there already, or are left alone.
    pub bytes_skipped: u64,
    /// Files that were read again and found right.
    pub files_verified: u64,
    /// How much went wrong: each a warning.
    pub errors: u64,
}

impl Restore {
    /// A restore of everything with restic's defaults.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            filter: Arc::new(filter::Filter::Everything),
            overwrite: Overwrite::default(),
            delete: false,
            sparse: false,
            verify: false,
            dry_run: false,
            ownership: Ownership::default(),
            gate: Gate::open(),
        }
    }

    /// Restores what is in this tree: a snapshot's, or that of a folder in it. Dropping the future
    /// stops it; then files may be there in part.
    ///
    /// # Errors
    /// Only what concerns the target itself, and [`Error::Cancelled`] if the gate does not open. Everything
    /// else is a warning, and counted in the outcome.
    pub async fn run(
        self,
        repository: &Repository,
        index: Arc<Index>,
        tree: Id,
        progress: Arc<dyn Progress>,
    ) -> Result<Outcome> {
        let (path, dry_run, gate) = (self.target.clone(), self.dry_run, self.gate.clone());
        if !target::is_new(&path) {
            gate.pass().await?;
        }
        let target = on_worker(move || Target::open(&path, dry_run)).await?;
        let verify = self.verify;
        let site = Arc::new(Site {
            target,
            owners: Owners::new(self.ownership),
            workers: repository.options().workers.max(1),
            options: self,
            progress,
            outcome: Mutex::default(),
            failed: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let _stop = StopOnDrop(Arc::clone(&site));
        let phases = [Phase::RestoreItems, Phase::RestoreBytes];
        phases.iter().for_each(|phase| site.progress.begin(*phase, None));
        let mut planner = Planner::new(&site, repository, Arc::clone(&index), tree);
        let mut preparer = Preparer::new(&site, &index);
        while let Some(mut steps) = planner.next_batch().await? {
            (preparer, steps) = on_worker(move || {
                preparer.prepare(&mut steps);
                Ok((preparer, steps))
            })
            .await?;
            if !dry_run {
                write::write(&site, repository, &index, &mut steps).await?;
            }
            gate.pass().await?;
            let site = Arc::clone(&site);
            on_worker(move || {
                if verify && !dry_run {
                    verify::verify(&site, &mut steps);
                }
                finish::finish(&site, steps);
                Ok(())
            })
            .await?;
        }
        phases.iter().for_each(|phase| site.progress.end(*phase));
        Ok(*lock(&site.outcome))
    }
}

/// What all parts of a restore share.
struct Site {
    options: Restore,
    target: Target,
    owners: Owners,
    workers: usize,
    progress: Arc<dyn Progress>,
    outcome: Mutex<Outcome>,
    /// Files with several names that could not be restored.
    failed: Mutex<HashSet<PathBuf>>,
    /// Set when it is over before its time.
    stop: AtomicBool,
}

impl Site {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, count: impl FnOnce(&mut Outcome)) {
        count(&mut lock(&self.outcome));
    }

    fn not_restored(&self, path: &Path, error: &Error) {
        self.count(|outcome| outcome.errors += 1);
        self.progress.warn(&Warning::NotRestored { path, error });
    }

    /// As [`Self::not_restored`], where it was the file system's fault.
    fn failed(&self, operation: &'static str, path: &Path, error: io::Error) {
        self.not_restored(path, &Error::io(operation, self.target.path_of(path), error));
    }

    fn report(&self, path: &Path, node: Option<&Node>, action: ItemAction) {
        let is_folder = node.is_some_and(|node| node.node_type == NodeType::Dir);
        let size = match node {
            Some(node) if node.node_type == NodeType::File => node.size,
            _ => 0,
        };
        let item = Item { path, action, is_folder, size, data_added: 0, data_stored: 0 };
        self.progress.item(&item);
    }

    /// Whether something that is there already gives way to the snapshot's.
    fn may_replace(&self, node: &Node, status: &Stat) -> bool {
        match self.options.overwrite {
            Overwrite::Always | Overwrite::IfChanged => true,
            Overwrite::IfNewer => time_of(node) > modified(status),
            Overwrite::Never => false,
        }
    }

    /// Removes what stands in the way of something that is no folder.
    fn make_room(&self, path: &Path, place: &Place) -> io::Result<()> {
        match self.options.delete {
            true => delete::remove_all(self, path, place),
            false => place.remove(),
        }
    }
}

/// What to do for one entry of the snapshot, in the order of the walk.
enum Step {
    /// Make a folder.
    Enter { path: PathBuf },
    /// Write a file.
    File(RestoredFile),
    /// Give a file that comes before this one another name.
    Link { path: PathBuf, node: Box<Node>, first: PathBuf },
    /// Make what is neither file nor folder.
    Other { path: PathBuf, node: Box<Node> },
    /// Finish a folder, in which the snapshot has these names. Without a list it is not known what it
    /// has, or not wanted to be known.
    Leave { path: PathBuf, node: Option<Box<Node>>, names: Option<HashSet<Name>> },
}

struct RestoredFile {
    path: PathBuf,
    /// Without its content, which is below.
    node: Box<Node>,
    content: Vec<Id>,
    state: State,
}

/// What is known about a file in the target.
enum State {
    /// Nothing yet.
    Planned,
    /// It is to be left alone.
    Skipped,
    /// Its content is right already.
    Unchanged,
    /// It has to be written, but for the blobs that are true here. An empty list has none of them.
    Wanted { kept: Vec<bool>, exists: bool },
    /// It was written, and its blobs have these lengths.
    Written { lengths: Vec<u64>, existed: bool },
    /// It could not be written, as was reported.
    Failed,
}

/// A time as a file system has it: seconds since 1970, and nanoseconds.
type Moment = (i64, u32);

fn time_of(node: &Node) -> Moment {
    (node.mtime.unix_seconds(), node.mtime.subsec_nanoseconds())
}

fn modified(status: &Stat) -> Moment {
    (status.st_mtime, u32::try_from(status.st_mtime_nsec).unwrap_or(0))
}

/// Stops the threads of a restore when its future is dropped.
struct StopOnDrop(Arc<Site>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether it makes sense to go on after this error: damage is here or there, but a repository that
/// cannot be reached any more is gone as a whole, and asking for each of its blobs would take forever.
async fn check_reachable(repository: &Repository, error: Error) -> Result<Error> {
    use BackendErrorKind::{NotFound, TooLarge, TooShort};
    match &error {
        Error::Backend(cause) if !matches!(cause.kind, NotFound | TooLarge | TooShort) => {
            match repository.backend().stat(&Handle::CONFIG).await {
                Ok(_) => Ok(error),
                Err(gone) => Err(gone.into()),
            }
        }
        Error::Cancelled => Err(error),
        _ => Ok(error),
    }
}

/// A lock that a panic elsewhere does not spoil.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::workshop::{Workshop, data, file, folder, noise, tree};

    /// Restores `/inner/file` into this folder.
    async fn restore(target: &Path, gate: Gate) -> Result<Outcome> {
        let workshop = Workshop::new().await;
        let content = data(noise(1, 1000));
        let inner = tree(vec![file("file", &[&content])]);
        let root = tree(vec![folder("inner", &inner)]);
        let root_id = root.handle.id;
        workshop.index([workshop.pack([content, inner, root])]).await;
        let index = workshop.repository.load_index(&Silent).await?;
        let restore = Restore { gate, delete: true, ..Restore::new(target) };
        restore.run(&workshop.repository, Arc::new(index), root_id, Arc::new(Silent)).await
    }

    #[tokio::test]
    async fn what_is_there_is_left_alone_if_the_gate_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("mine"), "mine").unwrap();
        for target in [&old, &new] {
            let (opener, gate) = Gate::closed();
            drop(opener);
            let refused = restore(target, gate).await;
            assert!(matches!(refused, Err(Error::Cancelled)), "{refused:?}");
        }
        let names = |path: &Path| -> Vec<_> {
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names(&old), ["mine"]);
        assert_eq!(names(&new.join("inner")), [""; 0], "folders, but no file");
    }

    #[tokio::test]
    async fn what_was_fetched_ahead_is_written_once_the_gate_opens() {
        let folder = tempfile::tempdir().unwrap();
        let (opener, gate) = Gate::closed();
        let inner = folder.path().join("new/inner");
        let restoring = tokio::spawn({
            let target = folder.path().join("new");
            async move { restore(&target, gate).await }
        });
        while !inner.exists() && !restoring.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!inner.join("file").exists(), "before the gate opens");
        opener.open();
        restoring.await.unwrap().unwrap();
        assert_eq!(std::fs::read(inner.join("file")).unwrap(), noise(1, 1000));
    }
}
