//! Key files: a password's way to the master key.
//!
//! A repository has one master key and any number of key files in `keys/`. Each holds the master key,
//! sealed with a *user key* that scrypt makes from a password.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::{self, Key};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::json;
use crate::time::Timestamp;

mod scrypt;

use scrypt::Cost;

/// A repository password. Zeroed when dropped; its `Debug` shows nothing.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// A password of these bytes, as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Whether it is empty. restic has repositories without a password since 0.17, and asks that one
    /// says so.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What scrypt costs: `128 · N · r` bytes of memory, and time in proportion to `N · r · p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScryptParams {
    /// The cost, a power of two.
    pub n: u64,
    /// The block size.
    pub r: u32,
    /// How many times over.
    pub p: u32,
}

/// The most memory a key file may make us use, in bytes. restic writes keys of at most 60 MiB,
/// rustic of 128 MiB.
const MAX_MEMORY: u64 = 256 << 20;
/// The most work, as `N · r · p`. restic's calibration stops near 2^21; this is some ten seconds.
const MAX_WORK: u64 = 1 << 25;
/// The salt's length in bytes, which restic checks.
const SALT_LENGTH: usize = 64;
/// restic's calibration: at most so much memory ...
const CALIBRATE_MEMORY: u64 = 60 << 20;
/// ... and about so much time.
const CALIBRATE_TIME: Duration = Duration::from_millis(500);

impl ScryptParams {
    /// Refuses what cannot be right, and what would cost too much.
    fn validate(self) -> Result<Cost, String> {
        let fault = |what: &str| Err(format!("its scrypt parameters {what}"));
        if !self.n.is_power_of_two() || self.n < 2 || self.r == 0 || self.p == 0 {
            return fault("are not valid");
        }
        let block = u64::from(self.r).saturating_mul(128);
        if block.saturating_mul(self.n) > MAX_MEMORY
            || block.saturating_mul(u64::from(self.p)) > MAX_MEMORY
        {
            return fault("ask for too much memory");
        }
        if self.n.saturating_mul(self.r.into()).saturating_mul(self.p.into()) > MAX_WORK {
            return fault("ask for too much work");
        }
        let log_n = self.n.trailing_zeros() as u8; // below 64
        Ok(Cost { log_n, r: self.r, p: self.p })
    }

    /// Parameters that cost about half a second of one core here, and no more than 60 MiB: restic's
    /// choice, so that its keys and ours are equally hard to guess.
    pub fn calibrate() -> Self {
        const R: u32 = 8;
        let mut params = Self { n: 1 << 14, r: R, p: 1 };
        let started = Instant::now();
        derive(b"password", &[0; SALT_LENGTH], params).expect("constant parameters are valid");
        let mut time = started.elapsed().max(Duration::from_micros(1));
        while 2 * 128 * params.n * u64::from(R) <= CALIBRATE_MEMORY && 2 * time <= CALIBRATE_TIME {
            params.n *= 2;
            time *= 2;
        }
        let times = CALIBRATE_TIME.as_micros() / time.as_micros().max(1);
        params.p = u32::try_from(times).unwrap_or(u32::MAX).clamp(1, 16);
        params
    }
}

/// 64 bytes of key material from a password.
fn derive(password: &[u8], salt: &[u8], params: ScryptParams) -> Result<Key, String> {
    let cost = params.validate()?;
    let mut material = Zeroizing::new([0; 64]);
    scrypt::derive(password, salt, cost, MAX_MEMORY as usize, &mut *material)
        .ok_or("its scrypt parameters are not valid")?;
    Ok(Key::from_material(&material))
}

/// A key file. Stored as plain JSON under the name of its SHA-256.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was added.
    pub created: Timestamp,
    /// Who added it.
    #[serde(default)]
    pub username: String,
    /// Where.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
            .field("created", &self.created)
            .field("username", &self.username)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// Why a key file did not give the master key.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It belongs to another password (or its data is damaged: that cannot be told apart).
    WrongPassword,
    /// It is not a key file that can be used; the text says why.
    Unusable(String),
}

