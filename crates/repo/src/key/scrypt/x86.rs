//! The middle part of scrypt, for up to four lanes at a time, with AVX2.
//!
//! A register of AVX2 holds a row of Salsa20's state of two lanes, and the processor works on two such
//! registers while each waits for its own last result.

// Needed once: to call what not every processor can run.
#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::array::from_fn;

/// The most lanes that are mixed at a time.
pub(super) const LANES: usize = 4;

/// The bytes of a block of Salsa20.
const BLOCK: usize = 64;

/// The mixing, on a processor that has the instructions: there is no other way to have one of these.
#[derive(Clone, Copy)]
pub(super) struct Mixer(());

impl Mixer {
    /// Nothing, if this processor lacks the instructions. The answer is remembered by the library.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// scrypt's ROMix (RFC 7914, 5) of every `lane` bytes, of which there are up to [`LANES`]; `n` is a power of
    /// two, `lane` a multiple of 128.
    pub(super) fn mix(self, lanes: &mut [u8], lane: usize, n: usize) {
        let mut lanes: Vec<_> = lanes.chunks_exact_mut(lane).collect();
        // SAFETY: `detect` found what the functions need.
        unsafe {
            match lanes.len() {
                0 => {}
                1 => mix_lanes::<1, 1>(&mut lanes, n),
                2 => mix_lanes::<1, 2>(&mut lanes, n),
                _ => mix_lanes::<2, 2>(&mut lanes, n),
            }
        }
    }
}

/// A block of one lane: its words by diagonals, since Salsa20 works on whole diagonals.
type Block = [__m128i; 4];

/// Where in a block the words of the diagonals are.
const DIAGONALS: [[usize; 4]; 4] = [[0, 5, 10, 15], [4, 9, 14, 3], [8, 13, 2, 7], [12, 1, 6, 11]];

/// The same block of `2 * G` lanes, two in each register.
type Blocks<const G: usize> = [[__m256i; G]; 4];

/// Which lanes are in the halves of each register.
type Pairs<const G: usize> = [[usize; 2]; G];

/// Mixes up to `2 * G` lanes, but at least one. Where there are fewer, the last is worked on twice, in halves of
/// registers that would be idle otherwise.
///
/// Of `KEPT` steps one is kept in memory, and those between are made anew when they are needed. With several
/// lanes that takes hardly longer than to wait for twice the memory, and memory that was never touched is dear.
#[target_feature(enable = "avx2")]
fn mix_lanes<const G: usize, const KEPT: usize>(lanes: &mut [&mut [u8]], n: usize) {
    let last = lanes.len() - 1;
    let pairs: Pairs<G> = from_fn(|pair| [(2 * pair).min(last), (2 * pair + 1).min(last)]);
    let length = lanes[0].len() / BLOCK;
    let mut state: Vec<Blocks<G>> = (0..length).map(|at| load(lanes, &pairs, at)).collect();
    let mut mixed = state.clone();

    let mut memory = Memory::<KEPT>::new(lanes.len(), length, n);
    for step in 0..n {
        if step.is_multiple_of(KEPT) {
            memory.keep(&state);
        }
        mix_blocks(&state, &mut mixed);
        std::mem::swap(&mut state, &mut mixed);
    }

    let mut earlier = state.clone();
    for _ in 0..n {
        let ends = state[length - 1][0];
        let steps = ends.map(|end| {
            [_mm256_extract_epi32::<0>(end), _mm256_extract_epi32::<4>(end)]
                .map(|word| word as u32 as usize & (n - 1))
        });
        memory.recall(&steps, &pairs, &mut earlier, &mut mixed);
        for (blocks, earlier) in state.iter_mut().zip(&earlier) {
            *blocks = xor(*blocks, *earlier);
        }
        mix_blocks(&state, &mut mixed);
        std::mem::swap(&mut state, &mut mixed);
    }

    for (number, lane) in lanes.iter_mut().enumerate() {
        for (bytes, blocks) in lane.chunks_exact_mut(BLOCK).zip(&state) {
            store(of_lane(blocks, number), bytes);
        }
    }
}

/// What lanes were at each of their first steps.
struct Memory<const KEPT: usize> {
    lanes: usize,
    length: usize,
    /// The kept steps: of each the blocks of the first lane, then those of the next.
    blocks: Vec<Block>,
}

