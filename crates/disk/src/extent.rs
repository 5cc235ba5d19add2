//! Pieces of a disk, and where they are.

/// A piece of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where it begins on the disk.
    pub offset: u64,
    /// In bytes; never 0.
    pub length: u64,
    pub place: Place,
}

/// Where a piece of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody said; the file below knows.
    Hole,
    /// Nowhere: it reads as zeros.
    Zero,
    /// In a file of the chain, from `host` on. What is behind the end of the file is zeros.
    Stored { file: usize, host: u64 },
    /// In a compressed cluster that takes no more than `length` bytes from `host` on. The piece begins
    /// `within` bytes after the cluster's beginning.
    Compressed { file: usize, host: u64, length: u32, within: u64 },
}

impl Extent {
    /// Where it ends on the disk.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// The part of it from `start` to `end`, which both lie in it.
    pub fn slice(&self, start: u64, end: u64) -> Self {
        let skipped = start - self.offset;
        let place = match self.place {
            Place::Stored { file, host } => Place::Stored { file, host: host + skipped },
            Place::Compressed { file, host, length, within } => {
                Place::Compressed { file, host, length, within: within + skipped }
            }
            place => place,
        };
        Self { offset: start, length: end - start, place }
    }

    /// Whether `next` goes on where this one ends, on the disk and where it is stored.
    fn continues_in(&self, next: &Self) -> bool {
        let same = match (self.place, next.place) {
            (Place::Hole, Place::Hole) | (Place::Zero, Place::Zero) => true,
            (Place::Stored { file, host }, Place::Stored { file: next_file, host: next_host }) => {
                file == next_file && host + self.length == next_host
            }
            _ => false,
        };
        same && self.end() == next.offset
    }
}

/// Adds a piece, to the last one if it can.
pub(crate) fn push(extents: &mut Vec<Extent>, next: Extent) {
    match extents.last_mut() {
        Some(last) if last.continues_in(&next) => last.length += next.length,
        _ => extents.push(next),
    }
}
