//! Opens authenticated connections, as often as need be.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{Handle, connect_stream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::auth;
use crate::config::{Asked, ConfigFiles, HostConfig, Jump};
use crate::error::Error;
use crate::host_key::{Fingerprint, HostKeys, Trust};
use crate::location::Location;
use crate::user::User;

mod algorithms;
pub(crate) mod client;
mod line;

pub use client::Client;
use client::Seen;
use line::{Guard, Line};

/// How long a connection may take until the keys are exchanged, unless `ConnectTimeout` says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long logging in may take: as long as OpenSSH's server waits (`LoginGraceTime`), for an agent may ask
/// a person.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// After how much silence the server is asked whether it is there, unless `ServerAliveInterval` says otherwise.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How many of these questions may stay unanswered, unless `ServerAliveCountMax` says otherwise.
const ALIVE_COUNT_MAX: u32 = 3;
/// How many hosts there may be on the way, so that a circle comes to an end.
const JUMP_LIMIT: usize = 8;
/// How much a server may send before it has to wait for us: enough for 100 ms at 300 MB/s.
const WINDOW: u32 = 32 << 20;

/// Everything it takes to open a connection to one server, again and again. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    /// The hosts on the way, and the server itself at the end.
    route: Arc<[HostConfig]>,
}

/// An open connection, logged in.
pub struct Connection {
    /// The connection: it ends when this is dropped.
    pub handle: Handle<Client>,
    /// What was found out on the way.
    pub facts: Facts,
}

/// What is to be told about a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Facts {
    /// The server, with its port where that is not 22.
    pub server: String,
    /// Who we are there.
    pub user: String,
    /// The server's key.
    pub host_key: Fingerprint,
    /// Why it was believed.
    pub trust: Trust,
    /// By which key one was let in.
    pub login: String,
    /// The key exchange.
    pub key_exchange: String,
    /// The cipher.
    pub cipher: String,
    /// What the server says that it is.
    pub version: String,
    /// The hosts on the way.
    pub over: Vec<Facts>,
}

impl Connector {
    /// Reads what the configuration says about the server, and the hosts on the way to it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::TooManyJumps`]. Nothing is connected yet.
    pub fn new(location: &Location, files: &ConfigFiles, me: &User) -> Result<Self, Error> {
        let asked =
            Asked { host: &location.host, user: location.user.as_deref(), port: location.port };
        let mut route = Vec::new();
        find_route(&asked, None, files, me, &mut route, 0)?;
        Ok(Self { route: route.into() })
    }

    /// What holds for the server.
    pub fn config(&self) -> &HostConfig {
        self.route.last().expect("a route ends with the server")
    }

