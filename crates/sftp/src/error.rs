//! What can go wrong between here and an open, authenticated connection.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use restic_repo::backend::BackendErrorKind;
use thiserror::Error;

use crate::auth::{Outcome, Tried};
use crate::config::ConfigError;
use crate::failure::Failure;
use crate::host_key::Fingerprint;
use crate::location::LocationError;

/// Why a server could not be reached or used: facts to match on, and one sentence with the cause and
/// the remedy. Never holds a secret.
///
/// `server` is the host as a person would write it, with the port where it is not 22.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a location.
    #[error(transparent)]
    Location(#[from] LocationError),

    /// The local user's number has no name.
    #[error("the user number {uid} has no name here, so there is nobody to log in as: set USER")]
    NoSuchUser {
        /// The number.
        uid: u32,
    },

    /// `ssh_config` says something that cannot be done, or cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The jump hosts lead in a circle, or there are too many of them.
    #[error(
        "the ProxyJump of {server} leads over too many hosts, perhaps in a circle: look at ssh_config"
    )]
    TooManyJumps {
        /// The host whose way was looked for.
        server: String,
    },

    /// A jump host could not be used.
    #[error("the way to {server} leads over {over}, and that failed: {cause}")]
    Jump {
        /// Where one wanted to go.
        server: String,
        /// The jump host.
        over: String,
        /// What happened to it.
        #[source]
        cause: Box<Error>,
    },

    /// A jump host could not reach the next host.
    #[error(
        "{over} cannot connect to {server} ({cause}): look whether that is up, and whether {over} allows forwarding"
    )]
    NotForwarded {
        /// Where one wanted to go.
        server: String,
        /// The jump host.
        over: String,
        /// What the jump host said.
        cause: String,
    },

    /// The name has no address.
    #[error(
        "the host name {host} cannot be resolved ({cause}): look for a typing error, or at DNS"
    )]
    NameNotResolved {
        /// The name.
        host: String,
        /// What the resolver said.
        #[source]
        cause: io::Error,
    },

    /// Nobody listens there.
    #[error("{server} refuses connections: look whether its SSH server runs, and on this port")]
    ConnectionRefused {
        /// The server.
        server: String,
    },

    /// There is no way to the host.
    #[error("{server} cannot be reached: {cause}")]
    Unreachable {
        /// The server.
        server: String,
        /// What the network said.
        #[source]
        cause: io::Error,
    },

    /// It took too long.
    #[error("{server} did not answer within {} seconds: look whether it is up, or whether a firewall drops the packets", .after.as_secs())]
    TimedOut {
        /// The server.
        server: String,
        /// How long it had.
        after: Duration,
    },

    /// The connection broke, or what answers does not speak SSH.
    #[error("the connection to {server} broke off before login: {cause}")]
    Handshake {
        /// The server.
        server: String,
        /// What happened, in the library's words.
        cause: String,
    },

    /// There is no algorithm that both sides have and allow.
    #[error(
        "{server} and this program have no {kind} algorithm in common: the server has {theirs}"
    )]
    NoCommonAlgorithm {
        /// The server.
        server: String,
        /// What for: "key exchange", "host key", "cipher", "MAC".
        kind: &'static str,
        /// What the server has.
        theirs: String,
    },

    /// The configuration allows nothing of what there is.
    #[error("for {server}, {kind} in ssh_config leaves nothing that this program has")]
    NothingAllowed {
        /// The server.
        server: String,
        /// The keyword.
        kind: &'static str,
    },

    /// The server proved to have a key that is not the one on record: someone may be in between.
    #[error(transparent)]
    HostKeyChanged(Box<KeyChange>),

    /// The server's key is not on record.
    #[error(
        "the host key of {server} is not known: it is {offered}. Compare this with the server's own, and \
         then make it known ({hint}), or set StrictHostKeyChecking accept-new"
    )]
    HostKeyUnknown {
        /// The server.
        server: String,
        /// The key it has.
        offered: Fingerprint,
        /// How to make it known.
        hint: String,
    },

    /// The server's key, or the authority behind it, is marked as revoked.
    #[error("the host key of {server}, {offered}, is marked as revoked in {} line {line}: the server must get a new one", file.display())]
    HostKeyRevoked {
        /// The server.
        server: String,
        /// The key.
        offered: Fingerprint,
        /// The file with the mark.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },

    /// The server's certificate comes from a known authority, but does not hold.
    #[error(
        "the host certificate of {server} is signed by a known authority, but {problem}: have it signed anew"
    )]
    HostCertificate {
        /// The server.
        server: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The server's RSA key is too short.
    #[error(
        "the RSA host key of {server} has {bits} bits, but at least {least} are asked for: the server must get a new one"
    )]
    HostKeyWeak {
        /// The server.
        server: String,
        /// The length of its key.
        bits: u32,
        /// The length that `RequiredRSASize` asks for.
        least: u32,
    },

    /// A file of known hosts is there and cannot be read.
    #[error("the known hosts in {} cannot be read: {cause}", file.display())]
    KnownHosts {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },

    /// None of our keys opens the door.
    #[error("{server} accepts no key of ours for the user {user}{}{}", tried_sentence(.tried), remedy(.tried, .methods))]
    NoKeyAccepted {
        /// The server.
        server: String,
        /// Whom one wanted to log in as.
        user: String,
        /// Every key there is, and what became of it.
        tried: Vec<Tried>,
        /// The ways to log in that the server named last.
        methods: Vec<String>,
    },

    /// The server hung up after too many keys.
    #[error(
        "{server} hung up ({message}) before the right key for {user} came up, tried were {}: name it \
         with IdentityFile and set IdentitiesOnly yes in ssh_config",
        .tried.len()
    )]
    TooManyKeys {
        /// The server.
        server: String,
        /// Whom one wanted to log in as.
        user: String,
        /// What the server said.
        message: String,
        /// The keys tried until then.
        tried: Vec<Tried>,
    },

    /// The key was right, but is not enough.
    #[error(
        "{server} accepts {accepted} for {user}, but asks for more ({}), which this program cannot give: \
         let the server be content with a key",
        .methods.join(", ")
    )]
    MoreAsked {
        /// The server.
        server: String,
        /// Whom one wanted to log in as.
        user: String,
        /// The key that was accepted.
        accepted: String,
        /// What else the server asks for.
        methods: Vec<String>,
    },

    /// The connection broke while logging in.
    #[error("the connection to {server} broke off during login: {cause}")]
    LoginBroken {
        /// The server.
        server: String,
        /// What happened, as far as it is known.
        cause: String,
    },

    /// An error of the SSH library outside of the cases above.
    #[error("the SSH connection failed: {0}")]
    Ssh(#[from] russh::Error),

    /// The connection is there, but SFTP on it is not.
    #[error(transparent)]
    Session(#[from] Failure),
}

impl Error {
    /// What it comes down to for a backend. Only [`BackendErrorKind::Transient`] is worth another try.
    ///
    /// A name that cannot be resolved and a refused connection count as transient, for that is what a
    /// network or a server that went away for a minute looks like. Whoever connects for the first time
    /// and has a person waiting should not try these for long.
    pub fn kind(&self) -> BackendErrorKind {
        match self {
            Self::NameNotResolved { .. }
            | Self::ConnectionRefused { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Handshake { .. }
            | Self::NotForwarded { .. }
            | Self::LoginBroken { .. }
            | Self::Ssh(_) => BackendErrorKind::Transient,
            Self::HostKeyChanged(_)
            | Self::HostKeyUnknown { .. }
            | Self::HostKeyRevoked { .. }
            | Self::HostCertificate { .. }
            | Self::HostKeyWeak { .. }
            | Self::KnownHosts { .. }
            | Self::NoKeyAccepted { .. }
            | Self::TooManyKeys { .. }
            | Self::MoreAsked { .. } => BackendErrorKind::Authentication,
            Self::Jump { cause, .. } => cause.kind(),
            Self::Session(failure) => failure.kind(),
            Self::Location(_)
            | Self::NoSuchUser { .. }
            | Self::Config(_)
            | Self::TooManyJumps { .. }
            | Self::NothingAllowed { .. }
            | Self::NoCommonAlgorithm { .. } => BackendErrorKind::Permanent,
        }
    }
}

/// A server whose key is not the one on record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the host key of {server} has changed, and the connection was refused: it is now {offered}, but {} line \
     {line} has {known}; someone may be in between. If the server is known to have a new key, remove \
     that line (ssh-keygen -R '{name}' -f {})",
    file.display(), file.display()
)]
pub struct KeyChange {
    /// The server.
    pub server: String,
    /// The name under which it is on record.
    pub name: String,
    /// The key it has now.
    pub offered: Fingerprint,
    /// The key on record.
    pub known: Fingerprint,
    /// The file with that record.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

/// Which keys were tried, and what became of each.
fn tried_sentence(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return String::new();
    }
    let tried: Vec<_> = tried.iter().map(ToString::to_string).collect();
    format!(" (tried: {})", tried.join("; "))
}

/// What helps, where the keys' own words don't say so already.
fn remedy(tried: &[Tried], methods: &[String]) -> String {
    let was = |outcome: fn(&Outcome) -> bool| tried.iter().any(|tried| outcome(&tried.outcome));
    if !methods.is_empty() && !methods.iter().any(|method| method == "publickey") {
        format!(": it allows only {}, and this program logs in with keys", methods.join(", "))
    } else if tried.is_empty() {
        ", for there is none: make one with ssh-keygen, or start an agent that has one".to_owned()
    } else if was(|outcome| matches!(outcome, Outcome::Encrypted { wanted: true, .. })) {
        String::new()
    } else if was(|outcome| *outcome == Outcome::Refused) {
        ": add one of them to the authorized_keys of that user on the server; if it is there, the \
         account may be locked, which the log of sshd tells"
            .to_owned()
    } else {
        ", for none can be used".to_owned()
    }
}

#[cfg(test)]
mod tests;
