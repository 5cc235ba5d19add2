//! Makes the index right again: every pack is listed, with what is in it, and nothing else is.
//!
//! Index files that cannot be read are dropped. Packs that no index lists, and those that have another
//! size than the index says, are read: their headers say what is in them. Packs that are not there are
//! dropped. All this is what restic does.
//!
//! Where a pack's header cannot be read, restic forgets what the index knew of it, and with it all
//! blobs that are still sound. This keeps what can lie in the file, so that [`packs`](super::packs) can
//! save it; until then `check` goes on to call the pack damaged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use crate::backend::{BackendError, BackendErrorKind, FileInfo};
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::header;
use crate::id::Id;
use crate::index::{Index, PackBlobs};
use crate::pack::HeaderError;
use crate::progress::{Phase, Progress};
use crate::repair::rewrite::{Change, Rewritten, rewrite};
use crate::repository::{Intake, Repository};

/// How to repair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether to read all packs' headers, instead of relying on what the index says of packs that have
    /// the right size.
    pub read_all_packs: bool,
}

/// What was found and done. Of an index that was right all lists are empty.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Index files that could not be read, and are dropped.
    pub unreadable_indexes: Vec<(Id, Error)>,
    /// Packs that no index listed, and one lists now.
    pub added: Vec<Id>,
    /// Packs that have another size than the index said.
    pub resized: Vec<Resized>,
    /// Packs that the index listed, and are not there.
    pub missing: Vec<Id>,
    /// Packs that were there and are in no index, because their headers cannot be read.
    pub skipped: Vec<(Id, HeaderError)>,
    /// Packs whose headers cannot be read, and of which the index still lists what can be there. For
    /// [`packs`](super::packs).
    pub kept: Vec<(Id, HeaderError)>,
    /// The index files that were replaced.
    pub rewritten: Rewritten,
}

/// A pack of a size that the index did not expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// Which.
    pub pack: Id,
    /// What followed from the index, in bytes.
    pub expected: u64,
    /// What it is, in bytes.
    pub found: u64,
}

/// Repairs the index.
///
/// # Errors
/// Whatever the storage says. Up to the end only new index files were stored.
pub async fn repair(
    repository: &Repository,
    options: Options,
    progress: Arc<dyn Progress>,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let index = load(repository, &*progress, &mut outcome).await?;
    let files = repository.list(FileType::Pack).await?;
    let listed = Listed::new(&index);
    let suspects = listed.compare(files, options, &mut outcome);
    let mut change = Change {
        without: outcome.missing.iter().copied().collect(),
        unite: true,
        obsolete: outcome.unreadable_indexes.iter().map(|(id, _)| *id).collect(),
        ..Change::default()
    };
    let wrong = read(repository, suspects, &listed, &*progress, &mut outcome).await?;
    for (pack, blobs) in wrong {
        change.without.insert(pack);
        if !blobs.blobs.is_empty() {
            change.with.push(blobs);
        }
    }
    progress.begin(Phase::WriteIndex, None);
    outcome.rewritten = rewrite(repository, &index, change).await?;
    progress.advance(Phase::WriteIndex, outcome.rewritten.stored.len() as u64);
    progress.end(Phase::WriteIndex);
    Ok(outcome)
}

/// Loads what can be loaded of the index.
async fn load(
    repository: &Repository,
    progress: &dyn Progress,
    outcome: &mut Outcome,
) -> Result<Index> {
    let files = repository.list(FileType::Index).await?;
    progress.begin(Phase::LoadIndex, Some(files.len() as u64));
    let intake = Intake::new(repository);
    let add = |file| add(&intake, file);
    let mut added = stream::iter(files).map(add).buffer_unordered(intake.width());
    while let Some((id, result)) = added.next().await {
        match result {
            Ok(()) => {}
            Err(error) if is_damage(&error) => outcome.unreadable_indexes.push((id, error)),
            Err(error) => return Err(error),
        }
        progress.advance(Phase::LoadIndex, 1);
    }
    drop(added);
    progress.end(Phase::LoadIndex);
    outcome.unreadable_indexes.sort_by_key(|(id, _)| *id);
    intake.finish().await
}

/// Adds an index file; tries once more if that fails, in case it was the transfer's fault.
async fn add(intake: &Intake, file: FileInfo) -> (Id, Result<()>) {
    let added = match intake.add(&file).await {
        Ok(()) => Ok(()),
        Err(_) => intake.add(&file).await,
    };
    (file.id, added)
}

