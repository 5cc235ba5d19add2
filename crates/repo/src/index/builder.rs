//! Making one index of many files, on several threads.

use std::fmt;
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

/// What the rows of all files have in common.
#[derive(Default)]
struct Names {
    /// The packs by number: one number for each time that a file lists a pack.
    packs: Vec<Id>,
    large: LargeSpans,
    files: Vec<(Id, Box<[u32]>)>,
    /// The packs of files that turned out to be bad.
    dropped: Vec<u32>,
}

impl Builder {
    /// A builder for a repository of this version. In version 1 nothing may be compressed.
    pub fn new(version: u32) -> Self {
        let (data, tree) = (Mutex::default(), Mutex::default());
        Self { version, names: Mutex::default(), data, tree }
    }

    /// Adds the index file `id`, of which `plaintext` is the content, decrypted and decompressed.
    ///
    /// A file that is not an index is [`Error::Damaged`]; then nothing of it is added.
    pub fn add_file(&self, id: Id, plaintext: &[u8]) -> Result<()> {
        file::read_slice(id, plaintext, || Feed::new(self))?.finish(id)
    }

    /// Adds the index file `id`, whose plaintext is read piece by piece, so that it is never in memory
    /// as a whole. `open` gives a reader from its beginning; it is called again if the file was not
    /// written by restic. A reader's error, and more than [`FileType::size_limit`] bytes, are
    /// [`Error::Damaged`] as well: it is decompression that fails.
    pub fn add_stream<R: Read>(&self, id: Id, open: impl Fn() -> io::Result<R>) -> Result<()> {
        let limit = FileType::Index.size_limit();
        file::read_stream(id, limit, open, || Feed::new(self))?.finish(id)
    }

    /// The index of all that was added. Sorts it on all cores, in some 100 ns of CPU time a blob: like adding
    /// files, this is no work for a thread that others wait for.
    pub fn finish(self) -> Index {
        let mut names = into_inner(self.names);
        let (mut data, mut tree) = (into_inner(self.data), into_inner(self.tree));
        names.drop_bad_files(&mut [&mut data, &mut tree]);
        names.unite_packs(&mut [&mut data, &mut tree]);
        let Names { packs, large, files, .. } = names;
        // One after the other: each is sorted on all cores.
        let (data, tree) = (Table::new(data), Table::new(tree));
        Index::new(Loaded { packs, large, data, tree, files, excluded: Vec::new() })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Names {
    fn drop_bad_files(&mut self, tables: &mut [&mut Vec<Row>]) {
        if self.dropped.is_empty() {
            return;
        }
        let mut keep = vec![true; self.packs.len()];
        for &pack in &self.dropped {
            keep[pack as usize] = false;
        }
        for rows in tables {
            rows.retain(|row| keep[row.pack() as usize]);
        }
    }

    /// Gives each pack one number, also if several files list it.
    fn unite_packs(&mut self, tables: &mut [&mut Vec<Row>]) {
        // Hashed with a key of this process: a file could be made to have colliding ids.
        let hasher = RandomState::new();
        let packs = &self.packs;
        let mut first = HashTable::<u32>::with_capacity(packs.len());
        let mut united: Vec<u32> = Vec::new();
        for (number, pack) in (0u32..).zip(packs) {
            let entry = first.entry(
                hasher.hash_one(pack),
                |&other| packs[other as usize] == *pack,
                |&other| hasher.hash_one(packs[other as usize]),
            );
            let other = *entry.or_insert(number).get();
            if other != number && united.is_empty() {
                united.extend(0..packs.len() as u32);
            }
            if let Some(united) = united.get_mut(number as usize) {
                *united = other;
            }
        }
        if united.is_empty() {
            return;
        }
        // No number may be left without a pack of its own: whoever goes through the packs by number would
        // take what is listed twice for two packs, and one of them for empty.
        let mut packs = Vec::with_capacity(united.len());
        for number in 0..united.len() {
            let first = united[number] as usize;
            united[number] = match first == number {
                true => {
                    packs.push(self.packs[number]);
                    packs.len() as u32 - 1
                }
                false => united[first],
            };
        }
        self.packs = packs;
        let rows = tables.iter_mut().flat_map(|rows| rows.iter_mut());
        rows.for_each(|row| row.set_pack(united[row.pack() as usize]));
        let files = self.files.iter_mut().flat_map(|(_, packs)| packs);
        files.for_each(|pack| *pack = united[*pack as usize]);
    }
}

/// Brings the content of one file to a builder. If it is dropped before it has finished, the file is
/// dropped as well.
struct Feed<'b> {
    builder: &'b Builder,
    /// The numbers of the file's packs; the last one is the current one.
    packs: Vec<u32>,
    /// Rows on their way, so that locks are rare: few, because every thread has them.
    data: Vec<Row>,
    tree: Vec<Row>,
    refused: Option<&'static str>,
}

impl<'b> Feed<'b> {
    fn new(builder: &'b Builder) -> Self {
        let (data, tree) = (Vec::new(), Vec::new());
        Self { builder, packs: Vec::new(), data, tree, refused: None }
    }