impl<const KEPT: usize> Memory<KEPT> {
    fn new(lanes: usize, length: usize, n: usize) -> Self {
        Self { lanes, length, blocks: Vec::with_capacity(n / KEPT * lanes * length) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn keep<const G: usize>(&mut self, state: &[Blocks<G>]) {
        for lane in 0..self.lanes {
            self.blocks.extend(state.iter().map(|blocks| of_lane(blocks, lane)));
        }
    }

    /// What the lanes were at some step of each. `scratch` is as long as that.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn recall<const G: usize>(
        &self,
        steps: &[[usize; 2]; G],
        pairs: &Pairs<G>,
        recalled: &mut [Blocks<G>],
        scratch: &mut [Blocks<G>],
    ) {
        let kept: [[&[Block]; 2]; G] = from_fn(|pair| {
            from_fn(|half| {
                let at = steps[pair][half] / KEPT * self.lanes + pairs[pair][half];
                &self.blocks[at * self.length..][..self.length]
            })
        });
        for (at, blocks) in recalled.iter_mut().enumerate() {
            *blocks = from_fn(|row| {
                from_fn(|pair| {
                    let [low, high] = kept[pair];
                    _mm256_set_m128i(high[at][row], low[at][row])
                })
            });
        }
        for behind in 1..KEPT {
            let misses = steps.map(|pair| pair.map(|step| step % KEPT >= behind));
            if !misses.as_flattened().contains(&true) {
                return;
            }
            mix_blocks(recalled, scratch);
            let masks = misses.map(|[low, high]| {
                _mm256_set_m128i(_mm_set1_epi32(-i32::from(high)), _mm_set1_epi32(-i32::from(low)))
            });
            for (blocks, next) in recalled.iter_mut().zip(&*scratch) {
                *blocks = from_fn(|row| {
                    from_fn(|pair| {
                        _mm256_blendv_epi8(blocks[row][pair], next[row][pair], masks[pair])
                    })
                });
            }
        }
    }
}

/// scrypt's BlockMix (RFC 7914, 4): the even blocks go into the first half of `mixed`, the odd ones into the second.
#[target_feature(enable = "avx2")]
#[inline]
fn mix_blocks<const G: usize>(state: &[Blocks<G>], mixed: &mut [Blocks<G>]) {
    let Some(mut last) = state.last().copied() else { return };
    let (even, odd) = mixed.split_at_mut(state.len() / 2);
    for ((two, even), odd) in state.chunks_exact(2).zip(even).zip(odd) {
        last = salsa(xor(last, two[0]));
        *even = last;
        last = salsa(xor(last, two[1]));
        *odd = last;
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor<const G: usize>(one: Blocks<G>, two: Blocks<G>) -> Blocks<G> {
    from_fn(|row| from_fn(|pair| _mm256_xor_si256(one[row][pair], two[row][pair])))
}

/// Salsa20/8 (RFC 7914, 3).
#[target_feature(enable = "avx2")]
#[inline]
fn salsa<const G: usize>(blocks: Blocks<G>) -> Blocks<G> {
    let [mut a, mut b, mut c, mut d] = blocks;
    for _ in 0..8 {
        for pair in 0..G {
            b[pair] = turn::<7, 25, G>(b[pair], a[pair], d[pair]);
            c[pair] = turn::<9, 23, G>(c[pair], b[pair], a[pair]);
            d[pair] = turn::<13, 19, G>(d[pair], c[pair], b[pair]);
            a[pair] = turn::<18, 14, G>(a[pair], d[pair], c[pair]);
            // The diagonals that were columns become those that are rows.
            let columns = b[pair];
            b[pair] = _mm256_shuffle_epi32::<0b00_11_10_01>(d[pair]);
            c[pair] = _mm256_shuffle_epi32::<0b01_00_11_10>(c[pair]);
            d[pair] = _mm256_shuffle_epi32::<0b10_01_00_11>(columns);
        }
    }
    let mixed = [a, b, c, d];
    from_fn(|row| from_fn(|pair| _mm256_add_epi32(mixed[row][pair], blocks[row][pair])))
}

/// `word ^ ((one + two) <<< LEFT)`, where `RIGHT` is `32 - LEFT`.
#[target_feature(enable = "avx2")]
#[inline]
fn turn<const LEFT: i32, const RIGHT: i32, const G: usize>(
    word: __m256i,
    one: __m256i,
    two: __m256i,
) -> __m256i {
    let sum = _mm256_add_epi32(one, two);
    let left = _mm256_slli_epi32::<LEFT>(sum);
    let right = _mm256_srli_epi32::<RIGHT>(sum);
    _mm256_xor_si256(_mm256_xor_si256(word, left), right)
}

/// The block of the lane with this number.
#[target_feature(enable = "avx2")]
#[inline]
fn of_lane<const G: usize>(blocks: &Blocks<G>, number: usize) -> Block {
    from_fn(|row| {
        let register = blocks[row][number / 2];
        if number.is_multiple_of(2) {
            _mm256_castsi256_si128(register)
        } else {
            _mm256_extracti128_si256::<1>(register)
        }
    })
}

/// The blocks at this place in all lanes.
#[target_feature(enable = "avx2")]
fn load<const G: usize>(lanes: &[&mut [u8]], pairs: &[[usize; 2]; G], at: usize) -> Blocks<G> {
    let row = |number: usize, row: usize| {
        let block = &lanes[number][at * BLOCK..][..BLOCK];
        let [a, b, c, d] = DIAGONALS[row].map(|place| {
            let word = &block[4 * place..][..4];
            i32::from_le_bytes([word[0], word[1], word[2], word[3]])
        });
        _mm_set_epi32(d, c, b, a)
    };
    from_fn(|at| from_fn(|pair| _mm256_set_m128i(row(pairs[pair][1], at), row(pairs[pair][0], at))))
}

/// The block as bytes.
#[target_feature(enable = "avx2")]
fn store(block: Block, bytes: &mut [u8]) {
    for (row, places) in block.into_iter().zip(DIAGONALS) {
        let words = [
            _mm_extract_epi32::<0>(row),
            _mm_extract_epi32::<1>(row),
            _mm_extract_epi32::<2>(row),
            _mm_extract_epi32::<3>(row),
        ];
        for (word, place) in words.into_iter().zip(places) {
            bytes[4 * place..][..4].copy_from_slice(&word.to_le_bytes());
        }
    }
}
