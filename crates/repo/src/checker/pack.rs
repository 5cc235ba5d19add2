//! One pack, read from its beginning to its end.

use std::ops::Range;

use crate::bench::{Bench, GROUP};
use crate::blob::{BlobEntry, BlobHandle};
use crate::checker::report::PackFault;
use crate::crypto::{Key, OVERHEAD};
use crate::error::Error;
use crate::id::Id;
use crate::index::PackBlobs;
use crate::pack::{self, HeaderError};
use crate::sha256::{self, Hasher};

/// How much of a pack is read at once, in bytes: enough to hide a round trip, little enough to be in
/// the processor's cache still when it is decoded. A larger blob is read as a whole.
const SEGMENT: u64 = 2 << 20;
/// How many faults of one pack are listed.
const MOST_FAULTS: usize = 100;
/// What compression may add to a plaintext that it cannot make smaller, in bytes; far more than zstd's.
const SLACK: u64 = 1 << 20;

/// A part of the file that is read at once. Blobs are not cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it is in the file.
    pub(super) range: Range<u64>,
    /// The blobs in it, by their numbers.
    blobs: Range<usize>,
}

/// A pack whose segments are given one after the other. Each byte is looked at while it is in the
/// processor's cache: for the hash of the file, and as a part of a blob.
pub(super) struct PackCheck {
    id: Id,
    size: u64,
    /// The blobs that can be where the index says, in order.
    blobs: Vec<BlobEntry>,
    hash: Hasher,
    /// The end of the file, where the header is.
    tail: Vec<u8>,
    faults: Vec<PackFault>,
    /// The blobs that cannot be had from this pack.
    lost: Vec<BlobHandle>,
}

/// What is wrong with a pack.
pub(super) struct Verdict {
    /// How it shows; empty where nothing is wrong.
    pub(super) faults: Vec<PackFault>,
    /// The blobs that cannot be had from it.
    pub(super) lost: Vec<BlobHandle>,
}

impl PackCheck {
    /// A check of the pack as the index has it, whose file has `size` bytes.
    pub(super) fn new(listed: &PackBlobs, size: u64) -> Self {
        let mut blobs = Vec::with_capacity(listed.blobs.len());
        let (mut faults, mut lost) = (Vec::new(), Vec::new());
        let mut end = 0;
        for entry in &listed.blobs {
            let limit = entry.handle.blob_type.size_limit() as u64 + SLACK;
            let blob = entry.handle;
            if u64::from(entry.offset) < end || end_of(entry) > size {
                lost.push(blob);
                faults.push(PackFault::BlobMisplaced { blob });
            } else if (entry.length as usize) < OVERHEAD || u64::from(entry.length) > limit {
                lost.push(blob);
                let detail = format!("it cannot have {} bytes", entry.length);
                faults.push(PackFault::Blob(Error::damaged(blob, detail)));
            } else {
                end = end_of(entry);
                blobs.push(*entry);
            }
        }
        let (hash, tail) = (Hasher::default(), Vec::new());
        Self { id: listed.pack, size, blobs, hash, tail, faults, lost }
    }

    /// The parts in which the file is to be read: all of it, in order.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let (mut start, mut first) = (0, 0);
        for (number, blob) in self.blobs.iter().enumerate() {
            if end_of(blob) - start > SEGMENT {
                let begin = u64::from(blob.offset);
                self.cut(start..begin, first..number, &mut segments);
                (start, first) = (begin, number);
            }
        }
        self.cut(start..self.size, first..self.blobs.len(), &mut segments);
        segments
    }

    /// Cuts a range that begins with these blobs and may go on without any.
    fn cut(&self, range: Range<u64>, blobs: Range<usize>, segments: &mut Vec<Segment>) {
        let needed = self.blobs[blobs.clone()].last().map_or(0, end_of);
        let end = (range.start + SEGMENT).max(needed).min(range.end);
        if range.start < end {
            segments.push(Segment { range: range.start..end, blobs });
        }
        let mut start = end;
        while start < range.end {
            let end = (start + SEGMENT).min(range.end);
            segments.push(Segment { range: start..end, blobs: 0..0 });
            start = end;
        }
    }

    /// Looks at the next segment, whose bytes these are.
    pub(super) fn feed(&mut self, segment: &Segment, bytes: &[u8], bench: &mut Bench) {
        debug_assert_eq!(bytes.len() as u64, segment.range.end - segment.range.start);
        let mut done = 0;
        let mut blobs = segment.blobs.clone();
        while !blobs.is_empty() {
            let begun = done;
            let mut contents = Vec::new();
            let mut decoded = 0;
            while decoded < GROUP
                && let Some(number) = blobs.next()
            {
                let blob = self.blobs[number];
                let begin = (u64::from(blob.offset) - segment.range.start) as usize;
                done = begin + blob.length as usize;
                match bench.open(&blob, &bytes[begin..done]) {
                    Ok(content) => {
                        decoded += content.len() as u64;
                        contents.push((blob, content));
                    }
                    Err(error) => {
                        self.lost.push(blob.handle);
                        self.faults.push(PackFault::Blob(error));
                    }
                }
            }
            self.hash(&bytes[begun..done], &contents);
            contents.into_iter().for_each(|(_, content)| bench.buffers.give_back(content));
        }
        self.hash.update(&bytes[done..]);
        // The header ends the file, and is of a limited length.
        let longest = (pack::MAX_HEADER_LENGTH + pack::TRAILER_LENGTH) as u64;
        let tail = self.size.saturating_sub(longest);
        let begin = tail.clamp(segment.range.start + done as u64, segment.range.end);
        self.tail.extend_from_slice(&bytes[(begin - segment.range.start) as usize..]);
    }

    /// Hashes a piece of the file, and the content of the blobs in it.
    fn hash(&mut self, piece: &[u8], contents: &[(BlobEntry, Vec<u8>)]) {
        let mut hashes = vec![(self.hash.clone(), piece)];
        hashes.extend(contents.iter().map(|(_, content)| (Hasher::default(), &content[..])));
        sha256::update_all(&mut hashes);
        let mut hashes = hashes.into_iter().map(|(hasher, _)| hasher);
        self.hash.clone_from(&hashes.next().expect("that of the file"));
        for ((entry, content), hasher) in contents.iter().zip(hashes) {
            let (blob, claim) = (entry.handle, entry.uncompressed_length);
            let found = content.len() as u64;
            if hasher.finish() != blob.id {
                self.lost.push(blob);
                let error = Error::damaged(blob, "its content does not match its id");
                self.faults.push(PackFault::Blob(error));
            } else if entry.is_compressed() && u64::from(claim) != found {
                self.faults.push(PackFault::BlobLength { blob, expected: claim, found });
            }
        }
    }

    /// What was found wrong, once all segments were looked at.
    pub(super) fn finish(mut self, key: &Key) -> Verdict {
        let found = self.hash.clone().finish();
        if found != self.id {
            self.faults.push(PackFault::Hash { found });
        }
        match self.header(key) {
            Ok(header) => self.faults.extend(compare(&self.blobs, &header)),
            Err(error) => self.faults.push(error.into()),
        }
        Verdict { faults: few(self.faults), lost: self.lost }
    }

    fn header(&self, key: &Key) -> Result<Vec<BlobEntry>, HeaderError> {
        let length = pack::header_length(&self.tail, self.size)?;
        let end = self.tail.len() - pack::TRAILER_LENGTH;
        // Where the index has a blob in the header's place, the tail lacks the header's beginning.
        let wrong = HeaderError::WrongLength(length);
        let start = end.checked_sub(length as usize).ok_or(wrong)?;
        let blobs_length = self.size - u64::from(length) - pack::TRAILER_LENGTH as u64;
        pack::parse_header(key, &self.tail[start..end], blobs_length)
    }
}

