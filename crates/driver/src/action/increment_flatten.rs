//! `increment_flatten`: merges the oldest increments of a backup, so that only the newest are left.
//!
//! `<MiB of the new full backup> <increments that are left>`; nothing if there are not more increments than are
//! to be kept.

use std::sync::Arc;

use restic_repo::archiver::distrust;
use restic_repo::forget;
use restic_repo::lock::{Gate, Lock, LockKind};
use restic_repo::progress::Progress;
use restic_repo::repository::Repository;

use crate::action::reclaim::reclaim;
use crate::action::repository::BackupRepository;
use crate::exit::{Failure, Result};
use crate::flatten::{Flatten, Flattened, ONLY_CEPH};
use crate::near::order::Merge;
use crate::near::{self, Near};
use crate::opennebula::action_data::{ActionData, part};
use crate::opennebula::datastore::Datastore;
use crate::opennebula::element::Document;
use crate::opennebula::image::Image;
use crate::opennebula::increments::{Increment, Increments, SHORT_ID};
use crate::report::counters::Counters;
use crate::session::Session;

/// Does it.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let data = ActionData::of_call(arguments).await?;
    let document = data.document()?;
    let image = Image::parse(part(&document, "IMAGE")?)?;
    let datastore = Datastore::parse(part(&document, "DATASTORE")?)?;
    let increments = image.increments.as_slice();
    let keep = keep_last(&document)?;
    if increments.len() <= keep {
        return Ok(());
    }
    if image.is_rbd {
        return Err(Failure::new(format_args!("image {} {ONLY_CEPH}", image.id)));
    }
    // The newest of those merged keeps its number.
    let (merged, left) = increments.split_at(increments.len() - keep + 1);
    let opening = BackupRepository::open(session, &datastore, image.repository());
    let (backup, near) = near::beside(session, &datastore, opening).await?;
    let merge = Merge { vm: image.vm, increments: merged.to_vec() };
    let flattened = flatten_and_reclaim(&backup, near, &datastore, &merge).await?;
    let full = Increment {
        id: merged.last().map_or(0, |last| last.id),
        snapshot: flattened.snapshot.to_string()[..SHORT_ID].to_owned(),
    };
    let chain = Increments::new([&[full], left].concat())?;
    session.terminal.print(format!("{} {chain}", flattened.size >> 20));
    Ok(())
}

/// Puts increments together and reclaims what then is of no use: on the server, if that is possible.
async fn flatten_and_reclaim(
    backup: &BackupRepository,
    near: Option<Near>,
    datastore: &Datastore,
    merge: &Merge,
) -> Result<Flattened> {
    if let Some(near) = near
        && let Some(flattened) = near.flatten(backup, datastore, merge).await?
    {
        return Ok(flattened);
    }
    let BackupRepository { session, repository, .. } = backup;
    let (lock, flattened) = flatten(session, repository, merge).await?;
    // From here on the old increments are gone: OpenNebula has to hear of the new one, whatever else fails.
    reclaim(session, repository, &datastore.prune, Some(lock)).await;
    Ok(flattened)
}

/// Puts increments together, and removes their snapshots. Gives the shared lock that this was done under, to reclaim
/// space with.
pub async fn flatten(
    session: &Session,
    repository: &Repository,
    merge: &Merge,
) -> Result<(Lock, Flattened)> {
    let counters = Arc::new(Counters::new(Arc::clone(&session.terminal)));
    let _pulse = session.pulse(&counters, Counters::show);
    let flatten = Flatten { vm: merge.vm, increments: &merge.increments };
    let work = async |_: &Lock, gate: Gate| {
        let repository = &repository.behind(&gate);
        let mut contents = session.contents(repository).await?;
        distrust(repository, &mut contents.index, &*counters).await?;
        let (index, snapshots) = (Arc::new(contents.index), contents.snapshots);
        let flattened = flatten.run(repository, &index, &snapshots, &*counters).await?;
        // Only snapshots are removed, so backups need not wait.
        remove(session, repository, &flattened, &*counters).await;
        Ok(flattened)
    };
    Lock::work_and_keep(repository, LockKind::Shared, &session.lock_options(), work).await
}

/// How many increments are to be kept.
fn keep_last(document: &Document<'_>) -> Result<usize> {
    match part(document, "EXTRA_DATA")?.required_number("KEEP_LAST")? {
        0 => Err(Failure::new("KEEP_LAST is 0; at least one increment has to be kept")),
        keep => Ok(keep),
    }
}

/// Removes the old snapshots. What stays is only in the way.
async fn remove(
    session: &Session,
    repository: &Repository,
    flattened: &Flattened,
    progress: &dyn Progress,
) {
    let removed = forget::remove(repository, &flattened.old, progress).await;
    for (id, error) in removed.failed {
        let failure = Failure::from(error).for_daemon();
        session.terminal.error(format!(
            "the increments were merged, but the old snapshot {} could not be removed: {failure}; remove it \
             with forget",
            id.short()
        ));
    }
}
