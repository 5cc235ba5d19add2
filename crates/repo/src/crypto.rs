//! Sealing: AES-256-CTR and Poly1305-AES, as restic combines them.
//!
//! A sealed unit is `nonce (16) || ciphertext || MAC (16)`. The ciphertext is the plaintext under
//! AES-256-CTR with the nonce as the first counter block (all 128 bits count, big endian). The MAC is
//! Poly1305 over the ciphertext alone, with the one-time key `r || AES-128(k, nonce)`: Bernstein's
//! Poly1305-AES, and *not* the AEAD of RFC 8439, which adds lengths and padding.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keystream::Keystream;

/// The length of the nonce before the ciphertext, in bytes.
pub const NONCE_LENGTH: usize = 16;
/// The length of the MAC behind the ciphertext, in bytes.
pub const MAC_LENGTH: usize = 16;
/// What sealing adds to a plaintext, in bytes.
pub const OVERHEAD: usize = NONCE_LENGTH + MAC_LENGTH;

/// What seals and opens: restic's *master key* for everything in a repository, or the *user key* made
/// from a password for the master key alone. Zeroed when dropped; its `Debug` shows nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

/// Why a sealed unit did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short to be a sealed unit.
    #[error("it is too short to be sealed data")]
    TooShort,
    /// The MAC does not match: damaged, or sealed with another key.
    #[error("its MAC does not match")]
    WrongMac,
    /// An all-zero nonce, which restic refuses as well: a sign of zeroed storage or a broken writer.
    #[error("its nonce is all zeros")]
    ZeroNonce,
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the random generator of the system failed: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

impl From<NoRandomness> for crate::Error {
    fn from(error: NoRandomness) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Fills `bytes` from the system's random generator.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    Ok(getrandom::fill(bytes)?)
}

