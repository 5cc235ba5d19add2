//! A file that is being read, by one worker or several.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::archiver::walk::Leaf;
use crate::chunker::{self, Chunk, Cutter, Source};
use crate::error::Error;
use crate::id::Id;
use crate::node::Node;

/// A file whose chunks are being stored. Cutting is one worker's business at a time; what is cut off is
/// worked on by as many as there are.
pub(super) struct OpenFile {
    /// Where it is, and where it goes.
    pub leaf: Leaf,
    /// It, in the parent snapshot.
    pub before: Option<Node>,
    /// Nothing once the end is reached.
    cutter: Mutex<Option<Cutter<Box<dyn Source + Send>>>>,
    state: Mutex<State>,
}

struct State {
    node: Option<Node>,
    content: Vec<Id>,
    size: u64,
    /// Chunks that were cut off and are not stored yet.
    in_work: usize,
    ended: bool,
    failed: bool,
    added: u64,
    stored: u64,
}

/// Room for the chunks that a worker cuts off at a time: two hashes at a time take less than two.
pub(super) type Room = [Vec<u8>; 2];

/// What a worker got.
pub(super) struct Cut {
    /// Chunks, in the worker's buffers: the place of each in the file, and its length in bytes. Each is
    /// to be given back by [`OpenFile::stored`].
    pub chunks: Vec<(usize, usize)>,
    /// How many chunks of zeros came along, which need nothing more than that the zero chunk is stored.
    pub zeros: u64,
    /// What comes behind these.
    pub rest: Rest,
}

/// What is behind the chunks that were cut off.
pub(super) enum Rest {
    /// More to be cut off.
    More,
    /// Nothing.
    End,
    /// Something that cannot be read. The file is given up.
    Unreadable(Error),
}

/// A file all of whose chunks are stored.
pub(super) struct Finished {
    /// Its node, complete.
    pub node: Node,
    /// Bytes of plaintext that were new.
    pub added: u64,
    /// Bytes stored for them.
    pub stored: u64,
}

impl OpenFile {
    /// A file about to be read from `source`.
    pub fn new(
        leaf: Leaf,
        node: Node,
        before: Option<Node>,
        cutter: Cutter<Box<dyn Source + Send>>,
    ) -> Self {
        let state = State {
            node: Some(node),
            content: Vec::new(),
            size: 0,
            in_work: 0,
            ended: false,
            failed: false,
            added: 0,
            stored: 0,
        };
        Self { leaf, before, cutter: Mutex::new(Some(cutter)), state: Mutex::new(state) }
    }

    /// Cuts off the next chunks.
    pub fn cut(&self, room: &mut Room) -> Cut {
        let mut cut = Cut { chunks: Vec::with_capacity(room.len()), zeros: 0, rest: Rest::More };
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        for buffer in room {
            let next = match cutter.as_mut() {
                Some(open) => open.next(buffer),
                None => Ok(None),
            };
            // The place in the file is taken before another worker may cut.
            let mut state = self.lock();
            match next {
                Ok(Some(Chunk::Data(data))) => {
                    state.size += data.len() as u64;
                    cut.chunks.push((state.content.len(), data.len()));
                    state.content.push(Id::default());
                    state.in_work += 1;
                }
                Ok(Some(chunk @ Chunk::Zeros(count))) => {
                    let length = state.content.len().saturating_add(count as usize);
                    state.content.resize(length, chunker::ZERO_CHUNK_ID);
                    state.size += chunk.size();
                    cut.zeros = count;
                    break;
                }
                Ok(None) => {
                    *cutter = None;
                    state.ended = true;
                    cut.rest = Rest::End;
                    break;
                }
                Err(error) => {
                    *cutter = None;
                    state.ended = true;
                    state.failed = true;
                    let error = Error::io("read", &self.leaf.path, error);
                    cut.rest = Rest::Unreadable(error);
                    break;
                }
            }
        }
        cut
    }

    /// A chunk is stored.
    pub fn stored(&self, at: usize, id: Id, added: u64, stored: u64) {
        let mut state = self.lock();
        state.content[at] = id;
        state.in_work -= 1;
        state.added += added;
        state.stored += stored;
    }

    /// The finished file, or nothing if it was given up; for the one caller who comes when everything
    /// is done. Others get `None`.
    pub fn finish(&self) -> Option<Option<Finished>> {
        let mut state = self.lock();
        if !state.ended || state.in_work > 0 {
            return None;
        }
        let mut node = state.node.take()?;
        if state.failed {
            return Some(None);
        }
        node.content = Some(std::mem::take(&mut state.content));
        node.size = state.size;
        Some(Some(Finished { node, added: state.added, stored: state.stored }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
