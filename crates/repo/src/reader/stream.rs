//! Blobs in a given order, fetched ahead and decoded in parallel.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::backend::Extent;
use crate::bench::{Bench, Benches, groups};
use crate::blob::{BlobEntry, BlobHandle};
use crate::chunker;
use crate::error::Result;
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::sha256;

/// How much plaintext may be under way or waiting to be taken, in bytes. This bounds memory: the sealed
/// bytes that belong to it are at most as many again.
const BUDGET: u64 = 48 << 20;
/// When so much of that is free, more is asked for.
const ROOM: u64 = 8 << 20;
/// How many blobs may be under way: tiny ones weigh more than their bytes.
const MAX_BLOBS: usize = 8192;
/// The largest range that is read at once, in bytes: enough to hide a round trip, little enough that
/// several workers find something to do.
const MAX_RANGE: u64 = 4 << 20;
/// How many bytes nobody asked for are read along rather than asking twice. restic skips up to 1 MiB.
const MAX_GAP: u64 = 256 << 10;

/// Gives the plaintext of blobs in the order they were asked for.
///
/// Looks ahead: blobs that lie close together in a pack are fetched with one request, several requests
/// are under way at a time, and several workers decode. Every blob's MAC and SHA-256 is verified. If one
/// is damaged, its other copies are tried before it is given up.
#[derive(Debug)]
pub struct BlobStream<I> {
    repository: Repository,
    index: Arc<Index>,
    /// Still to be asked for.
    blobs: I,
    /// Whether there are none of these left.
    is_exhausted: bool,
    /// Asked for, in order.
    window: VecDeque<Slot>,
    /// The sum of their sizes.
    weight: u64,
    /// Asked for, but not being fetched yet, in order.
    waiting: Vec<Wanted>,
    fetches: JoinSet<()>,
    benches: Arc<Benches>,
}

#[derive(Debug)]
struct Slot {
    handle: BlobHandle,
    weight: u64,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// The chunk of nothing but zeros, whose content is known.
    Zeros,
    /// On its way; an error means that it must be looked for elsewhere.
    Coming(watch::Receiver<Option<Result<Bytes, ()>>>),
}

#[derive(Debug)]
struct Wanted {
    pack: Id,
    entry: BlobEntry,
    ready: watch::Sender<Option<Result<Bytes, ()>>>,
}

impl<I: Iterator<Item = BlobHandle>> BlobStream<I> {
    /// The blobs that the iterator names. It may be long: it is taken from as the stream goes on.
    pub fn new(repository: &Repository, index: Arc<Index>, blobs: I) -> Self {
        Self {
            repository: repository.clone(),
            index,
            blobs,
            is_exhausted: false,
            window: VecDeque::new(),
            weight: 0,
            waiting: Vec::new(),
            fetches: JoinSet::new(),
            benches: Arc::clone(repository.benches()),
        }
    }

    /// Asks for the first blobs, so that they are on their way when they are wanted.
    pub(crate) fn begin(&mut self) {
        self.look_ahead();
    }

