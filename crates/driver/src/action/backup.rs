//! `backup`

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::action::new_repository;
use crate::environment::Environment;
use crate::exit::{ExitCode, Failure, Result};
use crate::host::link::Log;
use crate::host::message::{Bounds, Done, Job, Outcome};
use crate::host::run;
use crate::host::ssh::Host;
use crate::opennebula::action_data::{self, ActionData};
use crate::opennebula::api::Api;
use crate::opennebula::datastore::{Datastore, RepositoryId};
use crate::opennebula::installation::Installation;
use crate::opennebula::place::Place;
use crate::opennebula::vm::Vm;
use crate::session::Session;

/// How long a repository that is being made may still take when the backup is cancelled: less than users
/// wait, and much more than the moment in which an interruption would leave half of it.
const FAREWELL: Duration = Duration::from_millis(3500);

/// What OpenNebula calls `backup` with.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    place: Place,
    disks: Vec<u64>,
    job: Option<u64>,
    vm: u64,
}

/// What is to be done, now that all is known that it takes.
struct Plan {
    host: Host,
    bounds: Bounds,
    job: Job,
    datastore: Datastore,
    repository: RepositoryId,
    log: Log,
}

/// Backs up the disks of a VM, which OpenNebula has laid out on a host, and prints the snapshot's id, its
/// size in MiB, and the format of its disks.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let order = Order::parse(arguments)?;
    let plan = session.interrupt.guard(order.plan(session)).await;
    let plan = plan.map_err(|failure| match failure.code() {
        ExitCode::Interrupted => cancelled(),
        _ => failure,
    })?;
    let Done { snapshot, bytes, is_rbd } = plan.back_up(session).await?;
    let format = if is_rbd { "rbd" } else { "raw" };
    session.terminal.print(format!("{snapshot} {} {format}", bytes >> 20));
    Ok(())
}

impl Plan {
    async fn back_up(&self, session: &Session) -> Result<Done> {
        let Self { host, bounds, job, log, .. } = self;
        let mut may_make = true;
        loop {
            return match run::run(host, bounds, job, log, &session.interrupt).await? {
                Outcome::Done(done) => Ok(done),
                Outcome::NoRepository(_) if may_make => {
                    may_make = false;
                    self.make_repository(session).await?;
                    continue;
                }
                Outcome::Cancelled => Err(cancelled()),
                Outcome::NoRepository(reason) | Outcome::Failed(reason) => {
                    Err(Failure::plain(ExitCode::Error, reason)
                        .while_doing(format_args!("backup on {}", host.name())))
                }
            };
        }
    }

    /// Makes the repository of a VM or a backup job that has none yet.
    async fn make_repository(&self, session: &Session) -> Result {
        self.log.note(format_args!("making the repository {}", self.job.repository));
        let there = session.for_repository(&self.datastore, &self.repository)?;
        // Half a repository would be in the way of all that follow, so this is not dropped halfway.
        let mut making = tokio::spawn(async move { new_repository::make(&there).await });
        tokio::select! {
            made = &mut making => made.unwrap_or_else(|error| {
                Err(Failure::new(format_args!("the repository was not made: {error}")))
            }),
            () = session.interrupt.requested() => {
                let _ = timeout(FAREWELL, making).await;
                Err(cancelled())
            }
        }
    }
}

impl Order {
    fn parse(arguments: &[String]) -> Result<Self> {
        // OpenNebula 6.6 knows of no backup jobs.
        let (place, disks, job, vm) = match arguments {
            [place, disks, _deploy, job, vm, _datastore] => (place, disks, job.as_str(), vm),
            [place, disks, _deploy, vm, _datastore] => (place, disks, "-", vm),
            _ => {
                return Err(Failure::new(format_args!(
                    "backup takes the arguments host:folder, disks, deploy id, backup job, VM and \
                     datastore, and not {} of them",
                    arguments.len()
                )));
            }
        };
        let number = |what: &str, text: &str| {
            let parsed = text.parse().ok();
            parsed.ok_or_else(|| Failure::new(format_args!("{text:?} is no number of a {what}")))
        };
        Ok(Self {
            place: Place::parse(place)?,
            // Up to 6.8, the list ends with a colon.
            disks: disks
                .split(':')
                .filter(|disk| !disk.is_empty())
                .map(|disk| number("disk", disk))
                .collect::<Result<_>>()?,
            job: match job {
                "-" | "" | "-1" => None,
                job => Some(number("backup job", job)?),
            },
            vm: number("VM", vm)?,
        })
    }

