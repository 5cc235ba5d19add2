//! Pieces from many places, fetched in few large reads.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::chain::{Chain, Layer};
use crate::error::{Error, Result};
use crate::extent::{Extent, Place};
use crate::qcow2::compressed::decompress;
use crate::source::within;

/// Two pieces of a file that are this close to each other, in bytes, are read at once: a request costs more than
/// that, and where files are made of chunks of about a mebibyte, the same chunk has both.
const GAP: u64 = 128 << 10;

/// No read becomes larger than this because pieces are close, in bytes.
const LARGE: u64 = 4 << 20;

/// How many reads run at a time for one fetch.
const CONCURRENCY: usize = 4;

/// What is to be fetched, and where in the buffer it goes.
pub(crate) struct Piece {
    pub at: usize,
    pub extent: Extent,
}

/// A part of a file that holds what some pieces need.
struct Read {
    file: usize,
    start: u64,
    end: u64,
    /// Which of the sorted pieces.
    pieces: std::ops::Range<usize>,
}

/// Fetches pieces into a buffer of `length` bytes. What no piece fills is zeros.
pub(crate) async fn fetch(chain: &Chain, length: usize, mut pieces: Vec<Piece>) -> Result<Bytes> {
    pieces.retain(|piece| host_range(&piece.extent).is_some());
    if let [Piece { at: 0, extent: Extent { length: filled, place, .. } }] = pieces[..]
        && filled == length as u64
        && let Place::Stored { file, host } = place
    {
        // Nothing to put together.
        let bytes = chain.files()[file].read(host, length).await?;
        if bytes.len() == length {
            return Ok(bytes);
        }
        let mut padded = Vec::from(bytes);
        padded.resize(length, 0);
        return Ok(padded.into());
    }

    let mut buffer = vec![0; length];
    fill(chain, &mut buffer, pieces).await?;
    Ok(buffer.into())
}

/// Fetches pieces into a buffer of zeros.
pub(crate) async fn fill(chain: &Chain, buffer: &mut [u8], mut pieces: Vec<Piece>) -> Result<()> {
    pieces.sort_unstable_by_key(|piece| host_range(&piece.extent));
    let pieces = &pieces[..];
    let mut reads = stream::iter(reads(pieces))
        .map(|read| async move {
            let length = (read.end - read.start) as usize;
            let bytes = chain.files()[read.file].read(read.start, length).await?;
            Ok::<_, Error>((read, bytes))
        })
        .buffer_unordered(CONCURRENCY);
    while let Some((read, bytes)) = reads.try_next().await? {
        for piece in &pieces[read.pieces] {
            let target = &mut buffer[piece.at..][..piece.extent.length as usize];
            match piece.extent.place {
                Place::Stored { host, .. } => {
                    let stored = part(&bytes, host - read.start, target.len());
                    target[..stored.len()].copy_from_slice(stored);
                }
                Place::Compressed { file, host, length, within } => {
                    let stored = part(&bytes, host - read.start, length as usize);
                    unpack(chain, file, stored, within, target)?;
                }
                Place::Hole | Place::Zero => {}
            }
        }
    }
    Ok(())
}

/// Puts sorted pieces together to reads.
fn reads(pieces: &[Piece]) -> Vec<Read> {
    let mut reads: Vec<Read> = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let Some((file, start, end)) = host_range(&piece.extent) else { continue };
        match reads.last_mut() {
            Some(last)
                if last.file == file
                    && start <= last.end.saturating_add(GAP)
                    && (end <= last.end || end - last.start <= LARGE) =>
            {
                last.end = last.end.max(end);
                last.pieces.end = i + 1;
            }
            _ => reads.push(Read { file, start, end, pieces: i..i + 1 }),
        }
    }
    reads
}

/// Which part of which file a piece needs.
fn host_range(extent: &Extent) -> Option<(usize, u64, u64)> {
    match extent.place {
        Place::Hole | Place::Zero => None,
        Place::Stored { file, host } => Some((file, host, host.saturating_add(extent.length))),
        Place::Compressed { file, host, length, .. } => {
            Some((file, host, host.saturating_add(length.into())))
        }
    }
}

/// A part of what was read; less where the file ended.
fn part(bytes: &[u8], start: u64, length: usize) -> &[u8] {
    let length = within(bytes.len() as u64, start, length);
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    &bytes[start..start + length]
}

/// The part of a compressed cluster that begins `within` it.
fn unpack(chain: &Chain, file: usize, stored: &[u8], within: u64, target: &mut [u8]) -> Result<()> {
    let damaged = || Error::damaged(file, "a compressed cluster cannot be decompressed");
    let Layer::Qcow2(qcow2) = &chain.layers()[file] else { return Err(damaged()) };
    let header = &qcow2.header;
    let cluster = decompress(header.compression, stored, header.cluster_size() as usize);
    let cluster = cluster.ok_or_else(damaged)?;
    let wanted = cluster.get(within as usize..).and_then(|rest| rest.get(..target.len()));
    target.copy_from_slice(wanted.ok_or_else(damaged)?);
    Ok(())
}
