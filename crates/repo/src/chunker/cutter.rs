//! Reading a source chunk by chunk.

use std::io;
use std::sync::Arc;

use super::source::Source;
use super::{Chunker, MAX_SIZE, MIN_SIZE, is_zero};

/// Bytes between two searches for a cut. They are still in the second-level cache when they are
/// searched; and on average half of them lie behind the cut and must be copied to the next chunk.
const STEP: usize = 128 << 10;

/// Cuts a source into chunks, in order.
///
/// Several threads can pull chunks from one under a mutex: each brings its own buffer and takes its chunk
/// with it, out of the mutex's reach. [`Self::position`] tells the place of the chunk.
pub struct Cutter<S> {
    source: S,
    chunker: Arc<Chunker>,
    /// What was read behind the last cut: at most `STEP` bytes.
    carried: Vec<u8>,
    position: u64,
    /// The source has no more bytes.
    ended: bool,
    failed: Option<io::ErrorKind>,
}

/// What comes next in a source.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk<'b> {
    /// A chunk, in the buffer that was handed in; never empty.
    Data(&'b [u8]),
    /// That many chunks of [`MIN_SIZE`] zeros each, with the id [`ZERO_CHUNK_ID`](super::ZERO_CHUNK_ID);
    /// never none.
    Zeros(u64),
}

impl Chunk<'_> {
    /// The bytes of the source that it stands for.
    pub fn size(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Zeros(count) => count.saturating_mul(MIN_SIZE as u64),
        }
    }
}

impl<S: Source> Cutter<S> {
    /// Begins at the start of `source`.
    pub fn new(source: S, chunker: Arc<Chunker>) -> Self {
        Self { source, chunker, carried: Vec::new(), position: 0, ended: false, failed: None }
    }

    /// Where in the source the next chunk starts: the sum of the sizes of those handed out. After the
    /// last, the size of the source as it was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next chunk, or nothing at the end.
    ///
    /// `buffer` is grown to [`MAX_SIZE`] bytes where needed, and is worth using again: it costs memory
    /// only as far as the longest chunk that was in it.
    ///
    /// # Errors
    ///
    /// Fails if the source does. After that there is no telling what was lost, so every further call
    /// fails too: no thread may take a failure for the end.
    pub fn next<'b>(&mut self, buffer: &'b mut Vec<u8>) -> io::Result<Option<Chunk<'b>>> {
        if let Some(kind) = self.failed {
            return Err(io::Error::new(kind, "reading failed before"));
        }
        let chunk = self.cut(buffer).inspect_err(|error| self.failed = Some(error.kind()))?;
        if let Some(chunk) = &chunk {
            self.position = self.position.saturating_add(chunk.size());
        }
        Ok(chunk)
    }

    fn cut<'b>(&mut self, buffer: &'b mut Vec<u8>) -> io::Result<Option<Chunk<'b>>> {
        let zeros = self.skip_zeros()?;
        if zeros > 0 {
            return Ok(Some(Chunk::Zeros(zeros)));
        }
        if buffer.len() < MAX_SIZE {
            // New, not grown: untouched zeros from the system take no time and no memory.
            *buffer = vec![0; MAX_SIZE];
        }
        let mut filled = self.carried.len();
        buffer[..filled].copy_from_slice(&self.carried);
        self.carried.clear();

        filled = self.fill(buffer, filled, MIN_SIZE)?;
        if filled == MIN_SIZE && is_zero(&buffer[..MIN_SIZE]) {
            return Ok(Some(Chunk::Zeros(1)));
        }
        let mut searched = 0;
        let end = loop {
            if let Some(end) = self.chunker.find(&buffer[..filled], searched + 1) {
                break end;
            }
            searched = filled;
            filled = self.fill(buffer, filled, MAX_SIZE.min(filled + STEP))?;
            if filled == searched {
                break filled;
            }
        };
        self.carried.extend_from_slice(&buffer[end..filled]);
        Ok((end > 0).then_some(Chunk::Data(&buffer[..end])))
    }

    /// Passes over as many whole chunks of zeros as there are without reading any further, and counts
    /// them. Zeros that do not fill a chunk are left to be read: they belong to a chunk with data.
    fn skip_zeros(&mut self) -> io::Result<u64> {
        let known = if self.ended { 0 } else { self.source.zeros()? };
        let carried = self.carried.len() as u64;
        let count = carried.saturating_add(known) / MIN_SIZE as u64;
        if count == 0 || !is_zero(&self.carried) {
            return Ok(0);
        }
        self.source.skip(count * MIN_SIZE as u64 - carried)?;
        self.carried.clear();
        Ok(count)
    }

    /// Reads until `target` bytes of `buffer` are filled, or the source ends; returns how many are.
    fn fill(&mut self, buffer: &mut [u8], mut filled: usize, target: usize) -> io::Result<usize> {
        while filled < target && !self.ended {
            // In steps also here, for the sake of the cache.
            let wanted = &mut buffer[filled..target.min(filled + STEP)];
            match self.source.read(wanted) {
                Ok(0) => self.ended = true,
                Ok(count) if count <= wanted.len() => filled += count,
                Ok(_) => {
                    return Err(io::Error::other("a source read more than there was room for"));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests;
