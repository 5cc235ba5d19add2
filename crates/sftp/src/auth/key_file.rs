//! A key in a file, with its public half and perhaps a certificate beside it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::Outcome;

/// How long a key file may be, in bytes. An RSA key of 16384 bits has 13,000.
const SIZE_LIMIT: u64 = 256 * 1024;

/// What is known of a key file.
pub(super) struct Loaded {
    pub path: PathBuf,
    /// The public half, if it is known: from the file itself or from the one beside it.
    pub public: Option<PublicKey>,
    pub private: Result<Arc<PrivateKey>, Outcome>,
}

/// Reads a key file.
pub(super) fn load(path: &Path) -> Loaded {
    let loaded = |public, private| Loaded { path: path.to_owned(), public, private };
    let beside = || read_public(&with_suffix(path, ".pub"));
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return loaded(beside(), Err(Outcome::Missing));
        }
        Err(error) => return loaded(beside(), Err(Outcome::Unusable(error.to_string()))),
    };
    // To name the public half is to mean the agent's key.
    if let Some(public) = parse_public(&text) {
        let only =
            Outcome::Unusable("it is a public key, whose other half no agent has".to_owned());
        return loaded(Some(public), Err(only));
    }
    if is_readable_by_others(path) {
        return loaded(beside(), Err(Outcome::Unprotected { file: path.to_owned() }));
    }
    // OpenSSH's own format shows the public half of an encrypted key too.
    if let Ok(key) = PrivateKey::from_openssh(text.as_bytes())
        && key.is_encrypted()
    {
        return loaded(Some(key.public_key().clone()), Err(encrypted(path)));
    }
    if text.contains("ENCRYPTED") {
        return loaded(beside(), Err(encrypted(path)));
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => loaded(Some(key.public_key().clone()), Ok(Arc::new(key))),
        Err(error) => loaded(beside(), Err(Outcome::Unusable(error.to_string()))),
    }
}

/// The certificate that lies beside a key file, if there is one.
pub(super) fn certificate_beside(path: &Path) -> Option<(PathBuf, Certificate)> {
    let path = with_suffix(path, "-cert.pub");
    let certificate = certificate(&path).ok()?;
    Some((path, certificate))
}

/// A certificate in a file.
pub(super) fn certificate(path: &Path) -> Result<Certificate, Outcome> {
    let text = read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Outcome::Missing,
        _ => Outcome::Unusable(error.to_string()),
    })?;
    let parsed = parse_blob(&text).and_then(|key| match key.key_data() {
        KeyData::Certificate(certificate) => Some((**certificate).clone()),
        _ => None,
    });
    parsed.ok_or_else(|| Outcome::Unusable("it is not a certificate".to_owned()))
}

fn encrypted(path: &Path) -> Outcome {
    Outcome::Encrypted { wanted: false, file: path.to_owned() }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    // A pipe would never end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(SIZE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// As OpenSSH, which does not use such a key: it has been seen, or will be. Only for one's own files, for
/// others' are in the hands of the system's administrator.
fn is_readable_by_others(path: &Path) -> bool {
    let me = nix::unistd::getuid().as_raw();
    path.metadata().is_ok_and(|metadata| metadata.uid() == me && metadata.mode() & 0o077 != 0)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read_public(path: &Path) -> Option<PublicKey> {
    parse_public(&read(path).ok()?)
}

fn parse_public(text: &str) -> Option<PublicKey> {
    parse_blob(text).filter(|key| !matches!(key.key_data(), KeyData::Certificate(_)))
}

/// The key of a line `type base64 comment`.
fn parse_blob(text: &str) -> Option<PublicKey> {
    let line =
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let mut words = line.split_whitespace();
    let (_, blob) = (words.next()?, words.next()?);
    russh::keys::key::parse_public_key(&STANDARD.decode(blob).ok()?).ok()
}