    /// The next blob's plaintext, or nothing at the end. After an error the stream can go on with the
    /// blob behind it.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.look_ahead();
        let Slot { handle, weight, content } = self.window.pop_front()?;
        self.weight -= weight;
        let mut coming = match content {
            Content::Zeros => return Some(Ok(chunker::zero_chunk())),
            Content::Coming(coming) => coming,
        };
        let arrived = loop {
            tokio::select! {
                biased;
                arrived = coming.wait_for(Option::is_some) => match arrived {
                    Ok(content) => break content.clone().unwrap_or(Err(())),
                    Err(_) => break Err(()),
                },
                Some(_) = self.fetches.join_next() => self.fetch(),
            }
        };
        Some(match arrived {
            Ok(plaintext) => Ok(plaintext),
            Err(()) => self.repository.load_blob(&self.index, handle).await.map(Bytes::from),
        })
    }

    /// Fills the window, once there is room in it for a few ranges: only blobs that are known together can
    /// be fetched together. It never runs half empty, for then there would be nothing under way.
    fn look_ahead(&mut self) {
        let is_full = self.weight > BUDGET - ROOM || self.window.len() > MAX_BLOBS * 3 / 4;
        if self.is_exhausted || is_full {
            return;
        }
        let mut under_way: HashMap<BlobHandle, Content> =
            self.window.iter().map(|slot| (slot.handle, slot.content.clone())).collect();
        while self.weight < BUDGET && self.window.len() < MAX_BLOBS {
            let Some(handle) = self.blobs.next() else {
                self.is_exhausted = true;
                break;
            };
            let (content, weight) = match under_way.get(&handle) {
                Some(content) => (content.clone(), 0),
                None => self.want(handle),
            };
            under_way.insert(handle, content.clone());
            self.weight += weight;
            self.window.push_back(Slot { handle, weight, content });
        }
        self.fetch();
    }

    fn want(&mut self, handle: BlobHandle) -> (Content, u64) {
        if handle == BlobHandle::data(chunker::ZERO_CHUNK_ID) {
            return (Content::Zeros, 0);
        }
        let (ready, coming) = watch::channel(None);
        // Without a location the sender is dropped, and the blob is reported as missing in its turn.
        let weight = self.index.lookup(&handle).next().map_or(0, |location| {
            let weight = location.entry.plaintext_length().max(location.entry.length.into());
            self.waiting.push(Wanted { pack: location.pack, entry: location.entry, ready });
            weight.min(BUDGET)
        });
        (Content::Coming(coming), weight)
    }

    /// Starts as many requests as are worth having under way.
    fn fetch(&mut self) {
        let connections = self.repository.backend().properties().connections.max(1);
        // While some are being fetched, others are being asked for, and some are being decoded.
        let limit = 2 * connections + self.repository.options().workers;
        while self.fetches.len() < limit
            && let Some(range) = self.next_range()
        {
            let (repository, benches) = (self.repository.clone(), Arc::clone(&self.benches));
            self.fetches.spawn(async move {
                // Whoever waits for a blob that does not come looks for it again, and gets the error.
                let _ = range.load(repository, benches).await;
            });
        }
    }

    /// The first blob that waits, and those of the same pack that lie around it.
    fn next_range(&mut self) -> Option<Range> {
        let pack = self.waiting.first()?.pack;
        let first = self.waiting.first()?.entry;
        let mut same: Vec<usize> =
            (0..self.waiting.len()).filter(|&i| self.waiting[i].pack == pack).collect();
        same.sort_by_key(|&i| self.waiting[i].entry.offset);
        let entry = |i: usize| &self.waiting[i].entry;
        let at = same.iter().position(|&i| *entry(i) == first)?;
        let (start, mut end) = (u64::from(first.offset), end_of(&first));
        let mut chosen = vec![same[at]];
        for &i in &same[at + 1..] {
            let joins = u64::from(entry(i).offset) <= end + MAX_GAP
                && end_of(entry(i)).saturating_sub(start) <= MAX_RANGE;
            if !joins {
                break;
            }
            end = end.max(end_of(entry(i)));
            chosen.push(i);
        }
        chosen.sort_unstable();
        let mut behind = 0;
        let is_chosen = |_: &mut Wanted| {
            behind += 1;
            chosen.binary_search(&(behind - 1)).is_ok()
        };
        let mut wanted: Vec<Wanted> = self.waiting.extract_if(.., is_chosen).collect();
        wanted.sort_by_key(|wanted| wanted.entry.offset);
        Some(Range { pack, start, end, wanted })
    }
}

fn end_of(entry: &BlobEntry) -> u64 {
    u64::from(entry.offset) + u64::from(entry.length)
}

/// A part of a pack, and the blobs wanted from it.
struct Range {
    pack: Id,
    start: u64,
    end: u64,
    wanted: Vec<Wanted>,
}

impl Range {
    async fn load(self, repository: Repository, benches: Arc<Benches>) -> Result<()> {
        let length = usize::try_from(self.end - self.start).unwrap_or(usize::MAX);
        let extent = Extent::Range { offset: self.start, length };
        let handle = Handle::new(FileType::Pack, self.pack);
        let sealed = repository.backend().load(&handle, extent).await?;
        let start = self.start;
        benches
            .work(move |bench| {
                let length = |wanted: &Wanted| wanted.entry.plaintext_length();
                for group in groups(self.wanted, length) {
                    decode(bench, group, &sealed, start);
                }
                Ok(())
            })
            .await
    }
}

/// Decodes blobs that are in `sealed`, which begins at `start` in their pack.
fn decode(bench: &mut Bench, group: Vec<Wanted>, sealed: &[u8], start: u64) {
    let mut opened = Vec::with_capacity(group.len());
    for Wanted { entry, ready, .. } in group {
        let at = (u64::from(entry.offset) - start) as usize;
        match bench.open(&entry, &sealed[at..at + entry.length as usize]) {
            Ok(plaintext) => opened.push((entry.handle.id, ready, plaintext)),
            Err(_) => drop(ready.send_replace(Some(Err(())))),
        }
    }
    let contents: Vec<&[u8]> = opened.iter().map(|(.., plaintext)| &plaintext[..]).collect();
    for (found, (id, ready, plaintext)) in sha256::ids_of(&contents).into_iter().zip(opened) {
        let content = if found == id { Ok(bench.buffers.share(plaintext)) } else { Err(()) };
        ready.send_replace(Some(content));
    }
}
