//! What the tests compare with: restic's algorithm as restic has it, and its chunks of known streams.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{MAX_SIZE, MIN_SIZE, Polynomial};
use crate::id::Id;

/// The polynomial of a repository made by restic 0.14.
pub(super) const POLYNOMIAL: Polynomial = Polynomial(0x3da3358b4dc173);

/// restic's chunker: a fingerprint with a start value, rolled byte by byte through a ring buffer.
pub(super) struct Oracle {
    modulo: Vec<u64>,
    out: Vec<u64>,
}

impl Oracle {
    pub(super) fn new(polynomial: Polynomial) -> Self {
        let remainder = |mut value: u64| {
            for bit in (53..64).rev() {
                if value >> bit & 1 == 1 {
                    value ^= polynomial.0 << (bit - 53);
                }
            }
            value
        };
        let append = |hash: u64, byte: u64| remainder(hash << 8 | byte);
        Self {
            modulo: (0..256).map(|byte| remainder(byte << 53) | byte << 53).collect(),
            out: (0..256).map(|byte| (0..63).fold(byte, |hash, _| append(hash, 0))).collect(),
        }
    }

    /// The length of the first chunk of `data`.
    pub(super) fn first(&self, data: &[u8]) -> usize {
        let (mut window, mut position, mut digest) = ([0u8; 64], 0, 0u64);
        let mut slide = |byte: u8| {
            digest ^= self.out[usize::from(window[position])];
            window[position] = byte;
            position = (position + 1) % 64;
            let index = digest >> 45;
            digest = (digest << 8 | u64::from(byte)) ^ self.modulo[index as usize];
            digest
        };
        slide(1);
        for (index, byte) in data.iter().enumerate().skip(MIN_SIZE - 64) {
            let (digest, count) = (slide(*byte), index + 1);
            if (digest & 0xfffff == 0 || count >= MAX_SIZE) && count >= MIN_SIZE {
                return count;
            }
        }
        data.len()
    }

    /// The lengths of all chunks of `data`.
    pub(super) fn lengths(&self, mut data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let length = self.first(data);
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }
}

/// Streams, and the chunks that restic made of them in repositories with given polynomials.
#[derive(Deserialize)]
pub(super) struct Vectors {
    pub(super) streams: BTreeMap<String, Stream>,
    pub(super) chunks: BTreeMap<Polynomial, Cut>,
}

#[derive(Deserialize)]
pub(super) struct Stream {
    pub(super) size: usize,
    pub(super) sha256: Id,
}

#[derive(Deserialize)]
pub(super) struct Cut {
    /// By the stream's name: offset, length and id of each chunk.
    pub(super) files: BTreeMap<String, Vec<(u64, u64, Id)>>,
}

impl Vectors {
    pub(super) fn load() -> Self {
        serde_json::from_str(include_str!("../../tests/data/chunker-vectors.json")).unwrap()
    }

    /// The bytes of a stream.
    pub(super) fn stream(&self, name: &str) -> Vec<u8> {
        let bytes = match name {
            "ctr32m" => counter("chunker-vector", 32 << 20),
            "zeros-3m" => vec![0; 3 << 20],
            "ones-20m" => vec![1; 20 << 20],
            "lines16m" => lines(16 << 20),
            "mixed" => {
                let parts = [vec![0; 1 << 20], counter("m", 2 << 20), vec![0xff; 9 << 20]];
                [parts.concat(), vec![0; 100]].concat()
            }
            "min-1" => counter("q", MIN_SIZE - 1),
            "min" => counter("q", MIN_SIZE),
            "min+1" => counter("q", MIN_SIZE + 1),
            "max-exact" => vec![1; MAX_SIZE],
            "max+1" => vec![1; MAX_SIZE + 1],
            other => panic!("no stream is called {other}"),
        };
        let stream = &self.streams[name];
        assert_eq!((bytes.len(), Id::of(&bytes)), (stream.size, stream.sha256), "{name}");
        bytes
    }
}

/// Random bytes, always the same for a seed: the digests of the seed with a counter.
pub(super) fn counter(seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 32);
    for index in 0..size.div_ceil(32) as u64 {
        let digest = Sha256::new().chain_update(seed).chain_update(index.to_le_bytes());
        bytes.extend_from_slice(&digest.finalize());
    }
    bytes.truncate(size);
    bytes
}

/// Text.
pub(super) fn lines(size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 64);
    let mut line = 0;
    while bytes.len() < size {
        bytes.extend_from_slice(format!("line {line:012} the quick brown fox\n").as_bytes());
        line += 1;
    }
    bytes.truncate(size);
    bytes
}
