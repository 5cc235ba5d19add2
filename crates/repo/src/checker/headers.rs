//! Whether the headers of packs say what the index says.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::stream;

use crate::blob::BlobEntry;
use crate::checker::damage::Damage;
use crate::checker::findings::Findings;
use crate::checker::pack;
use crate::checker::packs::Found;
use crate::checker::report::{PackFault, Problem};
use crate::error::{Error, Result};
use crate::header;
use crate::index::{Index, PackBlobs};
use crate::progress::Phase;
use crate::repository::Repository;

/// Reads the header of every pack that has the right size, many at a time.
pub(super) async fn check(
    repository: &Repository,
    index: &Index,
    found: &Found,
    damage: &Damage,
    findings: &Findings,
) -> Result<()> {
    let packs = index.packs();
    let candidates =
        || packs.iter().filter(|pack| found.size(&pack.pack) == Some(pack.file_size()));
    findings.progress.begin(Phase::ReadHeaders, Some(candidates().count() as u64));
    let load = |pack: PackBlobs| async {
        let header = header::load(repository, pack.file_info()).await;
        (pack, header)
    };
    let width = repository.parallel_requests();
    let mut headers = stream::iter(candidates()).map(load).buffer_unordered(width);
    while let Some((listed, header)) = headers.next().await {
        let pack = listed.pack;
        match header {
            Ok(Ok(header)) => {
                let faults = compare(&listed, &header, damage);
                if !faults.is_empty() {
                    findings.problem(Problem::PackDamaged { pack, faults });
                }
            }
            Ok(Err(error)) => {
                // Nobody who restores needs it.
                let faults = vec![error.into()];
                findings.problem(Problem::PackDamaged { pack, faults });
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                damage.add_behind(&listed, 0);
                findings.problem(Problem::PackUnreadable { pack, error });
            }
        }
        findings.progress.advance(Phase::ReadHeaders, 1);
    }
    findings.progress.end(Phase::ReadHeaders);
    Ok(())
}

fn compare(listed: &PackBlobs, header: &[BlobEntry], damage: &Damage) -> Vec<PackFault> {
    let faults = pack::compare(&listed.blobs, header);
    if !faults.is_empty() {
        let place = |blob: &BlobEntry| (blob.offset, blob.length, blob.handle);
        let places: HashSet<_> = header.iter().map(place).collect();
        for blob in &listed.blobs {
            if !places.contains(&place(blob)) {
                damage.add(listed.pack, blob.handle);
            }
        }
    }
    pack::few(faults)
}
