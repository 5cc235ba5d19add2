//! The front-end's half of a backup: has a host make it, and waits for what becomes of it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::command::version;
use crate::exit::{ExitCode, Failure, Result};
use crate::host::deploy::deploy;
use crate::host::job;
use crate::host::link::{Link, Log};
use crate::host::message::{self, Bounds, Job, Outcome};
use crate::host::ssh::{Agent, Host};
use crate::host::stop;
use crate::signals::Interrupt;

/// How long a host may take to release its lock when a backup is cancelled, before nobody waits for it
/// any more. The users do not wait longer than five seconds.
const FAREWELL: Duration = Duration::from_millis(3500);

/// How long a program may take to begin, the login included.
const HELLO_PATIENCE: Duration = Duration::from_secs(120);

/// What is there on a host.
enum Found {
    /// This program, in this version.
    Ready(Box<Link>),
    /// Something else or nothing, and what it said.
    Other(String),
}

/// Has a host do a job. That it was not possible, or not wanted any more, is an outcome too.
pub async fn run(
    host: &Host,
    bounds: &Bounds,
    job: &Job,
    log: &Log,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let connected = async {
        let mut link = connect(host, log).await?;
        link.send(&message::line(bounds)).await;
        link.send(&message::line(job)).await;
        Ok(link)
    };
    let mut link = match interrupt.guard(connected).await {
        Err(failure) if failure.code() == ExitCode::Interrupted => return Ok(Outcome::Cancelled),
        connected => connected?,
    };
    let outcome = tokio::select! {
        biased;
        outcome = link.message() => outcome,
        () = interrupt.requested() => {
            link.close();
            // A backup that is made already is no longer cancelled.
            let farewell = timeout(FAREWELL, link.message()).await;
            if farewell.is_err() {
                // The server is away. When it is back, the host has to log in to release its lock.
                link.leave();
            }
            return Ok(match farewell {
                Ok(Some(done @ Outcome::Done(_))) => done,
                _ => Outcome::Cancelled,
            });
        }
    };
    if let Some(outcome) = outcome {
        // What is left to say is for the log.
        let _ = timeout(FAREWELL, link.end()).await;
        return Ok(outcome);
    }
    let ending = link.end().await;
    let what = if ending.is_lost() { "the connection to it broke" } else { "it ended too early" };
    Err(Failure::new(format_args!(
        "the backup on {} failed: {what}: {}",
        host.name(),
        ending.reason()
    )))
}

/// Starts this program on a host, and copies it there if it is not there yet.
async fn connect(host: &Host, log: &Log) -> Result<Link> {
    match look(host, log).await? {
        Found::Ready(link) => return Ok(*link),
        Found::Other(said) => log.note(format_args!("{}: {said}", host.name())),
    }
    deploy(host, log).await?;
    match look(host, log).await? {
        Found::Ready(link) => Ok(*link),
        Found::Other(said) => Err(Failure::new(format_args!(
            "{} was copied to {} but does not run there: {said}; is that another kind of machine?",
            host.program(),
            host.name()
        ))),
    }
}

async fn look(host: &Host, log: &Log) -> Result<Found> {
    let began = Instant::now();
    let mut link = Link::open(host.action(job::ACTION, Agent::Lent), log)?;
    match timeout(HELLO_PATIENCE, link.hello()).await {
        Err(_) => return Ok(Found::Other("it says nothing".to_owned())),
        Ok(Some(hello)) if hello.one_restic == version::OWN_VERSION => {
            return Ok(Found::Ready(Box::new(link)));
        }
        Ok(Some(hello)) => {
            let (theirs, ours) = (hello.one_restic, version::OWN_VERSION);
            return Ok(Found::Other(format!("version {theirs} is there instead of {ours}")));
        }
        Ok(None) => {}
    }
    let ending = link.end().await;
    if ending.is_lost() {
        let (name, after) = (host.name(), began.elapsed().as_secs());
        return Err(Failure::new(format_args!(
            "cannot work on host {name}: ssh gave up after {after} s: {}; ssh {name} has to work for this \
             user without a password",
            ending.reason()
        )));
    }
    Ok(Found::Other(ending.reason()))
}

/// Stops whatever backup a host is making of a folder. That it cannot be reached is no failure: its half
/// notices by itself that nobody is there any more.
pub async fn stop_job(host: &Host, folder: &str, log: &Log) {
    let told = async {
        let mut link = Link::open(host.action(stop::ACTION, Agent::Kept), log)?;
        let wanted = stop::Stop { folder: folder.to_owned() };
        link.send(&message::line(&wanted)).await;
        Ok::<_, Failure>(link.end().await)
    };
    let _ = timeout(FAREWELL, told).await;
}
