//! The search for cuts with the registers that every processor has.

use super::tables::{MASK, Tables, WINDOW};

/// How many stretches are searched in turn. Each step of one waits for a lookup in memory; meanwhile
/// the others go on. Measured: five are three times as fast as one, and more gain nothing.
const STREAMS: usize = 5;

/// The length of a stretch: long against the window that must be read before it, short enough that
/// all stretches stay in the first-level cache.
const STRETCH: usize = 1024;

/// The first position after `start` in `bytes` where the low bits of the fingerprint are zero. One
/// position after another: the definition, and the way for short stretches.
pub(super) fn plain(tables: &Tables, bytes: &[u8], start: usize) -> Option<usize> {
    let window = start - WINDOW;
    let mut fingerprint = tables.fingerprint(&bytes[window..start]);
    let passing = bytes[window..].iter().zip(&bytes[start..]);
    passing
        .enumerate()
        .find(|(_, (leave, enter))| {
            fingerprint = tables.roll(fingerprint, **leave, **enter);
            fingerprint & MASK == 0
        })
        .map(|(index, _)| start + index + 1)
}

/// The same, several stretches in turn.
pub(super) fn interleaved(tables: &Tables, bytes: &[u8], mut start: usize) -> Option<usize> {
    while let Some(entering) = stretches(&bytes[start..])
        && let Some(leaving) = stretches(&bytes[start - WINDOW..])
    {
        let end = start + STREAMS * STRETCH;
        if any(tables, leaving, entering) {
            // A stretch further on may have been the first to show one, so look again, in order.
            return plain(tables, &bytes[..end], start);
        }
        start = end;
    }
    plain(tables, bytes, start)
}

type Stretches = [[u8; STRETCH]; STREAMS];

fn stretches(bytes: &[u8]) -> Option<&Stretches> {
    bytes.as_chunks().0.first_chunk()
}

/// Whether there is any cut in `entering`. `leaving` is the same bytes from one window earlier.
fn any(tables: &Tables, leaving: &Stretches, entering: &Stretches) -> bool {
    let mut fingerprints = [0; STREAMS];
    (0..WINDOW).for_each(|index| {
        for stream in 0..STREAMS {
            let entering = leaving[stream][index];
            fingerprints[stream] = tables.roll(fingerprints[stream], 0, entering);
        }
    });
    (0..STRETCH).any(|index| {
        let mut found = false;
        for stream in 0..STREAMS {
            let (leaving, entering) = (leaving[stream][index], entering[stream][index]);
            fingerprints[stream] = tables.roll(fingerprints[stream], leaving, entering);
            found |= fingerprints[stream] & MASK == 0;
        }
        found
    })
}
