//! The actions of OpenNebula's backup datastore. Each file has one.
//!
//! OpenNebula's daemon calls `remotes/datastore/restic/<action>`, which calls this program as
//! `one-restic datastore <action>` with the same arguments and the same standard input. What an action
//! prints to standard output is its result; a line of standard error that begins with `INFO:` or `WARN:`
//! goes to a log; and the one line that it prints when it fails is what users see.

use std::ffi::OsString;

use crate::environment::Environment;
use crate::exit::{ExitCode, Failure, Result};
use crate::global::{GlobalArgs, Settings};
use crate::host::{job, reach, stop};
use crate::near;
use crate::opennebula::datastore::{Datastore, RepositoryId};
use crate::report::terminal::Terminal;
use crate::session::Session;
use crate::signals::Interrupt;

mod archive;
mod backup;
mod backup_cancel;
mod downloader;
pub mod increment_flatten;
mod ls;
pub mod monitor;
mod new_repository;
pub mod reclaim;
pub mod repository;
mod restore;
mod rm;
mod stat;
mod stream;

/// The word that comes before the name of an action.
pub const COMMAND: &str = "datastore";

/// What is installed for OpenNebula to call, in alphabetical order.
pub const INSTALLED: [&str; 14] = [
    "backup",
    "backup_cancel",
    "clone",
    "cp",
    "increment_flatten",
    "ls",
    "mkfs",
    "monitor",
    "restore",
    "rm",
    "snap_delete",
    "snap_flatten",
    "snap_revert",
    "stat",
];

/// Actions of other datastores, which this one has no use for.
const UNSUPPORTED: [&str; 6] =
    ["cp", "clone", "mkfs", "snap_delete", "snap_revert", "snap_flatten"];

/// Runs an action: its name, and the arguments that it was called with.
pub fn run(arguments: &[OsString]) -> Result {
    let arguments: Vec<_> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let Some((action, arguments)) = arguments.split_first() else {
        return Err(Failure::new("no action is given; it is OpenNebula who calls this"));
    };
    match &**action {
        // Those that run on a host.
        job::ACTION => return job::run(arguments),
        stop::ACTION => return stop::run(arguments),
        reach::ACTION => return reach::run(arguments),
        // That which runs on a server.
        near::job::ACTION => return near::job::run(arguments),
        _ => {}
    }
    if UNSUPPORTED.contains(&&**action) {
        return Err(Failure::unsupported(action));
    }
    let environment = Environment::of_process();
    let settings = Settings::resolve(GlobalArgs::default(), &Environment::of(&[]))?;
    let terminal = Terminal::of_daemon();
    let done = crate::in_session(
        settings,
        environment,
        terminal,
        Interrupt::listen_quietly,
        async |session| match &**action {
            // It has to stop what it started elsewhere before it ends.
            "backup" => backup::run(session, arguments).await,
            action => session.interrupt.guard(act(action, arguments, session)).await,
        },
    );
    done.map_err(Failure::for_daemon)
}

async fn act(action: &str, arguments: &[String], session: &Session) -> Result {
    match action {
        "backup_cancel" => backup_cancel::run(session, arguments).await,
        "increment_flatten" => increment_flatten::run(session, arguments).await,
        "ls" => ls::run(session, arguments).await,
        "monitor" => monitor::run(session, arguments).await,
        "restic_downloader" => downloader::run(session, arguments).await,
        "restore" => restore::run(session, arguments).await,
        "rm" => rm::run(session, arguments).await,
        "stat" => stat::run(session, arguments).await,
        "stream" => stream::run(session, arguments).await,
        _ => Err(Failure::new(format_args!("there is no action {action}"))),
    }
}

impl Session {
    /// The same session, for a repository of a datastore.
    pub fn for_repository(&self, datastore: &Datastore, repository: &RepositoryId) -> Result<Self> {
        Ok(self.with(datastore.settings(repository, &self.environment)?))
    }
}

impl Failure {
    /// An action that makes no sense here, in the words and with the code of upstream.
    fn unsupported(action: &str) -> Self {
        Self::plain(ExitCode::Error, format!("{action}: Operation not supported"))
    }
}
