//! A host, and the system's `ssh` that reaches it.
//!
//! It is that program and not our own SSH: operators have set it up for OpenNebula, whose other drivers
//! use it too, with whatever it takes to reach their hosts.

use std::process::Stdio;

use tokio::process::Command;

use crate::action;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::opennebula::datastore::{SSH_CONFIG, is_host};
use crate::opennebula::installation::SCRIPTS_REMOTE;

/// An environment variable that names another folder than [`SCRIPTS_REMOTE`], as OpenNebula's own
/// drivers have it.
pub const SCRIPTS_REMOTE_DIR: &str = "SCRIPTS_REMOTE_DIR";
/// The folder of the program, below that one.
pub const FOLDER: &str = "datastore/restic";
/// The program.
pub const PROGRAM: &str = "restic";

/// What every connection is made with. As upstream: a connection of its own that nobody else shares, and
/// no questions, since nobody is there to answer. Beyond that, it notices within a minute that the host
/// is gone.
const OPTIONS: [&str; 6] = [
    "ControlMaster=no",
    "ControlPath=none",
    "BatchMode=yes",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
];

/// Whether the agent with the keys can be used from the host, for as long as the command runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// It can: to log in to the backup server.
    Lent,
    /// It cannot.
    Kept,
}

/// A host to work on.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    folder: String,
    config: Option<String>,
}

impl Host {
    /// A host by the name that OpenNebula has for it.
    pub fn new(name: &str, environment: &Environment) -> Result<Self> {
        if !is_host(name) {
            return Err(Failure::new(format_args!("{name:?} is not the name of a host")));
        }
        let remote = environment.text(SCRIPTS_REMOTE_DIR);
        let remote = remote.as_deref().unwrap_or(SCRIPTS_REMOTE).trim_end_matches('/');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if !remote.starts_with('/') || !remote.chars().all(is_plain) {
            return Err(Failure::new(format_args!(
                "{SCRIPTS_REMOTE_DIR} is {remote:?}; an absolute path of letters, digits and ._- is needed"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            folder: format!("{remote}/{FOLDER}"),
            config: environment.text(SSH_CONFIG),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that has the program there. It means itself in any shell.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The program, there.
    pub fn program(&self) -> String {
        format!("{}/{PROGRAM}", self.folder)
    }

    /// `ssh` that runs one of this program's own actions there.
    pub fn action(&self, name: &'static str, agent: Agent) -> Command {
        self.command(&format!("{} {} {name}", self.program(), action::COMMAND), agent)
    }

    /// `ssh` that has the host's shell run this text. Nothing from outside may be in it.
    pub(super) fn command(&self, text: &str, agent: Agent) -> Command {
        let mut command = Command::new("ssh");
        if let Some(config) = &self.config {
            command.args(["-F", config]);
        }
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        let forward = match agent {
            Agent::Lent => "ForwardAgent=yes",
            Agent::Kept => "ForwardAgent=no",
        };
        command.args(["-o", forward, "-T", "--", &self.name, text]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, variables: &[(&str, &str)]) -> Result<Host> {
        Host::new(name, &Environment::of(variables))
    }

    fn arguments(command: &Command) -> Vec<&str> {
        command.as_std().get_args().map(|word| word.to_str().unwrap()).collect()
    }

    #[test]
    fn a_command_line_is_the_same_for_every_job() {
        let host = host("node1", &[]).unwrap();
        let command = host.action("job", Agent::Lent);
        let words = arguments(&command);
        assert_eq!(words.last(), Some(&"/var/tmp/one/datastore/restic/restic datastore job"));
        assert_eq!(words[words.len() - 3..words.len() - 1], ["--", "node1"]);
        assert!(words.contains(&"ForwardAgent=yes") && words.contains(&"ControlMaster=no"));
        let other = host.action("job-stop", Agent::Kept);
        assert!(arguments(&other).contains(&"ForwardAgent=no"));
    }

    #[test]
    fn the_folder_and_the_configuration_may_be_others() {
        let variables = [(SCRIPTS_REMOTE_DIR, "/tmp/x.y/"), (SSH_CONFIG, "/etc/a b")];
        let host = host("::1", &variables).unwrap();
        assert_eq!(host.program(), "/tmp/x.y/datastore/restic/restic");
        assert_eq!(arguments(&host.action("job", Agent::Lent))[..2], ["-F", "/etc/a b"]);
    }

    #[test]
    fn nothing_that_a_shell_or_ssh_would_take_for_more_is_a_host_or_a_folder() {
        for name in ["", "-oProxyCommand=x", "a b", "a;b", "$(id)", "a\nb", "a'b", "u@h"] {
            assert!(host(name, &[]).is_err(), "{name:?}");
        }
        for folder in ["relative", "/a b", "/a;b", "/$HOME", "/a'b", "/a\nb", "/~"] {
            assert!(host("node1", &[(SCRIPTS_REMOTE_DIR, folder)]).is_err(), "{folder:?}");
        }
    }
}
