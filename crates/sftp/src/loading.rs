//! Reading a file, or a part of it.

use std::sync::Arc;

use bytes::Bytes;
use restic_repo::Handle;
use restic_repo::backend::Extent;
use restic_repo::buffers::Buffers;

use crate::failure::Failure;
use crate::session::{File, Permit, Session};
use crate::transfer;
use crate::turns::Turns;

/// Files above this size in bytes are transfers, of which only so many run at once. Smaller ones, a lock
/// above all, do not wait for them.
pub(crate) const SMALL: usize = 64 << 10;

/// One load, as far as one session carries it.
pub(crate) struct Loading<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) handle: &'a Handle,
    pub(crate) extent: Extent,
    pub(crate) path: &'a str,
    pub(crate) turns: &'a Turns,
    pub(crate) buffers: &'a Buffers,
    /// Leave to have the file open.
    pub(crate) permit: &'a Permit,
}

/// What was loaded.
pub(crate) struct Loaded {
    pub(crate) content: Bytes,
    /// The file's type and permissions, as on Unix.
    pub(crate) mode: Option<u32>,
}

impl Loading<'_> {
    /// Loads it.
    pub(crate) async fn run(&self) -> Result<Loaded, Failure> {
        // One round trip for both.
        let open = self.session.open(self.path, Arc::clone(self.permit));
        let ((size, mode), mut file) = tokio::try_join!(stat_file(self.session, self.path), open)?;
        let content = match self.extent {
            Extent::Range { offset, length } => self.range(&mut file, size, offset, length).await?,
            Extent::Whole => self.whole(&mut file, size).await?,
        };
        file.end_turn();
        Ok(Loaded { content, mode })
    }

    async fn range(
        &self,
        file: &mut File,
        size: u64,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Failure> {
        // Before there is memory for it: the range may be nonsense.
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(Failure::TooShort(offset.saturating_add(length as u64)));
        }
        self.transfer(file, length).await?;
        let _burden = self.session.burden(length as u64);
        transfer::read(file, offset, length, self.buffers).await
    }

    async fn whole(&self, file: &mut File, mut size: u64) -> Result<Bytes, Failure> {
        loop {
            if size > self.handle.file_type.size_limit() {
                return Err(Failure::TooLarge(size));
            }
            let length = usize::try_from(size).map_err(|_| Failure::NoMemory(size))?;
            self.transfer(file, length).await?;
            let _burden = self.session.burden(size);
            let read = transfer::read(file, 0, length, self.buffers);
            let (stat, content) = tokio::join!(file.stat(), read);
            // What was opened may be younger than what was measured.
            match stat?.size {
                Some(found) if found != size => size = found,
                _ => return content,
            }
        }
    }

    /// Waits until so much may be transferred. Until all of it has come, or the file is closed, nobody else
    /// has this turn.
    async fn transfer(&self, file: &mut File, length: usize) -> Result<(), Failure> {
        // Not while it has one: there may be no other.
        file.end_turn();
        if length > SMALL {
            file.begin_turn(self.turns.transfer().await?);
        }
        Ok(())
    }
}

/// The size and mode of what has to be a regular file.
pub(crate) async fn stat_file(
    session: &Session,
    path: &str,
) -> Result<(u64, Option<u32>), Failure> {
    let stat = session.stat(path).await?;
    if !stat.is_file() {
        if stat.is_pipe() {
            // Whoever opens it makes the server wait for ever.
            session.end("a pipe in the repository has blocked it");
        }
        return Err(Failure::NotAFile);
    }
    match stat.size {
        Some(size) => Ok((size, stat.mode)),
        None => Err(Failure::Nonsense("a file without a size".to_owned())),
    }
}
