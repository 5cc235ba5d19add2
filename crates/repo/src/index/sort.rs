//! Sorting millions of rows in place, on all cores.

use std::thread;

use super::row::Row;

/// Fewer rows than this are not worth another thread.
const WORTH_A_THREAD: usize = 1 << 15;

/// Sorts the rows.
///
/// Ids are spread evenly, so the first bit halves the rows, the second bit halves the halves, and so
/// on until each core has a part of its own. Rows of another kind are sorted as well, but maybe by one
/// core.
pub(super) fn sort(rows: &mut [Row]) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    split(rows, u64::BITS, threads);
}

fn split(rows: &mut [Row], bits: u32, threads: usize) {
    if threads < 2 || bits == 0 || rows.len() < WORTH_A_THREAD {
        return rows.sort_unstable();
    }
    let bit = 1 << (bits - 1);
    let ones = partition(rows, |row| row.prefix() & bit == 0);
    let (low, high) = rows.split_at_mut(ones);
    thread::scope(|scope| {
        scope.spawn(|| split(low, bits - 1, threads / 2));
        split(high, bits - 1, threads - threads / 2);
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

#[cfg(test)]
mod tests {}
