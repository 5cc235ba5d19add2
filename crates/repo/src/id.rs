//! The 32 bytes that name everything in a repository.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A SHA-256 digest: of a stored file (packs, indexes, snapshots, locks, keys) or of a blob's plaintext.
///
/// Written as 64 lower-case hexadecimal digits. Upper case is refused, because restic opens files
/// under the lower-case name only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id([u8; 32]);

impl Id {
    /// The number of hexadecimal digits in a full id.
    pub const HEX_LENGTH: usize = 64;

    /// The id of `data`: its SHA-256.
    pub fn of(data: &[u8]) -> Self {
        Self(Sha256::digest(data).into())
    }

    /// An id from its raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// All 64 digits.
    pub fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = String::with_capacity(Self::HEX_LENGTH);
        for byte in self.0 {
            hex.push(char::from(DIGITS[usize::from(byte >> 4)]));
            hex.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        hex
    }

    /// The first eight digits, as restic shows ids to people.
    pub fn short(&self) -> String {
        let mut hex = self.to_hex();
        hex.truncate(8);
        hex
    }

    /// Parses exactly 64 lower-case hexadecimal digits.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let hex: &[u8; Self::HEX_LENGTH] = hex.try_into().ok()?;
        let mut bytes = [0; 32];
        let mut seen = 0;
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let (high, low) = (VALUE[usize::from(pair[0])], VALUE[usize::from(pair[1])]);
            seen |= high | low;
            *byte = high << 4 | low & 15;
        }
        (seen <= 15).then_some(Self(bytes))
    }
}

/// What each hexadecimal digit is worth; 255 for what is none.
///
/// A table, because trees and indexes are full of ids, and no processor can predict their digits.
const VALUE: [u8; 256] = {
    let mut value = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        value[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    value
};

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.short())
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: 64 lower-case hexadecimal digits are needed")]
pub struct InvalidId(pub String);

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(hex: &str) -> Result<Self, InvalidId> {
        Self::from_hex(hex.as_bytes()).ok_or_else(|| InvalidId(hex.to_owned()))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id of 64 lower-case hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, hex: &str) -> Result<Id, E> {
                hex.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let id = Id::of(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(id.to_string(), hex);
        assert_eq!(hex.parse::<Id>().unwrap(), id);
        assert_eq!(id.short(), "e3b0c442");
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        let long = "00".repeat(33);
        for text in
            ["", "e3b0", &long[1..], &long, &"E3".repeat(32), &"0g".repeat(32), &"-".repeat(64)]
        {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }
}
