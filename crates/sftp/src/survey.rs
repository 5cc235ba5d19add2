//! What an operator needs to know of a server at once.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use restic_repo::backend::{Backend, BackendError, BackendErrorKind};
use restic_repo::{FileType, Handle};

use crate::backend::{FOLDERS, Sftp, error};
use crate::connect::Facts;
use crate::failure::Failure;

/// A server as it was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survey {
    /// Who it is, and how we got in. Of the connection that was opened last.
    pub facts: Facts,
    /// What it can do beyond the protocol, of what we use.
    pub extensions: Vec<&'static str>,
    /// How long the shortest of some questions took to be answered.
    pub round_trip: Duration,
    /// Bytes that can still be stored, where the server tells.
    pub free: Option<u64>,
}

/// How many questions are asked to find the round trip.
const QUESTIONS: usize = 5;

impl Sftp {
    /// Looks at the server. The repository's folder needs to be there.
    pub async fn survey(&self) -> Result<Survey, BackendError> {
        let lost = |failure| error("look at the server", None, failure);
        let session = self.pool().session().await.map_err(lost)?;
        let mut round_trip = Duration::MAX;
        for _ in 0..QUESTIONS {
            let asked = Instant::now();
            session.lstat(self.layout().root()).await.map_err(lost)?;
            round_trip = round_trip.min(asked.elapsed());
        }
        let facts = self
            .facts()
            .ok_or_else(|| lost(Failure::Lost("nothing is known of the connection".to_owned())))?;
        let extensions = session.offers().names();
        Ok(Survey { facts, extensions, round_trip, free: self.free_space().await? })
    }

    /// Removes a repository: its files, and the folders that are empty then.
    ///
    /// # Errors
    /// What cannot be removed, as a folder in which somebody else has put something.
    pub async fn demolish(&self) -> Result<(), BackendError> {
        for file_type in FileType::ALL {
            let files = self.list(file_type).await?;
            let handles = files.into_iter().map(|file| Handle::new(file_type, file.id));
            let removals =
                stream::iter(handles).map(|handle| async move { self.remove(&handle).await });
            removals.buffer_unordered(FOLDERS).try_collect::<()>().await?;
        }
        match self.remove(&Handle::CONFIG).await {
            Err(BackendError { kind: BackendErrorKind::NotFound, .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        let lost = |failure| error("remove a folder", None, failure);
        let session = &self.pool().session().await.map_err(lost)?;
        let remove = |path: String| async move { session.remove_folder(&path).await };
        let packs =
            stream::iter(0..=u8::MAX).map(|prefix| remove(self.layout().pack_folder(prefix)));
        packs.buffer_unordered(FOLDERS).try_collect::<()>().await.map_err(lost)?;
        for file_type in FileType::ALL.into_iter().filter(|&kind| kind != FileType::Config) {
            remove(self.layout().folder_of(file_type)).await.map_err(lost)?;
        }
        remove(self.layout().root().to_owned()).await.map_err(lost)
    }
}
