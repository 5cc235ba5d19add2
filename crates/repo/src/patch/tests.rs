//! What a patch gives is what reading everything again gives.

#![allow(clippy::single_range_in_vec_init)] // a list with one range is meant

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::archiver::Backup;
use crate::chunker::{self, Cutter, MAX_SIZE, MIN_SIZE, ReadSource, ZERO_CHUNK_ID};
use crate::identity::Identity;
use crate::packer::Added;
use crate::progress::Silent;
use crate::reader::FileReader;
use crate::walk::find_path;
use crate::workshop::{Workshop, noise};

/// New content that is in memory.
struct Memory {
    content: Vec<u8>,
    /// The first byte that cannot be read.
    broken_from: u64,
    read: Mutex<Vec<Range<u64>>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Memory {
    fn new(content: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            content: content.to_vec(),
            broken_from: u64::MAX,
            read: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Changed for Memory {
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let now = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(now, Ordering::Relaxed);
        tokio::task::yield_now().await;
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        let range = offset..offset + length as u64;
        if range.end > self.broken_from {
            return Err(Error::io("read", "the increment", std::io::ErrorKind::TimedOut.into()));
        }
        self.read.lock().unwrap().push(range.clone());
        let (start, end) = (range.start as usize, range.end as usize);
        Ok(Bytes::copy_from_slice(&self.content[start..end]))
    }
}

/// The chunks of all of the content, and where each begins.
fn chunks_of(repository: &Repository, content: &[u8]) -> Vec<(u64, Id)> {
    let chunker = Arc::new(Chunker::new(repository.config().chunker_polynomial).unwrap());
    let mut cutter = Cutter::new(ReadSource(content), chunker);
    let (mut chunks, mut buffer) = (Vec::new(), Vec::new());
    let mut start = 0;
    while let Some(chunk) = cutter.next(&mut buffer).unwrap() {
        match chunk {
            chunker::Chunk::Data(data) => chunks.push((start, Id::of(data))),
            chunker::Chunk::Zeros(count) => {
                chunks.extend((0..count).map(|n| (start + n * MIN_SIZE as u64, ZERO_CHUNK_ID)))
            }
        }
        start = cutter.position();
    }
    chunks
}

/// A repository with one file in it.
struct Stage {
    workshop: Workshop,
    old: Vec<u8>,
    chunks: Vec<(u64, Id)>,
}

impl Stage {
    async fn new(old: Vec<u8>) -> Self {
        let workshop = Workshop::new().await;
        let repository = &workshop.repository;
        let content = Box::new(std::io::Cursor::new(old.clone()));
        let backup = Backup::of_stream("/disk".into(), content, Identity::current());
        let index = repository.load_index(&Silent).await.unwrap();
        let outcome = backup.run(repository, index, Arc::new(Silent)).await.unwrap();
        let index = Arc::new(repository.load_index(&Silent).await.unwrap());
        let tree = outcome.snapshot.tree;
        let node = find_path(repository, &index, tree, "/disk".as_ref()).await.unwrap();
        let chunks = chunks_of(repository, &old);
        let ids: Vec<Id> = chunks.iter().map(|(_, id)| *id).collect();
        assert_eq!(node.content, Some(ids));
        Self { workshop, old, chunks }
    }

    async fn patch(
        &self,
        length: usize,
        ranges: Vec<Range<u64>>,
        changed: Arc<dyn Changed>,
    ) -> Result<(Patched, Added)> {
        let repository = &self.workshop.repository;
        let index = Arc::new(repository.load_index(&Silent).await?);
        let packer = Arc::new(Packer::new(repository, index, false));
        let old = self.chunks.iter().map(|(_, id)| *id).collect();
        let patch = Patch { old, length: length as u64, ranges, changed };
        let patched = patch.write(repository, &packer, &Silent).await?;
        let added = Arc::into_inner(packer).expect("all threads have ended").finish().await?;
        Ok((patched, added))
    }

    /// Patches, and compares with what reading all of it gives: the chunks, what was read and what was stored.
    async fn check(&self, new: &[u8], ranges: Vec<Range<u64>>) -> Patched {
        let repository = &self.workshop.repository;
        let changed = Memory::new(new);
        let (patched, added) =
            self.patch(new.len(), ranges.clone(), Arc::clone(&changed) as _).await.unwrap();
        let expected = chunks_of(repository, new);
        let ids: Vec<Id> = expected.iter().map(|(_, id)| *id).collect();
        assert_eq!(patched.content, ids);
        assert_eq!(patched.size, new.len() as u64);
        assert_eq!(patched.reread, self.needed(new.len() as u64, &ranges, &expected));
        let known: HashSet<Id> = self.chunks.iter().map(|(_, id)| *id).collect();
        let fresh: HashSet<Id> = ids.into_iter().filter(|id| !known.contains(id)).collect();
        assert_eq!(added.data_blobs, fresh.len() as u64);
        let read: u64 = changed.read.lock().unwrap().iter().map(|r| r.end - r.start).sum();
        assert_eq!(read, ranges.iter().map(|r| r.end - r.start).sum::<u64>());

        let index = Arc::new(repository.load_index(&Silent).await.unwrap());
        let reader = FileReader::new(repository, index, patched.content.clone(), 0).unwrap();
        assert!(reader.read_at(0, new.len()).await.unwrap() == new);
        patched
    }

    /// The bytes of old chunks that nobody can do without: of those that a change touches, and of those
    /// on whose beginning no cut falls.
    fn needed(&self, length: u64, ranges: &[Range<u64>], expected: &[(u64, Id)]) -> u64 {
        let cuts: HashSet<u64> = expected.iter().map(|(start, _)| *start).collect();
        let old_length = self.old.len() as u64;
        let ends = self.chunks.iter().skip(1).map(|(start, _)| *start).chain([old_length]);
        let chunks = self.chunks.iter().zip(ends).map(|((start, id), end)| (*start, end, *id));
        let is_needed = |&(start, end, id): &(u64, u64, Id)| {
            let reached = end.min(length);
            let changed: u64 =
                ranges.iter().map(|r| r.end.min(reached).saturating_sub(r.start.max(start))).sum();
            let moved = end > length || (end == old_length && length != old_length);
            let unknown = id != ZERO_CHUNK_ID || changed > 0;
            start < length
                && changed < reached - start
                && unknown
                && (changed > 0 || moved || !cuts.contains(&start))
        };
        chunks.filter(is_needed).map(|(start, end, _)| end - start).sum()
    }
}

fn changed_at(old: &[u8], length: usize, changes: &[(Range<u64>, Vec<u8>)]) -> Vec<u8> {
    let mut new = old.to_vec();
    new.resize(length, 0);
    for (range, bytes) in changes {
        new[range.start as usize..range.end as usize].copy_from_slice(bytes);
    }
    new
}

/// A stretch of what disks hold: noise, zeros, or one byte for ever.
fn stretch() -> impl Strategy<Value = (u32, usize)> {
    (0..5u32, 0..3_000_000usize)
}

fn content(stretches: &[(u32, usize)], seed: u32) -> Vec<u8> {
    let bytes = |(kind, length): &(u32, usize), number| match kind {
        0 => vec![0; *length],
        1 => vec![7; *length],
        _ => noise(number, *length),
    };
    let stretches = stretches.iter().zip(seed..);
    stretches.flat_map(|(stretch, number)| bytes(stretch, number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever changes wherever, a patch gives the chunks of the whole, and reads no chunk without need.
    #[test]
    fn a_patch_gives_what_reading_everything_gives(
        stretches in prop::collection::vec(stretch(), 1..6),
        length in 0.0..1.3f64,
        changes in prop::collection::vec((0.0..1.0f64, 0..4u32, 0..200_000usize), 0..8),
    ) {
        let old = content(&stretches, 1000);
        let length = if length > 0.4 && length < 1.0 { old.len() } else {
            (old.len() as f64 * length) as usize
        };
        let mut ranges: Vec<(Range<u64>, Vec<u8>)> = Vec::new();
        let mut changes = changes;
        changes.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (number, (place, kind, size)) in (5000..).zip(changes) {
            let reached = ranges.last().map_or(0, |(range, _)| range.end);
            let start = ((length as f64 * place) as u64).max(reached);
            let end = (start + size as u64).min(length as u64);
            let bytes = content(&[(kind, (end - start) as usize)], number);
            ranges.push((start..end, bytes));
        }
        let new = changed_at(&old, length, &ranges);
        let ranges = ranges.into_iter().map(|(range, _)| range).collect();
        runtime().block_on(async {
            Stage::new(old).await.check(&new, ranges).await;
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[tokio::test]
async fn without_changes_nothing_is_read() {
    let stage = Stage::new(noise(1, 5_000_000)).await;
    let new = stage.old.clone();
    assert_eq!(stage.check(&new, Vec::new()).await.reread, 0);
}

#[tokio::test]
async fn a_small_change_costs_the_chunk_that_it_is_in() {
    let stage = Stage::new(noise(2, 12_000_000)).await;
    // In the middle of a chunk in the middle, and as that chunk ends so does the new one.
    let middle = stage.chunks.len() / 2;
    let (start, end) = (stage.chunks[middle].0, stage.chunks[middle + 1].0);
    let change = (start + 1000..start + 1100, noise(3, 100));
    let new = changed_at(&stage.old, stage.old.len(), std::slice::from_ref(&change));
    let patched = stage.check(&new, vec![change.0]).await;
    assert_eq!(patched.reread, end - start);
}

#[tokio::test]
async fn a_file_is_made_of_nothing_but_changes() {
    let stage = Stage::new(Vec::new()).await;
    let new = noise(4, 5_000_000);
    let length = new.len() as u64;
    assert_eq!(stage.check(&new, vec![0..length]).await.reread, 0);
}

#[tokio::test]
async fn a_file_is_extended_with_zeros() {
    let stage = Stage::new(noise(5, 3_000_000)).await;
    let new = changed_at(&stage.old, 30_000_000, &[]);
    stage.check(&new, Vec::new()).await;
}

#[tokio::test]
async fn cuts_that_never_fall_in_step_again_are_made_to_the_end() {
    // One byte for ever is cut at the greatest length, so every later cut moves.
    let stage = Stage::new(vec![7; 5 * MAX_SIZE + 1000]).await;
    let change = (3 << 20..(3 << 20) + 2_000_000, noise(6, 2_000_000));
    let new = changed_at(&stage.old, stage.old.len(), std::slice::from_ref(&change));
    stage.check(&new, vec![change.0]).await;
}

#[tokio::test]
async fn changes_are_read_several_at_a_time() {
    let stage = Stage::new(noise(7, 20_000_000)).await;
    let changes: Vec<_> = (1..19u64).map(|n| n << 20..(n << 20) + 65_536).collect();
    let memory = Memory::new(&stage.old);
    let length = stage.old.len();
    stage.patch(length, changes, Arc::clone(&memory) as _).await.unwrap();
    assert!(memory.most_at_once.load(Ordering::Relaxed) > 4);
}

#[tokio::test]
async fn what_the_source_says_is_what_the_caller_gets() {
    let stage = Stage::new(noise(8, 8_000_000)).await;
    let memory = Memory::new(&stage.old);
    let broken = Memory { broken_from: 6_000_000, ..Arc::into_inner(memory).unwrap() };
    let changes = vec![100..200, 5_500_000..6_100_000];
    let failed = stage.patch(8_000_000, changes, Arc::new(broken)).await;
    let is_timeout = |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut);
    assert!(failed.as_ref().is_err_and(is_timeout), "{failed:?}");
}

#[tokio::test]
async fn a_source_that_gives_too_little_is_an_error() {
    struct Short;
    #[async_trait]
    impl Changed for Short {
        async fn read_at(&self, _: u64, length: usize) -> Result<Bytes> {
            Ok(Bytes::from(vec![1; length - 1]))
        }
    }
    let stage = Stage::new(noise(9, 1_000_000)).await;
    let failed = stage.patch(1_000_000, vec![5..10], Arc::new(Short)).await;
    assert!(matches!(failed, Err(Error::Refused(_))), "{failed:?}");
}

#[tokio::test]
async fn a_damaged_chunk_ends_the_patch() {
    let stage = Stage::new(noise(10, 4_000_000)).await;
    let repository = &stage.workshop.repository;
    let index = repository.load_index(&Silent).await.unwrap();
    let first = index.lookup(&crate::BlobHandle::data(stage.chunks[0].1)).next().unwrap();
    stage.workshop.alter_pack(first.pack, |pack| pack[first.entry.offset as usize + 40] ^= 1);
    let failed = stage.patch(4_000_000, vec![5..10], Memory::new(&stage.old)).await;
    assert!(matches!(failed, Err(Error::Damaged { .. })), "{failed:?}");
}

#[tokio::test]
async fn a_patch_that_is_dropped_ends() {
    struct Stuck;
    #[async_trait]
    impl Changed for Stuck {
        async fn read_at(&self, _: u64, _: usize) -> Result<Bytes> {
            std::future::pending().await
        }
    }
    let stage = Stage::new(noise(11, 4_000_000)).await;
    let stuck: Arc<dyn Changed> = Arc::new(Stuck);
    {
        let patching = stage.patch(4_000_000, vec![5..10], Arc::clone(&stuck));
        tokio::pin!(patching);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(50), &mut patching);
        assert!(waiting.await.is_err());
    }
    // Whoever still read would hold the source.
    while Arc::strong_count(&stuck) > 1 {
        tokio::task::yield_now().await;
    }
}
