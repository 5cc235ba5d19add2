//! The main job from end to end, on a scratch repository: does this machine, and the way to its storage,
//! bring data back?

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use restic_repo::archiver::{self, Backup};
use restic_repo::backend::Backend;
use restic_repo::checker::{self, ReadData};
use restic_repo::key::{Password, ScryptParams};
use restic_repo::lock::{Lock, LockKind, LockOptions};
use restic_repo::progress::Silent;
use restic_repo::repository::{InitOptions, Repository};
use restic_repo::restorer::Restore;
use restic_repo::snapshot::Snapshot;
use restic_repo::{Id, crypto};
use tempfile::TempDir;

use crate::exit::{Failure, Result};
use crate::report::number;
use crate::session::Session;

use place::Place;

mod place;

/// A trial, ready to run. What it makes on this machine is removed when it is dropped, what it makes on
/// a server when it has run.
pub struct Trial<'a> {
    session: &'a Session,
    repository: Repository,
    sources: Vec<PathBuf>,
    /// The image, if we made it and so may change it.
    own: Option<PathBuf>,
    /// Where restored files go.
    scratch: TempDir,
    /// Where the repository is.
    place: Place,
}

/// The size of the image that is made where none is given, in bytes.
const IMAGE_SIZE: u64 = 512 << 20;
/// It is made and changed in pieces of this size.
const PIECE: usize = 64 << 10;

impl<'a> Trial<'a> {
    /// Makes a scratch repository, beside the one that the options name or in a temporary folder, and
    /// an image unless some are given.
    pub async fn prepare(session: &'a Session, disks: Vec<PathBuf>) -> Result<Self> {
        let unwritable =
            |error| Failure::new(format_args!("cannot make a scratch folder: {error}"));
        let scratch = tempfile::Builder::new()
            .prefix("one-restic-selftest-")
            .tempdir()
            .map_err(unwritable)?;
        let place = Place::beside_repository(session, scratch.path()).await?;
        let (sources, own) = match disks.is_empty() {
            true => {
                let image = scratch.path().join("disk.raw");
                session.terminal.note(format!(
                    "making a disk image of {}: programs, noise and holes",
                    number::bytes(IMAGE_SIZE)
                ));
                make_image(&image).map_err(|error| {
                    Failure::new(format_args!("cannot make a disk image: {error}"))
                })?;
                (vec![image.clone()], Some(image))
            }
            false => (disks, None),
        };
        let repository = scratch_repository(session, place.backend()).await?;
        Ok(Self { session, repository, sources, own, scratch, place })
    }

    /// Backs up, changes, backs up again, restores, compares and checks.
    pub async fn run(self) -> Result {
        let options = LockOptions {
            keepers: self.session.keepers.clone(),
            ..LockOptions::new(self.session.identity())
        };
        let lock = Lock::acquire(&self.repository, LockKind::Shared, &options).await?;
        let result = lock.protect(self.steps()).await;
        let released = lock.release().await;
        let removed = self.place.remove().await;
        result?;
        released?;
        removed?;
        self.session.terminal.print("selftest passed: what went in came back, bit for bit");
        Ok(())
    }

    async fn steps(&self) -> Result {
        let terminal = &self.session.terminal;
        self.place.describe(self.session).await?;
        let (first, took) = self.back_up(None).await?;
        let summary = first.1.summary.clone().unwrap_or_default();
        self.tell("first backup", summary.total_bytes_processed, took);
        terminal.note(format!(
            "  {} of new data, stored as {} ({} of it)",
            number::bytes(summary.data_added),
            number::bytes(summary.data_added_packed),
            number::percent(summary.data_added_packed, summary.data_added.max(1)),
        ));
        if let Some(image) = &self.own {
            change_image(image)
                .map_err(|error| Failure::new(format_args!("cannot change the image: {error}")))?;
        }
        let (second, took) = self.back_up(Some(first)).await?;
        let summary = second.1.summary.clone().unwrap_or_default();
        self.tell("second backup", summary.total_bytes_processed, took);
        terminal.note(format!(
            "  {} of {} were known already",
            number::bytes(summary.total_bytes_processed.saturating_sub(summary.data_added)),
            number::bytes(summary.total_bytes_processed),
        ));
        self.restore(&second.1).await?;
        self.check().await
    }

