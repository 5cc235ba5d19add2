//! How to prove to OpenNebula's API who one is.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aes::Aes256;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cbc::Encryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::opennebula::installation::Installation;
use crate::password::Secret;

/// How many seconds a login for somebody else is good for, as upstream has it.
const LIFETIME: u64 = 120;

/// A user's name and password, as the API wants them: what is in `one_auth`.
pub fn own_session(environment: &Environment, installation: &Installation) -> Result<Secret> {
    let home = environment.value("HOME").map(|home| Path::new(&home).join(".one/one_auth"));
    let places = [
        environment.value("ONE_AUTH").map(PathBuf::from),
        home,
        Some(installation.var.join(".one/one_auth")),
    ];
    let found = places.into_iter().flatten().find(|path| path.is_file());
    let path = found.ok_or_else(|| {
        Failure::new(
            "there is no file one_auth with the name and password of an OpenNebula user; the \
             environment variable ONE_AUTH may name one",
        )
    })?;
    let text = read(&path)?;
    if !text.contains(':') {
        return Err(Failure::new(format_args!("{} has no user:password in it", path.display())));
    }
    Ok(Secret::new(&**text))
}

/// The account that may act for any user: `serveradmin`.
#[derive(Clone, Debug)]
pub struct ServerAdmin {
    name: String,
    password: Secret,
}

impl ServerAdmin {
    /// Reads the account from the file that `ONE_CIPHER_AUTH` names, or from its usual place.
    pub fn load(environment: &Environment, installation: &Installation) -> Result<Self> {
        let given = environment.value("ONE_CIPHER_AUTH").map(PathBuf::from);
        let path = given.unwrap_or_else(|| installation.var.join(".one/onegate_auth"));
        let text = read(&path)?;
        let (name, password) = text.split_once(':').ok_or_else(|| {
            Failure::new(format_args!("{} has no user:password in it", path.display()))
        })?;
        Ok(Self { name: name.to_owned(), password: Secret::new(password) })
    }

    /// A session as a user, good for two minutes from now on.
    pub fn session_as(&self, user: &str) -> Result<Secret> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.session_until(user, now + LIFETIME)
    }

    fn session_until(&self, user: &str, expires: u64) -> Result<Secret> {
        if user.is_empty() || user.contains([':', '\n', '\r', '\0']) {
            return Err(Failure::new("USERNAME is not the name of an OpenNebula user"));
        }
        let name = &self.name;
        let plain = format!("{name}:{user}:{expires}");
        let sealed = BASE64_STANDARD.encode(self.encrypt(plain.as_bytes())?);
        Ok(Secret::new(format!("{name}:{user}:{sealed}")))
    }

    /// OpenNebula's `server_cipher`: AES-256-CBC. The key is the beginning of the password's SHA-256 in
    /// hexadecimal digits, and the initial vector the beginning of the key.
    fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>> {
        const BLOCK: usize = 16;
        let digest = Sha256::digest(self.password.reveal().as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = Zeroizing::new(hex);
        let (key, vector) = (&hex.as_bytes()[..32], &hex.as_bytes()[..BLOCK]);
        let cipher = Encryptor::<Aes256>::new_from_slices(key, vector)
            .map_err(|error| Failure::new(format_args!("cannot log in: {error}")))?;
        let mut buffer = vec![0; (plain.len() / BLOCK + 1) * BLOCK];
        buffer[..plain.len()].copy_from_slice(plain);
        let sealed = cipher.encrypt_padded::<Pkcs7>(&mut buffer, plain.len());
        sealed
            .map(<[u8]>::to_vec)
            .map_err(|_| Failure::new("cannot log in: there is no room for the padding"))
    }
}

/// A secret of one line.
fn read(path: &Path) -> Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        Failure::new(format_args!(
            "cannot read {}, which is needed to log in: {error}",
            path.display()
        ))
    })?;
    Ok(Zeroizing::new(text.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_what_opennebula_makes_of_it() {
        // Recorded from OpenNebula's own client.
        let admin = ServerAdmin {
            name: "serveradmin".into(),
            password: Secret::new(
                "9c8a317c309973aae9fa8d0fcde61bad18ce206782ed1dd9678a7a7ad17c1f30",
            ),
        };
        let session = admin.session_until("oneadmin", 1_795_372_037).unwrap();
        assert_eq!(
            session.reveal(),
            "serveradmin:oneadmin:XlDUTbF9lYJkPpVdTvwkI99nF1NxqluKoVZEk5sgK2A="
        );
        assert!(!format!("{admin:?}").contains("9c8a"));
        assert!(admin.session_as("oneadmin:1").is_err());
        assert!(admin.session_as("").is_err());
    }

    #[test]
    fn the_files_are_found_where_opennebula_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        std::fs::create_dir_all(place.join("var/.one")).unwrap();
        std::fs::create_dir_all(place.join("home/.one")).unwrap();
        let installation = Installation { var: place.join("var") };
        let home = place.join("home");
        let home = Environment::of(&[("HOME", home.to_str().unwrap())]);
        let own = || own_session(&home, &installation).map(|secret| secret.reveal().to_owned());
        assert!(own().unwrap_err().message().contains("ONE_AUTH"));
        std::fs::write(place.join("var/.one/one_auth"), "oneadmin:a:b\n").unwrap();
        assert_eq!(own(), Ok("oneadmin:a:b".to_owned()));
        std::fs::write(place.join("home/.one/one_auth"), "ada:c").unwrap();
        assert_eq!(own(), Ok("ada:c".to_owned()));
        std::fs::write(place.join("home/.one/one_auth"), "ada").unwrap();
        assert!(own().unwrap_err().message().contains("no user:password"));

        let failure = ServerAdmin::load(&home, &installation).unwrap_err();
        assert!(failure.message().contains("onegate_auth"), "{failure}");
        std::fs::write(place.join("var/.one/onegate_auth"), "serveradmin:x:y \n").unwrap();
        let admin = ServerAdmin::load(&home, &installation).unwrap();
        assert_eq!((admin.name.as_str(), admin.password.reveal()), ("serveradmin", "x:y"));
    }
}
