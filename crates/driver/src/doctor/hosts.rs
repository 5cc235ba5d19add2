//! The hosts that VMs run on.

use crate::doctor::Doctor;
use crate::exit::Result;
use crate::host::reach;
use crate::host::ssh::Host;
use crate::opennebula::api::Api;
use crate::opennebula::datastore::Datastore;

/// Looks whether each host that works can be reached from here, and each server from there.
pub async fn examine(doctor: &mut Doctor<'_>, api: &Api, datastores: &[Datastore]) {
    let Some(names) = doctor.expect(api.hosts().await, |names| match names.len() {
        0 => "there are no hosts that work".to_owned(),
        1 => "there is one host that works".to_owned(),
        count => format!("there are {count} hosts that work"),
    }) else {
        return;
    };
    for name in names {
        for datastore in datastores {
            let reached = reach(doctor, &name, datastore).await;
            let reached =
                reached.map_err(|failure| failure.while_doing(format_args!("host {name}")));
            doctor.expect(reached, |how| {
                format!("host {name}: the server of datastore {} lets it in by {how}", datastore.id)
            });
        }
    }
}

async fn reach(doctor: &Doctor<'_>, name: &str, datastore: &Datastore) -> Result<String> {
    let host = Host::new(name, &doctor.session.environment)?;
    reach::ask(doctor.session, &host, datastore).await
}
