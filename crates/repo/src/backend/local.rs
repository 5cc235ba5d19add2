//! A repository in a folder of this machine, laid out as restic lays it out.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use tokio::task::{JoinError, JoinSet};

use super::BackendErrorKind::{self, Permanent, TooLarge, TooShort};
use super::{Backend, BackendError, Extent, FileInfo, Properties};
use crate::buffers::Buffers;
use crate::handle::{FileType, Handle};
use crate::id::Id;

/// How many threads list the 256 folders of `data/`. Storage answers several questions at once, on a
/// network above all.
const LISTERS: usize = 8;
/// How many bytes of buffers for what is read are kept for the next time: as many as are in use while
/// packs are read one after the other.
const IDLE: usize = 16 << 20;

/// A repository in a folder.
///
/// Temporary files have restic's form, `<name>-tmp-<digits>`, in the folder of the file they are to
/// become. Those that dead processes left are not touched: they look like those of living ones.
#[derive(Clone, Debug)]
pub struct Local {
    folder: Arc<Folder>,
    connections: usize,
}

impl Local {
    /// The repository in this folder, whether there is one yet or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            folder: Arc::new(Folder {
                path: path.into(),
                making: RwLock::default(),
                buffers: Buffers::new(IDLE),
            }),
            connections: 2,
        }
    }

    /// The same, with so many transfers at once; restic's default is 2.
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        Self { connections: connections.max(1), ..self }
    }
}

#[async_trait]
impl Backend for Local {
    fn properties(&self) -> Properties {
        Properties {
            location: self.folder.path.to_string_lossy().into_owned(),
            connections: self.connections,
        }
    }

    async fn create(&self) -> Result<(), BackendError> {
        let folder = self.folder.clone();
        blocking("create", None, move || Ok(folder.create()?)).await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let (folder, handle) = (self.folder.clone(), *handle);
        blocking("load", Some(&handle), move || folder.load(&handle, extent)).await
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        let (folder, handle) = (self.folder.clone(), *handle);
        blocking("save", Some(&handle), move || Ok(folder.save(&handle, &data)?)).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        let (folder, handle) = (self.folder.clone(), *handle);
        blocking("stat", Some(&handle), move || Ok(folder.open(&handle)?.1)).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        match file_type {
            FileType::Config => Ok(Vec::new()),
            FileType::Pack => self.list_packs().await,
            _ => {
                let path = self.folder.path.join(file_type.folder());
                blocking("list", None, move || Ok(files_in(&path)?)).await
            }
        }
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        let path = self.folder.path_of(handle);
        blocking("remove", Some(handle), move || Ok(fs::remove_file(path)?)).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        let folder = self.folder.clone();
        blocking("free space", None, move || {
            let found = rustix::fs::statvfs(&folder.path)?;
            Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
        })
        .await
    }
}

impl Local {
    async fn list_packs(&self) -> Result<Vec<FileInfo>, BackendError> {
        let mut listers = JoinSet::new();
        for first in 0..LISTERS {
            let data = self.folder.path.join(FileType::Pack.folder());
            listers.spawn_blocking(move || {
                let mut files = Vec::new();
                for prefix in (first..256).step_by(LISTERS) {
                    let found = files_in(&data.join(format!("{prefix:02x}")))?;
                    // A pack in another pack's folder cannot be loaded.
                    let at_home = |file: &FileInfo| usize::from(file.id.as_bytes()[0]) == prefix;
                    files.extend(found.into_iter().filter(at_home));
                }
                Ok(files)
            });
        }
        let mut files = Vec::new();
        while let Some(outcome) = listers.join_next().await {
            files.append(&mut finished(outcome).map_err(|failure| failure.of("list", None))?);
        }
        Ok(files)
    }
}

/// Runs what may block where that is allowed.
///
/// When the caller is dropped, work that has begun comes to its end, and work that has not never begins:
/// that is what a `JoinSet` does.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    handle: Option<&Handle>,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, BackendError> {
    let mut works = JoinSet::new();
    works.spawn_blocking(work);
    let outcome = works.join_next().await.expect("one piece of work was begun");
    finished(outcome).map_err(|failure| failure.of(operation, handle))
}

fn finished<T>(outcome: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    match outcome.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(reason)) => panic::resume_unwind(reason),
        Err(Err(_)) => Err(Failure::Told(Permanent, "the program is ending".to_owned())),
    }
}

/// What can go wrong in a folder.
enum Failure {
    /// What the operating system says.
    Io(io::Error),
    /// What we say.
    Told(BackendErrorKind, String),
}

