//! Two SHA-256 side by side with the SHA instructions of x86.
//!
//! Each instruction does two of a block's 64 rounds and needs what the one before it made. With a
//! second hash there is always something else to do meanwhile.

// Vector instructions need it twice: to load from memory, and to call what not every processor can run.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::BLOCK;

/// The two compressions, on a processor that has the instructions: there is no other way to have one of
/// these.
#[derive(Clone, Copy)]
pub(super) struct Compressor(());

impl Compressor {
    /// Nothing, if this processor lacks the instructions. The answer is remembered by the library.
    pub(super) fn detect() -> Option<Self> {
        let can = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3");
        can.then_some(Self(()))
    }

    /// Takes as many blocks into one state as into the other; of a longer list the rest is left.
    pub(super) fn compress(
        self,
        one: &mut [u32; 8],
        blocks: &[[u8; BLOCK]],
        two: &mut [u32; 8],
        others: &[[u8; BLOCK]],
    ) {
        // SAFETY: `detect` found what the function needs.
        unsafe { compress(one, blocks, two, others) }
    }
}

/// Of the cube roots of the first 64 primes the first 32 bits behind the point (FIPS 180-4, 4.2.2).
const ROUNDS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// A state as the instructions have it: the words a b e f in one register, c d g h in the other, the
/// first of them at the top.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

impl State {
    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(state: &[u32; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
        Self { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn store(self) -> [u32; 8] {
        let words = |register| {
            [
                _mm_extract_epi32::<3>(register),
                _mm_extract_epi32::<2>(register),
                _mm_extract_epi32::<1>(register),
                _mm_extract_epi32::<0>(register),
            ]
        };
        let ([a, b, e, f], [c, d, g, h]) = (words(self.abef), words(self.cdgh));
        [a, b, c, d, e, f, g, h].map(i32::cast_unsigned)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn add(self, other: Self) -> Self {
        Self {
            abef: _mm_add_epi32(self.abef, other.abef),
            cdgh: _mm_add_epi32(self.cdgh, other.cdgh),
        }
    }

    /// Four rounds with these words of the message, each with its constant added.
    #[inline]
    #[target_feature(enable = "sha,sse2")]
    fn four_rounds(&mut self, words: __m128i) {
        // The instruction takes the state two rounds ago for what becomes c d g h.
        self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, words);
        let upper = _mm_shuffle_epi32::<0b00_00_11_10>(words);
        self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, upper);
    }
}

/// The last 16 words of the message, four in a register.
type Schedule = [__m128i; 4];

/// The next four words: those of the block, or made of the last 16.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3")]
fn next_words(schedule: &mut Schedule, block: &[u8; BLOCK], step: usize) -> __m128i {
    let words = if step < 4 {
        let bytes: &[u8; 16] = block[16 * step..].first_chunk().expect("four pieces in a block");
        // SAFETY: there are 16 bytes, and the instruction does not care for their alignment.
        let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        // The message's words are big endian.
        let reverse = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        _mm_shuffle_epi8(bytes, reverse)
    } else {
        let last = |back: usize| schedule[(step - back) % 4];
        let seventh = _mm_alignr_epi8::<4>(last(1), last(2));
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(last(4), last(3)), seventh);
        _mm_sha256msg2_epu32(sum, last(1))
    };
    schedule[step % 4] = words;
    words
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress(
    one: &mut [u32; 8],
    blocks: &[[u8; BLOCK]],
    two: &mut [u32; 8],
    others: &[[u8; BLOCK]],
) {
    let (mut first, mut second) = (State::load(one), State::load(two));
    for (block, other) in blocks.iter().zip(others) {
        let before = (first, second);
        let mut schedules = [[_mm_setzero_si128(); 4]; 2];
        for (step, constants) in ROUNDS.iter().enumerate() {
            let [k0, k1, k2, k3] = constants.map(u32::cast_signed);
            let constants = _mm_set_epi32(k3, k2, k1, k0);
            let words = next_words(&mut schedules[0], block, step);
            let other_words = next_words(&mut schedules[1], other, step);
            first.four_rounds(_mm_add_epi32(words, constants));
            second.four_rounds(_mm_add_epi32(other_words, constants));
        }
        first = first.add(before.0);
        second = second.add(before.1);
    }
    (*one, *two) = (first.store(), second.store());
}
