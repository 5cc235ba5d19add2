//! SHA-256 of two things at the same time.
//!
//! There is always more than one hash to be made: of the next chunk, of the next blob, of the pack they
//! are in. A processor's SHA instructions wait for each other's results, so one hash alone leaves the
//! unit idle half of the time; two that know nothing of each other fill it. Measured on an AMD EPYC of
//! the Zen 3 generation: one and a half times as many bytes.

use std::cmp::Reverse;

use sha2::block_api::compress256;

use crate::id::Id;

#[cfg(target_arch = "x86_64")]
mod x86;

/// The ids of all of these contents.
pub(crate) fn ids_of(contents: &[&[u8]]) -> Vec<Id> {
    let mut hashes: Vec<_> = contents.iter().map(|content| (Hasher::default(), *content)).collect();
    update_all(&mut hashes);
    hashes.into_iter().map(|(hasher, _)| hasher.finish()).collect()
}

/// Each hasher takes its bytes, two of them at a time. The longest come first, so that little is left that has no
/// other beside it.
pub(crate) fn update_all(hashes: &mut [(Hasher, &[u8])]) {
    let mut waiting: Vec<_> = hashes.iter_mut().collect();
    waiting.sort_unstable_by_key(|(_, bytes)| Reverse(bytes.len()));
    let mut waiting = waiting.into_iter();
    let (mut one, mut two) = (waiting.next(), waiting.next());
    while let (Some((hasher, bytes)), Some((other, others))) = (&mut one, &mut two) {
        let both = bytes.len().min(others.len());
        let (now, later) = bytes.split_at(both);
        let (other_now, other_later) = others.split_at(both);
        hasher.update_both(now, other, other_now);
        (*bytes, *others) = (later, other_later);
        if later.is_empty() {
            one = waiting.next();
        }
        if other_later.is_empty() {
            two = waiting.next();
        }
    }
    if let Some((hasher, bytes)) = one.or(two) {
        hasher.update(bytes);
    }
}

/// The bytes that SHA-256 takes at a time.
const BLOCK: usize = 64;

/// A SHA-256 in the making.
#[derive(Clone)]
pub(crate) struct Hasher {
    state: [u32; 8],
    /// The beginning of the next block, in its first `length % BLOCK` bytes.
    begun: [u8; BLOCK],
    /// How many bytes there were.
    length: u64,
}

impl Default for Hasher {
    /// The hash of nothing so far.
    fn default() -> Self {
        Self { state: START, begun: [0; BLOCK], length: 0 }
    }
}

impl Hasher {
    /// Takes more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.complete(bytes).as_chunks::<BLOCK>();
        compress256(&mut self.state, blocks);
        self.begin(rest);
    }

    /// Takes `bytes`, and `other` takes `others`.
    pub(crate) fn update_both(&mut self, bytes: &[u8], other: &mut Self, others: &[u8]) {
        let (mut blocks, rest) = self.complete(bytes).as_chunks::<BLOCK>();
        let (mut other_blocks, other_rest) = other.complete(others).as_chunks::<BLOCK>();
        let both = blocks.len().min(other_blocks.len());
        let (together, alone) = blocks.split_at(both);
        let (other_together, other_alone) = other_blocks.split_at(both);
        (blocks, other_blocks) = (alone, other_alone);
        compress_both(&mut self.state, together, &mut other.state, other_together);
        compress256(&mut self.state, blocks);
        compress256(&mut other.state, other_blocks);
        self.begin(rest);
        other.begin(other_rest);
    }

    /// The hash of all the bytes.
    pub(crate) fn finish(mut self) -> Id {
        let filled = self.filled();
        self.begun[filled] = 0x80;
        self.begun[filled + 1..].fill(0);
        const NUMBER: usize = size_of::<u64>();
        if filled + 1 > BLOCK - NUMBER {
            compress256(&mut self.state, &[self.begun]);
            self.begun.fill(0);
        }
        let bits = self.length.wrapping_mul(8);
        self.begun[BLOCK - NUMBER..].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, &[self.begun]);
        let mut id = [0; 32];
        for (bytes, word) in id.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Id::from_bytes(id)
    }

    fn filled(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Completes the block that has begun, if there is one and the bytes suffice, and returns those
    /// behind it. Nothing is left where they do not suffice.
    fn complete<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let filled = self.filled();
        if filled == 0 {
            self.length = self.length.wrapping_add((bytes.len() - bytes.len() % BLOCK) as u64);
            return bytes;
        }
        let taken = bytes.len().min(BLOCK - filled);
        let (head, rest) = bytes.split_at(taken);
        self.begun[filled..filled + taken].copy_from_slice(head);
        self.length = self.length.wrapping_add(taken as u64);
        if filled + taken == BLOCK {
            compress256(&mut self.state, &[self.begun]);
        }
        self.length = self.length.wrapping_add((rest.len() - rest.len() % BLOCK) as u64);
        rest
    }

    /// Begins the next block with less than a block of bytes.
    fn begin(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.begun[..bytes.len()].copy_from_slice(bytes);
            self.length = self.length.wrapping_add(bytes.len() as u64);
        }
    }
}

/// The state before the first block: of the square roots of the first eight primes the first 32 bits
/// behind the point (FIPS 180-4, 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Takes as many blocks into one state as into the other.
fn compress_both(
    one: &mut [u32; 8],
    blocks: &[[u8; BLOCK]],
    two: &mut [u32; 8],
    others: &[[u8; BLOCK]],
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(fast) = x86::Compressor::detect() {
        return fast.compress(one, blocks, two, others);
    }
    compress256(one, blocks);
    compress256(two, others);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_of_any_length_is_sha_256() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n * 7) as u8).collect();
        for length in 0..bytes.len() {
            let mut hasher = Hasher::default();
            hasher.update(&bytes[..length]);
            assert_eq!(hasher.finish(), Id::of(&bytes[..length]), "{length}");
        }
    }

    #[test]
    fn both_ways_to_compress_come_to_the_same() {
        let blocks = |seed: u8| -> Vec<[u8; BLOCK]> {
            (0..100u8).map(|n| std::array::from_fn(|i| n ^ seed.wrapping_mul(i as u8))).collect()
        };
        let (mut one, mut two) = (START, START.map(|word| !word));
        let (mut safe_one, mut safe_two) = (one, two);
        for (few, many) in [(0, 1), (1, 2), (2, 100)] {
            let (first, second) = (&blocks(3)[few..many], &blocks(5)[few..many]);
            compress_both(&mut one, first, &mut two, second);
            compress256(&mut safe_one, first);
            compress256(&mut safe_two, second);
            assert_eq!((one, two), (safe_one, safe_two));
        }
    }

    proptest! {
        #[test]
        fn the_ids_of_many_are_the_ids_of_each(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        ) {
            let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            let each: Vec<_> = contents.iter().map(|content| Id::of(content)).collect();
            prop_assert_eq!(ids_of(&contents), each);
        }

        #[test]
        fn hashes_in_pieces_and_in_pairs_are_hashes_of_the_whole(
            pieces in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 0..500)),
                0..8,
            ),
        ) {
            let (mut one, mut two) = (Hasher::default(), Hasher::default());
            for (n, (first, second)) in pieces.iter().enumerate() {
                match n % 3 {
                    0 => {
                        one.update(first);
                        two.update(second);
                    }
                    1 => one.update_both(first, &mut two, second),
                    _ => two.update_both(second, &mut one, first),
                }
            }
            let (first, second): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
            prop_assert_eq!(one.finish(), Id::of(&first.concat()));
            prop_assert_eq!(two.finish(), Id::of(&second.concat()));
        }
    }
}
