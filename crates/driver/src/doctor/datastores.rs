//! The backup datastores, and the servers that they are on.

use restic_sftp::Survey;

use crate::action::monitor;
use crate::doctor::Doctor;
use crate::exit::{Failure, Result};
use crate::opennebula::api::Api;
use crate::opennebula::datastore::Datastore;
use crate::report::number;

/// The driver that this program is.
const DRIVER: &str = "restic";

/// Looks at all datastores of this driver. Gives those whose attributes make sense.
pub async fn examine(doctor: &mut Doctor<'_>, api: &Api) -> Vec<Datastore> {
    let Some(ids) = doctor.expect(api.datastores(DRIVER).await, |ids| match ids.len() {
        0 => "OpenNebula can be asked; it has no datastore with DS_MAD=restic yet".to_owned(),
        1 => "OpenNebula can be asked; it has one datastore with DS_MAD=restic".to_owned(),
        count => format!("OpenNebula can be asked; it has {count} datastores with DS_MAD=restic"),
    }) else {
        return Vec::new();
    };
    let mut datastores = Vec::new();
    for id in ids {
        let read = api.datastore(id).await.map_err(|failure| of(id, failure));
        let Some(datastore) =
            doctor.expect(read, |_| format!("datastore {id}: its attributes make sense"))
        else {
            continue;
        };
        let surveyed = survey(doctor, &datastore).await.map_err(|failure| of(id, failure));
        doctor.expect(surveyed, |survey| describe(id, &datastore, survey));
        datastores.push(datastore);
    }
    datastores
}

async fn survey(doctor: &Doctor<'_>, datastore: &Datastore) -> Result<Survey> {
    let folder = monitor::folder(doctor.session, datastore).await?;
    folder.make_folder().await?;
    Ok(folder.survey().await?)
}

fn describe(id: u64, datastore: &Datastore, survey: &Survey) -> String {
    let Survey { facts, round_trip, free, .. } = survey;
    let free = free.map_or_else(
        || "it does not tell its free space, which OpenNebula needs to know".to_owned(),
        |free| format!("{} free", number::bytes(free)),
    );
    format!(
        "datastore {id}: {}@{} lets the front-end in by {}, {:.1} ms away, {free}",
        datastore.user,
        datastore.server,
        facts.login,
        1e3 * round_trip.as_secs_f64()
    )
}

fn of(id: u64, failure: Failure) -> Failure {
    failure.while_doing(format_args!("datastore {id}"))
}
