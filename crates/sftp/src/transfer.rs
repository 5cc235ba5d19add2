//! The bytes of one file, with many requests under way.
//!
//! A request that waits for the one before it costs a round trip for every 32 KiB. So a window of
//! requests is kept full, and memory for no more than the window.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use restic_repo::buffers::Buffers;

use crate::failure::Failure;
use crate::session::File;

/// Bytes that one transfer asks for ahead.
const READ_WINDOW: usize = 4 << 20;

/// Bytes that one transfer writes before the first of them is acknowledged. OpenSSH's server takes 2 MiB
/// before it wants to be waited for.
const WRITE_WINDOW: usize = 2 << 20;

/// Memory that is taken at once for a range. More of it when there is data for it: the range may be
/// nonsense.
const FIRST_MEMORY: usize = 32 << 20;

/// Reads exactly a range.
pub(crate) async fn read(
    file: &File,
    offset: u64,
    length: usize,
    buffers: &Buffers,
) -> Result<Bytes, Failure> {
    // The protocol has no files that are longer; servers do not say so in the same way.
    let end = offset.checked_add(length as u64).filter(|&end| i64::try_from(end).is_ok());
    let Some(end) = end else { return Err(Failure::TooShort(u64::MAX)) };
    file.unless_over(read_pieces(file, offset, length, end, buffers)).await
}

async fn read_pieces(
    file: &File,
    offset: u64,
    length: usize,
    end: u64,
    buffers: &Buffers,
) -> Result<Bytes, Failure> {
    let piece = file.session().pieces().await?.read as usize;
    if length <= piece {
        return Ok(read_piece(file, offset, length, end).await?.into());
    }
    let pieces = stream::iter((0..length).step_by(piece))
        .map(|start| read_piece(file, offset + start as u64, piece.min(length - start), end));
    let mut pieces = std::pin::pin!(pieces.buffered((READ_WINDOW / piece).max(2)));
    let no_memory = || Failure::NoMemory(length as u64);
    let mut data = buffers.take_empty(length.min(FIRST_MEMORY)).map_err(|_| no_memory())?;
    while let Some(piece) = pieces.try_next().await? {
        if data.capacity() - data.len() < piece.len() {
            let wanted = data.len().max(piece.len()).min(length - data.len());
            data.try_reserve_exact(wanted).map_err(|_| no_memory())?;
        }
        data.extend_from_slice(&piece);
    }
    Ok(buffers.share(data))
}

/// Reads exactly these bytes of a range that ends there. A server may give less than it is asked for.
async fn read_piece(file: &File, offset: u64, length: usize, end: u64) -> Result<Vec<u8>, Failure> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut data = file.read(offset, length as u32).await?;
    let mut short = data.is_empty();
    while data.len() < length && !short {
        let rest = file.read(offset + data.len() as u64, (length - data.len()) as u32).await?;
        short = rest.is_empty();
        data.extend_from_slice(&rest);
    }
    if short { Err(Failure::TooShort(end)) } else { Ok(data) }
}

/// Writes all of it. The order in which pieces arrive does not matter: each has its place.
///
/// `behind` asks for what is to be done with the file then. Its requests follow those of the last piece
/// without waiting for what becomes of that: a server does what concerns one file in the order in which it
/// is asked to.
pub(crate) async fn write<'a>(
    file: &'a File,
    data: &'a [u8],
    behind: BoxFuture<'a, Result<(), Failure>>,
) -> Result<(), Failure> {
    file.unless_over(write_pieces(file, data, behind)).await
}

async fn write_pieces<'a>(
    file: &'a File,
    data: &'a [u8],
    behind: BoxFuture<'a, Result<(), Failure>>,
) -> Result<(), Failure> {
    let piece = file.session().pieces().await?.write as usize;
    let window = (WRITE_WINDOW / piece).max(2);
    let mut starts = (0..data.len()).step_by(piece);
    let mut behind = Some(behind);
    // What is new in it is begun in this order.
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < window {
            let next = match starts.next() {
                Some(start) => {
                    let end = data.len().min(start + piece);
                    Some(file.write(start as u64, &data[start..end]).boxed())
                }
                None => behind.take(),
            };
            let Some(next) = next else { break };
            asked.push(next);
        }
        match asked.next().await {
            Some(done) => done?,
            None => return Ok(()),
        }
    }
}
