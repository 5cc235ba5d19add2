//! What is fuzzed of `virtual-disk`: as in `targets.rs`, a function for what reads bytes.

#![allow(dead_code, reason = "a fuzz target uses one of these, the test on stable Rust all")]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::StreamExt;
use virtual_disk::{Chain, Source, commit};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder in the corpus.
pub const ALL: &[(&str, Target)] = &[("qcow2", qcow2)];

/// A disk that is larger than this is only looked at here and there, in bytes.
const SMALL: u64 = 4 << 20;

/// Two files, the length of the first in two bytes before them: a disk and a change to it. Both are a chain or
/// an error, and so is the second alone.
///
/// What is streamed is the same disk, and so is a commit that changes nothing; a commit's changes are in order
/// and in the file.
pub fn qcow2(bytes: &[u8]) {
    let Some((length, files)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(files.len());
    let files = Bytes::copy_from_slice(files);
    let (first, second) = (files.slice(..length), files.slice(length..));
    let first: Arc<dyn Source> = Arc::new(first);
    let second: Arc<dyn Source> = Arc::new(second);
    for sources in [vec![Arc::clone(&first), Arc::clone(&second)], vec![second]] {
        if let Ok(chain) = wait(Chain::open(sources)) {
            read(&chain);
            stream(&chain);
            merge(&chain);
        }
    }
}

/// What is asked for is had, or an error.
fn read(chain: &Chain) {
    let size = chain.virtual_size();
    for offset in [0, size / 2, size.saturating_sub(70_000), size, u64::MAX] {
        if let Ok(read) = wait(chain.read_at(offset, 100_000)) {
            assert_eq!(read.len() as u64, size.saturating_sub(offset).min(100_000));
        }
    }
}

/// What is streamed is the same disk.
fn stream(chain: &Chain) {
    let mut pieces = pin!(chain.stream());
    let mut streamed = Vec::new();
    while let Some(piece) = wait(pieces.next()) {
        let Ok(piece) = piece else { return };
        streamed.extend_from_slice(&piece);
        if streamed.len() as u64 > 2 * SMALL {
            return;
        }
    }
    let streamed: Arc<dyn Source> = Arc::new(Bytes::from(streamed));
    let again = wait(Chain::open(vec![streamed])).expect("what we stream, we read");
    assert_eq!(again.virtual_size(), chain.virtual_size());
    for offset in (0..chain.virtual_size().min(SMALL)).step_by(1 << 20) {
        let expected = wait(chain.read_at(offset, 1 << 20)).expect("it was streamed");
        let found = wait(again.read_at(offset, 1 << 20)).expect("what we stream, we read");
        assert!(found == expected, "another disk was streamed");
    }
}

/// A commit's changes are in order, within the file, and can be had or are errors.
fn merge(chain: &Chain) {
    let Ok(plan) = wait(commit::plan(chain)) else { return };
    let mut end = 0;
    for (number, range) in plan.changes().iter().enumerate() {
        assert!(number == 0 || end < range.start, "changes are not in order, or touch");
        assert!(range.start < range.end && range.end <= plan.len(), "a change is behind the end");
        end = range.end;
        let length = (range.end - range.start).min(1 << 20) as usize;
        if let Ok(read) = wait(plan.read_at(range.start, length)) {
            assert_eq!(read.len(), length);
        }
    }
}

/// Runs what is async to its end. In memory, nothing is waited for.
fn wait<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}
