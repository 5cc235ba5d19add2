//! A file made of an older one and of what changed in it.
//!
//! A backup reads all of a file and finds most of its chunks to be stored already. Who knows what changed
//! need not read the rest: [`Patch::write`] gives exactly the list of chunks that a backup of the new
//! content would give, and reads only the chunks that a change touches.
//!
//! That is exact because a chunk's end depends on nothing but the bytes between its start and its end
//! (see [`chunker`](crate::chunker)). Where a chunk begins at the same place as an old one, and nothing
//! changed up to the old one's end, it is the same chunk; from there on everything is in step until the
//! next change. Behind a change that made or removed a cut, a chunk or two are read and cut anew until a
//! cut falls on an old one. The last chunk is cut by the end of the file, so it is read if the end moves.
//!
//! # Who does what
//!
//! `layout` knows which chunks are touched. `ahead` reads these and the changes long before they are
//! needed; what has to be read behind a change is not known before. `cutting` cuts, which is quick,
//! one stretch after another; `storing` hashes, compresses and seals what was cut off, on as many threads as
//! [`Options::workers`](crate::repository::Options::workers) says. So a patch that touches everything
//! goes as fast as a backup.
//!
//! # Memory
//!
//! At most 48 MiB of old chunks, and as many bytes again in which they were stored; 32 MiB of changes; 64 MiB
//! of chunks behind a change, in the rare case that cuts stay out of step for long; and for each worker three
//! chunks of at most 8 MiB, of a mebibyte as a rule. And 80 bytes for each chunk of the
//! file, 16 for each range.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::chunker::Chunker;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::packer::Packer;
use crate::progress::{Phase, Progress};
use crate::repository::{Repository, on_worker};

mod ahead;
mod cutting;
mod layout;
mod storing;
#[cfg(test)]
mod tests;

use ahead::Ahead;
use cutting::{Chunk, Cutting};
use layout::Layout;
use storing::Storing;

/// The new content of what changed in a file.
#[async_trait]
pub trait Changed: Send + Sync {
    /// Exactly `length` bytes from `offset` on. Only asked for what lies in one changed range, several times
    /// at once, and never for more than 8 MiB.
    ///
    /// # Errors
    /// Whatever keeps it from being read. It ends the patch, and is what the caller gets.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes>;
}

/// What makes a new file of an older one.
#[derive(Clone)]
pub struct Patch {
    /// The older file: the `content` of its node.
    pub old: Vec<Id>,
    /// The new file's length in bytes.
    pub length: u64,
    /// What changed, as ascending ranges of the new file that do not overlap. What is in none of them is as in
    /// the older file, and zero behind its end.
    pub ranges: Vec<Range<u64>>,
    /// What is in these ranges.
    pub changed: Arc<dyn Changed>,
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, length, ranges, .. } = self;
        let mut debug = f.debug_struct("Patch");
        debug.field("chunks", &old.len()).field("length", length).field("ranges", &ranges.len());
        debug.finish_non_exhaustive()
    }
}

/// A new file, all of whose chunks are stored or handed to the packer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The list of its chunks.
    pub content: Vec<Id>,
    /// Its length in bytes.
    pub size: u64,
    /// How many bytes of chunks of the older file had to be read.
    pub reread: u64,
}

impl Patch {
    /// Stores what is new. The chunks can be referred to once the packer has finished.
    ///
    /// [`Phase::BackupBytes`] advances by the bytes of the new file; it is the caller's to begin and end. The
    /// index must not know chunks that are not there: see
    /// [`archiver::distrust`](crate::archiver::distrust). Dropping the future ends all work, but for the chunks
    /// that threads have in hand.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`] and [`Error::Damaged`] if the older file cannot be read;
    /// [`Error::Refused`] if the ranges are out of order or too long; whatever [`Changed::read_at`] says;
    /// whatever the packer says.
    pub async fn write(
        self,
        repository: &Repository,
        packer: &Arc<Packer>,
        progress: &dyn Progress,
    ) -> Result<Patched> {
        let Self { old, length, ranges, changed } = self;
        let index = Arc::clone(packer.index());
        let layout = {
            let index = Arc::clone(&index);
            Arc::new(on_worker(move || Layout::new(&index, old, length, &ranges)).await?)
        };
        let chunker = Chunker::new(repository.config().chunker_polynomial)
            .map_err(|error| Error::Refused(error.to_string()))?;
        let mut run = Run {
            ahead: Ahead::new(repository, index, Arc::clone(&layout), changed),
            cutting: Cutting::new(Arc::new(chunker)),
            storing: Storing::new(repository, packer),
            layout,
            progress,
        };
        run.all().await?;
        let Run { ahead, storing, .. } = run;
        Ok(Patched { content: storing.finish().await?, size: length, reread: ahead.taken })
    }
}

/// A patch being made.
struct Run<'a> {
    layout: Arc<Layout>,
    ahead: Ahead,
    cutting: Cutting,
    storing: Storing,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    async fn all(&mut self) -> Result<()> {
        let mut next = 0;
        while next < self.layout.count() {
            match self.layout.same(next) {
                Some(id) if self.cutting.is_empty() => {
                    self.ahead.in_step();
                    self.storing.take_over(id, 1)?;
                    let Range { start, end } = self.layout.range(next);
                    self.progress.advance(Phase::BackupBytes, end - start);
                    next += 1;
                }
                _ => next = self.cut(next).await?,
            }
        }
        Ok(())
    }

    /// Cuts the next stretch, or run of zeros, and stores what was cut off. Gives what comes behind.
    async fn cut(&mut self, first: usize) -> Result<usize> {
        let zeros = (first..self.layout.count()).take_while(|n| self.layout.is_zero(*n)).count();
        let behind = first + zeros.max(1);
        let bytes = match zeros {
            0 => Some(self.ahead.stretch(first).await?),
            _ => None,
        };
        let length = self.layout.range(behind - 1).end - self.layout.range(first).start;
        let is_last = behind == self.layout.count();
        let mut cutting = self.cutting.take();
        let (cutting, chunks) = on_worker(move || {
            let mut chunks = Vec::new();
            match bytes {
                Some(bytes) => {
                    bytes.append_to(cutting.held());
                    cutting.cut(&mut chunks);
                }
                None => cutting.cut_zeros(length, &mut chunks),
            }
            if is_last {
                cutting.finish(&mut chunks);
            }
            Ok((cutting, chunks))
        })
        .await?;
        self.cutting = cutting;
        for chunk in chunks {
            match chunk {
                Chunk::Data(chunk) => self.storing.store(chunk).await?,
                Chunk::Zeros(count) => {
                    self.storing.take_over(crate::chunker::ZERO_CHUNK_ID, count)?;
                }
            }
        }
        self.progress.advance(Phase::BackupBytes, length);
        Ok(behind)
    }
}
