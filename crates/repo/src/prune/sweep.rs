//! The last steps: the old packs leave the index, and then the storage.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::{FULL, Index, IndexFile, Packs};
use crate::progress::{Phase, Progress, Warning};
use crate::prune::mark::Marked;
use crate::prune::plan::{Decided, Fate};
use crate::prune::repack::Repacked;
use crate::repository::{Repository, on_worker};

/// What the last steps did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many packs were removed.
    pub packs: u64,
    /// How many packs could not be removed. No index lists them any more; the next prune tries again.
    pub packs_left: u64,
    /// How many packs stay although they were to go, because snapshots that arrived meanwhile need them.
    pub packs_rescued: u64,
    /// How many index files were replaced.
    pub index_files: u64,
}

/// Packs that no index lists any more.
#[must_use = "the packs are still there"]
#[derive(Debug)]
pub struct Unlisted {
    packs: Vec<Id>,
    swept: Swept,
}

impl Repacked {
    /// Takes what is of no use out of the index. The caller holds an exclusive lock.
    ///
    /// # Errors
    /// [`Error::Overtaken`] if somebody else rewrote the index since the plan was made. Whatever the
    /// storage says; what was not removed yet stays.
    pub async fn unlist(
        self,
        repository: &Repository,
        progress: &Arc<dyn Progress>,
    ) -> Result<Unlisted> {
        let Self { marked, mut decided, new_index_files } = self;
        let arrived = arrivals(repository, &marked, &new_index_files).await?;
        // Everything that others stored is known from here on.
        let needed = marked.again(repository, progress).await?;
        let packs_rescued = rescue(&marked.index, &mut decided, needed, &arrived)?;
        let index_files =
            rewrite_index(repository, &marked.index, &decided.fates, progress).await?;
        let arrived: HashSet<Id> = arrived.iter().flat_map(packs_of).collect();
        let unreferenced = decided.unreferenced.into_iter().filter(|pack| !arrived.contains(pack));
        let fates = decided.fates.iter().zip(marked.index.pack_ids());
        let gone = fates.filter(|(fate, _)| matches!(fate, Fate::Remove | Fate::Repack));
        let packs: Vec<Id> = unreferenced.chain(gone.map(|(_, pack)| *pack)).collect();
        let swept = Swept { packs: 0, packs_left: packs.len() as u64, packs_rescued, index_files };
        Ok(Unlisted { packs, swept })
    }
}

impl Unlisted {
    /// Removes the packs. The caller has held a lock ever since they left the index, if only a shared one:
    /// so nobody can have listed them again.
    pub async fn remove(self, repository: &Repository, progress: &Arc<dyn Progress>) -> Swept {
        let Self { packs, mut swept } = self;
        swept.packs_left = remove_packs(repository, &packs, progress).await;
        swept.packs = packs.len() as u64 - swept.packs_left;
        swept
    }
}

fn packs_of(file: &IndexFile) -> impl Iterator<Item = Id> {
    file.packs.iter().map(|pack| pack.pack)
}

