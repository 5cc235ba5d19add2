//! Whether the packs that the index lists are there, and can be as the index says.

use std::sync::Arc;

use crate::backend::FileInfo;
use crate::checker::damage::Damage;
use crate::checker::findings::Findings;
use crate::checker::report::{Hint, Problem};
use crate::crypto::OVERHEAD;
use crate::error::Result;
use crate::handle::FileType;
use crate::id::Id;
use crate::index::{Index, PackBlobs};
use crate::repository::{Repository, on_worker};

/// The packs in the storage, with their sizes.
pub(super) struct Found(Vec<FileInfo>);

impl Found {
    fn new(mut files: Vec<FileInfo>) -> Self {
        files.sort_unstable();
        Self(files)
    }

    /// The size of a pack, if it is there.
    pub(super) fn size(&self, pack: &Id) -> Option<u64> {
        self.position(pack).map(|position| self.0[position].size)
    }

    fn position(&self, pack: &Id) -> Option<usize> {
        self.0.binary_search_by_key(pack, |file| file.id).ok()
    }
}

/// Compares the index with the list of packs.
pub(super) async fn check(
    repository: &Repository,
    index: &Arc<Index>,
    damage: &Arc<Damage>,
    findings: &Arc<Findings>,
) -> Result<Found> {
    let files = repository.list(FileType::Pack).await?;
    let (index, damage, findings) = (Arc::clone(index), Arc::clone(damage), Arc::clone(findings));
    on_worker(move || {
        let found = Found::new(files);
        compare(&index, &found, &damage, &findings);
        Ok(found)
    })
    .await
}

fn compare(index: &Index, found: &Found, damage: &Damage, findings: &Findings) {
    let mut listed = vec![false; found.0.len()];
    for pack in index.packs().iter() {
        findings.count(|report| report.packs += 1);
        check_layout(&pack, damage, findings);
        let (expected, listing, pack) = (pack.file_size(), &pack, pack.pack);
        match found.position(&pack) {
            None => {
                damage.add_behind(listing, 0);
                findings.problem(Problem::PackMissing { pack });
            }
            Some(position) => {
                listed[position] = true;
                let found = found.0[position].size;
                if found != expected {
                    damage.add_behind(listing, found);
                    findings.problem(Problem::PackSize { pack, expected, found });
                }
            }
        }
    }
    for (file, _) in found.0.iter().zip(listed).filter(|(_, listed)| !listed) {
        findings.hint(Hint::OrphanedPack { pack: file.id, size: file.size });
    }
}

/// In a pack, blobs lie behind each other and fill it from its beginning. restic only looks at that
/// when it reads the data.
fn check_layout(pack: &PackBlobs, damage: &Damage, findings: &Findings) {
    let PackBlobs { pack, blobs } = pack;
    let mut end = 0;
    for blob in blobs {
        let (offset, length) = (blob.offset, blob.length);
        if u64::from(offset) != end {
            let blob = blob.handle;
            damage.add(*pack, blob);
            findings.problem(Problem::Misplaced { pack: *pack, blob, offset, end });
            break; // what follows is out of place as well
        }
        if (length as usize) < OVERHEAD {
            let blob = blob.handle;
            findings.problem(Problem::ImpossibleLength { pack: *pack, blob, length });
        }
        end += u64::from(length);
    }
    let kind = |i: usize| blobs.get(i).map(|blob| blob.handle.blob_type);
    if (1..blobs.len()).any(|i| kind(i) != kind(0)) {
        findings.hint(Hint::MixedPack { pack: *pack });
    }
}
