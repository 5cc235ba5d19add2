//! The storage that a location names, with the options that it takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use restic_repo::backend::Backend;
use restic_repo::backend::local::Local;
use restic_sftp::{ConfigFiles, Connector, Event, Sftp, User};

use crate::exit::{Failure, Result};
use crate::global::Settings;
use crate::location::Location;
use crate::report::number;
use crate::report::terminal::Terminal;

/// The servers that a command works with.
#[derive(Clone, Debug, Default)]
pub struct Servers(Arc<Mutex<Vec<Sftp>>>);

impl Servers {
    /// Waits until nothing that was broken off is left on them.
    pub async fn tidied(&self) {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for server in servers {
            server.tidied().await;
        }
    }

    fn add(&self, server: Sftp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    }
}

/// Opens the storage at a location. A server is connected to, once: who cannot be reached at the start
/// is not waited for.
pub async fn open(
    location: Location,
    settings: &Settings,
    terminal: &Arc<Terminal>,
    servers: &Servers,
) -> Result<Arc<dyn Backend>> {
    let options = &settings.options;
    match location {
        Location::Local(folder) => {
            only_known("local.", &["local.connections"], options)?;
            let local = Local::new(folder);
            Ok(Arc::new(match connections("local.connections", options)? {
                Some(connections) => local.with_connections(connections),
                None => local,
            }))
        }
        Location::Sftp(location) => {
            Ok(Arc::new(connect(&location, settings, terminal, servers).await?))
        }
    }
}

/// Connects to the server of a location.
pub async fn connect(
    location: &restic_sftp::Location,
    settings: &Settings,
    terminal: &Arc<Terminal>,
    servers: &Servers,
) -> Result<Sftp> {
    let options = &settings.options;
    let connector = connector(location, settings)?;
    let mut how = restic_sftp::Options { observer: telling(terminal), ..Default::default() };
    if let Some(connections) = connections("sftp.connections", options)? {
        how.connections = connections;
    }
    if let Some(stuck) = settings.stuck_request {
        how.stall = stuck;
    }
    let sftp = Sftp::connect(location, connector, how).await.map_err(Failure::new)?;
    servers.add(sftp.clone());
    Ok(sftp)
}

/// What opens connections to the server of a location.
pub fn connector(location: &restic_sftp::Location, settings: &Settings) -> Result<Connector> {
    let options = &settings.options;
    refuse_programs(options)?;
    only_known("sftp.", &["sftp.connections", "sftp.config"], options)?;
    let files = match options.get("sftp.config") {
        Some(path) => ConfigFiles::Only(Path::new(path).to_owned()),
        None => ConfigFiles::Usual,
    };
    let me = User::current().map_err(Failure::new)?;
    Connector::new(location, &files, &me).map_err(Failure::new)
}

/// How many transfers an option allows at once.
fn connections(name: &str, options: &BTreeMap<String, String>) -> Result<Option<usize>> {
    let Some(text) = options.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(count @ 1..) => Ok(Some(count)),
        _ => Err(Failure::new(format_args!("-o {name} needs a number from 1 on"))),
    }
}

/// restic reaches a server through a program, which these options are for. We reach it by ourselves.
fn refuse_programs(options: &BTreeMap<String, String>) -> Result {
    for name in ["sftp.command", "sftp.args"] {
        if options.contains_key(name) {
            return Err(Failure::new(format_args!(
                "-o {name} cannot be used: this program runs no ssh, it speaks SSH itself. Write what is \
                 needed (Port, User, IdentityFile, ProxyJump, ...) into ~/.ssh/config for this host, or \
                 into a file named with -o sftp.config=FILE"
            )));
        }
    }
    Ok(())
}

/// Refuses options that this kind of storage does not have: they may be spelt wrong.
fn only_known(prefix: &str, known: &[&str], options: &BTreeMap<String, String>) -> Result {
    let stray = |name: &&String| name.starts_with(prefix) && !known.contains(&name.as_str());
    match options.keys().find(stray) {
        Some(name) => Err(Failure::new(format_args!(
            "there is no option {name:?} of the storage, only {}",
            known.join(" and ")
        ))),
        None => Ok(()),
    }
}

/// Tells the operator what happens to the connections.
fn telling(terminal: &Arc<Terminal>) -> Arc<dyn Fn(&Event) + Send + Sync> {
    let terminal = Arc::clone(terminal);
    Arc::new(move |event| match event {
        Event::Lost { reason } => {
            terminal.error(format!("a connection to the server broke ({reason}); going on"));
        }
        Event::Reconnected { after } => {
            let after = number::duration(*after);
            terminal.error(format!("connected to the server again, after {after}"));
        }
        _ => {}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_number_of_connections_is_one_at_least() {
        for (text, count) in
            [("1", Some(1)), ("20", Some(20)), ("0", None), ("x", None), ("", None)]
        {
            let found = connections("sftp.connections", &options(&[("sftp.connections", text)]));
            assert_eq!(found.ok().flatten(), count, "{text:?}");
        }
        assert_eq!(connections("sftp.connections", &options(&[])), Ok(None));
    }

    #[test]
    fn who_names_an_ssh_program_learns_what_to_do_instead() {
        for name in ["sftp.command", "sftp.args"] {
            let failure = refuse_programs(&options(&[(name, "ssh -p 2222 host")])).unwrap_err();
            assert!(failure.message().contains("~/.ssh/config"), "{failure}");
        }
        refuse_programs(&options(&[("sftp.config", "file")])).unwrap();
    }

    #[test]
    fn an_option_that_is_spelt_wrong_is_refused() {
        let known = ["sftp.connections"];
        let failure = only_known("sftp.", &known, &options(&[("sftp.conections", "8")]));
        assert!(failure.unwrap_err().message().contains("sftp.conections"));
        only_known("sftp.", &known, &options(&[("local.x", "1"), ("s3.y", "2")])).unwrap();
    }
}
