//! A file that is being read, by one worker or several.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::archiver::walk::Leaf;
use crate::chunker::{self, Chunk, Cutter, Source};
use crate::error::{Error, Result};
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

/// What a worker got.
pub(super) enum Piece {
    /// A chunk, in the worker's buffer. To be given back by [`OpenFile::stored`].
    Data {
        /// Its place in the file.
        at: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// So many chunks of zeros, which need nothing more than that the zero chunk is stored.
    Zeros(u64),
    /// There is nothing left to cut off.
    End,
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

    /// Cuts off the next chunk, into `buffer`.
    ///
    /// # Errors
    /// What reading died of. The file is given up then.
    pub fn cut(&self, buffer: &mut Vec<u8>) -> Result<Piece> {
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = cutter.as_mut() else { return Ok(Piece::End) };
        // The place in the file is taken before another worker may cut.
        match open.next(buffer) {
            Ok(Some(Chunk::Data(data))) => {
                let length = data.len();
                let mut state = self.lock();
                let at = state.content.len();
                state.content.push(Id::default());
                state.size += length as u64;
                state.in_work += 1;
                Ok(Piece::Data { at, length })
            }
            Ok(Some(chunk @ Chunk::Zeros(count))) => {
                let mut state = self.lock();
                let size = chunk.size();
                let length = state.content.len().saturating_add(count as usize);
                state.content.resize(length, chunker::ZERO_CHUNK_ID);
                state.size += size;
                Ok(Piece::Zeros(count))
            }
            Ok(None) => {
                *cutter = None;
                self.lock().ended = true;
                Ok(Piece::End)
            }
            Err(error) => {
                *cutter = None;
                let mut state = self.lock();
                state.ended = true;
                state.failed = true;
                Err(Error::io("read", &self.leaf.path, error))
            }
        }
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
