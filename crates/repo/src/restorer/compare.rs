//! Which blobs of a file are there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::OFlags;

use crate::blob::BlobType;
use crate::chunker;
use crate::id::Id;
use crate::progress::Phase;
use crate::restorer::Site;

/// How much one thread looks at before it takes the next piece, in bytes.
const PIECE: u64 = 16 << 20;

/// A file that should have this content.
pub(super) struct Comparison<'a> {
    /// Where, in the snapshot.
    pub path: &'a Path,
    pub content: &'a [Id],
    /// The length of each blob in bytes.
    pub lengths: &'a [u64],
}

/// For each file, and each of its blobs, whether it is there. One that cannot be read is not. All
/// threads look at all files, since there may be one large or many small ones.
pub(super) fn compare(
    site: &Site,
    files: &[Comparison<'_>],
    phase: Option<Phase>,
) -> Vec<Vec<bool>> {
    let pieces: Vec<Piece> = files.iter().enumerate().flat_map(pieces).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        let mut buffer = Vec::new();
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed))
            && !site.stopped()
        {
            let there = look_at(site, &files[piece.file], piece, &mut buffer);
            if let Some(phase) = phase {
                site.progress.advance(phase, piece.length);
            }
            found.push((piece, there));
        }
        found
    };
    let mut result: Vec<Vec<bool>> =
        files.iter().map(|file| vec![false; file.content.len()]).collect();
    thread::scope(|scope| {
        let threads = site.workers.min(pieces.len());
        let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for thread in threads {
            match thread.join() {
                Ok(found) => all.extend(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        for (piece, there) in all {
            result[piece.file][piece.first..][..there.len()].copy_from_slice(&there);
        }
    });
    result
}

/// Some blobs of a file, one after the other.
struct Piece {
    file: usize,
    /// The number of the first blob, and where it begins.
    first: usize,
    offset: u64,
    count: usize,
    length: u64,
}

fn pieces((file, comparison): (usize, &Comparison<'_>)) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut piece = Piece { file, first: 0, offset: 0, count: 0, length: 0 };
    for &length in comparison.lengths {
        piece.count += 1;
        piece.length = piece.length.saturating_add(length);
        if piece.length >= PIECE {
            let first = piece.first + piece.count;
            let offset = piece.offset.saturating_add(piece.length);
            pieces.push(std::mem::replace(
                &mut piece,
                Piece { file, first, offset, count: 0, length: 0 },
            ));
        }
    }
    if piece.count > 0 {
        pieces.push(piece);
    }
    pieces
}

fn look_at(
    site: &Site,
    comparison: &Comparison<'_>,
    piece: &Piece,
    buffer: &mut Vec<u8>,
) -> Vec<bool> {
    let blobs = piece.first..piece.first + piece.count;
    let Ok(file) = open(site, comparison.path) else { return vec![false; piece.count] };
    let mut offset = piece.offset;
    let (content, lengths) = (&comparison.content[blobs.clone()], &comparison.lengths[blobs]);
    content
        .iter()
        .zip(lengths)
        .map(|(id, &length)| {
            let at = offset;
            offset = offset.saturating_add(length);
            is_there(&file, at, length, *id, buffer)
        })
        .collect()
}

fn open(site: &Site, path: &Path) -> io::Result<File> {
    site.target.place(path)?.open_file(OFlags::RDONLY)
}

fn is_there(file: &File, offset: u64, length: u64, id: Id, buffer: &mut Vec<u8>) -> bool {
    let Ok(length) = usize::try_from(length) else { return false };
    if length > BlobType::Data.size_limit() {
        return false;
    }
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let buffer = &mut buffer[..length];
    if file.read_exact_at(buffer, offset).is_err() {
        return false;
    }
    if id == chunker::ZERO_CHUNK_ID {
        return length == chunker::MIN_SIZE && chunker::is_zero(buffer);
    }
    Id::of(buffer) == id
}
