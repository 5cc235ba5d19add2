//! The bytes of one file, with many requests under way.
//!
//! A request that waits for the one before it costs a round trip for every 32 KiB. So a window of
//! requests is kept full, and memory for no more than the window.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

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
pub(crate) async fn read(file: &File, offset: u64, length: usize) -> Result<Bytes, Failure> {
    // The protocol has no files that are longer; servers do not say so in the same way.
    let end = offset.checked_add(length as u64).filter(|&end| i64::try_from(end).is_ok());
    let Some(end) = end else { return Err(Failure::TooShort(u64::MAX)) };
    file.unless_over(read_pieces(file, offset, length, end)).await
}

async fn read_pieces(file: &File, offset: u64, length: usize, end: u64) -> Result<Bytes, Failure> {
    let piece = file.session().offers().read as usize;
    if length <= piece {
        return Ok(read_piece(file, offset, length, end).await?.into());
    }
    let pieces = stream::iter((0..length).step_by(piece))
        .map(|start| read_piece(file, offset + start as u64, piece.min(length - start), end));
    let mut pieces = std::pin::pin!(pieces.buffered((READ_WINDOW / piece).max(2)));
    let no_memory = |_| Failure::NoMemory(length as u64);
    let mut data = Vec::new();
    data.try_reserve_exact(length.min(FIRST_MEMORY)).map_err(no_memory)?;
    while let Some(piece) = pieces.try_next().await? {
        if data.capacity() - data.len() < piece.len() {
            let wanted = data.len().max(piece.len()).min(length - data.len());
            data.try_reserve_exact(wanted).map_err(no_memory)?;
        }
        data.extend_from_slice(&piece);
    }
    Ok(data.into())
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
pub(crate) async fn write(file: &File, data: &[u8]) -> Result<(), Failure> {
    let piece = file.session().offers().write as usize;
    let pieces = stream::iter((0..data.len()).step_by(piece)).map(|start| {
        let end = data.len().min(start + piece);
        file.write(start as u64, &data[start..end])
    });
    let pieces = pieces.buffer_unordered((WRITE_WINDOW / piece).max(2));
    file.unless_over(pieces.try_collect()).await
}
