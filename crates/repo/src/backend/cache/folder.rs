//! The copies of one repository.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::NamedTempFile;

use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::sha256::Hasher;

/// What restic's temporary files begin with, and ours.
const TEMPORARY: &str = "tmp-";
/// After this long, nobody writes to a temporary file any more.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of a file is hashed at once, in bytes.
const BUFFER: usize = 1 << 20;

/// A folder of copies, of one repository. See [`Base::folder`](super::Base::folder).
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    is_new: bool,
}

impl Folder {
    pub(super) fn new(path: PathBuf, is_new: bool) -> Self {
        Self { path, is_new }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was not there before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where the copy of a file is.
    pub(super) fn path_of(&self, handle: &Handle) -> PathBuf {
        let name = handle.id.to_hex();
        self.path.join(handle.file_type.folder()).join(&name[..2]).join(name)
    }

    /// A whole copy, if there is one that is what its name says. One that is not is removed.
    pub(super) fn read_sound(&self, handle: &Handle) -> Option<Bytes> {
        let path = self.path_of(handle);
        let file = File::open(&path).ok()?;
        let size = file.metadata().ok()?.len();
        let mut content = Vec::new();
        let is_read = size <= handle.file_type.size_limit()
            && content.try_reserve_exact(usize::try_from(size).ok()?).is_ok()
            && file.take(size).read_to_end(&mut content).is_ok();
        if is_read && Id::of(&content) == handle.id {
            return Some(content.into());
        }
        let _ = fs::remove_file(path);
        None
    }

    /// Whether there is a copy that is what its name says. One that is not is removed.
    pub(super) fn verify(&self, handle: &Handle) -> bool {
        let path = self.path_of(handle);
        match hash(&path) {
            Ok(id) if id == handle.id => true,
            Ok(_) => {
                let _ = fs::remove_file(path);
                false
            }
            Err(_) => false,
        }
    }

    /// A part of a copy.
    pub(super) fn read_part(
        &self,
        handle: &Handle,
        offset: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        let file = File::open(self.path_of(handle))?;
        let end = offset.checked_add(length as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if file.metadata()?.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut part = vec![0; length];
        file.read_exact_at(&mut part, offset)?;
        Ok(part.into())
    }

    /// Stores a copy whose content is known to be right.
    pub(super) fn store(&self, handle: &Handle, content: &[u8]) -> io::Result<()> {
        let mut arriving = self.begin(handle)?;
        arriving.file.write_all(content)?;
        arriving.rename()
    }

    /// Begins a copy that comes piece by piece.
    pub(super) fn begin(&self, handle: &Handle) -> io::Result<Arriving> {
        let path = self.path_of(handle);
        let folder = path.parent().unwrap_or(&self.path);
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
        Ok(Arriving { id: handle.id, path, file, hasher: Hasher::default() })
    }

    /// Removes a copy.
    pub(super) fn remove(&self, handle: &Handle) {
        if is_kept(handle.file_type) {
            let _ = fs::remove_file(self.path_of(handle));
        }
    }

    /// Removes all copies of a type but these, and what somebody died of writing.
    pub(super) fn retain(&self, file_type: FileType, there: &HashSet<Id>) {
        for folder in entries(&self.path.join(file_type.folder())) {
            for file in entries(&folder.path()) {
                let name = file.file_name();
                let name = name.to_string_lossy();
                let is_superfluous = match name.parse::<Id>() {
                    Ok(id) => !there.contains(&id),
                    Err(_) => name.starts_with(TEMPORARY) && is_abandoned(&file),
                };
                if is_superfluous {
                    let _ = fs::remove_file(file.path());
                }
            }
        }
    }
}

/// A copy that is not whole yet. It vanishes when it is dropped.
pub(super) struct Arriving {
    id: Id,
    path: PathBuf,
    file: NamedTempFile,
    hasher: Hasher,
}

impl Arriving {
    /// The next piece.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.hasher.update(piece);
        self.file.write_all(piece)
    }

    /// Keeps it, if it is what its name says.
    pub(super) fn finish(self) -> io::Result<bool> {
        if self.hasher.clone().finish() != self.id {
            return Ok(false);
        }
        self.rename().map(|()| true)
    }

    /// Not made durable: what a crash leaves of it is found out by its hash.
    fn rename(self) -> io::Result<()> {
        self.file.persist(self.path)?;
        Ok(())
    }
}

fn is_kept(file_type: FileType) -> bool {
    matches!(file_type, FileType::Index | FileType::Snapshot | FileType::Pack)
}

fn hash(path: &Path) -> io::Result<Id> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    let mut hasher = Hasher::default();
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

fn is_abandoned(file: &fs::DirEntry) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age > ABANDONED)
}