impl Failure {
    fn of(self, operation: &'static str, handle: Option<&Handle>) -> BackendError {
        let error = match self {
            Self::Io(error) => BackendError::from_io(operation, error),
            Self::Told(kind, cause) => BackendError::new(kind, operation).because(cause),
        };
        match handle {
            Some(handle) => error.on(handle),
            None => error,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// The repository's folder, seen by a thread that may block.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Held while folders are made, so that nobody finds one whose own name is not durable yet.
    making: RwLock<()>,
    buffers: Buffers,
}

impl Folder {
    fn path_of(&self, handle: &Handle) -> PathBuf {
        self.path.join(handle.path())
    }

    fn create(&self) -> io::Result<()> {
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

    fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, Failure> {
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
    fn open(&self, handle: &Handle) -> Result<(OwnedFd, u64), Failure> {
        // NONBLOCK so that a pipe under a file's name does not make us wait for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.path_of(handle), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if !is_file(&stat) {
            return Err(Failure::Told(Permanent, "it is not a regular file".to_owned()));
        }
        Ok((file, size_of(&stat)))
    }

    fn save(&self, handle: &Handle, data: &[u8]) -> io::Result<()> {
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
    fn temporary(&self, path: &Path) -> io::Result<tempfile::NamedTempFile> {
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
fn tolerate_unsupported(outcome: io::Result<()>) -> io::Result<()> {
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
fn files_in(folder: &Path) -> io::Result<Vec<FileInfo>> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use super::BackendErrorKind::{NoSpace, NotFound, PermissionDenied, ReadOnly};
    use super::*;
    use crate::backend::suite::Subject;

    async fn subject() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repository");
        Subject::new(Arc::new(Local::new(&path))).in_folder(path).keeping(folder)
    }

    crate::backend_suite!(subject);
    crate::backend_folder_suite!(subject);

    const DATA: Bytes = Bytes::from_static(b"a pack");

    fn pack() -> Handle {
        Handle::new(FileType::Pack, Id::of(&DATA))
    }

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    /// Every name below a folder.
    fn names(folder: &Path) -> Vec<PathBuf> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names.extend(self::names(&path));
            }
            names.push(path);
        }
        names
    }

    #[tokio::test]
    async fn a_repository_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/yet");
        let local = Local::new(&path);
        local.create().await.unwrap();
        local.save(&Handle::CONFIG, DATA).await.unwrap();
        local.save(&pack(), DATA).await.unwrap();
        for folder in [path.clone(), path.join("keys"), path.join("data/ff")] {
            assert_eq!(mode(folder), 0o700);
        }
        assert_eq!(mode(path.join("config")), 0o400);
        assert_eq!(mode(path.join(pack().path())), 0o400);
    }

    #[tokio::test]
    async fn a_config_that_a_group_may_read_lets_the_group_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let local = Local::new(path);
        local.save(&Handle::CONFIG, DATA).await.unwrap();
        fs::set_permissions(path.join("config"), Permissions::from_mode(0o440)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o2770)).unwrap();
        local.save(&pack(), DATA).await.unwrap();
        local.save(&Handle::CONFIG, DATA).await.unwrap();
        assert_eq!(mode(path.join(pack().path())), 0o440);
        assert_eq!(mode(path.join("config")), 0o440);
        assert_eq!(mode(path.join("data")), 0o770);
        assert_eq!(fs::metadata(path.join("data")).unwrap().mode() & 0o2000, 0o2000);
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        let inode = || fs::metadata(folder.path().join(pack().path())).unwrap().ino();
        local.save(&pack(), DATA).await.unwrap();
        let first = inode();
        local.save(&pack(), DATA).await.unwrap();
        assert_eq!(inode(), first);
    }

    #[test]
    fn temporary_files_have_restics_form() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        let file = local.folder.temporary(&folder.path().join("name")).unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap();
        let digits = name.strip_prefix("name-tmp-").unwrap();
        assert!(digits.parse::<u64>().is_ok(), "{name}");
        assert_eq!(mode(file.path()), 0o600);
    }

    #[tokio::test]
    async fn the_path_may_be_any_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let name = std::ffi::OsString::from_vec(b"back\xffups \n".to_vec());
        let local = Local::new(folder.path().join(name));
        local.create().await.unwrap();
        local.save(&pack(), DATA).await.unwrap();
        assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
        assert!(local.properties().location.ends_with("back\u{fffd}ups \n"));
        assert!(local.free_space().await.unwrap().is_some_and(|bytes| bytes > 0));
    }

    #[tokio::test]
    async fn a_pipe_under_a_files_name_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        local.create().await.unwrap();
        let path = folder.path().join(pack().path());
        let (fifo, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap_err().kind, Permanent);
        assert_eq!(local.stat(&pack()).await.unwrap_err().kind, Permanent);
        assert!(local.list(FileType::Pack).await.unwrap().is_empty());
        local.save(&pack(), DATA).await.unwrap();
        assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
    }

    #[tokio::test]
    async fn a_save_that_fails_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        // A file cannot take the name of a folder.
        let path = folder.path().join(pack().path());
        fs::create_dir_all(&path).unwrap();
        assert_eq!(local.save(&pack(), DATA).await.unwrap_err().kind, Permanent);
        assert_eq!(names(path.parent().unwrap()), [path]);
    }

    #[test]
    fn a_dropped_save_leaves_no_temporary_file() {
        for round in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            let local = Local::new(folder.path());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let pack = pack();
                let mut save = local.save(&pack, vec![1; round << 20].into());
                let _ = futures_util::poll!(&mut save);
            });
            // Waits for what has begun.
            drop(runtime);
            let files = names(folder.path());
            let temporary = files.iter().any(|path| path.to_string_lossy().contains("-tmp-"));
            assert!(!temporary, "{files:?}");
            if let Ok(found) = fs::metadata(folder.path().join(pack().path())) {
                assert_eq!(found.len(), (round as u64) << 20);
            }
        }
    }

    #[tokio::test]
    async fn a_missing_repository_has_no_free_space() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path().join("missing"));
        assert_eq!(local.free_space().await.unwrap_err().kind, NotFound);
    }

    #[test]
    fn what_the_system_says_is_understood() {
        for (errno, kind) in [
            (Errno::NOENT, NotFound),
            (Errno::NOSPC, NoSpace),
            (Errno::DQUOT, NoSpace),
            (Errno::ROFS, ReadOnly),
            (Errno::ACCESS, PermissionDenied),
            (Errno::PERM, PermissionDenied),
            (Errno::NOTDIR, Permanent),
            (Errno::NAMETOOLONG, Permanent),
            (Errno::FBIG, Permanent),
            (Errno::IO, BackendErrorKind::Transient),
            (Errno::STALE, BackendErrorKind::Transient),
            (Errno::TIMEDOUT, BackendErrorKind::Transient),
        ] {
            assert_eq!(Failure::from(errno).of("save", None).kind, kind, "{errno:?}");
        }
        for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS] {
            tolerate_unsupported(Err(errno.into())).unwrap();
        }
        tolerate_unsupported(Err(Errno::IO.into())).unwrap_err();
    }

    /// A small file system of its own, where the test may mount one.
    struct Disk(tempfile::TempDir);

    impl Disk {
        fn mount(options: &str) -> Option<Self> {
            let disk = Self(tempfile::tempdir().unwrap());
            let mounted = disk.run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]);
            if !mounted {
                println!("skipped: only root can mount a small file system");
            }
            mounted.then_some(disk)
        }

        fn run(&self, program: &str, arguments: &[&str]) -> bool {
            let command = Command::new(program).args(arguments).arg(self.0.path()).output();
            command.is_ok_and(|output| output.status.success())
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            self.run("umount", &["-l"]);
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_left_without_a_temporary_file() {
        let Some(disk) = Disk::mount("size=2m,mode=700") else { return };
        let local = Local::new(disk.0.path());
        local.create().await.unwrap();
        local.save(&pack(), DATA).await.unwrap();
        let large = Bytes::from(vec![1; 3 << 20]);
        let handle = Handle::new(FileType::Pack, Id::of(&large));
        let before = names(disk.0.path());
        assert_eq!(local.save(&handle, large).await.unwrap_err().kind, NoSpace);
        assert_eq!(names(disk.0.path()), before);
        assert!(local.free_space().await.unwrap().is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
    }

    #[tokio::test]
    async fn a_disk_without_room_for_names_is_told() {
        let Some(disk) = Disk::mount("size=2m,nr_inodes=4") else { return };
        let local = Local::new(disk.0.path());
        assert_eq!(local.create().await.unwrap_err().kind, NoSpace);
        assert_eq!(local.save(&pack(), DATA).await.unwrap_err().kind, NoSpace);
    }

    #[tokio::test]
    async fn a_read_only_disk_is_told_and_can_be_read() {
        let Some(disk) = Disk::mount("size=2m") else { return };
        let local = Local::new(disk.0.path());
        local.save(&pack(), DATA).await.unwrap();
        assert!(disk.run("mount", &["-o", "remount,ro"]));
        let other = Handle::new(FileType::Key, pack().id);
        assert_eq!(local.save(&other, DATA).await.unwrap_err().kind, ReadOnly);
        assert_eq!(local.remove(&pack()).await.unwrap_err().kind, ReadOnly);
        assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
        // Nothing has to be written for it.
        local.save(&pack(), DATA).await.unwrap();
    }
}
