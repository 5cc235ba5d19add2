//! How much to ask a server for: at once, and before what was asked for has come.

use std::time::Duration;

use russh_sftp::client::rawsession::Limits;

/// How much is read or written with one request where the server names no limits: what every server has
/// to support.
const PIECE: u64 = 32 << 10;

/// The most that is read with one request. OpenSSH's own limit, with room for the packet's head.
const LARGEST_READ: u64 = 255 << 10;

/// The most that is written with one request. With OpenSSH on the loopback interface, requests of 255 KiB
/// were a quarter slower.
const LARGEST_WRITE: u64 = 32 << 10;

/// How many bytes a session may have asked for and not have yet, at least. Where the server is near, more would
/// only wait in buffers: 20 MiB were a tenth slower on the loopback interface.
pub(super) const LEAST_AHEAD: usize = 4 << 20;

/// Where the server is far away, as many as come in two round trips over a line with 400 MiB a second: answers come in
/// bursts, and the server should have something to do between two of them. At 10 ms that is 8 MiB, with which a dump
/// takes 3 in 100 less than with 4; 16 MiB are no better.
const FAST_LINE: u64 = 2 * (400 << 20);

/// And at most so many.
const MOST_AHEAD: usize = 32 << 20;

/// In what unit these bytes are counted.
pub(super) const AHEAD_UNIT: usize = 1 << 10;

/// How much to ask for at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    /// The most to read with one request, in bytes.
    pub(crate) read: u32,
    /// The most to write with one request, in bytes.
    pub(crate) write: u32,
}

impl Pieces {
    /// As much as a server allows, and as is good.
    pub(super) fn within(limits: &Limits) -> Self {
        let piece = |limit: Option<u64>, most: u64| match limit {
            // A limit below 1 KiB is a mistake.
            Some(limit) => limit.clamp(1 << 10, most) as u32,
            None => PIECE as u32,
        };
        Self {
            read: piece(limits.read_len, LARGEST_READ),
            write: piece(limits.write_len, LARGEST_WRITE),
        }
    }
}

/// How many bytes to ask for ahead where a round trip takes so long.
pub(super) fn ahead(round_trip: Duration) -> usize {
    let bytes = round_trip.as_secs_f64() * FAST_LINE as f64;
    (bytes as usize).clamp(LEAST_AHEAD, MOST_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_servers_are_asked_for_more_ahead_than_near_ones() {
        let ahead = |milliseconds| ahead(Duration::from_millis(milliseconds));
        assert_eq!(ahead(0), 4 << 20);
        assert_eq!(ahead(1), 4 << 20);
        assert_eq!(ahead(10), 8 << 20);
        assert_eq!(ahead(40), 32 << 20);
        assert_eq!(ahead(10_000), 32 << 20);
    }
}
