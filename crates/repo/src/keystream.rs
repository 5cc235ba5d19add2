//! AES-256 in counter mode: the bytes that a plaintext is combined with, and a ciphertext again.
//!
//! The counter is the whole block of 128 bits, big endian, and goes round at its end (NIST SP 800-38A, 6.5).
//! The library has the cipher; that many blocks are asked for at a time here makes it half as fast again as the
//! library that has the mode too.

use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};

/// How many blocks are made at a time: as many as processors with the widest instructions for AES work on at once.
const BLOCKS: usize = 64;
/// The bytes of a block.
const BLOCK: usize = 16;
/// The bytes that are made at a time.
const LENGTH: usize = BLOCKS * BLOCK;

/// The bytes, from the first on.
pub(crate) struct Keystream {
    cipher: Aes256,
    counter: u128,
    blocks: [Block<Aes256>; BLOCKS],
}

impl Keystream {
    pub(crate) fn new(key: &[u8; 32], nonce: &[u8; BLOCK]) -> Self {
        Self {
            cipher: Aes256::new(&Array(*key)),
            counter: u128::from_be_bytes(*nonce),
            blocks: [Array([0; BLOCK]); BLOCKS],
        }
    }

    /// Encrypts a text, or decrypts it, where it is.
    pub(crate) fn apply(mut self, text: &mut [u8]) {
        for piece in text.chunks_mut(LENGTH) {
            let pairs = piece.iter_mut().zip(self.next());
            pairs.for_each(|(byte, key)| *byte ^= key);
        }
    }

    /// Encrypts a text, or decrypts it, and appends what comes of it to `to`.
    pub(crate) fn append(mut self, text: &[u8], to: &mut Vec<u8>) {
        to.reserve(text.len());
        for piece in text.chunks(LENGTH) {
            to.extend(piece.iter().zip(self.next()).map(|(byte, key)| byte ^ key));
        }
    }

    fn next(&mut self) -> &[u8] {
        for block in &mut self.blocks {
            *block = Array(self.counter.to_be_bytes());
            self.counter = self.counter.wrapping_add(1);
        }
        self.cipher.encrypt_blocks(&mut self.blocks);
        Array::slice_as_flattened(&self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    #[test]
    fn the_standard_has_this_ciphertext() {
        // NIST SP 800-38A, F.5.5.
        let key = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let nonce = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let mut text: [u8; 64] = bytes(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        Keystream::new(&key, &nonce).apply(&mut text);
        let expected = bytes(
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
             2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        );
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn both_ways_are_what_the_cipher_says_of_each_block(
            key: [u8; 32],
            from_the_end in 0..200u128,
            text in prop::collection::vec(any::<u8>(), 0..3 * LENGTH),
        ) {
            // The counter goes round in the middle.
            let first = u128::MAX - from_the_end;
            let nonce = first.to_be_bytes();
            let cipher = Aes256::new(&Array(key));
            let mut expected = text.clone();
            for (number, piece) in (0..).zip(expected.chunks_mut(BLOCK)) {
                let mut block = Array(first.wrapping_add(number).to_be_bytes());
                cipher.encrypt_block(&mut block);
                piece.iter_mut().zip(block).for_each(|(byte, key)| *byte ^= key);
            }
            let mut appended = vec![1, 2, 3];
            Keystream::new(&key, &nonce).append(&text, &mut appended);
            prop_assert_eq!(&appended[3..], &expected[..]);
            let mut in_place = text;
            Keystream::new(&key, &nonce).apply(&mut in_place);
            prop_assert_eq!(in_place, expected);
        }
    }
}
