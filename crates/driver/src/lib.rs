//! The command line of `one-restic`.
//!
//! * [`arguments`] parses it, as restic does.
//! * [`command`] holds the commands, one file each; [`session`] is what they work with.
//! * [`global`], [`selection`], [`patterns`] and [`targets`] are groups of options.
//! * [`access`], [`location`], [`storage`], [`password`] and [`cache`] say how a repository is opened.
//! * [`exit`] says how a command ends: exit codes and the sentence an operator reads.
//! * [`action`] holds OpenNebula's actions, one file each; [`opennebula`] is what they hear and say.
//! * [`host`] is what they have done on other machines, and [`near`] on the backup server; [`processes`] finds what
//!   runs on this one.
//! * [`flatten`] merges increments inside of a repository; [`disk_source`] and [`committed`] are the disks for
//!   that, and [`lineage`] knows what was merged from what.
//! * [`doctor`] looks whether all that OpenNebula's backups need is in place.
//! * [`report`] is what is printed: tables, JSON, progress.
//! * [`allocator`] is how the program has its memory.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use arguments::{CommandLine, Request};
use environment::Environment;
use exit::{Failure, Result};
use global::Settings;
use report::terminal::{Terminal, Verbosity};
use restic_repo::lock::Keepers;
use session::Session;
use signals::Interrupt;
use storage::Servers;

pub mod access;
pub mod action;
pub mod allocator;
pub mod arguments;
pub mod cache;
pub mod command;
pub mod command_output;
pub mod committed;
pub mod disk_source;
pub mod doctor;
pub mod duration;
pub mod environment;
pub mod exclusions;
pub mod exit;
pub mod flatten;
pub mod gated_output;
pub mod glob;
pub mod global;
pub mod host;
pub mod lineage;
pub mod location;
pub mod near;
pub mod opennebula;
pub mod password;
pub mod patterns;
pub mod processes;
pub mod replacement;
pub mod report;
pub mod selection;
pub mod selftest;
pub mod session;
pub mod signals;
pub mod size;
pub mod storage;
pub mod targets;
pub mod text_file;
pub mod words;

/// How long an interrupted command may take to release its locks. restic allows a minute as well.
const RELEASE_TIME: Duration = Duration::from_secs(60);
/// How long a file that is being stored when the program ends may take. Reading from who sends nothing
/// takes for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long it may take to remove what was being written when a command was interrupted.
const TIDY_TIME: Duration = Duration::from_secs(10);

/// Runs a command line, the name of the program included, to its end.
pub fn run(arguments: &[OsString]) -> Result {
    if arguments.get(1).is_some_and(|word| word == action::COMMAND) {
        return action::run(&arguments[2..]);
    }
    let CommandLine { global, command } = match arguments::parse(arguments)? {
        Request::Run(line) => *line,
        Request::Help(text) => {
            let terminal = Terminal::new(Verbosity::Normal, false);
            terminal.print(text);
            return terminal.finish();
        }
    };
    let environment = Environment::of_process();
    let settings = Settings::resolve(global, &environment)?;
    let terminal = Terminal::new(settings.verbosity, settings.json);
    in_session(settings, environment, terminal, Interrupt::listen, async |session| {
        session.interrupt.guard(command.run(session)).await
    })
}

/// Does some work in a session of its own, and tidies up behind it. The work has to listen for those who
/// want it to stop.
fn in_session(
    settings: Settings,
    environment: Environment,
    terminal: Terminal,
    listen: impl FnOnce() -> std::io::Result<Interrupt>,
    work: impl AsyncFnOnce(&Session) -> Result,
) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format_args!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        let interrupt = listen()
            .map_err(|error| Failure::new(format_args!("cannot listen for signals: {error}")))?;
        let session = Session {
            settings,
            environment,
            terminal: Arc::new(terminal),
            interrupt,
            keepers: Keepers::default(),
            servers: Servers::default(),
        };
        let work = async {
            tokio::select! {
                result = work(&session) => result,
                failure = session.terminal.closed() => Err(failure),
            }
        };
        let result = work.await;
        // A command that was dropped has left its lock to be released in the background.
        let _ = tokio::time::timeout(RELEASE_TIME, session.keepers.idle()).await;
        let _ = tokio::time::timeout(TIDY_TIME, session.servers.tidied()).await;
        let output = session.terminal.finish();
        result.and(output)
    });
    runtime.shutdown_timeout(LAST_WORDS);
    result
}
