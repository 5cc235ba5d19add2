//! Which keys there are, and in which order they are tried.
//!
//! OpenSSH's order: certificates of the configuration; keys of the agent that the configuration names;
//! its other keys, unless `IdentitiesOnly`; what is left of the key files.

use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey};

use super::agent::{Agent, AgentKey};
use super::key_file::{self, Loaded};
use super::{Outcome, Tried};
use crate::config::HostConfig;

/// What the server is shown.
pub(super) enum Public {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

impl Public {
    pub(super) fn key_data(&self) -> &KeyData {
        match self {
            Self::Key(key) => key.key_data(),
            Self::Certificate(certificate) => certificate.public_key(),
        }
    }
}

/// Who signs.
pub(super) enum Holder {
    /// The agent, which knows the key by this.
    Agent(Vec<u8>),
    File(Arc<PrivateKey>),
    /// Nobody: the key in the file is encrypted.
    Locked(PathBuf),
}

/// A key to try.
pub(super) struct Candidate {
    /// For people.
    pub name: String,
    pub public: Public,
    pub holder: Holder,
}

pub(super) struct Found {
    pub candidates: Vec<Candidate>,
    pub unusable: Vec<Tried>,
}

/// Looks for keys.
pub(super) async fn find(config: &HostConfig, agent: Option<&mut Agent>) -> Found {
    let mut unusable = Vec::new();
    let agent_keys = match agent {
        Some(agent) => agent.keys().await.unwrap_or_else(|error| {
            unusable.push(Tried {
                key: "the agent".to_owned(),
                outcome: Outcome::Unusable(error.to_string()),
            });
            Vec::new()
        }),
        None => Vec::new(),
    };
    let files: Vec<_> =
        config.identities.iter().map(|file| (key_file::load(&file.path), file.named)).collect();
    let mut search = Search { agent_keys, files, candidates: Vec::new(), unusable };
    search.add_certificates(config);
    search.add_agent(true);
    if !config.identities_only {
        search.add_agent(false);
    }
    search.add_files();
    Found { candidates: search.candidates, unusable: search.unusable }
}

struct Search {
    agent_keys: Vec<AgentKey>,
    /// Key files, and whether somebody named them.
    files: Vec<(Loaded, bool)>,
    candidates: Vec<Candidate>,
    unusable: Vec<Tried>,
}

impl Search {
    fn add_certificates(&mut self, config: &HostConfig) {
        let mut found = Vec::new();
        for path in &config.certificates {
            match key_file::certificate(path) {
                Ok(certificate) => found.push((path.clone(), certificate)),
                Err(outcome) => {
                    self.unusable.push(Tried { key: path.display().to_string(), outcome })
                }
            }
        }
        // What lies beside the keys counts only if nothing was named.
        if config.certificates.is_empty() {
            found.extend(
                self.files.iter().filter_map(|(file, _)| key_file::certificate_beside(&file.path)),
            );
        }
        for (path, certificate) in found {
            let name = path.display().to_string();
            match self.holder_of(certificate.public_key()) {
                Some(holder) => {
                    self.candidates.push(Candidate {
                        name,
                        public: Public::Certificate(certificate.into()),
                        holder,
                    });
                }
                None => {
                    let outcome = Outcome::Unusable("there is no private key for it".to_owned());
                    self.unusable.push(Tried { key: name, outcome });
                }
            }
        }
    }

    /// Who has the private key: better the agent than a file.
    fn holder_of(&self, key: &KeyData) -> Option<Holder> {
        if let Some(agents) = self.agent_keys.iter().find(|agents| agents.key.key_data() == key) {
            return Some(Holder::Agent(agents.blob.clone()));
        }
        let is_this =
            |file: &&Loaded| file.public.as_ref().is_some_and(|public| public.key_data() == key);
        self.files.iter().map(|(file, _)| file).filter(is_this).find_map(holder)
    }

    /// Keys of the agent that are among the key files, or those that are not.
    fn add_agent(&mut self, named: bool) {
        for agents in &self.agent_keys {
            let public = match agents.key.key_data() {
                KeyData::Certificate(certificate) => Public::Certificate(certificate.clone()),
                _ => Public::Key(agents.key.clone()),
            };
            let is_this = |(file, _): &&(Loaded, bool)| {
                file.public.as_ref().is_some_and(|file| file.key_data() == public.key_data())
            };
            let file = self.files.iter().find(is_this);
            if file.is_some() != named || self.has(&public) {
                continue;
            }
            let name = match file {
                Some((file, _)) => format!("{} in the agent", file.path.display()),
                None => {
                    let comment: String =
                        agents.comment.chars().filter(|c| !c.is_control()).take(80).collect();
                    let fingerprint = public.key_data().fingerprint(HashAlg::Sha256);
                    format!("{comment} ({fingerprint}) in the agent")
                }
            };
            let holder = Holder::Agent(agents.blob.clone());
            self.candidates.push(Candidate { name, public, holder });
        }
    }

    fn add_files(&mut self) {
        for (file, named) in std::mem::take(&mut self.files) {
            let name = file.path.display().to_string();
            match (&file.public, holder(&file)) {
                (Some(public), _) if self.has(&Public::Key(public.clone())) => {}
                (Some(public), Some(holder)) => {
                    let public = Public::Key(public.clone());
                    self.candidates.push(Candidate { name, public, holder });
                }
                _ => match file.private {
                    Err(Outcome::Missing) if !named && file.public.is_none() => {}
                    Err(outcome) => self.unusable.push(Tried { key: name, outcome }),
                    Ok(_) => {}
                },
            }
        }
    }

    fn has(&self, public: &Public) -> bool {
        self.candidates.iter().any(|candidate| match (&candidate.public, public) {
            (Public::Key(one), Public::Key(other)) => one.key_data() == other.key_data(),
            (Public::Certificate(one), Public::Certificate(other)) => one == other,
            _ => false,
        })
    }
}

fn holder(file: &Loaded) -> Option<Holder> {
    match &file.private {
        Ok(key) => Some(Holder::File(key.clone())),
        Err(Outcome::Encrypted { file, .. }) => Some(Holder::Locked(file.clone())),
        Err(_) => None,
    }
}