    async fn back_up(&self, parent: Option<(Id, Snapshot)>) -> Result<((Id, Snapshot), Duration)> {
        let started = Instant::now();
        let index = self.repository.load_index(&Silent).await?;
        let mut backup = Backup::of_paths(self.sources.clone(), self.session.identity());
        backup.parent = parent;
        // Read again also what seems unchanged: reading is what is tried here.
        backup.ignored = restic_repo::node::Ignored::default();
        let archiver::Outcome { id, snapshot, unreadable } =
            backup.run(&self.repository, index, Arc::new(Silent)).await?;
        match id {
            Some(id) if unreadable == 0 => Ok(((id, snapshot), started.elapsed())),
            _ => Err(Failure::new("some of the sources could not be read")),
        }
    }

    async fn restore(&self, snapshot: &Snapshot) -> Result {
        let target = self.scratch.path().join("restored");
        let started = Instant::now();
        let index = Arc::new(self.repository.load_index(&Silent).await?);
        let mut restore = Restore::new(target.clone());
        restore.sparse = true;
        let outcome = restore.run(&self.repository, index, snapshot.tree, Arc::new(Silent)).await?;
        if outcome.errors > 0 {
            return Err(Failure::new(format_args!("{} errors while restoring", outcome.errors)));
        }
        self.tell("restore", outcome.total_bytes, started.elapsed());
        let started = Instant::now();
        let mut compared = 0;
        for source in &self.sources {
            let restored = target.join(in_snapshot(source)?);
            compared += compare(source, &restored)?;
        }
        self.tell("compare", compared, started.elapsed());
        Ok(())
    }

    async fn check(&self) -> Result {
        let started = Instant::now();
        let options = checker::Options { read_data: ReadData::All, ..Default::default() };
        let report = checker::check(&self.repository, &options, Arc::new(Silent)).await?;
        match report.problems.first() {
            None => {
                self.tell("check, all data read", report.bytes_read, started.elapsed());
                Ok(())
            }
            Some(problem) => Err(Failure::new(format_args!(
                "the scratch repository is damaged: {problem}; suspect this machine's memory or its \
                 storage"
            ))),
        }
    }

    fn tell(&self, what: &str, bytes: u64, took: Duration) {
        let rate = (bytes as f64 / took.as_secs_f64().max(1e-3)) as u64;
        self.session.terminal.note(format!(
            "{what}: {} in {:.2} s, {}/s",
            number::bytes(bytes),
            took.as_secs_f64(),
            number::bytes(rate)
        ));
    }
}

/// Made and opened again, as everything that follows would.
async fn scratch_repository(session: &Session, backend: Arc<dyn Backend>) -> Result<Repository> {
    let mut secret = [0; 32];
    crypto::fill_random(&mut secret).map_err(Failure::new)?;
    let password = Password::new(secret);
    // The repository lives for a minute: its password need not withstand guessing.
    let scrypt = Some(ScryptParams { n: 1 << 14, r: 8, p: 1 });
    let init = InitOptions { scrypt, ..InitOptions::new(session.identity()) };
    let options = session.repository_options();
    Repository::init(Arc::clone(&backend), &password, init, options.clone()).await?;
    Ok(Repository::open(backend, &password, None, options, &Silent).await?)
}

