//! What there is already where a batch is to be restored.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, FileType, Mode, Stat};
use rustix::io::Errno;

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::index::Index;
use crate::progress::Phase;
use crate::restorer::compare::{Comparison, compare};
use crate::restorer::target::{PRIVATE_FOLDER, type_of};
use crate::restorer::{
    Outcome, Overwrite, RestoredFile, Site, State, Step, lock, modified, time_of,
};

/// Makes folders, and decides for each file whether it has to be written.
pub(super) struct Preparer {
    site: Arc<Site>,
    index: Arc<Index>,
    /// A folder that could not be made: nothing below it can be restored.
    blocked: Option<PathBuf>,
}

impl Preparer {
    pub fn new(site: &Arc<Site>, index: &Arc<Index>) -> Self {
        Self { site: Arc::clone(site), index: Arc::clone(index), blocked: None }
    }

    pub fn prepare(&mut self, steps: &mut Vec<Step>) {
        steps.retain(|step| self.enter(step));
        let files: Vec<&mut RestoredFile> = steps
            .iter_mut()
            .filter_map(|step| if let Step::File(file) = step { Some(file) } else { None })
            .collect();
        let mut doubtful = Vec::new();
        for file in files {
            match self.look_at(file) {
                Ok((state, None)) => file.state = state,
                Ok((_, Some(status))) => doubtful.push((file, status)),
                Err(error) => {
                    self.site.failed("look at", &file.path, error);
                    file.state = State::Failed;
                }
            }
        }
        self.compare(doubtful);
        self.count(steps);
    }

    /// Makes a folder. False for what cannot be restored because of the folder that it is in.
    fn enter(&mut self, step: &Step) -> bool {
        let (Step::Enter { path }
        | Step::File(RestoredFile { path, .. })
        | Step::Link { path, .. }
        | Step::Other { path, .. }
        | Step::Leave { path, .. }) = step;
        if self.blocked.as_ref().is_some_and(|blocked| path.starts_with(blocked)) {
            return false;
        }
        if let Step::Enter { path } = step
            && !self.site.options.dry_run
            && let Err(error) = self.make_folder(path)
        {
            self.site.failed("make", path, error);
            self.blocked = Some(path.clone());
            return false;
        }
        true
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let place = self.site.target.place(path)?;
        match fs::mkdirat(&place.folder, &place.name, PRIVATE_FOLDER) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match place.status()? {
            Some(status) if type_of(&status) == FileType::Directory => {
                let mode = Mode::from_raw_mode(status.st_mode);
                if !mode.contains(PRIVATE_FOLDER) {
                    // Its owner may not work in it; that is set right when the folder is finished. If
                    // we may not do this either, what fails in it will tell.
                    let _ = place.set_permissions(mode | PRIVATE_FOLDER);
                }
                Ok(())
            }
            _ => {
                place.remove()?;
                Ok(fs::mkdirat(&place.folder, &place.name, PRIVATE_FOLDER)?)
            }
        }
    }

    /// What becomes of a file, or what is there if its content has to be looked at.
    fn look_at(&self, file: &RestoredFile) -> io::Result<(State, Option<Stat>)> {
        let status = match self.site.target.place(&file.path).and_then(|place| place.status()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => found?,
        };
        let wanted = |exists| State::Wanted { kept: Vec::new(), exists };
        let Some(status) = status else { return Ok((wanted(false), None)) };
        if !self.site.may_replace(&file.node, &status) {
            return Ok((State::Skipped, None));
        }
        if type_of(&status) != FileType::RegularFile {
            return Ok((wanted(true), None));
        }
        let size = u64::try_from(status.st_size).unwrap_or(0);
        if self.site.options.overwrite == Overwrite::IfChanged
            && size == file.node.size
            && modified(&status) == time_of(&file.node)
        {
            return Ok((State::Unchanged, None));
        }
        Ok(match (size, file.content.is_empty()) {
            (0, true) => (State::Unchanged, None),
            (0, false) | (_, true) => (wanted(true), None),
            _ => (State::Planned, Some(status)),
        })
    }

    /// Looks which blobs of these files are there.
    fn compare(&self, files: Vec<(&mut RestoredFile, Stat)>) {
        let lengths: Vec<Vec<u64>> =
            files.iter().map(|(file, _)| claimed_lengths(&self.index, &file.content)).collect();
        let comparisons: Vec<Comparison<'_>> = files
            .iter()
            .zip(&lengths)
            .map(|((file, _), lengths)| Comparison {
                path: &file.path,
                content: &file.content,
                lengths,
            })
            .collect();
        let found = compare(&self.site, &comparisons, None);
        drop(comparisons);
        for (((file, status), lengths), kept) in files.into_iter().zip(lengths).zip(found) {
            let length = lengths.into_iter().fold(0, u64::saturating_add);
            let is_whole = kept.iter().all(|kept| *kept);
            file.state = if is_whole && u64::try_from(status.st_size) == Ok(length) {
                State::Unchanged
            } else if status.st_nlink > 1 || !kept.contains(&true) {
                // Other names of it may be none of ours, so it is not written to but replaced.
                State::Wanted { kept: Vec::new(), exists: true }
            } else {
                State::Wanted { kept, exists: true }
            };
        }
    }

    fn count(&self, steps: &[Step]) {
        let progress = &self.site.progress;
        let Outcome { total_files, total_bytes, .. } = {
            let mut outcome = lock(&self.site.outcome);
            for step in steps {
                match step {
                    Step::Leave { node: None, .. } | Step::Enter { .. } => {}
                    Step::File(file) => match file.state {
                        State::Skipped | State::Unchanged => {}
                        _ => {
                            outcome.total_files += 1;
                            outcome.total_bytes += file.node.size;
                        }
                    },
                    Step::Link { .. } | Step::Other { .. } | Step::Leave { .. } => {
                        outcome.total_files += 1;
                    }
                }
            }
            *outcome
        };
        progress.begin(Phase::RestoreItems, Some(total_files));
        progress.begin(Phase::RestoreBytes, Some(total_bytes));
    }
}

/// What the index says are the lengths of these blobs. One that it does not know is longer than anything.
pub(super) fn claimed_lengths(index: &Index, content: &[Id]) -> Vec<u64> {
    let length = |id: &Id| {
        let location = index.lookup(&BlobHandle::data(*id)).next();
        location.map_or(u64::MAX, |location| location.entry.plaintext_length())
    };
    content.iter().map(length).collect()
}
