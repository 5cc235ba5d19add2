//! A repository of a backup datastore, to look something up in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use restic_repo::backend::FileInfo;
use restic_repo::index::Index;
use restic_repo::node::Node;
use restic_repo::reader::FileReader;
use restic_repo::repository::Repository;
use restic_repo::snapshot::Snapshot;
use restic_repo::{Error, FileType, walk};

use crate::exit::{ExitCode, Failure, Result};
use crate::lineage;
use crate::opennebula::datastore::{Datastore, RepositoryId};
use crate::opennebula::description::{self, Description};
use crate::opennebula::disk_file;
use crate::opennebula::increments::{Increment, Increments, SHORT_ID};
use crate::report::counters::Counters;
use crate::session::Session;

/// How long an action waits for somebody else's lock: as long as upstream tries.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How many increments are looked for at a time. One after the other, each costs a few round trips.
pub const AT_ONCE: usize = 16;

/// A repository of a datastore, open.
pub struct BackupRepository {
    /// How to work with it.
    pub session: Session,
    /// It.
    pub repository: Repository,
    id: RepositoryId,
    datastore: u64,
}

impl BackupRepository {
    /// Opens a repository of a datastore.
    pub async fn open(session: &Session, datastore: &Datastore, id: RepositoryId) -> Result<Self> {
        let mut session = session.for_repository(datastore, &id)?;
        session.settings.retry_lock = LOCK_PATIENCE;
        let opened = session.open().await;
        let repository = opened.map_err(|failure| match failure.code() {
            ExitCode::NoRepository => Failure::with_code(
                ExitCode::NoRepository,
                format_args!(
                    "datastore {} has no repository {id} ({}); there is no backup in it",
                    datastore.id,
                    datastore.location(&id)
                ),
            ),
            ExitCode::WrongPassword => Failure::with_code(
                ExitCode::WrongPassword,
                format_args!(
                    "wrong password for repository {id} of datastore {}; check RESTIC_PASSWORD, which \
                     must be the one that the repository was made with",
                    datastore.id
                ),
            ),
            _ => failure,
        })?;
        Ok(Self { session, repository, id, datastore: datastore.id })
    }

    /// Its name in the datastore.
    pub fn id(&self) -> &RepositoryId {
        &self.id
    }

    /// The index of all blobs.
    pub async fn index(&self) -> Result<Arc<Index>> {
        let counters = Counters::new(Arc::clone(&self.session.terminal));
        Ok(Arc::new(self.repository.load_index(&counters).await?))
    }

    /// Reads something small without a lock, so that nobody has to be waited for. Should a prune remove
    /// meanwhile what is being read, it is elsewhere, and the second try finds it.
    pub async fn look<T>(&self, read: impl AsyncFn(Arc<Index>) -> Result<T>) -> Result<T> {
        match read(self.index().await?).await {
            Ok(found) => Ok(found),
            Err(_) => read(self.index().await?).await,
        }
    }

    /// The snapshots that hold some increments, in their order. Fewer than there are increments, if some were
    /// merged without OpenNebula having heard of it.
    pub async fn snapshots(&self, increments: &Increments) -> Result<Vec<Snapshot>> {
        let files = self.repository.list(FileType::Snapshot).await?;
        let own = increments.as_slice().iter().map(|increment| self.own(&files, increment));
        let found: Vec<_> = stream::iter(own).buffered(AT_ONCE).try_collect().await?;
        match increments.as_slice().iter().zip(&found).find(|(_, snapshot)| snapshot.is_none()) {
            Some((missing, _)) => self.merged(increments, missing).await,
            None => Ok(found.into_iter().flatten().collect()),
        }
    }

    /// The snapshot that holds the last of some increments.
    pub async fn newest(&self, increments: &Increments) -> Result<Snapshot> {
        let files = self.repository.list(FileType::Snapshot).await?;
        let last = increments.last();
        if let Some(snapshot) = self.own(&files, last).await? {
            return Ok(snapshot);
        }
        let merged = self.merged(increments, last).await?.pop();
        merged.ok_or_else(|| self.why(last))
    }

    /// The snapshot of an increment itself, if it is among these files.
    async fn own(&self, files: &[FileInfo], increment: &Increment) -> Result<Option<Snapshot>> {
        let ids = files.iter().map(|file| file.id);
        match restic_repo::snapshot::find_id(FileType::Snapshot, ids, &increment.snapshot) {
            Ok(id) => Ok(Some(self.repository.load_snapshot(id).await?)),
            Err(Error::NoMatch { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The snapshots that hold increments of which one is missing.
    async fn merged(&self, increments: &Increments, missing: &Increment) -> Result<Vec<Snapshot>> {
        let counters = Counters::new(Arc::clone(&self.session.terminal));
        let snapshots = self.repository.readable_snapshots(&counters).await?;
        let found = lineage::resolve(&snapshots, increments.as_slice());
        let found = found.map_err(|error| match error.is_missing() {
            true => self.why(missing),
            false => error.into(),
        })?;
        Ok(found.into_iter().map(|(_, snapshot)| snapshot.clone()).collect())
    }

    /// The file at a path in a snapshot.
    pub async fn file(&self, index: &Arc<Index>, snapshot: &Snapshot, path: &str) -> Result<Node> {
        Ok(walk::find_path(&self.repository, index, snapshot.tree, Path::new(path)).await?)
    }

    /// What a snapshot says about the VM.
    pub async fn description(
        &self,
        index: &Arc<Index>,
        snapshot: &Snapshot,
    ) -> Result<Description> {
        let path = disk_file::description(&snapshot.paths).ok_or_else(|| {
            Failure::new("the backup has no description of its VM (vm.xml), so it was not made by OpenNebula")
        })?;
        Description::decode(&self.read(index, snapshot, path, description::MAX_LENGTH).await?)
    }

    /// The content of a file, which must not be longer than `limit` bytes.
    pub async fn read(
        &self,
        index: &Arc<Index>,
        snapshot: &Snapshot,
        path: &str,
        limit: u64,
    ) -> Result<Vec<u8>> {
        let node = self.file(index, snapshot, path).await?;
        let reader = self.reader(index, &node, path, 0)?;
        if reader.len() > limit {
            return Err(Failure::new(format_args!(
                "{path} in the backup has {} bytes, which is more than it can be",
                reader.len()
            )));
        }
        Ok(reader.read_at(0, usize::try_from(reader.len()).unwrap_or(0)).await?.to_vec())
    }

    /// A reader of a file, which keeps `cache` bytes.
    pub fn reader(
        &self,
        index: &Arc<Index>,
        node: &Node,
        path: &str,
        cache: u64,
    ) -> Result<FileReader> {
        let content = restic_repo::dump::content(node, Path::new(path))?.to_vec();
        Ok(FileReader::new(&self.repository, Arc::clone(index), content, cache)?)
    }

    /// Why there is no snapshot for an increment.
    fn why(&self, increment: &Increment) -> Failure {
        let Increment { id, snapshot } = increment;
        let short = &snapshot[..SHORT_ID.min(snapshot.len())];
        let (repository, datastore) = (&self.id, self.datastore);
        let elsewhere = match repository.is_of_job() {
            true => "somebody has removed it",
            false => {
                "a backup job may have stored it in the repository of the job (job_N beside this one), \
                 or somebody has removed it"
            }
        };
        Failure::new(format_args!(
            "Backup does not contain any disks: increment {id} is snapshot {short}, which is not in \
             repository {repository} of datastore {datastore}; {elsewhere}"
        ))
    }
}
