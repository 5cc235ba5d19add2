//! Brings what is sound in damaged packs into new ones, and removes the damaged ones.
//!
//! Every blob that the index or the pack's own header knows of is read and compared with its id; those
//! that are sound are stored again, also if another pack has them too: that may be damaged as well. What
//! is lost then is in no index any more, so that a backup that meets it again stores it again, and
//! `repair snapshots` knows what to leave out.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{BackendError, BackendErrorKind, Extent, FileInfo};
use crate::bench::{Bench, Benches};
use crate::blob::{BlobEntry, BlobHandle};
use crate::codec::Encoder;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::header;
use crate::id::Id;
use crate::index::Index;
use crate::packer::Packer;
use crate::progress::{Phase, Progress};
use crate::repair::rewrite::{Change, Rewritten, rewrite};
use crate::repository::Repository;

/// How much of a pack is read at once, in bytes, unless one blob has more.
const SEGMENT: u64 = 8 << 20;
/// What compression may add to a plaintext that it cannot make smaller, in bytes; far more than zstd's.
const SLACK: u64 = 1 << 20;

/// What was found and done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What became of each pack, in the order of their names.
    pub packs: Vec<Salvaged>,
    /// The index files that were replaced. That of the new packs is not among them.
    pub rewritten: Rewritten,
    /// Packs that could not be removed. They are in no index, and the next prune removes them.
    pub left: Vec<(Id, Error)>,
}

/// What became of a pack.
#[derive(Debug)]
pub struct Salvaged {
    /// Which.
    pub pack: Id,
    /// Whether there is such a file.
    pub is_there: bool,
    /// How many blobs were sound.
    pub saved: u64,
    /// The blobs that were not.
    pub lost: Vec<BlobHandle>,
}

/// Repairs these packs.
///
/// # Errors
/// An index file that cannot be read: repair the index first. Whatever the storage says. Up to then only
/// packs and index files were stored.
pub async fn repair(
    repository: &Repository,
    packs: &HashSet<Id>,
    progress: Arc<dyn Progress>,
) -> Result<Outcome> {
    let index = repository.load_index(&*progress).await?;
    let mut files: Vec<FileInfo> = repository.list(FileType::Pack).await?;
    files.retain(|file| packs.contains(&file.id));
    let mut outcome = Outcome::default();
    progress.begin(Phase::ReadPacks, Some(packs.len() as u64));
    // Into an index of its own, in which nothing is known yet: everything is stored.
    let packer = Packer::new(repository, Arc::new(Index::default()), false);
    let salvage =
        Salvage { repository, benches: Arc::clone(repository.benches()), packer: Arc::new(packer) };
    let wanted = index.packs();
    let mut wanted: Vec<_> = wanted.iter().filter(|pack| packs.contains(&pack.pack)).collect();
    let mut sorted: Vec<Id> = packs.iter().copied().collect();
    sorted.sort_unstable();
    let work = async {
        for pack in sorted {
            let listed = wanted.iter_mut().find(|listed| listed.pack == pack);
            let listed = listed.map(|listed| std::mem::take(&mut listed.blobs)).unwrap_or_default();
            let file = files.iter().find(|file| file.id == pack);
            outcome.packs.push(salvage.pack(pack, file.copied(), listed).await?);
            progress.advance(Phase::ReadPacks, 1);
        }
        Ok(())
    };
    let worked = work.await;
    progress.end(Phase::ReadPacks);
    let packer = Arc::into_inner(salvage.packer).expect("every job that held it has ended");
    match worked {
        // If storing failed, the packer knows why.
        Ok(()) | Err(Error::Cancelled) => packer.finish().await?,
        Err(error) => return Err(error),
    };
    worked?;
    progress.begin(Phase::WriteIndex, None);
    let change = Change { without: packs.clone(), ..Change::default() };
    outcome.rewritten = rewrite(repository, &index, change).await?;
    progress.advance(Phase::WriteIndex, outcome.rewritten.stored.len() as u64);
    progress.end(Phase::WriteIndex);
    for file in files {
        match repository.remove(FileType::Pack, file.id).await {
            Ok(()) => {}
            Err(Error::Backend(BackendError { kind: BackendErrorKind::NotFound, .. })) => {}
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => outcome.left.push((file.id, error)),
        }
    }
    Ok(outcome)
}

struct Salvage<'r> {
    repository: &'r Repository,
    benches: Arc<Benches>,
    packer: Arc<Packer>,
}

