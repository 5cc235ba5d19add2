//! Reading a pack's header, and nothing else of the pack.

use crate::backend::{BackendErrorKind, Extent, FileInfo};
use crate::blob::BlobEntry;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::pack::{self, HeaderError, TRAILER_LENGTH};
use crate::repository::Repository;

/// How much is read at first, in bytes: the headers of most data packs, at the price of one request.
const GUESS: u64 = 8 << 10;

/// The blobs that a pack's header names, in order. `file` is the pack as listed.
///
/// # Errors
/// The outer one is the storage's; the inner one says that there is no header to be had.
pub(crate) async fn load(
    repository: &Repository,
    file: FileInfo,
) -> Result<Result<Vec<BlobEntry>, HeaderError>> {
    match attempt(repository, file).await {
        // Once more: the transfer may be at fault.
        Ok(Err(_)) => attempt(repository, file).await,
        other => other,
    }
}

async fn attempt(
    repository: &Repository,
    file: FileInfo,
) -> Result<Result<Vec<BlobEntry>, HeaderError>> {
    let Some(mut tail) = load_tail(repository, file, GUESS).await? else {
        return Ok(Err(HeaderError::TooShort));
    };
    let length = match pack::header_length(&tail, file.size) {
        Ok(length) => length,
        Err(error) => return Ok(Err(error)),
    };
    let needed = u64::from(length) + TRAILER_LENGTH as u64;
    if needed > tail.len() as u64 {
        match load_tail(repository, file, needed).await? {
            Some(longer) => tail = longer,
            None => return Ok(Err(HeaderError::TooShort)),
        }
    }
    let end = tail.len().saturating_sub(TRAILER_LENGTH);
    let Some(start) = end.checked_sub(length as usize) else {
        return Ok(Err(HeaderError::WrongLength(length)));
    };
    let blobs_length = file.size.saturating_sub(needed);
    Ok(pack::parse_header(repository.key(), &tail[start..end], blobs_length).and_then(|entries| {
        // Version 1 knows no compression: an index with such blobs is read by nobody.
        let is_foreign =
            repository.config().version == 1 && entries.iter().any(|entry| entry.is_compressed());
        if is_foreign { Err(HeaderError::Malformed) } else { Ok(entries) }
    }))
}

/// The last so many bytes, or all if there are fewer; nothing if the file is not as long as listed.
async fn load_tail(
    repository: &Repository,
    file: FileInfo,
    length: u64,
) -> Result<Option<bytes::Bytes>> {
    let length = length.min(file.size);
    let extent = Extent::Range { offset: file.size - length, length: length as usize };
    match repository.backend().load(&Handle::new(FileType::Pack, file.id), extent).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == BackendErrorKind::TooShort => Ok(None),
        Err(error) => Err(Error::Backend(error)),
    }
}
