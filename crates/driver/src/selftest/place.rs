//! Where the scratch repository is, and what is to be said of that place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future;
use restic_repo::backend::local::Local;
use restic_repo::backend::{Backend, Extent};
use restic_repo::{FileType, Handle, Id, crypto};
use restic_sftp::{Facts, Sftp, Survey};
use tempfile::TempDir;

use crate::exit::{Failure, Result};
use crate::location::Location;
use crate::report::number;
use crate::session::Session;
use crate::storage;

/// A place for a repository, empty when it is made.
pub enum Place {
    /// A folder of this machine, removed when this is dropped.
    Folder(TempDir),
    /// A folder of a server, removed by [`Place::remove`].
    Server(Sftp),
}

/// The beginning of the scratch folder's name.
const PREFIX: &str = "one-restic-selftest-";
/// Files that are sent to a server at once to find its rate, and their size in bytes: that of a pack.
const FILES: usize = 4;
const FILE_SIZE: usize = 16 << 20;

impl Place {
    /// A place beside the repository that the options name, else in `scratch`.
    pub async fn beside_repository(session: &Session, scratch: &Path) -> Result<Self> {
        let unwritable =
            |error| Failure::new(format_args!("cannot make a scratch folder: {error}"));
        if !session.settings.access.has_location() {
            return Ok(Self::Folder(tempfile::tempdir_in(scratch).map_err(unwritable)?));
        }
        match session.settings.access.location()? {
            Location::Local(path) => {
                let path = std::path::absolute(path).map_err(unwritable)?;
                let parent = path.parent().unwrap_or(&path);
                let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
                Ok(Self::Folder(folder.map_err(unwritable)?))
            }
            Location::Sftp(mut location) => {
                let mut random = [0; 4];
                crypto::fill_random(&mut random).map_err(Failure::new)?;
                let name = format!("{PREFIX}{:08x}", u32::from_ne_bytes(random));
                let beside = PathBuf::from(&location.path).with_file_name(name);
                location.path = beside.to_string_lossy().into_owned();
                let settings = &session.settings;
                let (terminal, servers) = (&session.terminal, &session.servers);
                Ok(Self::Server(storage::connect(&location, settings, terminal, servers).await?))
            }
        }
    }

    /// The storage there.
    pub fn backend(&self) -> Arc<dyn Backend> {
        match self {
            Self::Folder(folder) => Arc::new(Local::new(folder.path())),
            Self::Server(server) => Arc::new(server.clone()),
        }
    }

    /// Tells what there is to know of a server, and how fast it is. The folders have to be made.
    pub async fn describe(&self, session: &Session) -> Result {
        let Self::Server(server) = self else { return Ok(()) };
        let Survey { facts, extensions, round_trip, free, .. } = server.survey().await?;
        let note = |text: String| session.terminal.note(text);
        for host in &facts.over {
            note(format!("over {}", sentence(host)));
        }
        note(sentence(&facts));
        note(format!("  key exchange {}, cipher {}", facts.key_exchange, facts.cipher));
        note(match extensions.is_empty() {
            true => "  no extensions of SFTP: what is stored is not synced to the disk".to_owned(),
            false => format!("  SFTP with {}", extensions.join(", ")),
        });
        note(format!("  round trip {:.1} ms", 1e3 * round_trip.as_secs_f64()));
        if let Some(free) = free {
            note(format!("  {} free", number::bytes(free)));
        }
        let (up, down) = rates(server).await?;
        let rate = |took: Duration| {
            let bytes = (FILES * FILE_SIZE) as f64;
            number::bytes((bytes / took.as_secs_f64().max(1e-3)) as u64)
        };
        note(format!("  upload {}/s, download {}/s, {FILES} files at once", rate(up), rate(down)));
        Ok(())
    }

    /// Removes the repository again.
    pub async fn remove(self) -> Result {
        match self {
            Self::Folder(folder) => folder.close().map_err(|error| {
                Failure::new(format_args!("the scratch folder could not be removed: {error}"))
            }),
            Self::Server(server) => Ok(server.demolish().await?),
        }
    }
}

fn sentence(facts: &Facts) -> String {
    format!(
        "{} as {}: {}, host key {}, let in by {}",
        facts.server, facts.user, facts.version, facts.host_key, facts.login
    )
}

/// How long it takes to store some files of noise, and to read them back. They are gone then.
async fn rates(server: &Sftp) -> Result<(Duration, Duration)> {
    let mut files = Vec::with_capacity(FILES);
    for _ in 0..FILES {
        let mut noise = vec![0; FILE_SIZE];
        crypto::fill_random(&mut noise).map_err(Failure::new)?;
        files.push((Handle::new(FileType::Pack, Id::of(&noise)), Bytes::from(noise)));
    }
    let begun = Instant::now();
    future::try_join_all(files.iter().map(|(handle, data)| server.save(handle, data.clone())))
        .await?;
    let up = begun.elapsed();
    let begun = Instant::now();
    let loads = files.iter().map(|(handle, _)| server.load(handle, Extent::Whole));
    let loaded = future::try_join_all(loads).await?;
    let down = begun.elapsed();
    if !loaded.iter().zip(&files).all(|(loaded, (_, data))| loaded == data) {
        return Err(Failure::new(
            "what was read back from the server is not what was stored; suspect its memory or its disks",
        ));
    }
    future::try_join_all(files.iter().map(|(handle, _)| server.remove(handle))).await?;
    Ok((up, down))
}