/// Whether the file is at fault, and not the way to it.
fn is_damage(error: &Error) -> bool {
    let of_size = [BackendErrorKind::TooShort, BackendErrorKind::TooLarge];
    match error {
        Error::Damaged { .. } => true,
        Error::Backend(BackendError { kind, .. }) => of_size.contains(kind),
        _ => false,
    }
}

/// The packs that the index lists, by their names.
struct Listed<'i> {
    index: &'i Index,
    sizes: HashMap<Id, u64>,
}

/// A pack to be looked into.
struct Suspect {
    file: FileInfo,
    /// Whether the index lists it with another size, or not at all.
    is_wrong: bool,
}

impl<'i> Listed<'i> {
    fn new(index: &'i Index) -> Self {
        Self { index, sizes: index.pack_sizes().map(|pack| (pack.id, pack.size)).collect() }
    }

    /// Compares the index with the packs that there are; returns those whose headers have to be read.
    fn compare(
        &self,
        files: Vec<FileInfo>,
        options: Options,
        outcome: &mut Outcome,
    ) -> Vec<Suspect> {
        let mut missing: HashSet<Id> = self.sizes.keys().copied().collect();
        let mut suspects = Vec::new();
        for file in files {
            missing.remove(&file.id);
            let expected = self.sizes.get(&file.id).copied();
            let is_wrong = expected != Some(file.size);
            if let Some(expected) = expected.filter(|_| is_wrong) {
                outcome.resized.push(Resized { pack: file.id, expected, found: file.size });
            }
            if is_wrong || options.read_all_packs {
                suspects.push(Suspect { file, is_wrong });
            }
        }
        outcome.missing = missing.into_iter().collect();
        outcome.missing.sort_unstable();
        suspects
    }

    /// What the index says of these packs.
    fn blobs(&self, wanted: &HashSet<Id>) -> HashMap<Id, PackBlobs> {
        if wanted.is_empty() {
            return HashMap::new();
        }
        let packs = self.index.packs();
        let packs = packs.iter().filter(|pack| wanted.contains(&pack.pack));
        packs.map(|pack| (pack.pack, pack)).collect()
    }
}

/// Reads headers. Returns what the index has to say from now on of packs of which it says something else
/// now; no blobs where it is to say nothing.
async fn read(
    repository: &Repository,
    suspects: Vec<Suspect>,
    listed: &Listed<'_>,
    progress: &dyn Progress,
    outcome: &mut Outcome,
) -> Result<Vec<(Id, PackBlobs)>> {
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    progress.begin(Phase::ReadHeaders, Some(suspects.len() as u64));
    let known: HashSet<Id> = suspects.iter().map(|suspect| suspect.file.id).collect();
    let known = listed.blobs(&known);
    let width = repository.parallel_requests();
    let mut headers = stream::iter(suspects)
        .map(|suspect| async {
            let header = header::load(repository, suspect.file).await;
            (suspect, header)
        })
        .buffer_unordered(width);
    let mut wrong = Vec::new();
    while let Some((Suspect { file, is_wrong }, header)) = headers.next().await {
        progress.advance(Phase::ReadHeaders, 1);
        let pack = file.id;
        let before = known.get(&pack);
        match header? {
            Ok(blobs) => {
                let now = PackBlobs { pack, blobs };
                match before {
                    None => outcome.added.push(pack),
                    Some(before) if !is_wrong && before.blobs == now.blobs => continue,
                    Some(_) => {}
                }
                wrong.push((pack, now));
            }
            Err(error) => {
                let blobs = before.map_or_else(Vec::new, |before| within(before, file.size));
                match blobs.is_empty() {
                    true => outcome.skipped.push((pack, error)),
                    false => outcome.kept.push((pack, error)),
                }
                let is_same = before.is_some_and(|before| before.blobs.len() == blobs.len());
                if before.is_some() && !is_same {
                    wrong.push((pack, PackBlobs { pack, blobs }));
                }
            }
        }
    }
    progress.end(Phase::ReadHeaders);
    outcome.added.sort_unstable();
    outcome.skipped.sort_by_key(|(id, _)| *id);
    outcome.kept.sort_by_key(|(id, _)| *id);
    Ok(wrong)
}

/// What can lie in a file of this size.
fn within(listed: &PackBlobs, size: u64) -> Vec<crate::BlobEntry> {
    let fits = |blob: &&crate::BlobEntry| u64::from(blob.offset) + u64::from(blob.length) <= size;
    listed.blobs.iter().filter(fits).copied().collect()
}
