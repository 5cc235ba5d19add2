//! Which stretches a file consists of, and what is known of each without reading any.

use std::ops::Range;

use crate::blob::BlobHandle;
use crate::chunker;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::reader;

/// The longest stretch behind the old content that is read at once, in bytes.
const TAIL: u64 = 1 << 20;

/// The stretches of the new file, by their numbers: the chunks of the old file as far as the new one
/// reaches, and what was appended.
#[derive(Debug)]
pub(super) struct Layout {
    /// The old file's chunks that the new one reaches.
    content: Vec<Id>,
    /// Where each of them begins, and where the last one ends in the old file.
    starts: Vec<u64>,
    /// The stretches behind the old content: changed ones, and zeros between them.
    tail: Vec<Range<u64>>,
    /// The old file's length in bytes.
    old_length: u64,
    /// The new file's length in bytes.
    length: u64,
    /// What changed: ascending, apart from each other, none empty, none beyond the new length.
    changes: Vec<Range<u64>>,
}

impl Layout {
    /// Lays out a file of `length` bytes that differs from the one with the chunks `content` in these
    /// ranges. What lies behind the old file's end and in no range is zeros.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`] if the index lacks one of the chunks, [`Error::Refused`] if the ranges do not
    /// ascend or reach beyond the end.
    pub(super) fn new(
        index: &Index,
        mut content: Vec<Id>,
        length: u64,
        ranges: &[Range<u64>],
    ) -> Result<Self> {
        let mut starts = Vec::with_capacity(content.len() + 1);
        let mut old_length = 0u64;
        starts.push(old_length);
        for id in &content {
            old_length = old_length.saturating_add(reader::length_of(index, *id)?);
            starts.push(old_length);
        }
        let reached = starts[..content.len()].partition_point(|start| *start < length);
        content.truncate(reached);
        starts.truncate(reached + 1);
        let changes = joined(ranges, length)?;
        let tail = tail(&changes, old_length, length);
        Ok(Self { content, starts, tail, old_length, length, changes })
    }

    /// How many stretches there are.
    pub(super) fn count(&self) -> usize {
        self.content.len() + self.tail.len()
    }

    /// Where a stretch lies in the new file.
    pub(super) fn range(&self, n: usize) -> Range<u64> {
        match n.checked_sub(self.content.len()) {
            None => self.starts[n]..self.starts[n + 1].min(self.length),
            Some(n) => self.tail[n].clone(),
        }
    }

    /// The chunk's id, if the stretch is an old chunk and the new file has the same one there, provided that
    /// a chunk begins there.
    pub(super) fn same(&self, n: usize) -> Option<Id> {
        let id = *self.content.get(n)?;
        let end = self.starts[n + 1];
        // The file's end may be all that cut the last one.
        let ends_alike = end < self.old_length || self.length == self.old_length;
        (end <= self.length && ends_alike && self.changes_in(n).is_empty()).then_some(id)
    }

    /// Whether the stretch is known to be nothing but zeros.
    pub(super) fn is_zero(&self, n: usize) -> bool {
        let is_known = self.content.get(n).is_none_or(|id| *id == chunker::ZERO_CHUNK_ID);
        is_known && self.changes_in(n).is_empty()
    }

    /// Whether the stretch has to be read, wherever a chunk begins.
    pub(super) fn is_changed(&self, n: usize) -> bool {
        self.same(n).is_none() && !self.is_zero(n)
    }

    /// The old chunk of which the stretch needs something, and the length of all of that chunk in bytes.
    pub(super) fn blob(&self, n: usize) -> Option<(BlobHandle, u64)> {
        let id = *self.content.get(n)?;
        let is_covered = self.changes_in(n) == [self.range(n)];
        (!is_covered).then(|| (BlobHandle::data(id), self.starts[n + 1] - self.starts[n]))
    }

    /// What changed in the stretch, as ranges of the new file.
    pub(super) fn changes_in(&self, n: usize) -> Vec<Range<u64>> {
        let Range { start, end } = self.range(n);
        let first = self.changes.partition_point(|change| change.end <= start);
        let changes = self.changes[first..].iter().take_while(|change| change.start < end);
        changes.map(|change| change.start.max(start)..change.end.min(end)).collect()
    }
}

