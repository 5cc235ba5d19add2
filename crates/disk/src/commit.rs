//! Changes merged into the full file below them, as `qemu-img commit` does it.
//!
//! The full file stays what and where it is; what is said here is what would be other bytes in it:
//!
//! * A cluster that the full file has for itself is overwritten in place.
//! * Where it has none, or a compressed one, or one that an internal snapshot needs too, a new one is put at
//!   the end of the file, in the order of the disk.
//! * A cluster that became zeros keeps its place, so that it is there when it is written again (version 2: it
//!   is overwritten with zeros).
//! * Tables, reference counts and the header are changed to match. Bitmaps are no longer true afterwards: their
//!   mark in the header is taken away, as the format asks of a program that does not keep them up.
//!
//! Nothing is written, and no content is read, before somebody asks for it: a plan knows where everything is.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::chain::{Chain, Layer};
use crate::error::{Result, SourceError};
use crate::extent::{Extent, Place};
use crate::fetch::{Piece, fetch, fill};
use crate::source::{Source, within};
use changes::{Changes, Content, Table};

mod changes;
mod guard;
mod merge;
mod refcounts;

/// What merging all changes of a chain into its first file makes of that file. Reads of it are reads of the
/// chain's files.
///
/// It is a [`Source`], too: the file as it would be.
pub struct Commit {
    chain: Chain,
    changes: Changes,
    ranges: Vec<Range<u64>>,
}

/// What it takes to merge all files of a chain into the first. Reads the tables of the later ones, and of the
/// first one those that say of the same parts of the disk.
///
/// The disk may have grown with the changes; if it shrank, the first file keeps its size, and its content behind
/// the new end of the disk.
///
/// # Errors
/// [`Error::Unsupported`](crate::Error::Unsupported) if the reference counts of the first file cannot be
/// relied on, [`Error::TooLarge`](crate::Error::TooLarge) if the disk does not fit into a file with such
/// clusters, and errors of reading.
pub async fn plan(chain: &Chain) -> Result<Commit> {
    let changes = match &chain.layers()[0] {
        _ if chain.layers().len() == 1 => Changes::none(chain.files()[0].len()),
        Layer::Raw(_) => merge::into_raw(chain).await?,
        Layer::Qcow2(base) => merge::into_qcow2(chain, base).await?,
    };
    let ranges = changes.ranges();
    Ok(Commit { chain: chain.clone(), changes, ranges })
}

impl Commit {
    /// The new file's length in bytes. Never less than before.
    #[expect(clippy::len_without_is_empty, reason = "it is a length, and Source has the other one")]
    pub fn len(&self) -> u64 {
        self.changes.length
    }

    /// The parts of the new file that are other than before: in order, and none touches the next. All that is
    /// behind the old end belongs to one. Where there are none, nothing changes.
    pub fn changes(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// `length` bytes of the new file from `offset` on, changed or not; fewer where it ends. Takes as much
    /// memory as is asked for, and some for reading.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) and [`Error::Source`](crate::Error::Source).
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let length = within(self.len(), offset, length);
        let end = offset + length as u64;
        let (mut pieces, mut tables) = (Vec::new(), Vec::new());
        let mut start = offset;
        for change in self.changes.overlapping(offset..end) {
            self.unchanged(start..change.start.max(start), offset, &mut pieces);
            let part = change.start.max(offset)..change.end().min(end);
            start = part.end;
            let at = (part.start - offset) as usize;
            match change.content {
                Content::Zeros => {}
                Content::Disk(disk) => {
                    let disk = disk + (part.start - change.start);
                    let located = self.located(disk..disk + (part.end - part.start)).await?;
                    let place = |extent: &Extent| at + (extent.offset - disk) as usize;
                    pieces.extend(
                        located.into_iter().map(|extent| Piece { at: place(&extent), extent }),
                    );
                }
                Content::Table(table) => {
                    let skipped = (part.start - change.start) as usize;
                    tables.push((at, skipped, (part.end - part.start) as usize, table));
                }
            }
        }
        self.unchanged(start..end, offset, &mut pieces);
        if tables.is_empty() {
            return fetch(&self.chain, length, pieces).await;
        }
        let mut buffer = vec![0; length];
        fill(&self.chain, &mut buffer, pieces).await?;
        for (at, skipped, length, table) in tables {
            let table = self.table(&self.changes.tables[table]).await?;
            buffer[at..at + length].copy_from_slice(&table[skipped..skipped + length]);
        }
        Ok(buffer.into())
    }

    /// What is as it was.
    fn unchanged(&self, part: Range<u64>, offset: u64, pieces: &mut Vec<Piece>) {
        if !part.is_empty() {
            let place = Place::Stored { file: 0, host: part.start };
            let length = part.end - part.start;
            let extent = Extent { offset: part.start, length, place };
            pieces.push(Piece { at: (part.start - offset) as usize, extent });
        }
    }

    /// Where a part of the merged disk is, which may be larger than the disk of the chain.
    async fn located(&self, part: Range<u64>) -> Result<Vec<Extent>> {
        let end = self.chain.virtual_size().clamp(part.start, part.end);
        let mut extents =
            self.chain.extents_in(part.start..end, 0..self.chain.layers().len()).await?;
        extents.extend(self.chain.extents_in(end..part.end, 0..1).await?);
        Ok(extents)
    }

    /// What a table is made of.
    async fn table(&self, table: &Table) -> Result<Vec<u8>> {
        let mut bytes = match table {
            Table::Whole(bytes) => return Ok(bytes.clone()),
            Table::Changed { length, kept: Some((offset, kept)), .. } => {
                let kept = self.chain.files()[0].read(*offset, *kept.min(length)).await?;
                let mut bytes = Vec::from(kept);
                bytes.resize(*length, 0);
                bytes
            }
            Table::Changed { length, kept: None, .. } => vec![0; *length],
        };
        if let Table::Changed { words, .. } = table {
            for (at, word) in words {
                bytes[*at as usize..][..8].copy_from_slice(&word.to_be_bytes());
            }
        }
        Ok(bytes)
    }
}

#[async_trait]
impl Source for Commit {
    fn len(&self) -> u64 {
        self.len()
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        Ok(self.read_at(offset, length).await?)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("chain", &self.chain)
            .field("length", &self.changes.length)
            .field("changes", &self.ranges.len())
            .finish()
    }
}
