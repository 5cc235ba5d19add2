//! The blobs of one type that were in the repository when its index was loaded.

use super::row::{Row, prefix};
use super::sort;
use crate::id::Id;

/// Rows sorted by id, and never changed.
///
/// Ids are SHA-256 sums, so their first bits say quite exactly where in the table an id stands: a
/// short list of where each prefix starts leaves some twelve rows to search. It is a sorted array and
/// not a hash table because it has no empty places.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    /// Where the rows of each prefix start, and at last the number of rows. Empty if there are none.
    starts: Vec<u32>,
    /// How many bits of the first 64 are not part of the prefix.
    shift: u32,
}

impl Table {
    /// The most rows a table can have, so that 32 bits number those of both types.
    pub(super) const ROWS: usize = 1 << 31;

    /// Sorts the rows, at most [`Self::ROWS`], and drops those that say what another one says.
    pub(super) fn new(mut rows: Vec<Row>) -> Self {
        sort::sort(&mut rows);
        rows.dedup();
        rows.shrink_to_fit();
        if rows.is_empty() {
            return Self::default();
        }
        // Eight to sixteen rows for each start, so that starts cost less than half a byte a row.
        let bits = rows.len().ilog2().saturating_sub(3).max(1);
        let shift = u64::BITS - bits;
        let starts = starts(&rows, bits);
        Self { rows, starts, shift }
    }

    /// All rows, sorted.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows of one blob, one for each place where it is.
    pub(super) fn find(&self, id: &Id) -> &[Row] {
        self.position(id).map_or(&[], |position| {
            let rows = &self.rows[position..];
            let count = rows.iter().take_while(|row| row.id() == id.as_bytes()).count();
            &rows[..count]
        })
    }

    /// The number of the first row of a blob.
    pub(super) fn position(&self, id: &Id) -> Option<usize> {
        let id = id.as_bytes();
        let bucket = (prefix(id).checked_shr(self.shift)?) as usize;
        let start = *self.starts.get(bucket)? as usize;
        let end = *self.starts.get(bucket + 1)? as usize;
        let rows = &self.rows[start..end];
        let position = rows.partition_point(|row| row.id() < id);
        (rows.get(position)?.id() == id).then_some(start + position)
    }

    /// Bytes in use.
    pub(super) fn memory_usage(&self) -> usize {
        self.rows.capacity() * Row::WIDTH + self.starts.capacity() * size_of::<u32>()
    }
}

fn starts(rows: &[Row], bits: u32) -> Vec<u32> {
    let mut starts = vec![0; (1 << bits) + 1];
    let mut filled = 0;
    for (number, row) in rows.iter().enumerate() {
        let bucket = (row.prefix() >> (u64::BITS - bits)) as usize;
        // Sorted rows: this fills in each prefix up to this one that no row has had yet.
        while filled <= bucket {
            starts[filled] = number as u32;
            filled += 1;
        }
    }
    starts[filled..].fill(rows.len() as u32);
    starts
}
