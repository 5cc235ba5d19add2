//! Making one index of many files, on several threads.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use super::Index;
use super::file;
use super::loaded::Loaded;
use super::row::{LargeSpans, Row};
use super::scan::Sink;
use super::table::Table;
use crate::blob::{BlobEntry, BlobType};
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;

/// Collects what index files say. Files may be added from several threads at once.
pub struct Builder {
    version: u32,
    names: Mutex<Names>,
    data: Mutex<Vec<Row>>,
    tree: Mutex<Vec<Row>>,
}

impl Builder {
    /// A builder for a repository of this version. In version 1 nothing may be compressed.
    pub fn new(version: u32) -> Self {
        Self { version, names: Mutex::default(), data: Mutex::default(), tree: Mutex::default() }
    }

    /// Adds the index file `id`, of which `plaintext` is the content, decrypted and decompressed.
    ///
    /// A file that is not an index is [`Error::Damaged`]; then nothing of it is added.
    pub fn add_file(&self, id: Id, plaintext: &[u8]) -> Result<()> {
        self.add(id, file::read_slice(id, plaintext, Batch::default)?)
    }

    /// Adds the index file `id`, whose plaintext is read piece by piece, so that it is never in memory
    /// as a whole. `open` gives a reader from its beginning; it is called again if the file was not
    /// written by restic. A reader's error, and more than [`FileType::size_limit`] bytes, are
    /// [`Error::Damaged`] as well: it is decompression that fails.
    pub fn add_stream<R: Read>(&self, id: Id, open: impl Fn() -> io::Result<R>) -> Result<()> {
        self.add(id, file::read_stream(id, open, Batch::default)?)
    }

    /// The index of all that was added.
    pub fn finish(self) -> Index {
        let Names { packs, large, files, .. } = into_inner(self.names);
        // One after the other: each is sorted on all cores.
        let data = Table::new(into_inner(self.data));
        let tree = Table::new(into_inner(self.tree));
        Index::new(Loaded { packs, large, data, tree, files, ..Loaded::default() })
    }

    fn add(&self, id: Id, mut batch: Batch) -> Result<()> {
        let damaged = |detail| Error::damaged(Handle::new(FileType::Index, id), detail);
        if self.version == 1 && batch.compressed {
            return Err(damaged(
                "a blob is compressed, which version 1 of repositories does not know",
            ));
        }
        let too_large = || damaged("the repository has more packs or blobs than can be told apart");
        let (packs, large) = lock(&self.names).take(id, &batch).ok_or_else(too_large)?;
        for row in batch.data.iter_mut().chain(&mut batch.tree) {
            row.renumber(&packs, &large);
        }
        for (all, new) in [(&self.data, batch.data), (&self.tree, batch.tree)] {
            let mut all = lock(all);
            if all.len() + new.len() > Table::ROWS {
                return Err(too_large());
            }
            // Grows by doubling. The system moves large blocks by their page tables and backs only
            // what was written to, so this neither copies nor needs twice the memory.
            all.extend_from_slice(&new);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("version", &self.version).finish_non_exhaustive()
    }
}

/// One file, with numbers of its own for its packs.
#[derive(Default)]
struct Batch {
    packs: Vec<Id>,
    large: LargeSpans,
    data: Vec<Row>,
    tree: Vec<Row>,
    compressed: bool,
    overflowed: bool,
}

impl Sink for Batch {
    fn pack(&mut self, id: Id) {
        self.packs.push(id);
        self.overflowed |= self.packs.len() > Row::PACKS;
    }

    #[inline]
    fn blob(&mut self, blob: BlobEntry) {
        self.compressed |= blob.is_compressed();
        let pack = (self.packs.len() as u32).wrapping_sub(1);
        let rows = match blob.handle.blob_type {
            BlobType::Data => &mut self.data,
            BlobType::Tree => &mut self.tree,
        };
        match Row::new(&blob, pack, &mut self.large) {
            Some(row) => rows.push(row),
            None => self.overflowed = true,
        }
    }
}

/// What the rows of all files have in common.
#[derive(Default)]
struct Names {
    packs: Vec<Id>,
    /// Where in `packs` an id stands. Hashed with a key of this process: a file could be made to have
    /// colliding ids.
    numbers: HashTable<u32>,
    hasher: RandomState,
    large: LargeSpans,
    files: Vec<(Id, Box<[u32]>)>,
}

impl Names {
    /// Gives a file's packs and large spans their numbers. Nothing if there are too many of them.
    fn take(&mut self, file: Id, batch: &Batch) -> Option<(Box<[u32]>, Vec<u32>)> {
        if batch.overflowed || self.packs.len() + batch.packs.len() > Row::PACKS {
            return None;
        }
        let packs: Box<[u32]> = batch.packs.iter().map(|&pack| self.number(pack)).collect();
        let large = self.large.merge(&batch.large)?;
        self.files.push((file, packs.clone()));
        Some((packs, large))
    }

    fn number(&mut self, pack: Id) -> u32 {
        let Self { packs, numbers, hasher, .. } = self;
        let hash = |pack: &Id| hasher.hash_one(pack);
        *numbers
            .entry(hash(&pack), |&n| packs[n as usize] == pack, |&n| hash(&packs[n as usize]))
            .or_insert_with(|| {
                packs.push(pack);
                packs.len() as u32 - 1
            })
            .get()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
