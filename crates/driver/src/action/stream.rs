//! `stream`: a disk out of a backup, on standard output. This is the command that `restic_downloader` tells
//! OpenNebula to run.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use restic_repo::dump::{self, Sink};
use restic_repo::index::Index;
use restic_repo::lock::Gate;
use restic_repo::snapshot::Snapshot;
use virtual_disk::{Chain, Source};

use crate::action::archive::write_archive;
use crate::action::repository::{AT_ONCE, BackupRepository};
use crate::disk_source::BackupFile;
use crate::exit::{Failure, Result};
use crate::gated_output::GatedOutput;
use crate::opennebula::api::Api;
use crate::opennebula::datastore::{Datastore, RepositoryId};
use crate::opennebula::disk_file::{DiskFile, TPM};
use crate::opennebula::url::Url;
use crate::session::{Intent, Session};

/// How long to wait while somebody else has the repository for himself: as long as upstream does.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How much memory the files of a chain share for what they have read, in bytes.
const CACHE: u64 = 64 << 20;

/// What each of them gets at least.
const LEAST_CACHE: u64 = 4 << 20;

/// Writes a disk to standard output: a file as it is, or several increments as one disk that stands on no
/// other. Disks in Ceph's format come as an archive.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let disk = Disk::find(session, arguments).await?;
    let mut repository = disk.open(session).await?;
    repository.session.settings.retry_lock = PATIENCE;
    let write = async |gate: Gate| {
        let files = disk.files(&repository).await?;
        let index = repository.index().await?;
        write(&repository, &index, &disk, &files, GatedOutput::stdout(gate)?).await
    };
    repository.session.gated(&repository.repository, Intent::Read, write).await
}

/// A disk in a backup.
pub struct Disk {
    /// Where it is.
    pub url: Url,
    datastore: Datastore,
}

/// A file of a disk.
pub struct File {
    /// The snapshot that it is in.
    pub snapshot: Arc<Snapshot>,
    /// Its path there.
    pub path: String,
    /// Its name.
    pub name: String,
    is_rbd: bool,
}

impl Disk {
    /// The disk at a URL, the only argument. OpenNebula is asked about the datastore.
    pub async fn find(session: &Session, arguments: &[String]) -> Result<Self> {
        let [url] = arguments else {
            return Err(Failure::new("the URL of a disk in a backup is needed, and nothing else"));
        };
        let url = Url::parse(url)?;
        url.disk()?;
        url.vm()?;
        let datastore = Api::of(&session.environment)?.datastore(url.datastore).await?;
        Ok(Self { url, datastore })
    }

    /// Opens the repository that it is in.
    pub async fn open(&self, session: &Session) -> Result<BackupRepository> {
        let id = RepositoryId::new(self.url.vm()?, self.url.job);
        BackupRepository::open(session, &self.datastore, id).await
    }

    /// The files that it is made of, in the order of the increments.
    pub async fn files(&self, repository: &BackupRepository) -> Result<Vec<File>> {
        let disk = self.url.disk()?;
        let mut files = Vec::new();
        for snapshot in repository.snapshots(&self.url.increments).await? {
            let snapshot = Arc::new(snapshot);
            let found = DiskFile::among(&snapshot.paths).filter(|file| file.disk == disk);
            files.extend(found.map(|file| File {
                snapshot: Arc::clone(&snapshot),
                path: file.path.to_owned(),
                name: file.name().to_owned(),
                is_rbd: file.is_rbd(),
            }));
        }
        if disk == TPM {
            // Each backup has all of it.
            files = files.split_off(files.len().saturating_sub(1));
        }
        match files.is_empty() {
            true => Err(Failure::new(format_args!("the backup has no disk {disk}: {}", self.url))),
            false => Ok(files),
        }
    }
}

async fn write(
    repository: &BackupRepository,
    index: &Arc<Index>,
    disk: &Disk,
    files: &[File],
    out: GatedOutput,
) -> Result {
    if disk.url.is_rbd || files.iter().any(|file| file.is_rbd) {
        return write_archive(repository, index, files, out).await;
    }
    if let [file] = files {
        let node = repository.file(index, &file.snapshot, &file.path).await?;
        let path = std::path::Path::new(&file.path);
        let dumped = dump::dump_file(&repository.repository, Arc::clone(index), path, &node, out);
        return dumped.await.map(drop).map_err(GatedOutput::failure);
    }
    let chain = chain(repository, index, files).await?;
    let mut sink = Sink::new(out);
    let mut pieces = pin!(chain.stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| unreadable(files, &error))?;
        sink.write(piece).await.map_err(GatedOutput::failure)?;
    }
    sink.finish().await.map(drop).map_err(GatedOutput::failure)
}

/// Several increments as one disk.
async fn chain(repository: &BackupRepository, index: &Arc<Index>, files: &[File]) -> Result<Chain> {
    let cache = (CACHE / files.len() as u64).max(LEAST_CACHE);
    let sources = files.iter().map(async |file| {
        let node = repository.file(index, &file.snapshot, &file.path).await?;
        let reader = repository.reader(index, &node, &file.path, cache)?;
        Ok::<_, Failure>(Arc::new(BackupFile::new(reader)) as Arc<dyn Source>)
    });
    let sources = stream::iter(sources).buffered(AT_ONCE).try_collect().await?;
    Chain::open(sources).await.map_err(|error| unreadable(files, &error))
}

fn unreadable(files: &[File], error: &virtual_disk::Error) -> Failure {
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    let cause =
        std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    Failure::new(format_args!(
        "the increments {} cannot be put together: {error}{cause}; run check on the repository to see what \
         else is damaged",
        names.join(", ")
    ))
}
