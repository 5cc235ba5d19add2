//! Who we are: logging in with the keys of an agent, key files and certificates, in OpenSSH's order.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::keys::{Algorithm, HashAlg};
use russh::{MethodKind, MethodSet};
use tokio::time::timeout;

use crate::config::HostConfig;
use crate::connect::client::{Client, Seen};
use crate::error::Error;

mod agent;
mod candidates;
mod key_file;
mod signer;

use candidates::{Candidate, Holder, Public};
use signer::{CannotSign, Signer};

/// A key that did not open the door, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The key: its file, or its comment and fingerprint in the agent.
    pub key: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The server does not accept it.
    Refused,
    /// It is encrypted, no agent has it, and there is nobody to ask for its passphrase.
    Encrypted {
        /// The server would accept it.
        wanted: bool,
        /// The file.
        file: PathBuf,
    },
    /// Others can read its file.
    Unprotected {
        /// The file.
        file: PathBuf,
    },
    /// There is no such file.
    Missing,
    /// It cannot be read, or not be used for signing.
    Unusable(String),
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.key)?;
        match &self.outcome {
            Outcome::Refused => write!(f, "was refused"),
            Outcome::Encrypted { wanted: true, file } => {
                write!(
                    f,
                    "would be accepted, but is encrypted: run ssh-add {} first",
                    file.display()
                )
            }
            Outcome::Encrypted { wanted: false, file } => {
                write!(
                    f,
                    "is encrypted, so it has to be in an agent: run ssh-add {}",
                    file.display()
                )
            }
            Outcome::Unprotected { file } => {
                write!(f, "can be read by others and is not used: run chmod 600 {}", file.display())
            }
            Outcome::Missing => write!(f, "does not exist"),
            Outcome::Unusable(problem) => write!(f, "cannot be used: {problem}"),
        }
    }
}

/// Logs in, and tells by which key.
pub(crate) async fn log_in(
    handle: &mut Handle<Client>,
    config: &HostConfig,
    seen: &Seen,
) -> Result<String, Error> {
    let (agent, problem) = match &config.agent {
        Some(socket) => match agent::Agent::connect(socket, handle.agent_session_binding()).await {
            Ok(agent) => (Some(agent), None),
            Err(error) => {
                (None, Some((format!("the agent at {}", socket.display()), error.to_string())))
            }
        },
        None => (None, None),
    };
    let mut login = Login {
        handle,
        config,
        seen,
        agent,
        tried: Vec::new(),
        accepted: Vec::new(),
        rsa_hashes: None,
    };
    if let Some((agent, problem)) = problem {
        login.tried(agent, Outcome::Unusable(problem));
    }
    login.run().await
}

struct Login<'a> {
    handle: &'a mut Handle<Client>,
    config: &'a HostConfig,
    seen: &'a Seen,
    agent: Option<agent::Agent>,
    tried: Vec<Tried>,
    accepted: Vec<String>,
    /// The hashes that the server takes with RSA, once it was asked.
    rsa_hashes: Option<Vec<HashAlg>>,
}