impl KeyFile {
    /// A key file that gives `master` to whoever knows the password.
    pub(crate) fn new(
        master: &Key,
        password: &Password,
        params: ScryptParams,
        identity: &Identity,
    ) -> Result<Self> {
        let mut salt = [0; SALT_LENGTH];
        crypto::fill_random(&mut salt)?;
        let user = derive(password.as_bytes(), &salt, params).map_err(Error::Refused)?;
        let data = user.seal(&master.to_json())?;
        Ok(Self {
            created: Timestamp::now(),
            username: identity.username.clone(),
            hostname: identity.hostname.clone(),
            kdf: "scrypt".into(),
            n: params.n,
            r: params.r,
            p: params.p,
            salt: STANDARD.encode(salt),
            data: STANDARD.encode(data),
        })
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        json::to_vec(self)
    }

    /// Reads the stored form.
    pub(crate) fn decode(stored: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(stored).map_err(|error| error.to_string())
    }

    /// The master key, for the right password. Takes the time that scrypt is meant to take.
    pub(crate) fn open(&self, password: &Password) -> Result<Key, Failure> {
        if self.kdf != "scrypt" {
            return Err(Failure::Unusable(format!("its key derivation {:?} is unknown", self.kdf)));
        }
        let base64 = |text: &str, what: &str| {
            STANDARD
                .decode(text)
                .map_err(|_| Failure::Unusable(format!("its {what} is not base64")))
        };
        let salt = base64(&self.salt, "salt")?;
        if salt.len() != SALT_LENGTH {
            return Err(Failure::Unusable(format!("its salt has {} bytes", salt.len())));
        }
        let data = base64(&self.data, "data")?;
        let params = ScryptParams { n: self.n, r: self.r, p: self.p };
        let user = derive(password.as_bytes(), &salt, params).map_err(Failure::Unusable)?;
        let mut json = user.open(&data).map_err(|_| Failure::WrongPassword)?;
        let master = Key::from_json(&json);
        json.zeroize();
        master.ok_or_else(|| Failure::Unusable("what it seals is not a master key".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: ScryptParams = ScryptParams { n: 1024, r: 8, p: 1 };

    fn key_file(password: &str) -> KeyFile {
        let identity = Identity { username: "u".into(), hostname: "h".into(), uid: 0, gid: 0 };
        let master = Key::from_material(&[5; 64]);
        KeyFile::new(&master, &Password::new(password), CHEAP, &identity).unwrap()
    }

    #[test]
    fn the_right_password_gives_the_master_key() {
        let stored = key_file("päss").encode();
        let file = KeyFile::decode(&stored).unwrap();
        let master = file.open(&Password::new("päss")).unwrap();
        assert_eq!(*master.to_json(), *Key::from_material(&[5; 64]).to_json());
        assert!(matches!(file.open(&Password::new("pass")), Err(Failure::WrongPassword)));
    }

    #[test]
    fn fields_are_in_restics_order() {
        let stored = String::from_utf8(key_file("x").encode()).unwrap();
        let mut rest = stored.as_str();
        for field in ["created", "username", "hostname", "kdf", "N", "r", "p", "salt", "data"] {
            let at = rest.find(&format!("\"{field}\":")).expect(field);
            rest = &rest[at..];
        }
    }

    #[test]
    fn hostile_parameters_are_refused_at_once() {
        for (n, r, p) in [
            (0, 8, 1),
            (3, 8, 1),
            (1, 8, 1),
            (1 << 63, 8, 1),
            (1 << 40, 1, 1),
            (2, u32::MAX, 1),
            (2, 1, u32::MAX),
            (1 << 15, 8, 1 << 20),
            (1024, 0, 1),
            (1024, 8, 0),
        ] {
            let mut file = key_file("x");
            (file.n, file.r, file.p) = (n, r, p);
            let failure = file.open(&Password::new("x")).err();
            assert!(matches!(failure, Some(Failure::Unusable(_))), "{n} {r} {p}");
        }
    }

    #[test]
    fn what_is_no_key_file_is_an_error() {
        assert!(KeyFile::decode(b"").is_err());
        assert!(KeyFile::decode(b"junk").is_err());
        let mut file = key_file("x");
        file.salt = STANDARD.encode([1; 63]);
        assert!(matches!(file.open(&Password::new("x")), Err(Failure::Unusable(_))));
        file = key_file("x");
        file.kdf = "argon2".into();
        assert!(matches!(file.open(&Password::new("x")), Err(Failure::Unusable(_))));
    }

    #[test]
    fn calibrated_parameters_are_restics_kind() {
        let params = ScryptParams::calibrate();
        assert!(params.validate().is_ok());
        assert!(params.n >= 1 << 14 && 128 * params.n * 8 <= CALIBRATE_MEMORY);
    }
}