/// Where a source is below the restored folder.
fn in_snapshot(source: &Path) -> Result<PathBuf> {
    let names = source.components().filter_map(|component| match component {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    Ok(names.collect())
}

/// Compares two files, or two folders' files, and gives how many bytes are the same.
fn compare(source: &Path, restored: &Path) -> Result<u64> {
    let differs = |why: &dyn std::fmt::Display| {
        Failure::new(format_args!("{} did not come back as it was: {why}", source.display()))
    };
    if source.is_dir() {
        let entries = source.read_dir().map_err(|error| differs(&error))?;
        let mut total = 0;
        for entry in entries {
            let entry = entry.map_err(|error| differs(&error))?;
            let kind = entry.file_type().map_err(|error| differs(&error))?;
            if kind.is_dir() || kind.is_file() {
                total += compare(&entry.path(), &restored.join(entry.file_name()))?;
            }
        }
        return Ok(total);
    }
    let open = |path: &Path| File::open(path).map_err(|error| differs(&error));
    let (mut one, mut other) = (open(source)?, open(restored)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut total = 0;
    loop {
        let count = one.read(&mut left).map_err(|error| differs(&error))?;
        if count == 0 {
            let more = other.read(&mut right[..1]).map_err(|error| differs(&error))?;
            return if more == 0 { Ok(total) } else { Err(differs(&"it is longer")) };
        }
        other.read_exact(&mut right[..count]).map_err(|error| differs(&error))?;
        if left[..count] != right[..count] {
            return Err(differs(&format_args!("it differs within 1 MiB of byte {total}")));
        }
        total += count as u64;
    }
}

/// An image as disks are: two fifths holes, the rest text that compresses and noise that does not.
fn make_image(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut noise = Noise::new()?;
    for number in 0..IMAGE_SIZE / PIECE as u64 {
        // Kinds change every 4 MiB, so that there are runs of each.
        match number / 64 % 5 {
            0 | 3 => drop(file.seek(SeekFrom::Current(PIECE as i64))?),
            1 | 2 => file.write_all(&text(number))?,
            _ => file.write_all(&noise.piece())?,
        }
    }
    file.set_len(IMAGE_SIZE)
}

/// Writes anew three in a hundred of its pieces.
fn change_image(path: &Path) -> std::io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let mut noise = Noise::new()?;
    for number in (0..IMAGE_SIZE / PIECE as u64).step_by(33) {
        file.seek(SeekFrom::Start(number * PIECE as u64))?;
        file.write_all(&noise.piece())?;
    }
    Ok(())
}

fn text(number: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity(PIECE + 64);
    for line in 0u64.. {
        if text.len() >= PIECE {
            break;
        }
        let value = line.wrapping_mul(0x9e37_79b9).wrapping_add(number * 7919) % 1_000_003;
        let words = format!("block {number} line {line} value {value} state ready\n");
        text.extend_from_slice(std::ffi::OsStr::new(&words).as_bytes());
    }
    text.truncate(PIECE);
    text
}

/// Bytes that do not compress: a generator (xorshift) with a random start.
struct Noise(u64);

impl Noise {
    fn new() -> std::io::Result<Self> {
        let mut seed = [0; 8];
        crypto::fill_random(&mut seed).map_err(std::io::Error::other)?;
        Ok(Self(u64::from_le_bytes(seed) | 1))
    }

    fn piece(&mut self) -> Vec<u8> {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            piece.extend_from_slice(&self.0.to_le_bytes());
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, vec![7; 3 << 20]).unwrap();
        std::fs::write(&other, vec![7; 3 << 20]).unwrap();
        assert_eq!(compare(&one, &other), Ok(3 << 20));
        let mut bytes = vec![7; 3 << 20];
        bytes[2_500_000] = 8;
        std::fs::write(&other, &bytes).unwrap();
        assert!(compare(&one, &other).unwrap_err().message().contains("byte 2097152"));
        std::fs::write(&other, vec![7; (3 << 20) + 1]).unwrap();
        assert!(compare(&one, &other).unwrap_err().message().contains("longer"));
        std::fs::write(&other, vec![7; 100]).unwrap();
        assert!(compare(&one, &other).is_err());
    }
}