/// The ranges without empty ones, and those as one that touch.
fn joined(ranges: &[Range<u64>], length: u64) -> Result<Vec<Range<u64>>> {
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    let mut reached = 0;
    for range in ranges {
        if range.start > range.end || range.start < reached || range.end > length {
            return Err(Error::Refused(format!(
                "the changed range {range:?} of a file of {length} bytes is out of order or too long"
            )));
        }
        reached = range.end;
        match joined.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range.clone()),
        }
    }
    Ok(joined)
}

/// What is behind the old content, divided where a change begins or ends, and changes in pieces.
fn tail(changes: &[Range<u64>], old_length: u64, length: u64) -> Vec<Range<u64>> {
    let mut tail = Vec::new();
    let mut reached = old_length;
    for change in changes.iter().filter(|change| change.end > old_length) {
        if reached < change.start {
            tail.push(reached..change.start);
            reached = change.start;
        }
        while reached < change.end {
            let end = change.end.min(reached.saturating_add(TAIL));
            tail.push(reached..end);
            reached = end;
        }
    }
    if reached < length {
        tail.push(reached..length);
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_zeros(chunks: usize, length: u64, ranges: &[Range<u64>]) -> Result<Layout> {
        Layout::new(&Index::default(), vec![chunker::ZERO_CHUNK_ID; chunks], length, ranges)
    }

    #[test]
    fn only_what_a_change_touches_has_to_be_read() {
        let chunk = chunker::MIN_SIZE as u64;
        let changes = [chunk..chunk, 2 * chunk - 1..2 * chunk, 2 * chunk..3 * chunk];
        let layout = of_zeros(5, 5 * chunk, &changes).unwrap();
        let changed = |layout: &Layout| -> Vec<bool> {
            (0..layout.count()).map(|n| layout.is_changed(n)).collect()
        };
        assert_eq!(changed(&layout), [false, true, true, false, false]);
        assert_eq!(layout.blob(1).map(|(_, length)| length), Some(chunk));
        assert_eq!(layout.blob(2), None, "nothing of it is left");
        assert!(layout.same(4).is_some());
    }

    #[test]
    fn the_last_chunk_is_cut_anew_where_the_end_moves() {
        let chunk = chunker::MIN_SIZE as u64;
        let same = |length| {
            let layout = of_zeros(3, length, &[]).unwrap();
            (0..layout.count()).map(|n| layout.same(n).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(same(3 * chunk), [true, true, true]);
        assert_eq!(same(3 * chunk + 1), [true, true, false, false]);
        assert_eq!(same(3 * chunk - 1), [true, true, false]);
        assert_eq!(same(2 * chunk), [true, true]);
        assert_eq!(same(0), [false; 0]);
    }

    #[test]
    fn what_is_appended_is_divided_into_changes_and_zeros() {
        let layout = of_zeros(0, 10 << 20, &[100..200, 300..(2 << 20)]).unwrap();
        let ranges: Vec<_> = (0..layout.count()).map(|n| layout.range(n)).collect();
        let middle = 300 + (1 << 20);
        let end = 2 << 20;
        assert_eq!(ranges, [0..100, 100..200, 200..300, 300..middle, middle..end, end..(10 << 20)]);
        let zeros: Vec<_> = (0..layout.count()).map(|n| layout.is_zero(n)).collect();
        assert_eq!(zeros, [true, false, true, false, false, true]);
    }

    #[test]
    fn ranges_that_do_not_ascend_or_reach_too_far_are_refused() {
        for ranges in [[5..6, 2..3], [2..4, 3..5], [1..2, 9..11]] {
            assert!(matches!(of_zeros(0, 10, &ranges), Err(Error::Refused(_))), "{ranges:?}");
        }
        let reversed = Range { start: 3, end: 2 };
        assert!(of_zeros(0, 10, &[reversed]).is_err());
    }

    #[test]
    fn a_chunk_that_the_index_lacks_is_an_error() {
        let unknown = vec![Id::of(b"unknown")];
        let layout = Layout::new(&Index::default(), unknown, 10, &[]);
        assert!(matches!(layout, Err(Error::BlobNotFound(_))));
    }
}