    /// Opens a connection, makes sure who the server is, and logs in.
    ///
    /// Dropping the future closes what is open.
    ///
    /// # Errors
    ///
    /// Whatever can go wrong on the way; [`Error::kind`] tells whether it is worth another try.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let mut last: Option<Connection> = None;
        for (at, config) in self.route.iter().enumerate() {
            let over = |cause| match at + 1 < self.route.len() {
                true => Error::Jump {
                    server: self.config().server(),
                    over: config.server(),
                    cause: Box::new(cause),
                },
                false => cause,
            };
            last = Some(open(config, last).await.map_err(over)?);
        }
        Ok(last.expect("a route ends with the server"))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route: Vec<_> = self
            .route
            .iter()
            .map(|config| format!("{}@{}", config.user, config.server()))
            .collect();
        f.debug_struct("Connector").field("route", &route).finish()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Adds the hosts on the way to a host, and the host.
///
/// As with `ssh -J`, the last host on the way is the one that connects to the server; the others are the
/// way to it, and if there are none, its own configuration may name some.
fn find_route(
    asked: &Asked<'_>,
    given: Option<&[Jump]>,
    files: &ConfigFiles,
    me: &User,
    route: &mut Vec<HostConfig>,
    depth: usize,
) -> Result<(), Error> {
    let config = HostConfig::load(files, asked, me)?;
    if depth > JUMP_LIMIT {
        return Err(Error::TooManyJumps { server: config.server() });
    }
    if let Some((last, before)) = given.unwrap_or(&config.jumps).split_last() {
        let asked = Asked { host: &last.host, user: last.user.as_deref(), port: last.port };
        let given = Some(before).filter(|before| !before.is_empty());
        find_route(&asked, given, files, me, route, depth + 1)?;
    }
    route.push(config);
    Ok(())
}

/// Opens one connection, directly or through another.
async fn open(config: &HostConfig, through: Option<Connection>) -> Result<Connection, Error> {
    let server = config.server();
    let after = config.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let deadline = Instant::now() + after;
    let keys = HostKeys::load(config)?;
    let protocol = Arc::new(protocol(config, &keys)?);
    let mut over = Vec::new();
    if let Some(through) = &through {
        over.clone_from(&through.facts.over);
        over.push(through.facts.clone());
        over.iter_mut().for_each(|facts| facts.over.clear());
    }

    let seen = Seen::default();
    let client = Client::new(keys, seen.clone());
    let handshake = async {
        let line = match through {
            Some(through) => line::forward(config, through).await?,
            None => line::dial(config).await?,
        };
        // The library goes on with a handshake that nobody waits for any more.
        let (line, guard) = Line::guarded(line);
        let result = connect_stream(protocol, line, client).await;
        Ok::<_, Error>((result.map_err(|error| explain(error, &server, &seen))?, guard))
    };
    let timed_out = |after| Error::TimedOut { server: server.clone(), after };
    let (mut handle, guard): (_, Guard) =
        timeout_at(deadline, handshake).await.map_err(|_| timed_out(after))??;

    let login = auth::log_in(&mut handle, config, &seen);
    let login = timeout(LOGIN_TIMEOUT, login).await.map_err(|_| timed_out(LOGIN_TIMEOUT))??;
    guard.disarm();
    let negotiated = seen.negotiated();
    let Some((host_key, trust)) = seen.trust() else {
        // The library asks before it goes on; but this is not to be taken on trust.
        return Err(Error::Handshake { server, cause: "the host key was not checked".to_owned() });
    };
    let facts = Facts {
        server,
        user: config.user.clone(),
        host_key,
        trust,
        login,
        key_exchange: negotiated.key_exchange,
        cipher: negotiated.cipher,
        version: negotiated.version,
        over,
    };
    Ok(Connection { handle, facts })
}

fn protocol(config: &HostConfig, keys: &HostKeys) -> Result<russh::client::Config, Error> {
    let interval = config.alive_interval.unwrap_or(ALIVE_INTERVAL);
    let interval = Some(interval).filter(|interval| !interval.is_zero());
    let count = config.alive_count_max.unwrap_or(ALIVE_COUNT_MAX);
    // While a write is stuck the library asks the server nothing, so silence alone has to be enough. It
    // must not be shorter than logging in may take, when the silence is ours.
    let silence = interval
        .filter(|_| count > 0)
        .map(|interval| interval.saturating_mul(count.saturating_add(1)));
    Ok(russh::client::Config {
        client_id: russh::SshId::Standard(
            concat!("SSH-2.0-restic_sftp_", env!("CARGO_PKG_VERSION")).into(),
        ),
        window_size: WINDOW,
        keepalive_interval: interval,
        keepalive_max: count as usize,
        inactivity_timeout: silence.map(|silence| silence.max(LOGIN_TIMEOUT + ALIVE_INTERVAL)),
        nodelay: true,
        preferred: algorithms::preferred(config, keys)?,
        ..Default::default()
    })
}

/// What went wrong between the first byte and the exchanged keys.
fn explain(error: Error, server: &str, seen: &Seen) -> Error {
    let server = server.to_owned();
    let Error::Ssh(error) = error else { return error };
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let kind = match kind {
                russh::AlgorithmKind::Kex => "key exchange",
                russh::AlgorithmKind::Key => "host key",
                russh::AlgorithmKind::Cipher => "cipher",
                russh::AlgorithmKind::Compression => "compression",
                russh::AlgorithmKind::Mac => "MAC",
            };
            Error::NoCommonAlgorithm { server, kind, theirs: client::printable(&theirs.join(", ")) }
        }
        error => {
            let cause = seen.disconnect().unwrap_or_else(|| match error {
                russh::Error::Disconnect | russh::Error::HUP => {
                    "the server closed it; it may be overloaded, or no SSH server".to_owned()
                }
                error => error.to_string(),
            });
            Error::Handshake { server, cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> russh::client::Config {
        let me = User { name: "ada".into(), uid: 7, home: "/nowhere".into(), agent: None };
        let asked = Asked { host: "host", user: None, port: None };
        let text = format!("{text}\nUserKnownHostsFile none\nGlobalKnownHostsFile none");
        let config = HostConfig::from_text(&text, &asked, &me).unwrap();
        protocol(&config, &HostKeys::load(&config).unwrap()).unwrap()
    }

    #[test]
    fn a_server_that_falls_silent_is_given_up_unless_the_configuration_says_not_to() {
        let seconds = Duration::from_secs;
        for (text, interval, count, silence) in [
            ("", Some(15), 3, Some(135)),
            ("ServerAliveInterval 60\nServerAliveCountMax 9", Some(60), 9, Some(600)),
            ("ServerAliveInterval 0", None, 3, None),
            ("ServerAliveCountMax 0", Some(15), 0, None),
        ] {
            let settings = settings(text);
            assert_eq!(settings.keepalive_interval, interval.map(seconds), "{text}");
            assert_eq!(settings.keepalive_max, count, "{text}");
            assert_eq!(settings.inactivity_timeout, silence.map(seconds), "{text}");
        }
    }

    #[test]
    fn nothing_broken_is_offered() {
        let preferred = settings("").preferred;
        let mut names: Vec<String> = Vec::new();
        names.extend(preferred.kex.iter().map(|name| name.as_ref().to_owned()));
        names.extend(preferred.key.iter().map(ToString::to_string));
        names.extend(preferred.cipher.iter().map(|name| name.as_ref().to_owned()));
        names.extend(preferred.mac.iter().map(|name| name.as_ref().to_owned()));
        for broken in ["sha1", "ssh-rsa", "ssh-dss", "cbc", "none", "group1-"] {
            assert!(!names.iter().any(|name| name.contains(broken)), "{broken}: {names:?}");
        }
        // Against what is slipped in before encryption begins.
        assert!(names.iter().any(|name| name == "kex-strict-c-v00@openssh.com"));
    }
}
