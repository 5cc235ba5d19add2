//! Sorting millions of rows in place, on all cores.

use std::thread;

use super::row::Row;

/// Fewer rows than this are not worth another thread.
const WORTH_A_THREAD: usize = 1 << 15;

/// Fewer rows than this are sorted by comparing them.
const FEW: usize = 1 << 9;

/// Sorts the rows.
///
/// Ids are spread evenly. So the first bit halves the rows, the second bit halves the halves, and so on
/// until each core has a part of its own; and the next byte deals a part out into 256, most of which
/// are small enough to be sorted in a core's own cache. Rows of another kind are sorted as well, but
/// more slowly.
pub(super) fn sort(rows: &mut [Row]) {
    sort_on(rows, thread::available_parallelism().map_or(1, usize::from));
}

fn sort_on(rows: &mut [Row], threads: usize) {
    halve(rows, u64::BITS, threads);
}

/// Sorts rows that differ in the last `bits` bits of their prefix, and behind it.
fn halve(rows: &mut [Row], bits: u32, threads: usize) {
    if threads < 2 || bits == 0 || rows.len() < WORTH_A_THREAD {
        return deal(rows, bits);
    }
    let bit = 1 << (bits - 1);
    let middle = partition(rows, |row| row.prefix() & bit == 0);
    let (low, high) = rows.split_at_mut(middle);
    thread::scope(|scope| {
        scope.spawn(|| halve(low, bits - 1, threads / 2));
        halve(high, bits - 1, threads - threads / 2);
    });
}

/// Moves the rows that come first to the front, and returns how many they are.
fn partition(rows: &mut [Row], first: impl Fn(&Row) -> bool) -> usize {
    let (mut low, mut high) = (0, rows.len());
    loop {
        while low < high && first(&rows[low]) {
            low += 1;
        }
        while low < high && !first(&rows[high - 1]) {
            high -= 1;
        }
        if low >= high {
            return low;
        }
        rows.swap(low, high - 1);
    }
}

/// Sorts rows that differ in the last `bits` bits of their prefix, and behind it: deals them out by the
/// first eight of these bits, then sorts each lot.
fn deal(rows: &mut [Row], bits: u32) {
    if rows.len() < FEW || bits < 8 {
        return rows.sort_unstable();
    }
    let lot = |row: &Row| (row.prefix() >> (bits - 8)) as usize % LOTS;
    let mut ends = [0; LOTS];
    for row in rows.iter() {
        ends[lot(row)] += 1;
    }
    let mut next = [0; LOTS];
    let mut total = 0;
    for (next, end) in next.iter_mut().zip(&mut ends) {
        *next = total;
        total += *end;
        *end = total;
    }
    // Every swap puts one row where it belongs, so this ends.
    for current in 0..LOTS {
        while next[current] < ends[current] {
            let place = next[current];
            let wanted = lot(&rows[place]);
            if wanted != current {
                rows.swap(place, next[wanted]);
            }
            next[wanted] += 1;
        }
    }
    let mut rest = rows;
    let mut start = 0;
    for end in ends {
        let (lot, others) = rest.split_at_mut(end - start);
        deal(lot, bits - 8);
        (rest, start) = (others, end);
    }
}

const LOTS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BlobEntry, BlobHandle};
    use crate::id::Id;

    /// As many rows as a row of numbers asks for, of which each makes an id.
    fn rows(count: usize, id: impl Fn(u64) -> [u8; 32]) -> Vec<Row> {
        let row = |number| {
            let handle = BlobHandle::data(Id::from_bytes(id(number)));
            let entry = BlobEntry { handle, offset: 0, length: 100, uncompressed_length: 0 };
            Row::new(&entry, number as u32 % 3).unwrap()
        };
        (0..count as u64).map(row).collect()
    }

    fn assert_sorts(mut rows: Vec<Row>) {
        let mut wanted = rows.clone();
        wanted.sort();
        for threads in [1, 2, 3, 8] {
            let mut sorted = rows.clone();
            sort_on(&mut sorted, threads);
            assert!(sorted == wanted, "{} rows on {threads} threads", rows.len());
        }
        rows.reverse();
        sort(&mut rows);
        assert!(rows == wanted, "{} rows, reversed", rows.len());
    }

    fn hash(number: u64) -> [u8; 32] {
        *Id::of(&number.to_le_bytes()).as_bytes()
    }

    #[test]
    fn hashes_are_sorted() {
        for count in [0, 1, 2, FEW, 5000, WORTH_A_THREAD * 4 + 1] {
            assert_sorts(rows(count, hash));
        }
    }

    #[test]
    fn rows_with_the_same_beginning_are_sorted() {
        let count = WORTH_A_THREAD + 1;
        assert_sorts(rows(count, |number| {
            let mut id = hash(number);
            id[..30].fill(0x55);
            id
        }));
        assert_sorts(rows(count, |number| [(number % 5) as u8; 32]));
        assert_sorts(rows(count, |_| [255; 32]));
    }
}