/// The index files that others stored since the plan was made. Their packs are added to the index.
async fn arrivals(repository: &Repository, marked: &Marked, ours: &[Id]) -> Result<Vec<IndexFile>> {
    let files = repository.list(FileType::Index).await?;
    let mut found: HashSet<Id> = files.into_iter().map(|file| file.id).collect();
    for known in marked.index_files.iter().chain(ours) {
        if !found.remove(known) {
            return Err(Error::Overtaken);
        }
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let planned: HashSet<&Id> = marked.index.pack_ids().iter().collect();
    let mut arrived = Vec::new();
    for id in found {
        let json = repository.load_unpacked(FileType::Index, id).await?;
        let file = IndexFile::decode(id, &json)?;
        // A backup only lists packs of its own. Somebody has made another index of the packs that the plan
        // is about, and did not get to removing the old one; packs that it lists must not go.
        if packs_of(&file).any(|pack| planned.contains(&pack)) {
            return Err(Error::Overtaken);
        }
        for pack in &file.packs {
            marked.index.add_pack(pack.pack, &pack.blobs);
        }
        arrived.push(file);
    }
    Ok(arrived)
}

/// Keeps the packs that hold a blob that is needed now, and that nothing else has which stays.
fn rescue(
    index: &Index,
    decided: &mut Decided,
    needed: Vec<BlobHandle>,
    arrived: &[IndexFile],
) -> Result<u64> {
    let stored: HashSet<BlobHandle> = arrived
        .iter()
        .flat_map(|file| &file.packs)
        .flat_map(|pack| pack.blobs.iter().map(|blob| blob.handle))
        .collect();
    let mut rescued = 0;
    for blob in needed.into_iter().filter(|blob| !stored.contains(blob)) {
        let places = index.places(&blob);
        let places = || places.iter().filter(|place| place.is_possible());
        if places().any(|place| decided.fates[place.pack] == Fate::Keep) {
            continue;
        }
        // A pack that is to be forgotten is missing.
        let place = places().find(|place| decided.fates[place.pack] != Fate::Forget);
        let place = place.ok_or(Error::IndexIncomplete { blob })?;
        decided.fates[place.pack] = Fate::Keep;
        rescued += 1;
    }
    Ok(rescued)
}

/// Replaces the index files that list what goes, and puts small ones together. Only when the new ones
/// are stored are the old ones removed. Gives how many those were.
async fn rewrite_index(
    repository: &Repository,
    index: &Arc<Index>,
    fates: &[Fate],
    progress: &Arc<dyn Progress>,
) -> Result<u64> {
    if fates.iter().all(|fate| *fate == Fate::Keep) {
        return Ok(0);
    }
    let (encoded, mut files) = mpsc::channel(1);
    let (index, fates) = (Arc::clone(index), fates.to_vec());
    let encoding = on_worker(move || {
        let packs = index.packs();
        let (old, stay) = outdated(&index, &packs, &fates);
        let mut stay = stay.into_iter().map(|number| packs.pack(number));
        while let Some(file) = IndexFile::fill(&mut stay) {
            encoded.blocking_send(file.encode()).map_err(|_| Error::Cancelled)?;
        }
        Ok(old)
    });
    let storing = async {
        let mut stores = JoinSet::new();
        let connections = repository.backend().properties().connections.max(1);
        while let Some(json) = files.recv().await {
            let repository = repository.clone();
            stores.spawn(async move { repository.save_unpacked(FileType::Index, &json).await });
            if stores.len() >= connections {
                stored(stores.join_next().await)?;
            }
        }
        while !stores.is_empty() {
            stored(stores.join_next().await)?;
        }
        Ok(())
    };
    let (old, ()) = futures_util::try_join!(encoding, storing)?;
    progress.begin(Phase::RemoveIndex, Some(old.len() as u64));
    let mut removals = pin!(
        stream::iter(old.iter().copied())
            .map(|id| repository.remove(FileType::Index, id))
            .buffer_unordered(repository.parallel_requests())
    );
    while let Some(removed) = removals.next().await {
        removed?;
        progress.advance(Phase::RemoveIndex, 1);
    }
    progress.end(Phase::RemoveIndex);
    Ok(old.len() as u64)
}

fn stored(ended: Option<Result<Result<Id>, JoinError>>) -> Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok(result)) => result.map(drop),
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) => Err(Error::Cancelled),
    }
}

/// The index files to be replaced, and the packs of theirs that stay.
///
/// As restic does, this also takes the files that are not full, and those that list a pack which another
/// file lists too.
fn outdated(index: &Index, packs: &Packs<'_>, fates: &[Fate]) -> (Vec<Id>, Vec<usize>) {
    let mut listings = vec![0u32; fates.len()];
    for (_, listed) in index.file_packs() {
        for &number in listed {
            listings[number as usize] += 1;
        }
    }
    let mut old = Vec::new();
    let mut stay = vec![false; fates.len()];
    for (id, listed) in index.file_packs() {
        let numbers = || listed.iter().map(|&number| number as usize);
        let blobs: usize = numbers().map(|number| packs.blob_count(number)).sum();
        let is_sound = |number| fates[number] == Fate::Keep && listings[number] == 1;
        if blobs >= FULL && numbers().all(is_sound) {
            continue;
        }
        old.push(id);
        for number in numbers().filter(|&number| fates[number] == Fate::Keep) {
            stay[number] = true;
        }
    }
    let stay = (0..).zip(stay).filter(|(_, stays)| *stays).map(|(number, _)| number);
    (old, stay.collect())
}

/// Removes packs that no index lists. Gives how many could not be removed, which harms nobody.
async fn remove_packs(repository: &Repository, packs: &[Id], progress: &Arc<dyn Progress>) -> u64 {
    progress.begin(Phase::RemovePacks, Some(packs.len() as u64));
    let mut removals = pin!(
        stream::iter(packs.iter().copied())
            .map(|id| async move { (id, repository.remove(FileType::Pack, id).await) })
            .buffer_unordered(repository.parallel_requests())
    );
    let mut left = 0;
    while let Some((id, removed)) = removals.next().await {
        if let Err(error) = removed
            && !error.is_not_found()
        {
            left += 1;
            let handle = Handle::new(FileType::Pack, id);
            progress.warn(&Warning::NotRemoved { handle, error: &error });
        }
        progress.advance(Phase::RemovePacks, 1);
    }
    progress.end(Phase::RemovePacks);
    left
}