impl Login<'_> {
    async fn run(mut self) -> Result<String, Error> {
        let found = candidates::find(self.config, self.agent.as_mut()).await;
        self.tried.extend(found.unusable);
        if found.candidates.is_empty() {
            // A server may ask for nothing at all; if not, it says what it asks for.
            let result = self.handle.authenticate_none(&self.config.user).await;
            return match result {
                Ok(AuthResult::Success) => Ok("no key".to_owned()),
                Ok(AuthResult::Failure { remaining_methods, .. })
                    if !remaining_methods.is_empty() =>
                {
                    Err(self.refused(&remaining_methods))
                }
                _ => Err(self.broken().await),
            };
        }
        let mut methods = MethodSet::empty();
        for candidate in found.candidates {
            let name = candidate.name.clone();
            let result = match self.attempt(candidate).await {
                Attempt::Done(result) => result,
                Attempt::Unusable(outcome) => {
                    self.tried(name, outcome);
                    continue;
                }
                Attempt::Broken => return Err(self.broken().await),
            };
            match result {
                AuthResult::Success => {
                    self.accepted.push(name);
                    return Ok(self.accepted.join(", then "));
                }
                AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
                    self.tried(name, Outcome::Refused);
                    return Err(self.broken().await);
                }
                AuthResult::Failure { remaining_methods, partial_success } => {
                    match partial_success {
                        true => self.accepted.push(name),
                        false => self.tried(name, Outcome::Refused),
                    }
                    methods = remaining_methods;
                }
            }
            if !methods.contains(&MethodKind::PublicKey) {
                break;
            }
        }
        Err(self.refused(&methods))
    }

    fn tried(&mut self, key: String, outcome: Outcome) {
        self.tried.push(Tried { key, outcome });
    }

    async fn attempt(&mut self, candidate: Candidate) -> Attempt {
        let hash = match self.signature_hash(&candidate.public).await {
            Ok(hash) => hash,
            Err(problem) => return Attempt::Unusable(Outcome::Unusable(problem)),
        };
        let locked = match &candidate.holder {
            Holder::Locked(file) => Some(file.clone()),
            _ => None,
        };
        let mut signer = match (candidate.holder, self.agent.as_mut()) {
            (Holder::File(key), _) => Signer::Key(key),
            (Holder::Agent(blob), Some(agent)) => Signer::Agent { agent, blob },
            (Holder::Agent(_), None) | (Holder::Locked(_), _) => Signer::Locked,
        };
        let user = self.config.user.as_str();
        let result = match candidate.public {
            Public::Key(key) => {
                self.handle.authenticate_publickey_with(user, key, hash, &mut signer).await
            }
            Public::Certificate(certificate) => {
                self.handle
                    .authenticate_certificate_with(user, *certificate, hash, &mut signer)
                    .await
            }
        };
        match (result, locked) {
            // The server does not want this key, so what is in its file does not matter.
            (Ok(result), _) => Attempt::Done(result),
            (Err(CannotSign::Disconnected), _) => Attempt::Broken,
            (Err(_), Some(file)) => Attempt::Unusable(Outcome::Encrypted { wanted: true, file }),
            (Err(CannotSign::Because(problem)), None) => {
                Attempt::Unusable(Outcome::Unusable(problem))
            }
        }
    }

    /// The hash to sign with, if it is an RSA key. SHA-1 is not used.
    async fn signature_hash(&mut self, public: &Public) -> Result<Option<HashAlg>, String> {
        let Some(rsa) = public.key_data().rsa() else {
            let name = public.algorithm_name(None);
            return if self.allows(&name) { Ok(None) } else { Err(not_allowed(&name)) };
        };
        let least = self.config.required_rsa_bits;
        if rsa.key_size() < least {
            return Err(format!("it has {} bits, but RequiredRSASize is {least}", rsa.key_size()));
        }
        if self.rsa_hashes.is_none() {
            self.rsa_hashes = Some(match self.handle.best_supported_rsa_hash().await {
                Ok(Some(Some(HashAlg::Sha256))) => vec![HashAlg::Sha256],
                Ok(Some(None)) => Vec::new(),
                // A server that does not tell may have either.
                _ => vec![HashAlg::Sha512, HashAlg::Sha256],
            });
        }
        let hashes = self.rsa_hashes.as_deref().unwrap_or_default();
        if hashes.is_empty() {
            return Err("the server takes RSA only with SHA-1, which is broken".to_owned());
        }
        let allowed = hashes.iter().find(|&&hash| self.allows(&public.algorithm_name(Some(hash))));
        allowed.map(|&hash| Some(hash)).ok_or_else(|| not_allowed("RSA with SHA-2"))
    }

    fn allows(&self, algorithm: &str) -> bool {
        let list = self.config.algorithms.public_keys.as_ref();
        list.is_none_or(|list| !list.apply(&[algorithm]).is_empty())
    }

    /// None of the keys was enough.
    fn refused(self, methods: &MethodSet) -> Error {
        let (server, user) = (self.config.server(), self.config.user.clone());
        let methods = methods.iter().map(|kind| <&str>::from(kind).to_owned()).collect();
        match self.accepted.is_empty() {
            true => Error::NoKeyAccepted { server, user, tried: self.tried, methods },
            false => {
                Error::MoreAsked { server, user, accepted: self.accepted.join(" and "), methods }
            }
        }
    }

    /// The connection is gone; the server may have said why.
    async fn broken(self) -> Error {
        // The connection's own task hears of it, and may not be through with it.
        let _ = timeout(Duration::from_secs(1), &mut *self.handle).await;
        let (server, user) = (self.config.server(), self.config.user.clone());
        let refused = self.tried.iter().any(|tried| tried.outcome == Outcome::Refused);
        match self.seen.disconnect() {
            Some(message) if refused => {
                Error::TooManyKeys { server, user, message, tried: self.tried }
            }
            Some(cause) => Error::LoginBroken { server, cause },
            None => Error::LoginBroken { server, cause: "the server closed it".to_owned() },
        }
    }
}

enum Attempt {
    Done(AuthResult),
    Unusable(Outcome),
    Broken,
}

fn not_allowed(name: &str) -> String {
    format!("PubkeyAcceptedAlgorithms leaves out {name}")
}

impl Public {
    /// The algorithm's name in the protocol.
    fn algorithm_name(&self, hash: Option<HashAlg>) -> String {
        let algorithm = match self.key_data().algorithm() {
            Algorithm::Rsa { .. } => Algorithm::Rsa { hash },
            other => other,
        };
        match self {
            Self::Key(_) => algorithm.as_str().to_owned(),
            Self::Certificate(_) => algorithm.to_certificate_type(),
        }
    }
}
