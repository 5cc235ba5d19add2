//! `stat`: how large a disk in a backup is.

use crate::action::repository::BackupRepository;
use crate::exit::{Failure, Result};
use crate::opennebula::action_data::{ActionData, part};
use crate::opennebula::datastore::{Datastore, RepositoryId};
use crate::opennebula::description::disk_size;
use crate::opennebula::element::Element;
use crate::opennebula::image;
use crate::opennebula::url::Url;
use crate::session::Session;

/// Prints the size in MiB of the disk that is in the image's path, as the guest saw it.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let data = ActionData::of_call(arguments).await?;
    let document = data.document()?;
    let datastore = Datastore::parse(part(&document, "DATASTORE")?)?;
    let image = part(&document, "IMAGE")?;
    let url = Url::parse(image.required("PATH")?)?;
    if url.datastore != datastore.id {
        return Err(Failure::new(format_args!(
            "{url} is not in datastore {}, which FROM_BACKUP_DS names",
            datastore.id
        )));
    }
    let job = match url.job {
        None => image::job(image)?,
        job => job,
    };
    let id = RepositoryId::new(url.vm()?, job);
    let repository = BackupRepository::open(session, &datastore, id).await?;
    let snapshot = repository.newest(&url.increments).await?;
    let read = async |index| repository.description(&index, &snapshot).await;
    let description = repository.look(read).await?;
    let vm = description.document()?;
    session.terminal.print(disk_size(Element::top(&vm), url.disk()?)?.to_string());
    Ok(())
}
