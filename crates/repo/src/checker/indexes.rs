//! Whether all index files can be read, and agree with each other.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use sha2::{Digest, Sha256};

use crate::backend::FileInfo;
use crate::blob::BlobType;
use crate::checker::findings::Findings;
use crate::checker::report::{Hint, Problem};
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::id::Id;
use crate::index::{Index, IndexFile, PackBlobs};
use crate::progress::Phase;
use crate::repository::{Intake, Repository, on_worker};

/// Loads the index. Nothing, if a file of it cannot be read.
pub(super) async fn check(
    repository: &Repository,
    findings: &Arc<Findings>,
) -> Result<Option<Index>> {
    let Some(index) = load(repository, findings).await? else { return Ok(None) };
    let shared = listed_twice(&index);
    if !shared.is_empty() {
        compare(repository, &shared, findings).await?;
    }
    Ok(Some(index))
}

async fn load(repository: &Repository, findings: &Arc<Findings>) -> Result<Option<Index>> {
    let files = repository.list(FileType::Index).await?;
    let progress = &findings.progress;
    progress.begin(Phase::LoadIndex, Some(files.len() as u64));
    let intake = Intake::new(repository);
    let mut complete = true;
    let add = |file| add(&intake, file);
    let mut loaded = stream::iter(files).map(add).buffer_unordered(intake.width());
    while let Some((index, result)) = loaded.next().await {
        match result {
            Ok(()) => {}
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                complete = false;
                findings.problem(Problem::IndexUnreadable { index, error });
            }
        }
        findings.count(|report| report.index_files += 1);
        progress.advance(Phase::LoadIndex, 1);
    }
    drop(loaded);
    progress.end(Phase::LoadIndex);
    if !complete {
        return Ok(None);
    }
    intake.finish().await.map(Some)
}

/// Adds an index file; tries once more if that fails, in case it was the transfer's fault.
async fn add(intake: &Intake, file: FileInfo) -> (Id, Result<()>) {
    let added = match intake.add(&file).await {
        Ok(()) => Ok(()),
        Err(_) => intake.add(&file).await,
    };
    (file.id, added)
}

/// The packs that several index files list, each with these files.
fn listed_twice(index: &Index) -> HashMap<Id, Vec<Id>> {
    let mut listed: Vec<(Id, Id)> =
        index.files().flat_map(|(file, packs)| packs.map(move |pack| (pack, file))).collect();
    listed.sort_unstable();
    listed.dedup();
    let shared = listed.chunk_by(|one, next| one.0 == next.0).filter(|places| places.len() > 1);
    shared.map(|places| (places[0].0, places.iter().map(|place| place.1).collect())).collect()
}

/// Looks whether the files that list a pack say the same of it. The index as a whole no longer knows
/// which file said what, so they are read again; in most repositories there are none.
async fn compare(
    repository: &Repository,
    shared: &HashMap<Id, Vec<Id>>,
    findings: &Findings,
) -> Result<()> {
    let mut files: Vec<Id> = shared.values().flatten().copied().collect();
    files.sort_unstable();
    files.dedup();
    let mut said: HashMap<Id, Vec<Id>> = HashMap::new();
    for file in files {
        let json = repository.load_unpacked(FileType::Index, file).await?;
        for (pack, digest) in
            on_worker(move || Ok(digests(IndexFile::decode(file, &json)?))).await?
        {
            if shared.contains_key(&pack) {
                said.entry(pack).or_default().push(digest);
            }
        }
    }
    for (&pack, indexes) in shared {
        let indexes = indexes.clone();
        let alike = said.get(&pack).is_none_or(|said| said.iter().all(|digest| *digest == said[0]));
        match alike {
            true => findings.hint(Hint::DuplicateIndex { pack, indexes }),
            false => findings.problem(Problem::IndexesDisagree { pack, indexes }),
        }
    }
    Ok(())
}

/// For each pack of an index file a digest of what the file says of it.
fn digests(file: IndexFile) -> HashMap<Id, Id> {
    let mut packs: HashMap<Id, PackBlobs> = HashMap::new();
    for listed in file.packs {
        // Within a file a pack may be listed in parts.
        match packs.get_mut(&listed.pack) {
            Some(pack) => pack.blobs.extend(listed.blobs),
            None => drop(packs.insert(listed.pack, listed)),
        }
    }
    packs.into_iter().map(|(id, pack)| (id, digest(pack))).collect()
}

fn digest(mut pack: PackBlobs) -> Id {
    pack.blobs.sort_unstable_by_key(|blob| {
        (blob.offset, blob.handle, blob.length, blob.uncompressed_length)
    });
    pack.blobs.dedup();
    let mut hash = Sha256::new();
    for blob in &pack.blobs {
        hash.update([u8::from(blob.handle.blob_type == BlobType::Tree)]);
        hash.update(blob.handle.id.as_bytes());
        for number in [blob.offset, blob.length, blob.uncompressed_length] {
            hash.update(number.to_le_bytes());
        }
    }
    Id::from_bytes(hash.finalize().into())
}
