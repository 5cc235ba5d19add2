//! What `ssh_config` says about one host.
//!
//! The user's file is read first, then the system's, as `ssh` does, or one file alone; the first value
//! that holds for a host wins. What would change the connection and is not known here is an error that
//! names the file and the line; what concerns terminals, forwarding and the like is passed over.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::user::User;

mod algorithms;
mod condition;
mod expand;
mod jump;
mod keyword;
mod line;
mod reader;
mod resolve;
mod value;

pub(crate) use algorithms::AlgorithmList;
pub use jump::Jump;

/// Which configuration files are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConfigFiles {
    /// `~/.ssh/config`, then `/etc/ssh/ssh_config`.
    #[default]
    Usual,
    /// This one alone; the path `none` is no file at all, as with `ssh -F`.
    Only(PathBuf),
}

/// What holds for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostConfig {
    /// The name that was asked for.
    pub original: String,
    /// The name or address to connect to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whom to log in as.
    pub user: String,
    /// Key files, in order.
    pub identities: Vec<KeyFile>,
    /// Use keys of the agent only if they are among the key files.
    pub identities_only: bool,
    /// Certificates named by `CertificateFile`.
    pub certificates: Vec<PathBuf>,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// The user's files of known hosts; new keys go into the first.
    pub user_known_hosts: Vec<PathBuf>,
    /// The system's files of known hosts.
    pub global_known_hosts: Vec<PathBuf>,
    /// Write names into the file of known hosts as hashes.
    pub hash_known_hosts: bool,
    /// The name under which the host is known, if another one.
    pub host_key_alias: Option<String>,
    /// What to do about a host that is not known.
    pub checking: Checking,
    /// How long connecting may take.
    pub connect_timeout: Option<Duration>,
    /// After how much silence the server is asked whether it is there; zero is never.
    pub alive_interval: Option<Duration>,
    /// How many of these questions may stay unanswered.
    pub alive_count_max: Option<u32>,
    /// The hosts on the way, in the order in which they are passed.
    pub jumps: Vec<Jump>,
    /// Which kind of addresses to use.
    pub family: Family,
    /// The own address to connect from.
    pub bind_address: Option<IpAddr>,
    /// RSA keys shorter than this many bits are not accepted.
    pub required_rsa_bits: u32,
    pub(crate) algorithms: Algorithms,
}

/// A key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Where the private key is; the public one may be beside it, with `.pub` at the end.
    pub path: PathBuf,
    /// Somebody named it, so it is worth a word if it is not there.
    pub named: bool,
}

/// What to do about a server whose key is not on record. A changed key is refused always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checking {
    /// Refuse: `yes`, and `ask` too, for there is nobody to ask.
    Strict,
    /// Put its key on record: `accept-new`.
    AcceptNew,
    /// So does `no`, which for `ssh` says more: it would go on with a changed key.
    Off,
}

/// A kind of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Whatever the name has.
    Any,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// Restrictions of algorithms; nothing is our own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Algorithms {
    pub ciphers: Option<AlgorithmList>,
    pub macs: Option<AlgorithmList>,
    pub key_exchange: Option<AlgorithmList>,
    pub host_keys: Option<AlgorithmList>,
    pub public_keys: Option<AlgorithmList>,
    pub ca_signatures: Option<AlgorithmList>,
}

/// Whose configuration is asked for: what stands in the location, which goes before all files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The host.
    pub host: &'a str,
    /// The user, if the location names one.
    pub user: Option<&'a str>,
    /// The port, if the location names one.
    pub port: Option<u16>,
}

/// Why the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 if it is about the whole file.
    pub line: usize,
    /// What is wrong, as the end of a sentence.
    pub problem: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.problem),
            line => write!(f, "{} line {line}: {}", self.file.display(), self.problem),
        }
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    file: Arc<Path>,
    line: usize,
}

impl Place {
    fn error(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError { file: self.file.to_path_buf(), line: self.line, problem: problem.into() }
    }
}

impl HostConfig {
    /// Reads what the files say about a host.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] if a file cannot be read, has a line that makes no sense, is writable by
    /// others, or asks for something that is not known here and would change the connection.
    pub fn load(files: &ConfigFiles, asked: &Asked<'_>, me: &User) -> Result<Self, ConfigError> {
        let mut reader = reader::Reader::new(asked, me);
        reader.read(files)?;
        if reader.wants_final_pass() {
            reader.begin_final_pass()?;
            reader.read(files)?;
        }
        resolve::resolve(reader.finish(), asked, me)
    }

    /// What a text says about a host, as if it were the only file. It cannot include others.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_text(text: &str, asked: &Asked<'_>, me: &User) -> Result<Self, ConfigError> {
        let mut reader = reader::Reader::new(asked, me);
        reader.read_text(text)?;
        if reader.wants_final_pass() {
            reader.begin_final_pass()?;
            reader.read_text(text)?;
        }
        resolve::resolve(reader.finish(), asked, me)
    }

    /// The host and the port, as a person would write them.
    pub fn server(&self) -> String {
        match self.port {
            22 => self.host.clone(),
            port if self.host.contains(':') => format!("[{}]:{port}", self.host),
            port => format!("{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests;
