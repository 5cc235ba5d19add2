//! `increment_flatten`: merges the oldest increments of a backup, so that only the newest are left.
//!
//! `<MiB of the new full backup> <increments that are left>`; nothing if there are not more increments than are
//! to be kept.

use std::sync::Arc;
use std::time::Duration;

use restic_repo::archiver::distrust;
use restic_repo::forget;
use restic_repo::progress::Progress;
use restic_repo::prune::{self, End, Prune};
use restic_repo::repository::Repository;

use crate::exit::{Failure, Result};
use crate::flatten::{Flatten, Flattened};
use crate::opennebula::action_data::{ActionData, part};
use crate::opennebula::datastore::Datastore;
use crate::opennebula::element::Document;
use crate::opennebula::image::Image;
use crate::opennebula::increments::{Increment, Increments, SHORT_ID};
use crate::report::counters::Counters;
use crate::session::{Intent, Session};

/// How long to wait for a lock: as long as upstream tries, 60 times with 5 seconds in between.
const PATIENCE: Duration = Duration::from_secs(300);

/// Does it.
pub async fn run(session: &Session) -> Result {
    let data = ActionData::of_stdin().await?;
    let document = data.document()?;
    let image = Image::parse(part(&document, "IMAGE")?)?;
    let datastore = Datastore::parse(part(&document, "DATASTORE")?)?;
    let increments = image.increments.as_slice();
    let keep = keep_last(&document)?;
    if increments.len() <= keep {
        return Ok(());
    }
    if image.is_rbd {
        return Err(Failure::new(
            "the backup is in a format of Ceph, whose increments only the program rbd can merge; make a full \
             backup of the VM to begin a new chain",
        ));
    }
    // The newest of those merged keeps its number.
    let (merged, left) = increments.split_at(increments.len() - keep + 1);
    let mut session = session.for_repository(&datastore, &image.repository())?;
    session.settings.retry_lock = PATIENCE;
    let session = &session;
    let repository = session.open().await?;
    let counters = Arc::new(Counters::new(Arc::clone(&session.terminal)));
    let pulse = session.pulse(&counters, Counters::show);
    let progress: Arc<dyn Progress> = counters;
    let flatten = Flatten {
        vm: image.vm,
        increments: merged,
        program_version: concat!("one-restic ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let contents = async || session.contents(&repository).await;
    let flattened = session.locked(&repository, Intent::Add, contents, async |mut contents| {
        distrust(&repository, &mut contents.index, &*progress).await?;
        let (index, snapshots) = (Arc::new(contents.index), contents.snapshots);
        let flattened = flatten.run(&repository, &index, &snapshots, &*progress).await?;
        remove(session, &repository, &flattened, &*progress).await;
        Ok(flattened)
    });
    let Flattened { snapshot, size, .. } = flattened.await?;
    // From here on the old increments are gone: OpenNebula has to hear of the new one, whatever else fails.
    if let Err(failure) = reclaim(session, &repository, datastore.prune, &progress).await {
        let failure = failure.for_daemon();
        session.terminal.error(format!(
            "the increments were merged, but the space of the old ones is not free yet: {failure}; the next \
             merge or removal frees it"
        ));
    }
    drop(pulse);
    let full = Increment {
        id: merged.last().map_or(0, |last| last.id),
        snapshot: snapshot.to_string()[..SHORT_ID].to_owned(),
    };
    let chain = Increments::new([&[full], left].concat())?;
    session.terminal.print(format!("{} {chain}", size >> 20));
    Ok(())
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

/// Frees what only the old snapshots needed.
async fn reclaim(
    session: &Session,
    repository: &Repository,
    options: prune::Options,
    progress: &Arc<dyn Progress>,
) -> Result {
    let locks = session.lock_options();
    let prune = Prune { options, locks: &locks, progress: Arc::clone(progress) };
    match prune.run(repository, |_| true).await?.end {
        End::Nothing | End::Swept(_) => Ok(()),
        End::Postponed(holders) => Err(restic_repo::Error::Locked { holders }.into()),
        End::Overtaken => Err(restic_repo::Error::Overtaken.into()),
    }
}