    /// Which repository the backup belongs into: the VM's, or that of the backup job; but an increment
    /// belongs where the backup is that it is an increment to, whoever orders it.
    async fn repository(
        &self,
        vm: Option<&Vm>,
        environment: &Environment,
        log: &Log,
    ) -> Result<RepositoryId> {
        let usual = RepositoryId::new(self.vm, self.job);
        let Some(image) = vm.and_then(|vm| vm.incremental_backup) else { return Ok(usual) };
        let asked = async { Api::of(environment)?.backup_job_of(image).await };
        match (asked.await, self.job) {
            (Ok(job), _) => {
                let found = RepositoryId::new(self.vm, job);
                if found != usual {
                    log.note(format_args!(
                        "this is an increment to image {image}, so it goes to repository {found}"
                    ));
                }
                Ok(found)
            }
            // A VM's increments are its own, unless it once was in a backup job.
            (Err(failure), None) => {
                log.warn(format_args!(
                    "cannot ask OpenNebula where the backup is that this is an increment to, and take \
                     it to be in repository {usual}: {}",
                    failure.cause()
                ));
                Ok(usual)
            }
            (Err(failure), Some(_)) => Err(failure.while_doing(format_args!(
                "cannot ask OpenNebula in which repository image {image} is, which this is an \
                 increment to"
            ))),
        }
    }

    /// Finds out what it takes to carry it out.
    async fn plan(&self, session: &Session) -> Result<Plan> {
        let data = ActionData::of_stdin().await?;
        let document = data.document()?;
        let datastore = Datastore::parse(action_data::part(&document, "DATASTORE")?)?;
        // Before 6.10.1, OpenNebula says nothing of the VM.
        let vm = action_data::part(&document, "VM").ok().map(Vm::parse).transpose()?;
        let log = Log { terminal: Arc::clone(&session.terminal), vm: Some(self.vm) };
        let repository = self.repository(vm.as_ref(), &session.environment, &log).await?;
        let settings = datastore.settings(&repository, &session.environment)?;
        Ok(Plan {
            host: Host::new(self.place.reader(vm.as_ref()), &session.environment)?,
            bounds: Bounds {
                confinement: datastore.confinement.clone(),
                datastore: datastore.id,
                folder: self.place.folder.clone(),
            },
            job: Job {
                repository: settings.access.location_text()?,
                password: datastore.password.clone(),
                folder: self.place.backup_folder(&Installation::of(&session.environment))?,
                disks: self.disks.clone(),
                tags: vec![format!("one-{}", self.vm)],
                bandwidth: datastore.bandwidth,
                compression: datastore.compression,
                workers: datastore.workers,
                options: settings.options,
            },
            datastore,
            repository,
            log,
        })
    }
}

/// What users read when they have cancelled a backup, in upstream's words.
fn cancelled() -> Failure {
    Failure::plain(ExitCode::Action, "Backup cancelled".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(arguments: &[&str]) -> Result<Order> {
        Order::parse(&arguments.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    const DEPLOY: &str = "1e5717fd-77dc-4cb1-bddb-4a034a223067";

    #[test]
    fn every_release_calls_it_a_little_differently() {
        let newest = order(&["h:/ds//100/5", "0:1", DEPLOY, "7", "5", "100"]).unwrap();
        let place = Place { host: "h".to_owned(), folder: "/ds/100/5".to_owned() };
        assert_eq!(newest, Order { place, disks: vec![0, 1], job: Some(7), vm: 5 });
        let without_job = order(&["h:/ds/100/5", "0:1", DEPLOY, "-", "5", "100"]).unwrap();
        assert_eq!(without_job.job, None);
        assert_eq!(order(&["h:/ds/100/5", "0:1:", DEPLOY, "-", "5", "100"]), Ok(without_job));
        let oldest = order(&["h:/ds/100/5", "0:", DEPLOY, "5", "100"]).unwrap();
        assert_eq!((oldest.disks, oldest.job, oldest.vm), (vec![0], None, 5));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &[][..],
            &["h:/ds/100/5", "0", DEPLOY, "-", "5"][..4],
            &["h", "0", DEPLOY, "-", "5", "100"],
            &["h:/ds/100/5", "0:x", DEPLOY, "-", "5", "100"],
            &["h:/ds/100/5", "0", DEPLOY, "$(id)", "5", "100"],
            &["h:/ds/100/5", "0", DEPLOY, "-", "../5", "100"],
        ] {
            assert!(order(arguments).is_err(), "{arguments:?}");
        }
    }
}
