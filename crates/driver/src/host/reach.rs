//! Whether a host can reach a backup server: `datastore reach`, which `doctor` has hosts do.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use restic_sftp::Location;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::command::version::OWN_VERSION;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::global::{GlobalArgs, Settings};
use crate::host::link::{Link, Log};
use crate::host::message::{self, Hello};
use crate::host::ssh::{Agent, Host};
use crate::opennebula::datastore::Datastore;
use crate::report::terminal::Terminal;
use crate::session::Session;
use crate::signals::Interrupt;
use crate::storage;

/// The action that this is.
pub const ACTION: &str = "reach";

/// How long a host may take to answer. Nobody waits that long for a host that is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which server to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The folder of a datastore, as a location.
    pub location: String,
    /// Options of the storage.
    pub options: BTreeMap<String, String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// The server let us in by this.
    By(String),
    /// It did not, for this reason.
    Failed(String),
}

/// Asks a host to reach the server of a datastore. Gives by what the server let it in.
pub async fn ask(session: &Session, host: &Host, datastore: &Datastore) -> Result<String> {
    let order = Reach {
        location: datastore.folder().to_string(),
        options: datastore.common_settings(&session.environment)?.options,
    };
    // What is for a log is nothing that an operator needs to read here.
    let log = Log { terminal: std::sync::Arc::new(Terminal::of_daemon()), vm: None };
    let mut link = Link::open(host.action(ACTION, Agent::Lent), &log)?;
    link.send(&message::line(&order)).await;
    let answer = async {
        let hello = link.next_line().await;
        let hello = hello.and_then(|line| serde_json::from_str::<Hello>(&line).ok());
        let reached = link.next_line().await;
        (hello, reached.and_then(|line| serde_json::from_str::<Reached>(&line).ok()))
    };
    let (hello, reached) = timeout(PATIENCE, answer).await.map_err(|_| {
        Failure::new(format_args!("it did not answer within {} s", PATIENCE.as_secs()))
    })?;
    match (hello, reached) {
        (Some(hello), _) if hello.one_restic != OWN_VERSION => Err(Failure::new(format_args!(
            "it has version {} of one-restic instead of {OWN_VERSION}: onehost sync -f",
            hello.one_restic
        ))),
        (_, Some(Reached::By(how))) => Ok(how),
        (_, Some(Reached::Failed(reason))) => Err(Failure::new(reason)),
        (_, None) => {
            let ending = link.end().await;
            Err(match ending.is_lost() {
                true => Failure::new(format_args!(
                    "ssh does not get there: {}; ssh {} has to work for this user without a password",
                    ending.reason(),
                    host.name()
                )),
                false => Failure::new(format_args!(
                    "one-restic does not run there: {}; bring it there: onehost sync -f",
                    ending.reason()
                )),
            })
        }
    }
}

/// Reaches the server that standard input names, and tells on standard output.
pub fn run(arguments: &[String]) -> Result {
    if !arguments.is_empty() {
        return Err(Failure::new("this command takes no arguments; the front-end starts it"));
    }
    message::say(&Hello { one_restic: OWN_VERSION.to_owned() })?;
    let order: Reach = message::read(io::stdin().lock())?;
    let mut reached = Reached::Failed("it was interrupted".to_owned());
    crate::in_session(
        Settings {
            options: order.options,
            ..Settings::resolve(GlobalArgs::default(), &Environment::of(&[]))?
        },
        Environment::of_process(),
        Terminal::of_daemon(),
        Interrupt::listen_quietly,
        async |session| {
            let work = reach(session, &order.location);
            reached = match session.interrupt.guard(work).await {
                Ok(how) => Reached::By(how),
                Err(failure) => Reached::Failed(failure.cause().to_owned()),
            };
            Ok(())
        },
    )?;
    message::say(&reached)
}

async fn reach(session: &Session, location: &str) -> Result<String> {
    let location = Location::parse(location).map_err(Failure::new)?;
    let Session { settings, terminal, servers, .. } = session;
    let server = storage::connect(&location, settings, terminal, servers).await?;
    Ok(server.survey().await?.facts.login)
}
