//! The config file: version, id and chunker polynomial.

use serde::{Deserialize, Serialize};

use crate::chunker::Polynomial;
use crate::crypto::{self, Key};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::id::Id;
use crate::json;

/// What a repository is, fixed when it is made.
///
/// Stored as `config`: sealed JSON, never compressed, in both versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// 1, or 2 where blobs and files are compressed.
    pub version: u32,
    /// Names the repository: random, and the name of its cache folder.
    pub id: Id,
    /// Where files are cut. Two repositories share chunks only if they have the same.
    pub chunker_polynomial: Polynomial,
}

/// The versions this library reads and writes.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

impl Config {
    /// The config of a new repository, with a random id and, unless one is given, polynomial.
    pub fn new(version: u32, polynomial: Option<Polynomial>) -> Result<Self> {
        if !VERSIONS.contains(&version) {
            return Err(Error::UnsupportedVersion { version: version.into() });
        }
        let mut id = [0; 32];
        crypto::fill_random(&mut id)?;
        let chunker_polynomial = match polynomial {
            Some(polynomial) => polynomial,
            None => Polynomial::random()?,
        };
        Ok(Self { version, id: Id::from_bytes(id), chunker_polynomial })
    }

    /// The stored form.
    pub(crate) fn seal(&self, key: &Key) -> Result<Vec<u8>> {
        Ok(key.seal(&json::to_vec(self))?)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Error::Damaged`] also where the polynomial is reducible: cutting with it would not spread the
    /// cuts, and restic refuses it.
    pub(crate) fn open(key: &Key, stored: &[u8]) -> Result<Self> {
        let damaged = |detail: String| Error::damaged(Handle::CONFIG, detail);
        if stored.is_empty() {
            return Err(damaged("it is empty".into()));
        }
        let json = key.open(stored).map_err(|error| damaged(error.to_string()))?;
        let version: VersionOnly =
            serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if !VERSIONS.contains(&u32::try_from(version.version).unwrap_or(0)) {
            return Err(Error::UnsupportedVersion { version: version.version });
        }
        let config: Self =
            serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if !config.chunker_polynomial.is_irreducible() {
            return Err(damaged(format!(
                "its chunker polynomial {} is reducible",
                config.chunker_polynomial
            )));
        }
        Ok(config)
    }
}

/// Read first: a later version may have changed everything else.
#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_material(&[3; 64])
    }

    fn open(json: &str) -> Result<Config> {
        Config::open(&key(), &key().seal(json.as_bytes()).unwrap())
    }

    #[test]
    fn reads_what_it_wrote() {
        let config = Config::new(2, None).unwrap();
        assert_eq!(Config::open(&key(), &config.seal(&key()).unwrap()).unwrap(), config);
        assert!(Config::new(3, None).is_err());
    }

    #[test]
    fn reads_restics_and_refuses_what_restic_refuses() {
        let with = |version: &str, polynomial: &str| {
            let id = "00".repeat(32);
            open(&format!(
                r#"{{"version":{version},"id":"{id}","chunker_polynomial":"{polynomial}","more":1}}"#
            ))
        };
        assert_eq!(with("1", "25b468838dcb75").unwrap().version, 1);
        assert!(matches!(with("3", "x"), Err(Error::UnsupportedVersion { version: 3 })));
        for (version, polynomial) in
            [("2", "2000000000000a"), ("2", "0"), ("2", "xyz"), ("-1", "1")]
        {
            assert!(
                matches!(with(version, polynomial), Err(Error::Damaged { .. })),
                "{polynomial}"
            );
        }
        assert!(Config::open(&key(), b"").is_err());
        assert!(Config::open(&key(), &[1; 100]).is_err());
    }
}
