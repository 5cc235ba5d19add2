//! Statistics: how much is in a repository, counted in restic's four ways.
//!
//! The numbers are restic's, to the digit: people compare them with those of last year.

use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::blob::{BlobHandle, BlobLocation};
use crate::crypto::OVERHEAD;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::NodeType;
use crate::progress::{Phase, Progress};
use crate::repository::{Repository, on_worker};
use crate::tree::Tree;
use crate::used::UsedBlobs;
use crate::visit;
use contents::Contents;
use restore_size::RestoreSize;
use walk::walk;

mod contents;
mod restore_size;
#[cfg(test)]
mod tests;
mod walk;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// What restoring each snapshot would write. A file with several names counts once a snapshot.
    #[default]
    RestoreSize,
    /// Files of different content: a content counts once, under however many names and snapshots.
    FilesByContents,
    /// Blobs in files of different content: a blob counts once for each file of that content that has
    /// it, and again for each other path.
    BlobsPerFile,
    /// Blobs, of files and of trees, each once, as they are stored.
    RawData,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 4] =
        [Self::RestoreSize, Self::FilesByContents, Self::BlobsPerFile, Self::RawData];

    /// restic's name for it (`--mode`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RestoreSize => "restore-size",
            Self::FilesByContents => "files-by-contents",
            Self::BlobsPerFile => "blobs-per-file",
            Self::RawData => "raw-data",
        }
    }
}

/// A text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of: restore-size, files-by-contents, blobs-per-file, raw-data")]
pub struct InvalidMode(String);

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        let mode = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        mode.ok_or_else(|| InvalidMode(text.to_owned()))
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What was counted. Written as JSON it is what restic writes; what is zero is left out there, and does
/// not belong to the mode as a rule.
#[derive(Clone, Debug, PartialEq, Default, Serialize)]
pub struct Stats {
    /// In bytes. Of raw data: what the blobs take in their packs.
    pub total_size: u64,
    /// Of raw data in version 2: what the blobs would take if none were compressed, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_uncompressed_size: u64,
    /// How many times smaller compression made the blobs that are compressed.
    #[serde(skip_serializing_if = "is_none")]
    pub compression_ratio: f64,
    /// How much of the data, in percent, is compressed.
    #[serde(skip_serializing_if = "is_none")]
    pub compression_progress: f64,
    /// How much of the data's size, in percent, compression saved.
    #[serde(skip_serializing_if = "is_none")]
    pub compression_space_saving: f64,
    /// How many files; for [`Mode::RestoreSize`] with folders, links and all else.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_file_count: u64,
    /// How many blobs.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_blob_count: u64,
    /// How many snapshots were looked at.
    pub snapshots_count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(number: &f64) -> bool {
    *number == 0.0
}

/// Counts what is in the snapshots that have these trees. A tree may come several times, as a snapshot
/// may.
///
/// # Errors
/// A tree that cannot be read, or that is not as trees are; a blob that the index lacks.
pub async fn stats(
    repository: &Repository,
    index: &Arc<Index>,
    trees: &[Id],
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Stats> {
    progress.begin(Phase::CheckTrees, Some(trees.len() as u64));
    let mut stats = match mode {
        Mode::RestoreSize => {
            let mut counter = RestoreSize::default();
            walk(repository, index, trees, &mut counter, progress).await?;
            counter.stats()
        }
        Mode::FilesByContents | Mode::BlobsPerFile => {
            let mut counter = Contents::new(Arc::clone(index), mode == Mode::BlobsPerFile);
            walk(repository, index, trees, &mut counter, progress).await?;
            counter.stats()
        }
        Mode::RawData => raw_data(repository, index, trees, progress).await?,
    };
    progress.end(Phase::CheckTrees);
    stats.snapshots_count = trees.len() as u64;
    Ok(stats)
}

async fn raw_data(
    repository: &Repository,
    index: &Arc<Index>,
    trees: &[Id],
    progress: &dyn Progress,
) -> Result<Stats> {
    let used = Arc::new(UsedBlobs::new(Arc::clone(index)));
    let add_data = {
        let used = Arc::clone(&used);
        move |_, tree: Result<Tree>| {
            for node in tree?.nodes().iter().filter(|node| node.node_type == NodeType::File) {
                for id in node.content.iter().flatten() {
                    used.insert(&BlobHandle::data(*id));
                }
            }
            Ok(())
        }
    };
    let one_more = || progress.advance(Phase::CheckTrees, 1);
    visit::every_tree(repository, index, trees, &used, add_data, one_more).await?;
    if let Some(blob) = used.take_unlisted().pop() {
        return Err(Error::BlobNotFound(blob));
    }
    let (index, version) = (Arc::clone(index), repository.config().version);
    on_worker(move || Ok(sum_up(&index, &used, version))).await
}

fn sum_up(index: &Index, used: &UsedBlobs, version: u32) -> Stats {
    let mut stats = Stats::default();
    let (mut compressed, mut compressed_from) = (0, 0);
    let mut last = None;
    for BlobLocation { entry, .. } in index.loaded() {
        // Places of one blob come one after another; the first one counts.
        if last.replace(entry.handle) == Some(entry.handle) || !used.contains(&entry.handle) {
            continue;
        }
        let stored = u64::from(entry.length);
        stats.total_blob_count += 1;
        stats.total_size += stored;
        if version >= 2 {
            let uncompressed = entry.plaintext_length() + OVERHEAD as u64;
            stats.total_uncompressed_size += uncompressed;
            if entry.is_compressed() {
                compressed += stored;
                compressed_from += uncompressed;
            }
        }
    }
    if compressed > 0 {
        stats.compression_ratio = compressed_from as f64 / compressed as f64;
    }
    if stats.total_uncompressed_size > 0 {
        let total = stats.total_uncompressed_size as f64;
        stats.compression_progress = compressed_from as f64 / total * 100.0;
        stats.compression_space_saving = (1.0 - stats.total_size as f64 / total) * 100.0;
    }
    stats
}
