//! Cutting what is handed in piece by piece.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::chunker::{Chunker, MAX_SIZE, MIN_SIZE, is_zero, zero_chunk};

/// Cuts the bytes that are pushed into it, and looks no further than it is given: so nobody has to read
/// what lies behind a cut.
pub(super) struct Cutting {
    chunker: Arc<Chunker>,
    /// What is not cut off yet.
    held: BytesMut,
    /// The length up to which no cut was found.
    searched: usize,
}

/// What was cut off.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// A chunk; never empty.
    Data(Bytes),
    /// So many chunks of zeros; never none.
    Zeros(u64),
}

impl Cutting {
    /// Begins where a chunk begins.
    pub(super) fn new(chunker: Arc<Chunker>) -> Self {
        Self { chunker, held: BytesMut::new(), searched: 0 }
    }

    /// Takes it away, to cut elsewhere; an empty one takes its place.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(Arc::clone(&self.chunker));
        std::mem::replace(self, empty)
    }

    /// Whether all that was pushed is cut off.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is not cut off yet. The caller appends to it, and then calls [`Self::cut`].
    pub(super) fn held(&mut self) -> &mut BytesMut {
        &mut self.held
    }

    /// Cuts off what can be.
    pub(super) fn cut(&mut self, chunks: &mut Vec<Chunk>) {
        while let Some(chunk) = self.next() {
            chunks.push(chunk);
        }
    }

    /// Appends zeros, any number of them, and cuts off what can be.
    pub(super) fn cut_zeros(&mut self, mut count: u64, chunks: &mut Vec<Chunk>) {
        while count > 0 {
            let held = self.held.len() as u64;
            let whole = held.saturating_add(count) / MIN_SIZE as u64;
            if held < MIN_SIZE as u64 && whole > 0 && is_zero(&self.held) {
                chunks.push(Chunk::Zeros(whole));
                count -= whole * MIN_SIZE as u64 - held;
                self.held.clear();
                self.searched = 0;
            } else {
                // Some zeros behind the least size there is a cut.
                let some = count.min(MIN_SIZE as u64);
                self.held.extend_from_slice(&zero_chunk()[..some as usize]);
                self.cut(chunks);
                count -= some;
            }
        }
    }

    /// Gives what is left, at the end of the file.
    pub(super) fn finish(&mut self, chunks: &mut Vec<Chunk>) {
        self.cut(chunks);
        if !self.held.is_empty() {
            chunks.push(Chunk::Data(self.held.split().freeze()));
        }
        self.searched = 0;
    }

    fn next(&mut self) -> Option<Chunk> {
        let held = &self.held[..];
        if self.searched < MIN_SIZE && held.len() >= MIN_SIZE && is_zero(&held[..MIN_SIZE]) {
            self.split(MIN_SIZE);
            return Some(Chunk::Zeros(1));
        }
        let found = self.chunker.find(held, self.searched + 1);
        let end = found.or((held.len() >= MAX_SIZE).then_some(MAX_SIZE));
        self.searched = held.len();
        Some(Chunk::Data(self.split(end?)))
    }

    fn split(&mut self, end: usize) -> Bytes {
        self.searched = 0;
        self.held.split_to(end).freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunker::Polynomial;
    use crate::chunker::{self, Cutter, ReadSource};
    use crate::workshop::noise;

    fn chunker() -> Arc<Chunker> {
        Arc::new(Chunker::new(Polynomial(0x3da3358b4dc173)).unwrap())
    }

    fn lengths(chunks: Vec<Chunk>) -> Vec<u64> {
        let length = |chunk| match chunk {
            Chunk::Data(data) => vec![data.len() as u64],
            Chunk::Zeros(count) => vec![MIN_SIZE as u64; count as usize],
        };
        chunks.into_iter().flat_map(length).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn pieces_are_cut_as_the_whole(
            pieces in prop::collection::vec((0..3u32, 0..1_500_000usize), 1..8),
        ) {
            let mut cutting = Cutting::new(chunker());
            let (mut whole, mut chunks) = (Vec::new(), Vec::new());
            for (number, (kind, length)) in (0..).zip(pieces) {
                match kind {
                    0 => {
                        cutting.cut_zeros(length as u64, &mut chunks);
                        whole.resize(whole.len() + length, 0);
                        continue;
                    }
                    1 => whole.extend(noise(number, length)),
                    _ => whole.resize(whole.len() + length, 0),
                }
                let piece = &whole[whole.len() - length..];
                cutting.held().extend_from_slice(piece);
                cutting.cut(&mut chunks);
            }
            cutting.finish(&mut chunks);
            let mut cutter = Cutter::new(ReadSource(&whole[..]), chunker());
            let (mut expected, mut buffer) = (Vec::new(), Vec::new());
            while let Some(chunk) = cutter.next(&mut buffer).unwrap() {
                expected.push(match chunk {
                    chunker::Chunk::Data(data) => Chunk::Data(data.to_vec().into()),
                    chunker::Chunk::Zeros(count) => Chunk::Zeros(count),
                });
            }
            prop_assert_eq!(lengths(chunks), lengths(expected));
        }
    }

    #[test]
    fn a_terabyte_of_zeros_takes_no_time() {
        let mut cutting = Cutting::new(chunker());
        let mut chunks = Vec::new();
        cutting.held().extend_from_slice(&[0; 5]);
        cutting.cut_zeros((1 << 40) - 5, &mut chunks);
        assert_eq!(chunks, [Chunk::Zeros((1 << 40) / MIN_SIZE as u64)]);
        assert!(cutting.is_empty());
    }

    #[test]
    fn what_is_never_cut_is_cut_at_the_longest() {
        let mut cutting = Cutting::new(chunker());
        let mut chunks = Vec::new();
        for _ in 0..3 {
            let held = cutting.held();
            held.resize(held.len() + 7_000_000, 1);
            cutting.cut(&mut chunks);
        }
        cutting.finish(&mut chunks);
        let rest = 21_000_000 - 2 * MAX_SIZE as u64;
        assert_eq!(lengths(chunks), [MAX_SIZE as u64, MAX_SIZE as u64, rest]);
    }
}
