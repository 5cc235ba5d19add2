//! Content-defined chunking, exactly as restic cuts.
//!
//! A file is cut where its content says so, so that bytes inserted or removed move only the cuts next
//! to them, and everything else is found to be stored already. The content speaks through a Rabin
//! fingerprint: the last 64 bytes, read as a polynomial over GF(2), modulo an irreducible polynomial of
//! degree 53 that each repository draws for itself.
//!
//! # Where a chunk ends
//!
//! At the first position, 512 KiB or more after the chunk's start, where the fingerprint of the 64 bytes
//! before it has its low 20 bits zero; or 8 MiB after the start; or at the end of the file. Nothing is
//! carried from one chunk to the next. An empty file has no chunk, and no chunk is empty.
//!
//! restic states it differently: it rolls a fingerprint from a start value through a ring buffer,
//! beginning 64 bytes before the least size. When the first position is tested, the start value has
//! just left the window, so both say the same. Our form needs no history, which has two consequences:
//!
//! * Stretches of a chunk can be searched side by side. `avx2` rolls 32 of them in the lanes of a
//!   vector, `scan` some in the registers of any processor.
//! * 64 zero bytes have the fingerprint zero, so a run of zeros is cut into chunks of exactly 512 KiB,
//!   all with one known id. [`Cutter`] passes over holes and zeros without searching or hashing them.
//!
//! # Who does what
//!
//! [`Chunker`] finds cuts in bytes. [`Cutter`] reads a [`Source`] and hands out its chunks one by one: it
//! is the sequential part of a backup, kept short so that several threads can share it under a mutex
//! and do the rest (hashing, compressing) side by side.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod cutter;
#[cfg(test)]
mod oracle;
mod polynomial;
mod scan;
mod source;
mod tables;
mod zero;

use crate::id::Id;

pub use cutter::{Chunk, Cutter};
pub use polynomial::{InvalidPolynomial, Polynomial, UnreadablePolynomial};
pub use source::{FileSource, ReadSource, Source};
pub use zero::is_zero;

use tables::{Tables, WINDOW};

/// No chunk is shorter, but for a file's last. In bytes; restic's `MinSize`.
pub const MIN_SIZE: usize = 512 << 10;

/// No chunk is longer. In bytes; restic's `MaxSize`.
pub const MAX_SIZE: usize = 8 << 20;

/// The id of a chunk of [`MIN_SIZE`] zero bytes: what holes and runs of zeros are cut into.
pub const ZERO_CHUNK_ID: Id = Id::from_bytes([
    0x07, 0x85, 0x4d, 0x2f, 0xef, 0x29, 0x7a, 0x06, 0xba, 0x81, 0x68, 0x5e, 0x66, 0x0c, 0x33, 0x2d,
    0xe3, 0x6d, 0x5d, 0x18, 0xd5, 0x46, 0x92, 0x7d, 0x30, 0xda, 0xad, 0x6d, 0x7f, 0xda, 0x15, 0x41,
]);

/// The chunk of [`MIN_SIZE`] zero bytes, without taking memory for it.
pub fn zero_chunk() -> bytes::Bytes {
    static ZEROS: [u8; MIN_SIZE] = [0; MIN_SIZE];
    bytes::Bytes::from_static(&ZEROS)
}

/// Finds the cuts for one polynomial. Made once a repository and shared by all threads.
pub struct Chunker {
    tables: Tables,
    scanner: Scanner,
}

/// How a stretch of bytes is searched. All find the same.
enum Scanner {
    /// One position after another.
    #[cfg(any(test, feature = "testing"))]
    Plain,
    /// Several stretches in turn, on any processor.
    Interleaved,
    /// 32 stretches in the lanes of vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2(Box<avx2::Scanner>),
}

impl Chunker {
    /// Prepares to cut with `polynomial`, in the fastest way that this processor can.
    ///
    /// # Errors
    ///
    /// Fails if the polynomial is not irreducible or not of degree 53: no repository of restic's has
    /// such a one, and cuts would be bad ones.
    pub fn new(polynomial: Polynomial) -> Result<Self, InvalidPolynomial> {
        let tables = Tables::new(polynomial.validated()?);
        #[cfg(target_arch = "x86_64")]
        if let Some(scanner) = avx2::Scanner::new(&tables) {
            return Ok(Self { tables, scanner: Scanner::Avx2(Box::new(scanner)) });
        }
        Ok(Self { tables, scanner: Scanner::Interleaved })
    }

