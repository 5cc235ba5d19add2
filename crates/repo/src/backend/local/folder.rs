//! The folder of a repository, as a thread sees it that may block.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::Failure;
use crate::backend::BackendErrorKind::{Permanent, TooLarge, TooShort};
use crate::backend::{Extent, FileInfo};
use crate::buffers::Buffers;
use crate::handle::{FileType, Handle};
use crate::id::Id;

/// How many bytes of buffers for what is read are kept for the next time: two of the largest ranges that
/// readers ask for.
const IDLE: usize = 8 << 20;

/// A repository's folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Held while folders are made, so that nobody finds one whose own name is not durable yet.
    making: RwLock<()>,
    buffers: Buffers,
}

impl Folder {
    /// The folder at this path, whether it is there yet or not.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, making: RwLock::default(), buffers: Buffers::new(IDLE) }
    }

    /// Where a file is.
    pub(super) fn path_of(&self, handle: &Handle) -> PathBuf {
        self.path.join(handle.path())
    }

    /// Makes the folder and those in it; none that is there already is an error.
    pub(super) fn create(&self) -> io::Result<()> {
        let _alone = self.making.write().unwrap_or_else(PoisonError::into_inner);
        let modes = self.modes();
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<&Path> = self.path.ancestors().take_while(missing).collect();
        for folder in missing.into_iter().rev() {
            make_folder(folder, Modes::PRIVATE)?;
            match sync_folder(parent(folder)) {
                // One may be allowed to make a folder here, but not to open this one.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                outcome => outcome?,
            }
        }
        let folders = FileType::ALL.map(FileType::folder);
        for folder in folders.into_iter().filter(|folder| !folder.is_empty()) {
            make_folder(&self.path.join(folder), modes)?;
        }
        let data = self.path.join(FileType::Pack.folder());
        for prefix in 0..256 {
            make_folder(&data.join(format!("{prefix:02x}")), modes)?;
        }
        sync_folder(&data)?;
        sync_folder(&self.path)
    }

    /// Reads a file, or a part of it.
    pub(super) fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, Failure> {
        let (file, size) = self.open(handle)?;
        let (offset, length) = match extent {
            Extent::Whole if size > handle.file_type.size_limit() => {
                return Err(Failure::Told(TooLarge, format!("it has {size} bytes")));
            }
            Extent::Whole => (0, size),
            Extent::Range { offset, length } => (offset, length as u64),
        };
        // Before there is memory for it: the range may be nonsense.
        if offset.checked_add(length).is_none_or(|end| end > size) {
            let account = format!("{length} bytes from {offset} on, of {size}");
            return Err(Failure::Told(TooShort, account));
        }
        Ok(self.read(&file, offset, length)?)
    }

    /// Reads exactly a range.
    fn read(&self, file: &OwnedFd, offset: u64, length: u64) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut data = self.buffers.take(length)?;
        let mut done = 0;
        while done < length {
            match rustix::io::pread(file, &mut data[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.buffers.share(data))
    }

    /// Opens a file, which must be a regular one, and gives its size.
    pub(super) fn open(&self, handle: &Handle) -> Result<(OwnedFd, u64), Failure> {
        // NONBLOCK so that a pipe under a file's name does not make us wait for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.path_of(handle), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if !is_file(&stat) {
            return Err(Failure::Told(Permanent, "it is not a regular file".to_owned()));
        }
        Ok((file, size_of(&stat)))
    }

    /// Stores a file: whole, durable, and under its name only then.
    pub(super) fn save(&self, handle: &Handle, data: &[u8]) -> io::Result<()> {
        let path = self.path_of(handle);
        let folder = parent(&path);
        if handle.file_type != FileType::Config && has_size(&path, data.len()) {
            // Whoever stored it may have died before it was durable.
            sync(&File::open(&path)?)?;
            return sync_folder(folder);
        }
        let modes = self.modes();
        let mut file = match self.temporary(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folders_of(handle, modes)?;
                self.temporary(&path)?
            }
            outcome => outcome?,
        };
        file.write_all(data)?;
        protect(file.as_file(), modes.file)?;
        sync(file.as_file())?;
        if file.as_file().metadata()?.len() != data.len() as u64 {
            return Err(io::Error::other("the file has another size than what was written"));
        }
        file.persist(&path).map_err(|failure| failure.error)?;
        sync_folder(folder)
    }

    /// A new file beside the one it is to become. It is gone when it is dropped before it is renamed.
    pub(super) fn temporary(&self, path: &Path) -> io::Result<tempfile::NamedTempFile> {
        let mut prefix = path.file_name().unwrap_or_default().to_owned();
        prefix.push(format!("-tmp-{}", getrandom::u64().map_err(io::Error::other)?));
        let _durable = self.making.read().unwrap_or_else(PoisonError::into_inner);
        tempfile::Builder::new().prefix(&prefix).rand_bytes(0).tempfile_in(parent(path))
    }

    /// Makes the folders between the repository's own and a file.
    fn make_folders_of(&self, handle: &Handle, modes: Modes) -> io::Result<()> {
        let _alone = self.making.write().unwrap_or_else(PoisonError::into_inner);
        let mut folder = self.path.clone();
        let path = handle.path();
        for name in Path::new(&path).parent().iter().flat_map(|names| names.iter()) {
            let above = folder.clone();
            folder.push(name);
            if make_folder(&folder, modes)? {
                sync_folder(&above)?;
            }
        }
        Ok(())
    }

    /// What new files and folders may be used for, and by whom. As in restic, the config decides: a
    /// group that may read it shares the repository.
    fn modes(&self) -> Modes {
        match fs::metadata(self.path_of(&Handle::CONFIG)) {
            Ok(config) if config.mode() & 0o040 != 0 => Modes::GROUP,
            _ => Modes::PRIVATE,
        }
    }
}