impl Key {
    /// A new key from the system's random generator.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut material = Zeroizing::new([0; 64]);
        fill_random(&mut *material)?;
        Ok(Self::from_material(&material))
    }

    /// The key in 64 bytes of key material, in scrypt's order: `encrypt`, `mac.k`, `mac.r`.
    pub(crate) fn from_material(material: &[u8; 64]) -> Self {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        key.encrypt.copy_from_slice(&material[..32]);
        key.mac_k.copy_from_slice(&material[32..48]);
        key.mac_r.copy_from_slice(&material[48..]);
        key
    }

    /// Whether any part is all zeros, which restic takes for an uninitialised key.
    fn is_valid(&self) -> bool {
        let zero = |part: &[u8]| part.iter().all(|&byte| byte == 0);
        !(zero(&self.encrypt) || zero(&self.mac_k) || zero(&self.mac_r))
    }

    /// Seals `plaintext`.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
        sealed.resize(NONCE_LENGTH, 0);
        sealed.extend_from_slice(plaintext);
        self.seal_in_place(&mut sealed)?;
        Ok(sealed)
    }

    /// Seals what is in `buffer`: [`NONCE_LENGTH`] bytes of room, then the plaintext. Saves the copy
    /// where the plaintext was produced behind the room anyway.
    ///
    /// # Panics
    /// When there is no room for the nonce.
    pub fn seal_in_place(&self, buffer: &mut Vec<u8>) -> Result<(), NoRandomness> {
        let (nonce, text) =
            buffer.split_first_chunk_mut::<NONCE_LENGTH>().expect("room for the nonce");
        loop {
            fill_random(nonce)?;
            // All zeros comes up once in 2^128, and restic would refuse it.
            if *nonce != [0; NONCE_LENGTH] {
                break;
            }
        }
        Keystream::new(&self.encrypt, nonce).apply(text);
        let mac = self.mac(nonce, text);
        buffer.extend_from_slice(&mac);
        Ok(())
    }

    /// Opens a sealed unit. The MAC is verified before anything is decrypted.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut plaintext = Vec::new();
        self.open_into(sealed, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Opens a sealed unit into `plaintext`, whose content is replaced and whose memory is used again.
    pub fn open_into(&self, sealed: &[u8], plaintext: &mut Vec<u8>) -> Result<(), OpenError> {
        let (nonce, rest) =
            sealed.split_first_chunk::<NONCE_LENGTH>().ok_or(OpenError::TooShort)?;
        let (text, mac) = rest.split_last_chunk::<MAC_LENGTH>().ok_or(OpenError::TooShort)?;
        if *nonce == [0; NONCE_LENGTH] {
            return Err(OpenError::ZeroNonce);
        }
        if !bool::from(self.mac(nonce, text).ct_eq(mac)) {
            return Err(OpenError::WrongMac);
        }
        plaintext.clear();
        Keystream::new(&self.encrypt, nonce).append(text, plaintext);
        Ok(())
    }

    fn mac(&self, nonce: &[u8; NONCE_LENGTH], text: &[u8]) -> [u8; MAC_LENGTH] {
        let mut pad = Array(*nonce);
        Aes128::new(&Array(self.mac_k)).encrypt_block(&mut pad);
        let mut one_time = Zeroizing::new([0; 32]);
        one_time[..16].copy_from_slice(&self.mac_r); // Poly1305 clamps r by itself
        one_time[16..].copy_from_slice(&pad);
        let mut poly = Poly1305::new(&Array(*one_time));
        // Whole blocks go through the vectorised path; only the tail needs the slow one.
        let (blocks, tail) = poly1305::Block::slice_as_chunks(text);
        poly.update(blocks);
        poly.compute_unpadded(tail).into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The master key as key files hold it, sealed with the user key.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct MasterKeyJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct MacJson {
    k: String,
    r: String,
}

impl Key {
    /// The master key's JSON: `{"mac":{"k":"…","r":"…"},"encrypt":"…"}`. A secret.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let json = MasterKeyJson {
            mac: MacJson { k: STANDARD.encode(self.mac_k), r: STANDARD.encode(self.mac_r) },
            encrypt: STANDARD.encode(self.encrypt),
        };
        Zeroizing::new(crate::json::to_vec(&json))
    }

    /// Reads a master key's JSON. Nothing of the content is told in case of an error.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let json: MasterKeyJson = serde_json::from_slice(json).ok()?;
        let mut material = Zeroizing::new([0; 64]);
        for (text, range) in [(&json.encrypt, 0..32), (&json.mac.k, 32..48), (&json.mac.r, 48..64)]
        {
            let part = Zeroizing::new(STANDARD.decode(text).ok()?);
            let room = &mut material[range];
            (part.len() == room.len()).then(|| room.copy_from_slice(&part))?;
        }
        let key = Self::from_material(&material);
        key.is_valid().then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::from_material(&std::array::from_fn(|i| i as u8 + 1))
    }

    #[test]
    fn what_was_sealed_opens_again() {
        for length in [0, 1, 15, 16, 17, 255, 4096, 100_000] {
            let plaintext = vec![7; length];
            let sealed = key().seal(&plaintext).unwrap();
            assert_eq!(sealed.len(), length + OVERHEAD);
            assert_eq!(key().open(&sealed).unwrap(), plaintext);
        }
    }

    #[test]
    fn two_seals_of_the_same_differ() {
        assert_ne!(key().seal(b"x").unwrap(), key().seal(b"x").unwrap());
    }

    #[test]
    fn short_and_zero_input_is_an_error() {
        for length in 0..OVERHEAD {
            assert_eq!(key().open(&vec![1; length]), Err(OpenError::TooShort));
        }
        assert_eq!(key().open(&[0; 64]), Err(OpenError::ZeroNonce));
    }

    /// The test vector of Bernstein's Poly1305-AES paper (appendix B, the 2-byte message), which fixes
    /// k, r, the nonce and the MAC over a ciphertext.
    #[test]
    fn mac_is_poly1305_aes() {
        let mut material = [1; 64];
        material[32..48].copy_from_slice(&hex("ec074c835580741701425b623235add6"));
        material[48..].copy_from_slice(&hex("851fc40c3467ac0be05cc20404f3f700"));
        let nonce = hex("fb447350c4e868c52ac3275cf9d4327e");
        let mac = Key::from_material(&material).mac(&nonce, &[0xf3, 0xf6]);
        assert_eq!(mac, hex("f4c633c3044fc145f84f335cb81953de"));
    }

    fn hex(text: &str) -> [u8; 16] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    #[test]
    fn json_round_trip_and_nothing_in_debug() {
        let json = key().to_json();
        assert!(json.starts_with(br#"{"mac":{"k":""#));
        assert_eq!(Key::from_json(&json).unwrap().encrypt, key().encrypt);
        assert!(Key::from_json(b"{}").is_none());
        assert_eq!(format!("{:?}", key()), "Key(..)");
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_noticed(text in prop::collection::vec(any::<u8>(), 0..200), at: usize, bit in 0..8u8) {
            let mut sealed = key().seal(&text).unwrap();
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            prop_assert!(key().open(&sealed).is_err());
        }
    }
}