    /// A chunker for each way of searching that this processor can, with its name: to compare them.
    /// The plain one is the first.
    #[cfg(any(test, feature = "testing"))]
    pub fn variants(
        polynomial: Polynomial,
    ) -> Result<Vec<(&'static str, Self)>, InvalidPolynomial> {
        let tables = || polynomial.validated().map(Tables::new);
        let mut variants = vec![
            ("plain", Self { tables: tables()?, scanner: Scanner::Plain }),
            ("interleaved", Self { tables: tables()?, scanner: Scanner::Interleaved }),
        ];
        #[cfg(target_arch = "x86_64")]
        if let Some(scanner) = avx2::Scanner::new(&tables()?) {
            let scanner = Scanner::Avx2(Box::new(scanner));
            variants.push(("avx2", Self { tables: tables()?, scanner }));
        }
        Ok(variants)
    }

    /// Where the content of `chunk`, which begins where the last chunk ended, says that it ends: the
    /// first such length from `from` on.
    ///
    /// Lengths below [`MIN_SIZE`] and above [`MAX_SIZE`] are not looked at. If nothing is found, the
    /// chunk ends at [`MAX_SIZE`] or at the end of the file, or more bytes are needed. Then call again
    /// with the longer `chunk`, and with `from` one more than the length looked at before: the time
    /// this takes is proportional to what is new.
    pub fn find(&self, chunk: &[u8], from: usize) -> Option<usize> {
        let chunk = &chunk[..chunk.len().min(MAX_SIZE)];
        let first = from.max(MIN_SIZE);
        // The first byte whose right edge is a candidate.
        (first <= chunk.len()).then(|| self.scan(chunk, first - 1)).flatten()
    }

