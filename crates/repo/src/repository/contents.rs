//! All snapshots, and the whole index: what most commands begin with.

use futures_util::{StreamExt, future, stream};

use crate::backend::FileInfo;
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::Index;
use crate::progress::{Phase, Progress, Warning};
use crate::repository::Repository;
use crate::repository::intake::Intake;
use crate::snapshot::Snapshot;

impl Repository {
    /// All snapshots, each with what loading it came to, in the order of their times. One that was
    /// removed between listing and loading is left out.
    pub async fn load_snapshots(
        &self,
        progress: &dyn Progress,
    ) -> Result<Vec<(Id, Result<Snapshot>)>> {
        let files = self.list(FileType::Snapshot).await?;
        Ok(self.load_listed(files, progress).await)
    }

    async fn load_listed(
        &self,
        files: Vec<FileInfo>,
        progress: &dyn Progress,
    ) -> Vec<(Id, Result<Snapshot>)> {
        progress.begin(Phase::LoadSnapshots, Some(files.len() as u64));
        let width = self.parallel_requests();
        let mut snapshots: Vec<_> = stream::iter(files)
            .map(|file| async move { (file.id, self.load_snapshot(file.id).await) })
            .buffer_unordered(width)
            .inspect(|_| progress.advance(Phase::LoadSnapshots, 1))
            .filter(|(_, loaded)| std::future::ready(!is_gone(loaded)))
            .collect()
            .await;
        progress.end(Phase::LoadSnapshots);
        snapshots
            .sort_by_key(|(id, loaded)| (loaded.as_ref().ok().map(|snapshot| snapshot.time), *id));
        snapshots
    }

    /// All snapshots that can be read; those that cannot are warned of.
    pub async fn readable_snapshots(&self, progress: &dyn Progress) -> Result<Vec<(Id, Snapshot)>> {
        Ok(readable(self.load_snapshots(progress).await?, progress))
    }

    /// As [`Self::readable_snapshots`], and the whole index: what these snapshots need is in it.
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub async fn readable_snapshots_and_index(
        &self,
        progress: &dyn Progress,
    ) -> Result<(Vec<(Id, Snapshot)>, Index)> {
        let (snapshots, index) = self.load_snapshots_and_index(progress).await?;
        Ok((readable(snapshots, progress), index))
    }

    /// As [`Self::load_snapshots`], and the whole index: what these snapshots need is in it.
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub async fn load_snapshots_and_index(
        &self,
        progress: &dyn Progress,
    ) -> Result<(Vec<(Id, Result<Snapshot>)>, Index)> {
        // The index is listed after the snapshots: what one needs is in the index before the snapshot is there.
        // They need not be loaded by then.
        let files = self.list(FileType::Snapshot).await?;
        let (snapshots, index_files) =
            future::join(self.load_listed(files, progress), self.list(FileType::Index)).await;
        let index = self.load_index_files(index_files?, progress).await?;
        Ok((snapshots, index))
    }

    /// The whole index.
    ///
    /// # Errors
    /// Any index file that cannot be read: without it, blobs would seem to be missing.
    pub async fn load_index(&self, progress: &dyn Progress) -> Result<Index> {
        self.load_index_files(self.list(FileType::Index).await?, progress).await
    }

    async fn load_index_files(
        &self,
        files: Vec<FileInfo>,
        progress: &dyn Progress,
    ) -> Result<Index> {
        progress.begin(Phase::LoadIndex, Some(files.len() as u64));
        let intake = Intake::new(self);
        let add = |file: FileInfo| {
            let intake = &intake;
            async move { intake.add(&file).await }
        };
        let mut added = stream::iter(files).map(add).buffer_unordered(intake.width());
        while let Some(result) = added.next().await {
            result?;
            progress.advance(Phase::LoadIndex, 1);
        }
        drop(added);
        progress.end(Phase::LoadIndex);
        let index = intake.finish().await?;
        if let Some(cache) = self.cache() {
            cache.learn(&index).await;
        }
        Ok(index)
    }
}

/// The snapshots that could be loaded; the others are warned of.
fn readable(loaded: Vec<(Id, Result<Snapshot>)>, progress: &dyn Progress) -> Vec<(Id, Snapshot)> {
    let mut readable = Vec::with_capacity(loaded.len());
    for (id, loaded) in loaded {
        match loaded {
            Ok(snapshot) => readable.push((id, snapshot)),
            Err(error) => {
                let handle = Handle::new(FileType::Snapshot, id);
                progress.warn(&Warning::Damaged { handle, error: &error });
            }
        }
    }
    readable
}

fn is_gone<T>(loaded: &Result<T>) -> bool {
    loaded.as_ref().is_err_and(Error::is_not_found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::backend::fault::{Fault, Operation};
    use crate::handle::FileType;
    use crate::progress::Silent;
    use crate::workshop::Workshop;

    #[tokio::test]
    async fn the_index_is_looked_for_after_the_snapshots_that_need_it() {
        let workshop = Workshop::new().await;
        let snapshots = [workshop.snapshot_of(vec![]).await, workshop.snapshot_of(vec![]).await];
        let fault = Arc::new(Fault::new(workshop.mem.clone()));
        let repository = workshop.repository.with_backend(Arc::clone(&fault) as _);
        let (found, index) = repository.readable_snapshots_and_index(&Silent).await.unwrap();
        assert!(found.iter().all(|(id, _)| snapshots.contains(id)) && found.len() == 2);
        assert_eq!(index.files().count(), 2);
        let calls = fault.calls();
        let lists = calls.iter().filter(|call| call.operation == Operation::List);
        let lists: Vec<_> = lists.map(|call| call.file_type.unwrap()).collect();
        assert_eq!(lists, [FileType::Snapshot, FileType::Index]);
    }
}