/// Where the index and the header differ. Both are in order of offset.
pub(super) fn compare(listed: &[BlobEntry], header: &[BlobEntry]) -> Vec<PackFault> {
    // No two blobs of either begin at the same place, or it is wrong anyway.
    let has = |entries: &[BlobEntry], wanted: &BlobEntry| {
        let found = entries.binary_search_by_key(&wanted.offset, |entry| entry.offset);
        found.is_ok_and(|number| entries[number] == *wanted)
    };
    let unlisted = header.iter().filter(|entry| !has(listed, entry));
    let mut faults: Vec<PackFault> =
        unlisted.map(|entry| PackFault::NotInIndex { blob: entry.handle }).collect();
    let untold = listed.iter().filter(|entry| !has(header, entry));
    faults.extend(untold.map(|entry| PackFault::NotInHeader { blob: entry.handle }));
    faults
}

/// No more faults than are worth listing.
pub(super) fn few(mut faults: Vec<PackFault>) -> Vec<PackFault> {
    let more = faults.len().saturating_sub(MOST_FAULTS);
    if more > 0 {
        faults.truncate(MOST_FAULTS);
        faults.push(PackFault::More(more));
    }
    faults
}

fn end_of(entry: &BlobEntry) -> u64 {
    u64::from(entry.offset) + u64::from(entry.length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blob::{BlobHandle, BlobType};

    fn listed(spans: &[(u32, u32)]) -> PackBlobs {
        let blobs = spans.iter().enumerate().map(|(n, &(offset, length))| BlobEntry {
            handle: BlobHandle { blob_type: BlobType::Data, id: Id::of(&n.to_le_bytes()) },
            offset,
            length,
            uncompressed_length: 0,
        });
        PackBlobs { pack: Id::of(b"pack"), blobs: blobs.collect() }
    }

    #[test]
    fn segments_hold_several_whole_blobs() {
        const PART: u32 = SEGMENT as u32 / 4;
        let spans = [(0, PART), (PART, 2 * PART), (3 * PART, 2 * PART), (5 * PART, 6 * PART)];
        let check = PackCheck::new(&listed(&spans), 11 * u64::from(PART) + 300);
        let segments: Vec<_> =
            check.segments().into_iter().map(|part| (part.range, part.blobs)).collect();
        let parts = |n| n * u64::from(PART);
        assert_eq!(
            segments,
            [
                (0..parts(3), 0..2),
                (parts(3)..parts(5), 2..3),
                (parts(5)..parts(11), 3..4),
                (parts(11)..parts(11) + 300, 0..0),
            ]
        );
    }

    proptest! {
        #[test]
        fn whatever_the_index_says_each_byte_is_read_once_and_each_blob_is_whole(
            mut spans in prop::collection::vec((0u32..40 << 20, 0u32..9 << 20), 0..20),
            size in 0u64..60 << 20,
        ) {
            spans.sort_unstable();
            let check = PackCheck::new(&listed(&spans), size);
            let mut end = 0;
            let mut blobs = 0;
            for Segment { range, blobs: inside } in check.segments() {
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end - range.start <= SEGMENT.max(9 << 20));
                end = range.end;
                prop_assert!(inside.is_empty() || inside.start == blobs);
                for number in inside {
                    let blob = &check.blobs[number];
                    prop_assert!(range.start <= u64::from(blob.offset) && end_of(blob) <= range.end);
                    blobs += 1;
                }
            }
            prop_assert_eq!(end, size);
            prop_assert_eq!(blobs, check.blobs.len());
            prop_assert_eq!(blobs + check.faults.len(), spans.len());
        }
    }
}