impl Salvage<'_> {
    async fn pack(
        &self,
        pack: Id,
        file: Option<FileInfo>,
        listed: Vec<BlobEntry>,
    ) -> Result<Salvaged> {
        let mut known: HashSet<BlobHandle> = listed.iter().map(|blob| blob.handle).collect();
        let mut sound = HashSet::new();
        if let Some(file) = file {
            sound.extend(self.blobs(file, listed.clone()).await?);
            // Where the index is wrong, the header may be right.
            let mut others = header::load(self.repository, file).await?.unwrap_or_default();
            known.extend(others.iter().map(|blob| blob.handle));
            others.retain(|blob| !sound.contains(&blob.handle) && !listed.contains(blob));
            sound.extend(self.blobs(file, others).await?);
        }
        let mut lost: Vec<BlobHandle> = known.difference(&sound).copied().collect();
        lost.sort_unstable();
        Ok(Salvaged { pack, is_there: file.is_some(), saved: sound.len() as u64, lost })
    }

    /// Reads blobs and stores those that are sound; returns which.
    async fn blobs(&self, file: FileInfo, mut blobs: Vec<BlobEntry>) -> Result<Vec<BlobHandle>> {
        let longest = |blob: &BlobEntry| blob.handle.blob_type.size_limit() as u64 + SLACK;
        blobs.retain(|blob| end_of(blob) <= file.size && u64::from(blob.length) <= longest(blob));
        blobs.sort_unstable_by_key(|blob| blob.offset);
        let mut sound = Vec::new();
        let mut rest = blobs.as_slice();
        while let Some(first) = rest.first() {
            let start = u64::from(first.offset);
            let fits = |blob: &&BlobEntry| end_of(blob) - start <= SEGMENT;
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            rest = later;
            let end = now.iter().map(end_of).max().unwrap_or(start);
            let damaged = match self.load(file.id, start, end).await? {
                Some(bytes) => {
                    let (saved, damaged) = self.save(start, bytes, now.to_vec()).await?;
                    sound.extend(saved);
                    damaged
                }
                None => now.to_vec(),
            };
            // Once more, and each on its own: the transfer may be at fault.
            for blob in damaged {
                let start = u64::from(blob.offset);
                if let Some(bytes) = self.load(file.id, start, end_of(&blob)).await? {
                    sound.extend(self.save(start, bytes, vec![blob]).await?.0);
                }
            }
        }
        Ok(sound)
    }

    /// A range of a pack; nothing if the file does not reach that far.
    async fn load(&self, pack: Id, start: u64, end: u64) -> Result<Option<Bytes>> {
        let length = (end - start) as usize;
        let extent = Extent::Range { offset: start, length };
        let handle = Handle::new(FileType::Pack, pack);
        match self.repository.backend().load(&handle, extent).await {
            Ok(bytes) => Ok(Some(bytes).filter(|bytes| bytes.len() == length)),
            Err(error) if error.kind == BackendErrorKind::TooShort => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the blobs that are sound among those in a range; returns which, and the others.
    async fn save(
        &self,
        start: u64,
        bytes: Bytes,
        blobs: Vec<BlobEntry>,
    ) -> Result<(Vec<BlobHandle>, Vec<BlobEntry>)> {
        let packer = Arc::clone(&self.packer);
        let mut encoder = self.repository.encoder()?;
        let job = move |bench: &mut Bench| {
            let (mut sound, mut damaged) = (Vec::new(), Vec::new());
            let mut scratch = Vec::new();
            for blob in blobs {
                let begin = (u64::from(blob.offset) - start) as usize;
                let sealed = &bytes[begin..begin + blob.length as usize];
                match save_one(&packer, &mut encoder, bench, &blob, sealed, &mut scratch)? {
                    true => sound.push(blob.handle),
                    false => damaged.push(blob),
                }
            }
            Ok((sound, damaged))
        };
        self.benches.work(job).await
    }
}

/// Whether a blob is sound; then it is stored.
fn save_one(
    packer: &Packer,
    encoder: &mut Encoder,
    bench: &mut Bench,
    blob: &BlobEntry,
    sealed: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<bool> {
    let Bench { decoder, plaintext, .. } = bench;
    match decoder.decode(blob.handle, sealed, blob.uncompressed_length, plaintext) {
        Ok(()) => {
            packer.save(encoder, blob.handle, plaintext, scratch)?;
            Ok(true)
        }
        Err(Error::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn end_of(blob: &BlobEntry) -> u64 {
    u64::from(blob.offset) + u64::from(blob.length)
}
