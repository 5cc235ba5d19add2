//! The backup datastores, and the servers that they are on.

use restic_sftp::Survey;

use crate::action::monitor;
use crate::command::version::OWN_VERSION;
use crate::doctor::Doctor;
use crate::exit::{Failure, Result};
use crate::near::{self, Found};
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
        if doctor.expect(surveyed, |survey| describe(id, &datastore, survey)).is_some() {
            tell_where_work_is_done(doctor, &datastore).await;
        }
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

/// Where increments are merged and space is reclaimed. It works either way.
async fn tell_where_work_is_done(doctor: &mut Doctor<'_>, datastore: &Datastore) {
    let Datastore { id, server, user, .. } = datastore;
    match near::look_shortly(doctor.session, datastore).await {
        Found::Ready(_) => doctor.good(format!(
            "datastore {id}: {server} merges increments and reclaims space by itself, with one-restic \
             {OWN_VERSION}"
        )),
        Found::Other(version) => doctor.doubtful(format!(
            "datastore {id}: {server} has version {version} of one-restic instead of {OWN_VERSION}, so increments \
             are merged over SFTP; install this version there"
        )),
        Found::Nothing if !datastore.near => doctor.good(format!(
            "datastore {id}: increments are merged and space is reclaimed over SFTP, as RESTIC_NEAR says"
        )),
        Found::Nothing => doctor.good(format!(
            "datastore {id}: increments are merged and space is reclaimed over SFTP, since {user} has no \
             one-restic on {server} or may not run it"
        )),
    }
}

fn of(id: u64, failure: Failure) -> Failure {
    failure.while_doing(format_args!("datastore {id}"))
}
