//! Replacing index files.

use std::collections::{HashMap, HashSet};

use crate::backend::{BackendError, BackendErrorKind};
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::id::Id;
use crate::index::{FULL, Index, IndexFile, PackBlobs};
use crate::repository::{Repository, on_worker};

/// Which index files were replaced by which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The new ones.
    pub stored: Vec<Id>,
    /// The old ones, which are gone.
    pub removed: Vec<Id>,
}

/// What is to become of an index.
#[derive(Default)]
pub(super) struct Change {
    /// Packs that are no longer to be listed as they are.
    pub(super) without: HashSet<Id>,
    /// Packs to be listed, at most once each.
    pub(super) with: Vec<PackBlobs>,
    /// Files that are to go although the index knows nothing of them.
    pub(super) obsolete: Vec<Id>,
    /// Whether files that are not full are to be made one.
    pub(super) unite: bool,
}

/// Stores what the index becomes, and then removes the files that are replaced by that.
pub(super) async fn rewrite(
    repository: &Repository,
    index: &Index,
    change: Change,
) -> Result<Rewritten> {
    let Change { without, with, obsolete, unite } = change;
    let replaced = Replaced::new(index, &without, unite, with.is_empty());
    let mut rewritten = Rewritten::default();
    let packs = index.packs();
    let moved = packs
        .iter()
        .filter(|pack| replaced.packs.contains(&pack.pack) && !without.contains(&pack.pack));
    let mut packs = moved.chain(with);
    while let Some(file) = IndexFile::fill(&mut packs) {
        let json = on_worker(move || Ok(file.encode())).await?;
        rewritten.stored.push(repository.save_unpacked(FileType::Index, &json).await?);
    }
    for file in replaced.files.into_iter().chain(obsolete) {
        match repository.remove(FileType::Index, file).await {
            // Gone by a try before this one whose answer was lost.
            Err(Error::Backend(BackendError { kind: BackendErrorKind::NotFound, .. })) => {}
            other => other?,
        }
        rewritten.removed.push(file);
    }
    Ok(rewritten)
}

/// Index files that have to go, and the packs that they list.
struct Replaced {
    files: Vec<Id>,
    packs: HashSet<Id>,
}

impl Replaced {
    fn new(index: &Index, without: &HashSet<Id>, unite: bool, is_all: bool) -> Self {
        let mut listed: HashMap<Id, u32> = HashMap::new();
        for (_, packs) in index.files() {
            let packs: HashSet<Id> = packs.collect();
            packs.into_iter().for_each(|pack| *listed.entry(pack).or_default() += 1);
        }
        let is_shared = |pack: &Id| listed.get(pack).is_some_and(|files| *files > 1);
        let sizes: HashMap<Id, usize> = match unite {
            true => index.packs().iter().map(|pack| (pack.pack, pack.blobs.len())).collect(),
            false => HashMap::new(),
        };
        let mut replaced = Self { files: Vec::new(), packs: HashSet::new() };
        let mut small = Vec::new();
        for (file, packs) in index.files() {
            let packs: HashSet<Id> = packs.collect();
            if packs.iter().any(|pack| without.contains(pack) || is_shared(pack)) {
                replaced.files.push(file);
                replaced.packs.extend(packs);
            } else if unite && packs.iter().filter_map(|pack| sizes.get(pack)).sum::<usize>() < FULL
            {
                small.push((file, packs));
            }
        }
        // One that would only be replaced by its like stays.
        if small.len() > 1 || !replaced.files.is_empty() || !is_all {
            for (file, packs) in small {
                replaced.files.push(file);
                replaced.packs.extend(packs);
            }
        }
        replaced
    }
}
