//! `rm`: removes a backup image.

use std::sync::Arc;

use restic_repo::forget::remove;
use restic_repo::{Error, FileType, Id};

use crate::action::monitor::folder;
use crate::action::reclaim::reclaim;
use crate::action::repository::BackupRepository;
use crate::exit::{ExitCode, Failure, Result};
use crate::lineage::{self, names};
use crate::near;
use crate::opennebula::action_data::{ActionData, part};
use crate::opennebula::datastore::Datastore;
use crate::opennebula::image::Image;
use crate::opennebula::increments::{Increment, Increments};
use crate::report::counters::Counters;
use crate::session::{Intent, Session};

/// Removes all snapshots of the image, and what nobody needs any more. What is gone already is as good as
/// removed, so that an image can always be removed.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let data = ActionData::of_call(arguments).await?;
    let document = data.document()?;
    let datastore = Datastore::parse(part(&document, "DATASTORE")?)?;
    let image = Image::parse(part(&document, "IMAGE")?)?;
    let opening = BackupRepository::open(session, &datastore, image.repository());
    let (repository, near) = match near::beside(session, &datastore, opening).await {
        Err(failure) if failure.code() == ExitCode::NoRepository => {
            // An empty mount point has no repositories either.
            folder(session, &datastore).await?.space().await?;
            session.terminal.error(format!(
                "datastore {} has no repository {}, so nothing of image {} is left to be removed",
                datastore.id,
                image.repository(),
                image.id
            ));
            return Ok(());
        }
        opened => opened?,
    };
    forget(&repository, &image.increments).await?;
    let is_reclaimed = match near {
        Some(near) => near.reclaim(&repository, &datastore).await,
        None => false,
    };
    if !is_reclaimed {
        reclaim(&repository.session, &repository.repository, &datastore.prune, None).await;
    }
    Ok(())
}

/// Removes the snapshots of these increments.
async fn forget(repository: &BackupRepository, increments: &Increments) -> Result {
    let session = &repository.session;
    let read = async || repository.repository.list(FileType::Snapshot).await;
    let forget = async |files: Vec<restic_repo::backend::FileInfo>| {
        let ids: Vec<Id> = files.iter().map(|file| file.id).collect();
        let (mut wanted, mut missing) = (Vec::new(), Vec::new());
        for increment in increments.as_slice() {
            let found = restic_repo::snapshot::find_id(
                FileType::Snapshot,
                ids.iter().copied(),
                &increment.snapshot,
            );
            match found {
                Ok(id) => wanted.push(id),
                Err(Error::NoMatch { .. }) => missing.push(increment),
                Err(error) => return Err(Failure::from(error)),
            }
        }
        let counters = Counters::new(Arc::clone(&session.terminal));
        if !missing.is_empty() {
            // They may have been merged without OpenNebula having heard of it.
            let snapshots = repository.repository.readable_snapshots(&counters).await?;
            for (id, snapshot) in lineage::merged_from(&snapshots, increments.as_slice()) {
                let parts = lineage::parts(snapshot);
                let is_part = |increment: &Increment| parts.iter().any(|id| names(increment, id));
                missing.retain(|increment| !is_part(increment));
                wanted.push(*id);
            }
        }
        for Increment { id, snapshot } in missing {
            session.terminal.error(format!(
                "snapshot {snapshot} of increment {id} is not in the repository of the image, so it is not \
                 removed"
            ));
        }
        let outcome = remove(&repository.repository, &wanted, &counters).await;
        match outcome.failed.into_iter().next() {
            None => Ok(()),
            Some((id, error)) => Err(Failure::from(error)
                .while_doing(format_args!("snapshot {} cannot be removed", id.short()))),
        }
    };
    // Only snapshots are removed, so backups need not wait.
    session.locked(&repository.repository, Intent::Add, read, forget).await
}
