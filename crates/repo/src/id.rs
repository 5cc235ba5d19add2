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
        self.hex_digits().iter().copied().map(char::from).collect()
    }

    /// All 64 digits, as ASCII.
    pub fn hex_digits(&self) -> [u8; Self::HEX_LENGTH] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; Self::HEX_LENGTH];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
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
    ///
    /// An index names millions of blobs, so this has no branches and the compiler makes vector
    /// instructions of it.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let hex: &[u8; Self::HEX_LENGTH] = hex.try_into().ok()?;
        let mut digits = [0; Self::HEX_LENGTH];
        let mut refused = 0;
        for (digit, &character) in digits.iter_mut().zip(hex) {
            let decimal = character.wrapping_sub(b'0');
            let letter = character.wrapping_sub(b'a');
            *digit = if decimal < 10 { decimal } else { letter.wrapping_add(10) };
            refused |= u8::from(decimal >= 10) & u8::from(letter >= 6);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        (refused == 0).then_some(Self(bytes))
    }
}

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
        for text in ["", "e3b0", &"E3".repeat(32), &"0g".repeat(32), &"00".repeat(33)] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_character_but_the_sixteen_digits_is_refused_at_every_place() {
        for place in 0..Id::HEX_LENGTH {
            for character in 0..=255 {
                let mut hex = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
                hex[place] = character;
                let digit = char::from(character).to_digit(16);
                let wanted = digit.is_some() && !character.is_ascii_uppercase();
                let id = Id::from_hex(&hex);
                assert_eq!(id.is_some(), wanted, "{character} at {place}");
                assert!(id.is_none_or(|id| id.hex_digits() == hex));
            }
        }
    }
}
