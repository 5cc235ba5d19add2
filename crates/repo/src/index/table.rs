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
        rows.dedup_by(|row, last| row.cmp(&last).is_eq());
        rows.shrink_to_fit();
        if rows.is_empty() {
            return Self::default();
        }
        // Eight to sixteen rows for each start, so that starts cost at most half a byte a row.
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
        let prefix = prefix(id.as_bytes());
        let bucket = prefix.checked_shr(self.shift)? as usize;
        let start = *self.starts.get(bucket)? as usize;
        let end = *self.starts.get(bucket + 1)? as usize;
        let rows = &self.rows[start..end];
        let position = if rows.len() > MANY {
            rows.partition_point(|row| row.id() < id.as_bytes())
        } else {
            walk(rows, prefix << (u64::BITS - self.shift), id)
        };
        (rows.get(position)?.id() == id.as_bytes()).then_some(start + position)
    }

    /// Bytes in use.
    pub(super) fn memory_usage(&self) -> usize {
        self.rows.capacity() * Row::WIDTH + self.starts.capacity() * size_of::<u32>()
    }
}

/// More rows with one prefix than this are not what hashes do.
const MANY: usize = 64;

/// How many rows come before `id`. The bits that follow the prefix say about where to begin, so that a
/// large table costs one or two cache misses. `fraction` is these bits as a part of 2^64.
fn walk(rows: &[Row], fraction: u64, id: &Id) -> usize {
    let before = |row: &Row| (row.prefix(), row.id()) < (prefix(id.as_bytes()), id.as_bytes());
    let mut position = ((u128::from(fraction) * rows.len() as u128) >> u64::BITS) as usize;
    while position > 0 && !before(&rows[position - 1]) {
        position -= 1;
    }
    while position < rows.len() && before(&rows[position]) {
        position += 1;
    }
    position
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BlobEntry, BlobHandle};

    fn row(id: [u8; 32], pack: u32) -> Row {
        let handle = BlobHandle::data(Id::from_bytes(id));
        let entry = BlobEntry { handle, offset: 0, length: 100, uncompressed_length: 0 };
        Row::new(&entry, pack).unwrap()
    }

    fn hash(number: u32) -> [u8; 32] {
        *Id::of(&number.to_le_bytes()).as_bytes()
    }

    #[test]
    fn every_row_is_found_and_nothing_else_whatever_the_size() {
        for count in (0..70).chain([127, 128, 1000, 40_000]) {
            let table = Table::new((0..count).rev().map(|n| row(hash(n), n)).collect());
            for number in 0..count {
                let id = Id::from_bytes(hash(number));
                assert_eq!(table.find(&id), [row(hash(number), number)], "{number} of {count}");
                assert_eq!(table.rows()[table.position(&id).unwrap()].pack(), number);
            }
            for number in count..count + 100 {
                assert_eq!(table.find(&Id::from_bytes(hash(number))), []);
            }
            for id in [[0; 32], [255; 32]] {
                assert_eq!(table.find(&Id::from_bytes(id)), []);
            }
        }
    }

    #[test]
    fn ids_that_only_differ_at_their_end_are_found() {
        for count in [60, 1000] {
            let id = |number: u16| {
                let mut id = [0x77; 32];
                id[30..].copy_from_slice(&number.to_be_bytes());
                id
            };
            let table = Table::new((0..count).map(|n| row(id(n * 2), n.into())).collect());
            for number in 0..count {
                assert_eq!(table.find(&Id::from_bytes(id(number * 2))).len(), 1);
                assert_eq!(table.find(&Id::from_bytes(id(number * 2 + 1))).len(), 0);
            }
        }
    }

    #[test]
    fn equal_rows_are_kept_once_and_rows_of_several_packs_all() {
        let rows = (0..1000).flat_map(|n| [row(hash(n), 1), row(hash(n), 2), row(hash(n), 1)]);
        let table = Table::new(rows.collect());
        assert_eq!(table.rows().len(), 2000);
        for number in 0..1000 {
            let packs = table.find(&Id::from_bytes(hash(number))).iter().map(Row::pack);
            assert!(packs.eq([1, 2]));
        }
    }
}
