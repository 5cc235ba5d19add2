//! `monitor`: how full the backup server is.

use restic_repo::backend::BackendErrorKind;

use crate::exit::{Failure, Result};
use crate::opennebula::action_data::{ActionData, part};
use crate::opennebula::datastore::Datastore;
use crate::session::Session;
use crate::storage;

/// Prints the space of the file system that the datastore is on. The datastore's folder is made if it is
/// missing; no repository is opened.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let data = ActionData::of_call(arguments).await?;
    let document = data.document()?;
    let datastore = Datastore::parse(part(&document, "DATASTORE")?)?;
    let folder = folder(session, &datastore).await?;
    let space = match folder.space().await {
        Err(error) if error.kind == BackendErrorKind::NotFound => {
            folder.make_folder().await?;
            folder.space().await
        }
        told => told,
    };
    let space = space?.ok_or_else(|| {
        Failure::new(format_args!(
            "{} does not tell how much space it has: its SFTP server lacks statvfs@openssh.com, which \
             OpenSSH has",
            datastore.server
        ))
    })?;
    session.terminal.print(format!(
        "USED_MB={}M\nTOTAL_MB={}M\nFREE_MB={}M",
        mebibytes(space.used),
        mebibytes(space.total),
        mebibytes(space.free)
    ));
    Ok(())
}

/// The folder of all repositories of a datastore, on its server.
pub async fn folder(session: &Session, datastore: &Datastore) -> Result<restic_sftp::Sftp> {
    let settings = datastore.common_settings(&session.environment)?;
    storage::connect(&datastore.folder(), &settings, &session.terminal, &session.servers).await
}

/// As `df -BM` counts: what was begun counts as a whole one.
fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
