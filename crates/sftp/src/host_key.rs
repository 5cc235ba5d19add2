//! Who the server is: what its key, or its certificate, is worth.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::config::{AlgorithmList, Checking, HostConfig};
use crate::error::{Error, KeyChange};
use crate::known_hosts::{self, Marker, Record};

mod certificate;

/// The types of host keys that are accepted, the best first. SHA-1 is not among them.
const ALGORITHMS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// Two connections at once must not add the same key twice.
static ADDING: Mutex<()> = Mutex::new(());

/// A key, short enough to compare by eye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The type of the key, such as `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:` and the hash in base64, as OpenSSH shows it.
    pub sha256: String,
}

impl Fingerprint {
    pub(crate) fn of(key: &KeyData) -> Self {
        let sha256 = key.fingerprint(HashAlg::Sha256).to_string();
        Self { algorithm: key.algorithm().as_str().to_owned(), sha256 }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.sha256)
    }
}

/// Why a server was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Its key is on record.
    Known {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// Its certificate is signed by an authority on record.
    Certified {
        /// The file with the authority.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// It was not known, and is now.
    Added {
        /// The file that its key was added to.
        file: PathBuf,
    },
    /// It was not known, and its key could not be added to the record. People should hear of this: next
    /// time, another server would be believed just as well.
    NotAdded {
        /// Why not.
        problem: String,
    },
}

/// What is known about one server.
#[derive(Debug)]
pub(crate) struct HostKeys {
    server: String,
    /// The name on record, and the one without a port that is looked up too.
    names: Vec<String>,
    /// What a certificate has to be made out to.
    principal: String,
    files: Vec<PathBuf>,
    /// The file to add to.
    first: Option<PathBuf>,
    hashed: bool,
    checking: Checking,
    least_rsa_bits: u32,
    allowed: Option<AlgorithmList>,
    ca_signatures: Option<AlgorithmList>,
    /// For each of the names.
    records: Vec<Vec<Record>>,
}

impl HostKeys {
    /// Reads what is known about a server.
    pub(crate) fn load(config: &HostConfig) -> Result<Self, Error> {
        let names = match &config.host_key_alias {
            Some(alias) => vec![alias.clone()],
            None if config.port == 22 => vec![known_hosts::name_of(&config.host, 22)],
            None => [config.port, 22].map(|port| known_hosts::name_of(&config.host, port)).into(),
        };
        let principal =
            config.host_key_alias.clone().unwrap_or_else(|| config.host.to_ascii_lowercase());
        let mut keys = Self {
            server: config.server(),
            names,
            principal,
            files: config
                .user_known_hosts
                .iter()
                .chain(&config.global_known_hosts)
                .cloned()
                .collect(),
            first: config.user_known_hosts.first().cloned(),
            hashed: config.hash_known_hosts,
            checking: config.checking,
            least_rsa_bits: config.required_rsa_bits,
            allowed: config.algorithms.host_keys.clone(),
            ca_signatures: config.algorithms.ca_signatures.clone(),
            records: Vec::new(),
        };
        keys.records = keys.read()?;
        Ok(keys)
    }

    fn read(&self) -> Result<Vec<Vec<Record>>, Error> {
        let of = |name: &String| {
            known_hosts::read_all(&self.files, name)
                .map_err(|(file, cause)| Error::KnownHosts { file, cause })
        };
        self.names.iter().map(of).collect()
    }

    /// The types of certificates and of keys to ask the server for, most wanted first. Those of keys on
    /// record go first, or a server with several keys would seem to have changed its own; certificates
    /// are asked for only if an authority is on record.
    pub(crate) fn algorithms(&self) -> (Vec<Algorithm>, Vec<Algorithm>) {
        let certificate_names = ALGORITHMS.map(certificate_name);
        let certificate_names: Vec<_> = certificate_names.iter().map(String::as_str).collect();
        let allow = |ours: &[&'static str]| match &self.allowed {
            Some(list) => list.apply(ours),
            None => ours.to_vec(),
        };
        let certificates = match &self.allowed {
            _ if !self.with(Marker::Authority).any(|_| true) => Vec::new(),
            Some(list) => list.apply(&certificate_names),
            None => certificate_names.clone(),
        };
        let mut keys = allow(&ALGORITHMS);
        if !self.allowed.as_ref().is_some_and(AlgorithmList::orders) {
            let known =
                |name: &&str| !self.with(Marker::Key).any(|record| is_type(name, &record.key));
            keys.sort_by_key(known);
        }
        let plain =
            |name: &&str| ALGORITHMS.iter().position(|plain| certificate_name(plain) == **name);
        let parse = |name: &str| Algorithm::new(name).ok();
        let certificates =
            certificates.iter().filter_map(|name| parse(ALGORITHMS[plain(name)?])).collect();
        (certificates, keys.into_iter().filter_map(parse).collect())
    }

    fn with(&self, marker: Marker) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten().filter(move |record| record.marker == marker)
    }

    /// Whether the server with this key or certificate is the right one.
    pub(crate) fn check(&self, offered: &PublicKeyOrCertificate) -> Result<Trust, Error> {
        let key = offered.public_key();
        self.check_strength(key.key_data())?;
        self.check_not_revoked(key.key_data())?;
        let problem = match offered.certificate() {
            Some(certificate) => match self.check_certificate(certificate)? {
                Ok(trust) => return Ok(trust),
                Err(problem) => problem,
            },
            None => None,
        };
        // Without a certificate that holds, the key inside it may be known for itself.
        match (self.find(&key, &self.records)?, problem) {
            (Some(trust), _) => Ok(trust),
            (None, Some(problem)) => {
                Err(Error::HostCertificate { server: self.server.clone(), problem })
            }
            (None, None) if self.checking == Checking::Strict => Err(self.unknown(&key)),
            (None, None) => self.add(&key),
        }
    }

    /// The certificate's worth. A problem is told only if its authority is known.
    #[allow(
        clippy::type_complexity,
        reason = "an error that ends all, and one that leaves a way out"
    )]
    fn check_certificate(
        &self,
        offered: &Certificate,
    ) -> Result<Result<Trust, Option<String>>, Error> {
        let authority = offered.signature_key();
        self.check_not_revoked(authority)?;
        let Some(record) = self.with(Marker::Authority).find(|record| record.key == *authority)
        else {
            return Ok(Err(None));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(match certificate::problem(offered, &self.principal, now, self.ca_signatures.as_ref()) {
            None => Ok(Trust::Certified { file: record.file.to_path_buf(), line: record.line }),
            problem => Err(problem),
        })
    }

    fn check_not_revoked(&self, key: &KeyData) -> Result<(), Error> {
        match self.with(Marker::Revoked).find(|record| record.key == *key) {
            None => Ok(()),
            Some(record) => Err(Error::HostKeyRevoked {
                server: self.server.clone(),
                offered: Fingerprint::of(key),
                file: record.file.to_path_buf(),
                line: record.line,
            }),
        }
    }

    fn check_strength(&self, key: &KeyData) -> Result<(), Error> {
        match key.rsa().map(|rsa| rsa.key_size()) {
            Some(bits) if bits < self.least_rsa_bits => Err(Error::HostKeyWeak {
                server: self.server.clone(),
                bits,
                least: self.least_rsa_bits,
            }),
            _ => Ok(()),
        }
    }

    /// The record of this key; an error if there are records, but all of other keys.
    fn find(&self, key: &PublicKey, records: &[Vec<Record>]) -> Result<Option<Trust>, Error> {
        for (at, records) in records.iter().enumerate() {
            let mut keys = records.iter().filter(|record| record.marker == Marker::Key);
            if let Some(record) = keys.clone().find(|record| record.key == *key.key_data()) {
                return Ok(Some(Trust::Known {
                    file: record.file.to_path_buf(),
                    line: record.line,
                }));
            }
            // Under its name without a port another server may be known.
            if at == 0
                && let Some(other) = keys.next()
            {
                return Err(Error::HostKeyChanged(Box::new(KeyChange {
                    server: self.server.clone(),
                    name: self.names[0].clone(),
                    offered: Fingerprint::of(key.key_data()),
                    known: Fingerprint::of(&other.key),
                    file: other.file.to_path_buf(),
                    line: other.line,
                })));
            }
        }
        Ok(None)
    }

    fn unknown(&self, key: &PublicKey) -> Error {
        let hint = match &self.first {
            Some(file) => format!("ssh asks, and writes it to {}", file.display()),
            None => "UserKnownHostsFile names no file for that".to_owned(),
        };
        Error::HostKeyUnknown {
            server: self.server.clone(),
            offered: Fingerprint::of(key.key_data()),
            hint,
        }
    }

    fn add(&self, key: &PublicKey) -> Result<Trust, Error> {
        let Some(file) = &self.first else {
            return Ok(Trust::NotAdded { problem: "UserKnownHostsFile names no file".to_owned() });
        };
        let _alone = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trust) = self.find(key, &self.read()?)? {
            return Ok(trust);
        }
        Ok(match known_hosts::add(file, &self.names[0], key, self.hashed) {
            Ok(()) => Trust::Added { file: file.clone() },
            Err(error) => Trust::NotAdded { problem: format!("{}: {error}", file.display()) },
        })
    }
}

fn certificate_name(plain: &str) -> String {
    format!("{plain}-cert-v01@openssh.com")
}

/// Whether a key can be used with an algorithm: one RSA key serves both of RSA's.
fn is_type(algorithm: &str, key: &KeyData) -> bool {
    match key.algorithm() {
        Algorithm::Rsa { .. } => algorithm.starts_with("rsa-"),
        other => other.as_str() == algorithm,
    }
}

#[cfg(test)]
mod tests;
