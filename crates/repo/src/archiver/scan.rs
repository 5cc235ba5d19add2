//! How much there is to back up.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::archiver::Filter;
use crate::archiver::targets::{Target, Targets};
use crate::error::Result;
use crate::progress::{Phase, Progress};

/// Counts files and bytes, for a progress bar that knows where the end is. Tells `progress` as it goes
/// on, and stops when `stop` is set. What cannot be read counts nothing: the backup will tell.
///
/// Blocks; meant for a thread of its own beside the backup.
pub fn scan(
    paths: &[PathBuf],
    filter: &dyn Filter,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<()> {
    let scan = Scan { filter, progress, stop };
    scan.targets(&Targets::new(paths)?);
    if !stop.load(Ordering::Relaxed) {
        progress.end(Phase::ScanBytes);
        progress.end(Phase::Scan);
    }
    Ok(())
}

struct Scan<'a> {
    filter: &'a dyn Filter,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
}

impl Scan<'_> {
    fn targets(&self, targets: &Targets) {
        for target in targets.entries.values() {
            match target {
                Target::Whole(path) => self.count(path.clone()),
                Target::Parent(_, below) => self.targets(below),
            }
        }
    }

    fn count(&self, path: PathBuf) {
        let mut found = vec![path];
        while let Some(path) = found.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if !self.filter.by_name(&path) {
                continue;
            }
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                found.extend(entries(&path));
            } else if metadata.is_file() {
                self.progress.advance(Phase::Scan, 1);
                self.progress.advance(Phase::ScanBytes, metadata.len());
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
