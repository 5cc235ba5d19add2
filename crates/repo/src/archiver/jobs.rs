//! What there is to do, and for whom.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::archiver::file::OpenFile;
use crate::archiver::folder::Folder;
use crate::archiver::walk::{Leaf, Step, Walk};
use crate::archiver::{Surroundings, lock};
use crate::error::Result;

/// Hands out work to the workers.
///
/// A worker without a file of its own opens the next one, as long as fewer files are open than may be
/// read at a time; otherwise it helps with one that is open. So small files are read side by side, and
/// a large one is worked on by all.
pub(super) struct Jobs {
    walk: Mutex<Walk>,
    files: Mutex<Files>,
    /// A file was opened, or will not be.
    changed: Condvar,
    read_concurrency: usize,
}

#[derive(Default)]
struct Files {
    /// Those that have something left to cut off.
    open: Vec<Arc<OpenFile>>,
    /// How many are being opened just now.
    opening: usize,
}

/// Something to do.
pub(super) enum Job {
    /// Cut off and store chunks of this file.
    Read(Arc<OpenFile>),
    /// Begin with this entry; to be answered by [`Jobs::began`].
    Begin(Leaf),
    /// Store this folder, which is complete.
    Close(Arc<Folder>),
}

impl Jobs {
    pub fn new(walk: Walk, open: Vec<Arc<OpenFile>>, read_concurrency: usize) -> Self {
        Self {
            walk: Mutex::new(walk),
            files: Mutex::new(Files { open, opening: 0 }),
            changed: Condvar::new(),
            read_concurrency: read_concurrency.max(1),
        }
    }

    /// The next thing to do, or nothing when everything is done or being done by others.
    pub fn next(&self, surroundings: &Surroundings) -> Result<Option<Job>> {
        if let Some(file) = self.crowded() {
            return Ok(Some(Job::Read(file)));
        }
        let step = {
            let mut walk = lock(&self.walk);
            let step = walk.next(surroundings)?;
            if matches!(step, Some(Step::Leaf(_))) {
                lock(&self.files).opening += 1;
            }
            step
        };
        Ok(match step {
            Some(Step::Leaf(leaf)) => Some(Job::Begin(leaf)),
            Some(Step::Close(folder)) => Some(Job::Close(folder)),
            None => self.last().map(Job::Read),
        })
    }

    /// What became of an entry that was begun with: an open file, or nothing left to do.
    pub fn began(&self, file: Option<Arc<OpenFile>>) {
        let mut files = lock(&self.files);
        files.opening -= 1;
        files.open.extend(file);
        drop(files);
        self.changed.notify_all();
    }

    /// A file has nothing left to cut off.
    pub fn ended(&self, file: &Arc<OpenFile>) {
        lock(&self.files).open.retain(|open| !Arc::ptr_eq(open, file));
    }

    /// A file to help with, where as many are open as should be.
    fn crowded(&self) -> Option<Arc<OpenFile>> {
        let files = lock(&self.files);
        if files.open.len() < self.read_concurrency { None } else { files.least_shared() }
    }

    /// A file to help with at the end of the walk. Waits for one that another worker is opening: it may
    /// be the one large file there is.
    fn last(&self) -> Option<Arc<OpenFile>> {
        let mut files = lock(&self.files);
        loop {
            if let Some(file) = files.least_shared() {
                return Some(file);
            }
            if files.opening == 0 {
                return None;
            }
            files = self.changed.wait(files).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Files {
    fn least_shared(&self) -> Option<Arc<OpenFile>> {
        self.open.iter().min_by_key(|file| Arc::strong_count(file)).map(Arc::clone)
    }
}
