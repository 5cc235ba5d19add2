//! How an operation tells the outside what it is doing. The library never prints.

use std::path::Path;

use crate::backend::FileInfo;
use crate::checker::Problem;
use crate::error::Error;
use crate::handle::Handle;
use crate::id::Id;

/// Watches an operation. Every method does nothing by default, so a watcher implements what it shows.
///
/// Called from several threads at once and in hot paths: return quickly.
pub trait Progress: Send + Sync {
    /// A phase begins; `total` is what it will amount to in the phase's unit, if that is known.
    /// May be called again for the same phase when the total becomes known or grows.
    fn begin(&self, phase: Phase, total: Option<u64>) {
        let _ = (phase, total);
    }

    /// That much more of a phase is done.
    fn advance(&self, phase: Phase, amount: u64) {
        let _ = (phase, amount);
    }

    /// A phase is over.
    fn end(&self, phase: Phase) {
        let _ = phase;
    }

    /// Something is wrong that does not stop the operation.
    fn warn(&self, warning: &Warning<'_>) {
        let _ = warning;
    }

    /// A file or folder was dealt with.
    fn item(&self, item: &Item<'_>) {
        let _ = item;
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// What an operation is busy with. The unit of each is in its description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading index files (files).
    LoadIndex,
    /// Reading snapshot files (files).
    LoadSnapshots,
    /// Finding out how many files there are to back up (files). Ends when it is known.
    Scan,
    /// Finding out how many bytes there are to back up (bytes).
    ScanBytes,
    /// Reading and storing files (files).
    BackupFiles,
    /// Reading and storing files (bytes of plaintext).
    BackupBytes,
    /// Writing restored files (files, folders, links).
    RestoreItems,
    /// Writing restored files (bytes).
    RestoreBytes,
    /// Reading restored files again (bytes).
    Verify,
    /// Walking the trees of snapshots (snapshots).
    CheckTrees,
    /// Reading the headers of packs (packs).
    ReadHeaders,
    /// Reading packs in full (packs).
    ReadPacks,
    /// Finding out what snapshots need (snapshots).
    MarkTrees,
    /// Copying what is needed out of packs (packs).
    RepackPacks,
    /// Removing index files that others have replaced (files).
    RemoveIndex,
    /// Removing packs (files).
    RemovePacks,
    /// Removing snapshots (files).
    RemoveSnapshots,
    /// Reading all trees there are (trees).
    LoadTrees,
    /// Copying blobs into another repository (packs of the source).
    CopyPacks,
    /// Storing index files in place of others (files).
    WriteIndex,
    /// Finding out what damage means for the snapshots (snapshots).
    FindAffected,
}

/// Something wrong that an operation survived.
#[derive(Debug)]
#[non_exhaustive]
pub enum Warning<'a> {
    /// A file or folder could not be read; the backup goes on without it.
    Unreadable {
        /// What.
        path: &'a Path,
        /// Why.
        error: &'a Error,
    },
    /// A file or folder could not be restored as it was.
    NotRestored {
        /// What.
        path: &'a Path,
        /// Why.
        error: &'a Error,
    },
    /// A file in the repository was passed over because it is damaged.
    Damaged {
        /// Which.
        handle: Handle,
        /// How.
        error: &'a Error,
    },
    /// A file that is of no use any more could not be removed. It harms nobody.
    NotRemoved {
        /// Which.
        handle: Handle,
        /// Why.
        error: &'a Error,
    },
    /// A tree could not be read, and was passed over.
    UnreadableTree {
        /// Which.
        id: Id,
        /// Why.
        error: &'a Error,
    },
    /// A check found something wrong.
    Problem(&'a Problem),
    /// The index lists a pack that is missing, or whose size is not what the index says. Its blobs are
    /// stored anew.
    PackUnusable {
        /// The pack, and the size that the index implies.
        expected: FileInfo,
        /// The size found, or nothing where it is missing.
        found: Option<u64>,
    },
}

/// A file or folder that was dealt with, for those who show each one.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its path.
    pub path: &'a Path,
    /// What happened to it.
    pub action: ItemAction,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its size in bytes; 0 for what is no regular file.
    pub size: u64,
    /// Bytes of plaintext that were new to the repository.
    pub data_added: u64,
    /// Bytes stored for them.
    pub data_stored: u64,
}

/// What happened to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ItemAction {
    /// Backup began to read it.
    Started,
    /// Backed up; the parent snapshot does not have it.
    New,
    /// Backed up; it differs from the parent snapshot.
    Changed,
    /// As in the parent snapshot.
    Unmodified,
    /// Restored: made.
    Restored,
    /// Restored: an existing one was brought up to date.
    Updated,
    /// Restored: it was there already as it should be.
    Unchanged,
    /// Restored: removed because the snapshot does not have it.
    Deleted,
}
