//! Parts of a file, from its beginning to its end.

use std::collections::VecDeque;
use std::fmt;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;

use crate::blob::BlobHandle;
use crate::error::Result;
use crate::reader::{BlobStream, FileReader};

/// Gives parts of a file in order, as pieces of its blobs: nothing is copied, blobs without a part are not
/// fetched, and those of the parts to come are fetched ahead. Made by [`FileReader::forward`].
pub struct Forward<I: Iterator<Item = Range<u64>>> {
    reader: Arc<FileReader>,
    blobs: BlobStream<Wanted<I>>,
    /// What is wanted of the blobs that were asked for, in order.
    parts: Receiver<Parts>,
    /// What is left of the last blob.
    pieces: VecDeque<Bytes>,
}

/// What is wanted of the blob at a place in the file, as ranges of the file.
struct Parts {
    place: usize,
    ranges: Vec<Range<u64>>,
}

/// Which blobs parts of a file need.
struct Wanted<I: Iterator<Item = Range<u64>>> {
    reader: Arc<FileReader>,
    ranges: Peekable<I>,
    /// What is left of a range that begins in a blob before.
    rest: Range<u64>,
    parts: Sender<Parts>,
}

impl FileReader {
    /// Parts of the file, one after the other: what [`Self::read_at`] would give of each, in pieces. The ranges
    /// ascend and do not overlap; they are taken from the iterator as reading goes on. What is behind the end
    /// of the file is left out.
    pub fn forward<I: Iterator<Item = Range<u64>>>(self: Arc<Self>, ranges: I) -> Forward<I> {
        let (sender, parts) = mpsc::channel();
        let wanted = Wanted {
            reader: Arc::clone(&self),
            ranges: ranges.peekable(),
            rest: 0..0,
            parts: sender,
        };
        let blobs = BlobStream::new(&self.repository, Arc::clone(&self.index), wanted);
        Forward { reader: self, blobs, parts, pieces: VecDeque::new() }
    }
}

impl<I: Iterator<Item = Range<u64>>> Forward<I> {
    /// The next piece, which is never empty; nothing at the end.
    ///
    /// # Errors
    /// As [`FileReader::read_at`]. There is no going on behind an error.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        while self.pieces.is_empty() {
            let blob = self.blobs.next().await?;
            let Parts { place, ranges } = self.parts.try_recv().ok()?;
            let blob = match self.reader.expect(place, Some(blob)) {
                Ok(blob) => blob,
                Err(error) => return Some(Err(error)),
            };
            let start = self.reader.starts[place];
            let piece = |range: Range<u64>| {
                blob.slice((range.start - start) as usize..(range.end - start) as usize)
            };
            self.pieces.extend(ranges.into_iter().map(piece));
        }
        self.pieces.pop_front().map(Ok)
    }
}

impl<I: Iterator<Item = Range<u64>>> Iterator for Wanted<I> {
    type Item = BlobHandle;

    fn next(&mut self) -> Option<BlobHandle> {
        let length = self.reader.len();
        while self.rest.is_empty() {
            let range = self.ranges.next()?;
            self.rest = range.start..range.end.min(length);
        }
        let starts = &self.reader.starts;
        let place = starts.partition_point(|start| *start <= self.rest.start) - 1;
        let end = starts[place + 1];
        let mut ranges = Vec::new();
        while !self.rest.is_empty() && self.rest.start < end {
            ranges.push(self.rest.start..self.rest.end.min(end));
            self.rest.start = end;
            if self.rest.is_empty()
                && let Some(next) = self.ranges.next_if(|next| next.start < end)
            {
                self.rest = next.start..next.end.min(length);
            }
        }
        // Nobody takes it any more only if nobody reads any more.
        let _ = self.parts.send(Parts { place, ranges });
        Some(BlobHandle::data(self.reader.content[place]))
    }
}

impl<I: Iterator<Item = Range<u64>>> fmt::Debug for Forward<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("reader", &self.reader).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reader::tests::three_blobs;

    async fn read<I: Iterator<Item = Range<u64>>>(mut forward: Forward<I>) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some(piece) = forward.next().await {
            let piece = piece.unwrap();
            assert!(!piece.is_empty());
            read.extend_from_slice(&piece);
        }
        read
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_parts_are_what_they_are_one_by_one(
            steps in prop::collection::vec((0u64..90_000, 0u64..90_000), 0..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (reader, _) = three_blobs(0).await;
                let mut start = 0;
                let ranges: Vec<_> = steps.iter().map(|(gap, length)| {
                    let range = start + gap..start + gap + length;
                    start = range.end;
                    range
                }).collect();
                let mut expected = Vec::new();
                for range in &ranges {
                    let length = (range.end - range.start) as usize;
                    expected.extend(reader.read_at(range.start, length).await.unwrap());
                }
                assert!(read(reader.forward(ranges.into_iter())).await == expected);
            });
        }
    }

    #[tokio::test]
    async fn blobs_of_which_nothing_is_wanted_are_not_fetched() {
        let (reader, fault) = three_blobs(0).await;
        let before = fault.calls().len();
        let ranges = [10..20, 30..40, 199_990..200_000, 300_000..310_000];
        assert_eq!(read(reader.forward(ranges.into_iter())).await.len(), 30);
        assert_eq!(fault.calls().len() - before, 1, "one for the pack of the first two");
    }
}