    fn finish(mut self, id: Id) -> Result<()> {
        self.send(BlobType::Data);
        self.send(BlobType::Tree);
        if let Some(reason) = self.refused {
            return Err(Error::damaged(Handle::new(FileType::Index, id), reason));
        }
        let packs = std::mem::take(&mut self.packs).into_boxed_slice();
        lock(&self.builder.names).files.push((id, packs));
        Ok(())
    }

    fn send(&mut self, blob_type: BlobType) {
        let (all, new) = match blob_type {
            BlobType::Data => (&self.builder.data, &mut self.data),
            BlobType::Tree => (&self.builder.tree, &mut self.tree),
        };
        let mut all = lock(all);
        if all.len() + new.len() <= Table::ROWS {
            // Grows by doubling. The system moves large blocks by their page tables and backs only what
            // was written to, so this neither copies nor needs twice the memory.
            all.append(new);
        } else {
            self.refused = Some(TOO_LARGE);
            new.clear();
        }
    }
}

const ROWS_ON_THEIR_WAY: usize = 1 << 10;
const TOO_LARGE: &str = "the repository has more packs or blobs than can be told apart";
const COMPRESSED: &str = "a blob is compressed, which version 1 of repositories does not know";

impl Sink for Feed<'_> {
    fn pack(&mut self, id: Id) {
        let packs = &mut lock(&self.builder.names).packs;
        if packs.len() < Row::PACKS {
            self.packs.push(packs.len() as u32);
            packs.push(id);
        } else {
            self.refused = Some(TOO_LARGE);
        }
    }

    #[inline]
    fn blob(&mut self, blob: BlobEntry) {
        if self.builder.version == 1 && blob.is_compressed() {
            self.refused = Some(COMPRESSED);
        }
        let Some(&pack) = self.packs.last() else { return };
        let row = Row::new(&blob, pack)
            .or_else(|| Row::with_large(&blob, pack, &mut lock(&self.builder.names).large));
        let Some(row) = row else {
            self.refused = Some(TOO_LARGE);
            return;
        };
        let blob_type = blob.handle.blob_type;
        let rows = match blob_type {
            BlobType::Data => &mut self.data,
            BlobType::Tree => &mut self.tree,
        };
        rows.push(row);
        if rows.len() == ROWS_ON_THEIR_WAY {
            self.send(blob_type);
        }
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        // What has finished has given its packs away.
        lock(&self.builder.names).dropped.append(&mut self.packs);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobHandle;
    use crate::index::{IndexFile, PackBlobs};

    #[test]
    fn a_pack_that_several_files_list_is_one_pack() {
        let pack = |name: u32| {
            let handle = BlobHandle::data(Id::of(&name.to_be_bytes()));
            let blob = BlobEntry { handle, offset: 0, length: 40, uncompressed_length: 0 };
            PackBlobs { pack: Id::of(&name.to_le_bytes()), blobs: vec![blob] }
        };
        let builder = Builder::new(2);
        let files = [vec![0, 1, 2], vec![1], vec![3, 0, 4], vec![4, 4]];
        for (number, packs) in (0u8..).zip(&files) {
            let file = IndexFile { packs: packs.iter().copied().map(pack).collect() };
            builder.add_file(Id::of(&[number]), &file.encode()).unwrap();
        }
        let index = builder.finish();
        let ids: Vec<Id> = (0..5).map(|name| pack(name).pack).collect();
        assert_eq!(index.pack_ids(), ids);
        for (file, packs) in index.files() {
            let number = (0u8..).find(|number| Id::of(&[*number]) == file).unwrap();
            let expected = files[usize::from(number)].iter().map(|&name| pack(name).pack);
            assert!(packs.eq(expected));
        }
        for (name, id) in (0..).zip(ids) {
            let place = index.lookup(&pack(name).blobs[0].handle).next().unwrap();
            assert_eq!(place.pack, id);
        }
    }
}
