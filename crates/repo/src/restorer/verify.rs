//! Reading again what was written.

use crate::error::Error;
use crate::progress::Phase;
use crate::restorer::compare::{Comparison, compare};
use crate::restorer::{RestoredFile, Site, State, Step};

/// Reads all files again that were written, and compares them with the snapshot.
pub(super) fn verify(site: &Site, steps: &mut [Step]) {
    let mut files: Vec<&mut RestoredFile> = steps
        .iter_mut()
        .filter_map(|step| match step {
            Step::File(file) if matches!(file.state, State::Written { .. }) => Some(file),
            _ => None,
        })
        .collect();
    let comparisons: Vec<Comparison<'_>> = files
        .iter()
        .filter_map(|file| match &file.state {
            State::Written { lengths, .. } => {
                Some(Comparison { path: &file.path, content: &file.content, lengths })
            }
            _ => None,
        })
        .collect();
    site.progress.begin(Phase::Verify, None);
    let found = compare(site, &comparisons, Some(Phase::Verify));
    let sound: Vec<bool> = comparisons
        .iter()
        .zip(&found)
        .map(|(file, found)| found.iter().all(|found| *found) && has_length(site, file))
        .collect();
    drop(comparisons);
    for (file, is_sound) in files.iter_mut().zip(sound) {
        if is_sound {
            site.count(|outcome| outcome.files_verified += 1);
        } else if !site.stopped() {
            let path = site.target.path_of(&file.path);
            site.not_restored(&file.path, &Error::mismatch(path, "its content differs"));
            file.state = State::Failed;
        }
    }
    site.progress.end(Phase::Verify);
}

fn has_length(site: &Site, file: &Comparison<'_>) -> bool {
    let length = file.lengths.iter().copied().fold(0, u64::saturating_add);
    let status = site.target.place(file.path).and_then(|place| place.status());
    matches!(status, Ok(Some(status)) if u64::try_from(status.st_size) == Ok(length))
}