/// The permissions of what a repository is made of. Nobody writes to a file that is stored.
#[derive(Clone, Copy)]
struct Modes {
    folder: u32,
    file: u32,
}

impl Modes {
    const PRIVATE: Self = Self { folder: 0o700, file: 0o400 };
    const GROUP: Self = Self { folder: 0o770, file: 0o440 };
}

/// Makes a folder, and says whether it was missing.
fn make_folder(path: &Path, modes: Modes) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(modes.folder).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    // The umask may have taken from the mode; the file system may have added set-group-id, which stays.
    let mode = fs::metadata(path)?.mode();
    if mode & 0o777 != modes.folder {
        let permissions = Permissions::from_mode(mode & 0o7000 | modes.folder);
        tolerate_unsupported(fs::set_permissions(path, permissions))?;
    }
    Ok(true)
}

/// Takes the right to write from a file. Some file systems know no rights: that is no reason to fail.
fn protect(file: &File, mode: u32) -> io::Result<()> {
    match file.set_permissions(Permissions::from_mode(mode)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => tolerate_unsupported(outcome),
    }
}

fn sync(file: &File) -> io::Result<()> {
    tolerate_unsupported(file.sync_all())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    sync(&File::open(path)?)
}

/// Some file systems, mostly in user space or on a network, do not sync, or not folders.
pub(super) fn tolerate_unsupported(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// The folder that a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether there is a regular file of this size.
fn has_size(path: &Path, size: usize) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == size as u64)
}

/// The regular files of a folder that have an id for a name. None if there is no such folder.
pub(super) fn files_in(folder: &Path) -> io::Result<Vec<FileInfo>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(folder, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        outcome => outcome?,
    };
    let mut found = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        if let Some(id) = Id::from_hex(entry.file_name().to_bytes()) {
            found.push((entry.ino(), id));
        }
    }
    // In the order in which they are on disk: a spinning one is read in one sweep.
    found.sort_unstable_by_key(|(inode, _)| *inode);
    let mut files = Vec::with_capacity(found.len());
    for (_, id) in found {
        match rustix::fs::statat(&folder, id.to_hex(), AtFlags::SYMLINK_NOFOLLOW) {
            // Removed in between.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(stat) if is_file(&stat) => files.push(FileInfo { id, size: size_of(&stat) }),
            Ok(_) => {}
        }
    }
    Ok(files)
}

fn is_file(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
}

fn size_of(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