    /// The first position after `start` in `bytes` where the fingerprint asks for a cut. Needs
    /// `WINDOW <= start <= bytes.len()`.
    fn scan(&self, bytes: &[u8], start: usize) -> Option<usize> {
        debug_assert!(WINDOW <= start && start <= bytes.len());
        match &self.scanner {
            #[cfg(any(test, feature = "testing"))]
            Scanner::Plain => scan::plain(&self.tables, bytes, start),
            Scanner::Interleaved => scan::interleaved(&self.tables, bytes, start),
            #[cfg(target_arch = "x86_64")]
            Scanner::Avx2(scanner) => match scanner.scan(bytes, start) {
                avx2::Scanned::Found(end) => Some(end),
                avx2::Scanned::Upto(start) => scan::interleaved(&self.tables, bytes, start),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::oracle::{Oracle, POLYNOMIAL, Vectors, counter, lines};
    use super::*;

    static VARIANTS: LazyLock<Vec<(&str, Chunker)>> =
        LazyLock::new(|| Chunker::variants(POLYNOMIAL).unwrap());

    static ORACLE: LazyLock<Oracle> = LazyLock::new(|| Oracle::new(POLYNOMIAL));

    /// Windows of random bytes that ask for a cut.
    static CUTS: LazyLock<Vec<[u8; WINDOW]>> = LazyLock::new(|| {
        let (_, plain) = &VARIANTS[0];
        let bytes = counter("cuts", 6 << 20);
        let mut cuts = Vec::new();
        let mut start = WINDOW;
        while let Some(end) = plain.scan(&bytes, start) {
            cuts.push(bytes[end - WINDOW..end].try_into().unwrap());
            start = end;
        }
        assert!(cuts.len() > 2, "{}", cuts.len());
        cuts
    });

    fn find_all(chunker: &Chunker, mut data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let length = chunker.find(data, 0).unwrap_or(data.len().min(MAX_SIZE));
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }

    #[test]
    fn cuts_where_restic_cuts() {
        let vectors = Vectors::load();
        let mut compared = 0;
        for name in vectors.streams.keys() {
            let bytes = vectors.stream(name);
            for (polynomial, cut) in &vectors.chunks {
                let expected: Vec<_> =
                    cut.files[name].iter().map(|(_, length, _)| *length as usize).collect();
                for (variant, chunker) in Chunker::variants(*polynomial).unwrap() {
                    let found = find_all(&chunker, &bytes);
                    assert_eq!(found, expected, "{name} with {polynomial}, {variant}");
                    compared += 1;
                }
            }
        }
        assert!(compared >= 60, "{compared}");
    }

    #[test]
    fn the_fastest_way_is_taken() {
        let chunker = Chunker::new(POLYNOMIAL).unwrap();
        let fastest = VARIANTS.last().unwrap();
        assert_eq!(
            std::mem::discriminant(&chunker.scanner),
            std::mem::discriminant(&fastest.1.scanner),
            "{}",
            fastest.0
        );
    }

    #[test]
    fn refuses_polynomials_that_restic_refuses() {
        let reducible = Polynomial(0x2000000000000a);
        assert_eq!(Chunker::new(reducible).err(), Some(InvalidPolynomial(reducible)));
        let small = Polynomial(0b111);
        assert_eq!(Chunker::new(small).err(), Some(InvalidPolynomial(small)));
    }

    #[test]
    fn the_zero_chunk_has_its_id() {
        let zeros = vec![0; MIN_SIZE + 100];
        assert_eq!(Id::of(&zeros[..MIN_SIZE]), ZERO_CHUNK_ID);
        for (variant, chunker) in VARIANTS.iter() {
            assert_eq!(chunker.find(&zeros, 0), Some(MIN_SIZE), "{variant}");
        }
    }

    #[test]
    fn nothing_is_found_outside_the_bounds() {
        for (variant, chunker) in VARIANTS.iter() {
            // A cut at every position, were it allowed.
            let zeros = vec![0; MAX_SIZE + 1000];
            for size in [0, 1, WINDOW, MIN_SIZE - 1] {
                assert_eq!(chunker.find(&zeros[..size], 0), None, "{variant}");
            }
            assert_eq!(chunker.find(&zeros, MAX_SIZE), Some(MAX_SIZE), "{variant}");
            for from in [MAX_SIZE + 1, MAX_SIZE + 1000, usize::MAX] {
                assert_eq!(chunker.find(&zeros, from), None, "{variant}");
            }
        }
    }

    #[test]
    fn finding_in_steps_is_finding_at_once() {
        let bytes = counter("steps", 3 << 20);
        for (variant, chunker) in VARIANTS.iter() {
            let expected = chunker.find(&bytes, 0).unwrap();
            for step in [40_000, 100_001, 262_144] {
                let mut length = 0;
                let found = loop {
                    let from = length + 1;
                    length = bytes.len().min(length + step);
                    if let Some(found) = chunker.find(&bytes[..length], from) {
                        break found;
                    }
                };
                assert_eq!(found, expected, "{variant}, {step}");
            }
        }
    }

    /// A stretch of the kinds of bytes that disks hold, of up to `most` bytes.
    fn stretch(most: usize) -> impl Strategy<Value = Vec<u8>> {
        let size = 0..most;
        prop_oneof![
            3 => (any::<u32>(), size.clone()).prop_map(|(seed, n)| counter(&seed.to_string(), n)),
            1 => size.clone().prop_map(|n| vec![0; n]),
            1 => (any::<u8>(), size.clone()).prop_map(|(byte, n)| vec![byte; n]),
            1 => size.prop_map(lines),
            2 => any::<prop::sample::Index>().prop_map(|index| CUTS[index.index(CUTS.len())].to_vec()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Every way of searching finds every cut that looking at one position after another finds, in
        /// bytes that are full of them, at all alignments and lengths.
        #[test]
        fn all_ways_of_searching_find_the_same(
            stretches in prop::collection::vec(stretch(40_000), 0..6),
            skipped in 0..200usize,
        ) {
            let bytes = [vec![7; WINDOW], stretches.concat()].concat();
            let bytes = &bytes[skipped.min(bytes.len() - WINDOW)..];
            let (_, plain) = &VARIANTS[0];
            // From every cut on, but not through each position of a run of zeros.
            let mut start = WINDOW;
            let mut searches = 0;
            while start <= bytes.len() && searches < 60 {
                let expected = plain.scan(bytes, start);
                for (variant, chunker) in &VARIANTS[1..] {
                    prop_assert_eq!(chunker.scan(bytes, start), expected, "{}", variant);
                }
                let Some(end) = expected else { break };
                start = end + if searches > 20 { 501 } else { 0 };
                searches += 1;
            }
        }

        /// ... where the only cut is one that was planted.
        #[test]
        fn a_planted_cut_is_found_where_it_is(
            size in WINDOW..100_000usize,
            place in any::<prop::sample::Index>(),
            window in any::<prop::sample::Index>(),
        ) {
            let mut bytes = vec![1; WINDOW + size];
            let place = place.index(size - WINDOW + 1);
            bytes[WINDOW + place..][..WINDOW].copy_from_slice(&CUTS[window.index(CUTS.len())]);
            let (_, plain) = &VARIANTS[0];
            let expected = plain.scan(&bytes, WINDOW);
            // Once in a long while one of the windows that overlap it asks for a cut too.
            prop_assert!(expected.is_some_and(|end| end <= 2 * WINDOW + place));
            for (variant, chunker) in &VARIANTS[1..] {
                prop_assert_eq!(chunker.scan(&bytes, WINDOW), expected, "{}", variant);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// ... and restic's own algorithm cuts there.
        #[test]
        fn all_ways_of_searching_cut_as_the_ring_buffer_does(
            stretches in prop::collection::vec(stretch(900_000), 1..7),
        ) {
            let data = stretches.concat();
            let expected = ORACLE.lengths(&data);
            for (variant, chunker) in VARIANTS.iter() {
                prop_assert_eq!(&find_all(chunker, &data), &expected, "{}", variant);
            }
        }
    }
}
