//! The folder that is restored into, and the only way to anything in it.
//!
//! A snapshot may be hostile, and so may those who can write to the target while it is restored: a link
//! in it must not lead elsewhere. So every folder is opened by its name in the folder above it, never
//! through a link, and whatever is done to an entry is done by its name in an open folder.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// How many folders are kept open. Programs may have 1024 files open as a rule.
const OPEN_FOLDERS: usize = 128;

/// The folder that is restored into.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    /// Nothing in a dry run for which there is no such folder.
    root: Option<Arc<OwnedFd>>,
    /// The folders used last, the newest at the end.
    open: Mutex<VecDeque<(PathBuf, Arc<OwnedFd>)>>,
}

/// An entry of a folder, whether it is there or not.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub folder: Arc<OwnedFd>,
    pub name: OsString,
}

impl Target {
    /// Opens the folder, and makes it if need be. The path to it may lead through links: it is the
    /// user's own.
    pub fn open(path: &Path, dry_run: bool) -> Result<Self> {
        let failed = |operation, error: io::Error| Error::io(operation, path, error);
        if !dry_run {
            make_folders(path).map_err(|error| failed("make", error))?;
        }
        let root = match fs::open(path, FOLDER, Mode::empty()) {
            Ok(root) => Some(Arc::new(root)),
            Err(Errno::NOENT) if dry_run => None,
            Err(error) => return Err(failed("open", error.into())),
        };
        Ok(Self { path: path.to_owned(), root, open: Mutex::default() })
    }

    /// Where something is restored to. For messages.
    pub fn path_of(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The place of a path in the snapshot. All folders on the way have to be there.
    pub fn place(&self, path: &Path) -> io::Result<Place> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        Ok(Place { folder: self.folder(folder)?, name: name.to_owned() })
    }

    /// A folder at a path in the snapshot.
    pub fn folder(&self, path: &Path) -> io::Result<Arc<OwnedFd>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = open.iter().rev().find(|(at, _)| at == path) {
            return Ok(Arc::clone(&found.1));
        }
        // From the nearest folder above that is open.
        let above = open
            .iter()
            .filter(|(at, _)| path.starts_with(at))
            .max_by_key(|(at, _)| at.as_os_str().len());
        let (mut reached, mut folder) = match above {
            Some((at, folder)) => (at.clone(), Arc::clone(folder)),
            None => (PathBuf::from("/"), Arc::clone(self.root.as_ref().ok_or(Errno::NOENT)?)),
        };
        let way = path.strip_prefix(&reached).map_err(|_| Errno::INVAL)?.to_owned();
        for component in way.components() {
            let Component::Normal(name) = component else { return Err(Errno::INVAL.into()) };
            folder = Arc::new(fs::openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
            reached.push(name);
            if open.len() >= OPEN_FOLDERS {
                open.pop_front();
            }
            open.push_back((reached.clone(), Arc::clone(&folder)));
        }
        Ok(folder)
    }
}

/// Not for reading: to restore into a folder one only needs to be let through.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// For nobody else until it is restored, and whatever its owner may do to it.
pub(super) const PRIVATE_FOLDER: Mode = Mode::RWXU;
/// The same for a file.
pub(super) const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Whether there is nothing in the folder that is going to be restored into, as far as one can see.
pub(super) fn is_new(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn make_folders(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER.bits()).create(path)
}

impl Place {
    /// What is there.
    pub fn status(&self) -> io::Result<Option<Stat>> {
        match fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file, and nothing else, without waiting for a pipe's other end.
    pub fn open_file(&self, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&self.folder, &self.name, flags, PRIVATE_FILE)?;
        if type_of(&fs::fstat(&file)?) != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(file.into())
    }

    /// Removes what is there, which is not a folder unless an empty one.
    pub fn remove(&self) -> io::Result<()> {
        match fs::unlinkat(&self.folder, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {
                Ok(fs::unlinkat(&self.folder, &self.name, AtFlags::REMOVEDIR)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the permissions of anything but a link.
    pub fn set_permissions(&self, mode: Mode) -> io::Result<()> {
        // Linux can do it by name only through links, and in an open file only if that was opened for
        // reading or writing, which may not be allowed. This is how glibc does it.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.folder, &self.name, flags, Mode::empty())?;
        if type_of(&fs::fstat(&file)?) == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
        Ok(fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)?)
    }

    /// A path to it for system calls that take no open folder, and do not follow a link at the end.
    pub fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(&self.name)
    }
}

pub(super) fn type_of(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}
