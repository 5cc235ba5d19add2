//! What becomes of a file: which parts are other than before, and what is there then.

use std::ops::Range;

use crate::chain::union;
use crate::error::{Error, Result};

/// What is other in a file, in order.
pub(super) struct Changes {
    /// The new length of the file in bytes.
    pub length: u64,
    list: Vec<Change>,
    /// What [`Content::Table`] means.
    pub tables: Vec<Table>,
}

/// A part of a file that is other than before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub start: u64,
    /// In bytes; never 0.
    pub length: u64,
    pub content: Content,
}

/// What is in a part of the new file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Zeros,
    /// What is on the disk from this offset on.
    Disk(u64),
    /// The table of this number, whole.
    Table(usize),
}

/// A part of a table, or of something like it.
#[derive(Debug)]
pub(super) enum Table {
    /// These bytes.
    Whole(Vec<u8>),
    /// What was in the old file before, with changes.
    Changed {
        /// In bytes.
        length: usize,
        /// From where in the old file it begins as it was, and for how many bytes. All else is zeros.
        kept: Option<(u64, usize)>,
        /// What is other: where, and what, big endian.
        words: Vec<(u32, u64)>,
    },
}

impl Table {
    fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Changed { length, .. } => *length,
        }
    }
}

impl Change {
    pub fn end(&self) -> u64 {
        self.start + self.length
    }
}

impl Changes {
    /// Nothing is other in a file of this length.
    pub fn none(length: u64) -> Self {
        Self { length, list: Vec::new(), tables: Vec::new() }
    }

    /// Notes a change. They need no order.
    pub fn add(&mut self, start: u64, length: u64, content: Content) {
        if length == 0 {
            return;
        }
        // What goes on where the last one ended is the same change.
        if let Some(last) = self.list.last_mut()
            && last.end() == start
        {
            match (last.content, content) {
                (Content::Zeros, Content::Zeros) => return last.length += length,
                (Content::Disk(disk), Content::Disk(next)) if disk + last.length == next => {
                    return last.length += length;
                }
                _ => {}
            }
        }
        self.list.push(Change { start, length, content });
    }

    /// Notes that a table is here.
    pub fn add_table(&mut self, start: u64, table: Table) {
        let content = Content::Table(self.tables.len());
        self.add(start, table.len() as u64, content);
        self.tables.push(table);
    }

    /// Notes that a table is other in some words, of which there is at least one.
    pub fn add_words(&mut self, start: u64, words: Vec<(u32, u64)>) {
        let first = words.iter().map(|(at, _)| *at).min().unwrap_or(0);
        let last = words.iter().map(|(at, _)| *at).max().unwrap_or(0);
        let length = (last - first) as usize + 8;
        let words = words.into_iter().map(|(at, word)| (at - first, word)).collect();
        let start = start + u64::from(first);
        self.add_table(start, Table::Changed { length, kept: Some((start, length)), words });
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts them in order, when all are noted: `old` is the old length of the file. What nobody spoke of behind
    /// it becomes zeros.
    ///
    /// # Errors
    /// [`Error::Damaged`] if two are about the same part, because the file uses it twice.
    pub fn complete(mut self, old: u64) -> Result<Self> {
        self.list.sort_unstable_by_key(|change| change.start);
        if self.list.windows(2).any(|pair| pair[0].end() > pair[1].start) {
            return Err(Error::damaged(0, "it uses a cluster for two purposes"));
        }
        let end = self.list.last().map_or(0, Change::end);
        self.length = self.length.max(old).max(end);
        let mut gaps = Vec::new();
        let mut start = old;
        for change in &self.list[self.list.partition_point(|change| change.end() <= old)..] {
            if start < change.start {
                gaps.push((start, change.start - start));
            }
            start = change.end();
        }
        gaps.push((start, self.length.saturating_sub(start)));
        for (start, length) in gaps {
            self.add(start, length, Content::Zeros);
        }
        self.list.sort_unstable_by_key(|change| change.start);
        Ok(self)
    }

    /// The changes that say something of a part of the new file, in order.
    pub fn overlapping(&self, part: Range<u64>) -> impl Iterator<Item = &Change> {
        let first = self.list.partition_point(|change| change.end() <= part.start);
        self.list[first..].iter().take_while(move |change| change.start < part.end)
    }

    /// All parts that are other.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        union(self.list.iter().map(|change| change.start..change.end()).collect())
    }
}
