//! Large buffers, used again and again: for those who write a [`Backend`](crate::backend::Backend), too.
//!
//! Memory that comes fresh from the system costs a page fault every 4 KiB, and is cold. A stream of
//! blobs that takes a new buffer for each spends a tenth of its time on that.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Buffers that nobody uses at the moment. Cheap to share.
#[derive(Clone, Debug)]
pub struct Buffers(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    /// How many bytes are kept, at most.
    limit: usize,
    /// Those given back last are at the end: they are the warmest.
    idle: Mutex<Vec<Vec<u8>>>,
}

/// Buffers shorter than this, in bytes, are left to the allocator, which has such ones at hand.
const SMALLEST: usize = 64 << 10;
/// Sizes are rounded up to a multiple of this, in bytes, so that they fit more often.
const GRAIN: usize = 64 << 10;

impl Buffers {
    /// Keeps as many as `limit` bytes of idle buffers.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shelf { limit, idle: Mutex::default() }))
    }

    /// A buffer of this length, filled with anything. It has room for little more than half as many
    /// bytes again: a long buffer for a short content would be memory that nobody counts.
    ///
    /// # Errors
    /// There is no memory.
    pub fn take(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = self.find(length)?;
        buffer.resize(length, 0);
        Ok(buffer)
    }

    /// As [`take`](Self::take), but empty: for what comes piece by piece.
    ///
    /// # Errors
    /// There is no memory.
    pub fn take_empty(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = self.find(length)?;
        buffer.clear();
        Ok(buffer)
    }

    /// A buffer that has room for this much, with anything in it.
    fn find(&self, length: usize) -> io::Result<Vec<u8>> {
        let longest = length.saturating_add(length / 2);
        let fits = |buffer: &Vec<u8>| (length..=longest).contains(&buffer.capacity());
        let mut buffer = Vec::new();
        let mut room = length;
        if length >= SMALLEST {
            let mut idle = self.0.idle();
            if let Some(at) = idle.iter().rposition(fits) {
                buffer = idle.remove(at);
            }
            room = length.checked_next_multiple_of(GRAIN).unwrap_or(length);
        }
        if buffer.capacity() < length {
            buffer.try_reserve_exact(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
        }
        Ok(buffer)
    }

    /// Takes a buffer back.
    pub fn give_back(&self, buffer: Vec<u8>) {
        if buffer.capacity() < SMALLEST || buffer.capacity() > self.0.limit {
            return;
        }
        let mut idle = self.0.idle();
        idle.push(buffer);
        let mut kept: usize = idle.iter().map(Vec::capacity).sum();
        // What did not fit for so long is not going to.
        let surplus = idle.iter().take_while(|oldest| {
            let is_too_much = kept > self.0.limit;
            kept -= oldest.capacity();
            is_too_much
        });
        let surplus = surplus.count();
        idle.drain(..surplus);
    }

    /// The content of a buffer, which comes back when the last user of the content is done with it.
    pub fn share(&self, buffer: Vec<u8>) -> Bytes {
        match buffer.capacity() < SMALLEST {
            true => buffer.into(),
            false => Bytes::from_owner(Lent { buffer, buffers: self.clone() }),
        }
    }
}

impl Shelf {
    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    buffer: Vec<u8>,
    buffers: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn kept(buffers: &Buffers) -> usize {
        buffers.0.idle().iter().map(Vec::capacity).sum()
    }

    #[test]
    fn what_the_last_user_leaves_is_used_again() {
        let buffers = Buffers::new(4 * MIB);
        let buffer = buffers.take(MIB).unwrap();
        let place = buffer.as_ptr();
        let shared = buffers.share(buffer);
        let part = shared.slice(3..);
        drop(shared);
        assert_eq!(part.len(), MIB - 3);
        assert_eq!(kept(&buffers), 0, "somebody still reads it");
        drop(part);
        let again = buffers.take(MIB - 5).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, MIB - 5));
        buffers.give_back(again);
        let again = buffers.take_empty(MIB - 5).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn a_long_buffer_is_not_spent_on_a_short_content() {
        let buffers = Buffers::new(16 * MIB);
        buffers.give_back(buffers.take(8 * MIB).unwrap());
        assert!(buffers.take(MIB).unwrap().capacity() < 2 * MIB);
        assert!(buffers.take(10).unwrap().capacity() < 100);
        assert_eq!(kept(&buffers), 8 * MIB);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let buffers = Buffers::new(4 * MIB);
        let lent: Vec<_> = (1..=4).map(|n| buffers.take(n * MIB).unwrap()).collect();
        lent.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert_eq!(kept(&buffers), 4 * MIB);
        assert_eq!(buffers.take(4 * MIB).unwrap().capacity(), 4 * MIB);
        buffers.give_back(buffers.take(5 * MIB).unwrap());
        assert_eq!(kept(&buffers), 0, "longer than all that may be kept");
    }

    #[test]
    fn more_than_there_is_is_an_error() {
        assert!(Buffers::new(MIB).take(usize::MAX).is_err());
    }
}
