//! Nodes from the file system: what it says of a file, but for the content.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{self, Stat};
use rustix::io::Errno;

use super::{ExtendedAttribute, Mode, Node, NodeType};
use crate::error::{Error, Result};
use crate::time::{Timestamp, Zone};

/// Makes nodes of files, as restic does on Linux.
///
/// It remembers the names of users and groups, so use one for a whole backup. Several threads may use it
/// at once.
#[derive(Debug)]
pub struct NodeReader {
    with_atime: bool,
    zone: Zone,
    users: Names,
    groups: Names,
}

impl NodeReader {
    /// A reader that writes times in the local zone.
    pub fn new() -> Self {
        let (users, groups) = (Names::default(), Names::default());
        Self { with_atime: false, zone: Zone::local().clone(), users, groups }
    }

    /// Stores when files were last read. By default the `mtime` is stored for it, so that reading a file
    /// does not make a new tree: restic's `--with-atime`.
    #[must_use]
    pub fn with_atime(mut self, with_atime: bool) -> Self {
        self.with_atime = with_atime;
        self
    }

    /// Writes times in this zone.
    #[must_use]
    pub fn in_zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// What is at `path`; a symbolic link is a link. `None` for a socket, which no backup holds.
    ///
    /// The node's name is the last part of the path. Content and subtree are for the caller to fill.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be looked at, or is of no type that can be stored.
    pub fn read(&self, path: &Path) -> Result<Option<Reading>> {
        self.read_from(Source::Path(path), path)
    }

    /// What is at `path`, or where a symbolic link there leads. This is how restic takes the folders
    /// above those that a backup is of.
    pub fn read_following(&self, path: &Path) -> Result<Option<Reading>> {
        self.read_from(Source::Target(path), path)
    }

    /// The open file itself, whatever is at `path` by now. The path gives it its name.
    pub fn read_open(&self, file: impl AsFd, path: &Path) -> Result<Option<Reading>> {
        self.read_from(Source::Open(file.as_fd()), path)
    }

    fn read_from(&self, source: Source<'_>, path: &Path) -> Result<Option<Reading>> {
        let stat = source.stat().map_err(|errno| Error::io("look at", path, errno.into()))?;
        let mode = Mode::from_unix(stat.st_mode);
        let node_type = NodeType::from(mode);
        match node_type {
            NodeType::Socket => return Ok(None),
            NodeType::Irregular | NodeType::Other(_) => {
                let unknown = io::Error::new(io::ErrorKind::Unsupported, "its type is unknown");
                return Err(Error::io("store", path, unknown));
            }
            _ => {}
        }
        let mut node = Node::new(path.file_name().unwrap_or_default(), node_type);
        node.mode = mode;
        self.fill_times(&mut node, &stat);
        node.uid = stat.st_uid;
        node.gid = stat.st_gid;
        node.user = self.users.of(stat.st_uid, user_name);
        node.group = self.groups.of(stat.st_gid, group_name);
        node.inode = stat.st_ino;
        node.device_id = stat.st_dev;
        match node.node_type {
            NodeType::File => node.size = stat.st_size.try_into().unwrap_or(0),
            NodeType::Symlink => node.link_target = read_link(path)?,
            NodeType::Dev | NodeType::CharDev => node.device = stat.st_rdev,
            _ => {}
        }
        if !matches!(node.node_type, NodeType::Dir | NodeType::Fifo) {
            node.links = stat.st_nlink;
        }
        let mut warnings = Vec::new();
        node.extended_attributes = source.attributes(|name, errno| {
            let name = name.map(OsStr::to_owned);
            warnings.push(MetadataWarning { path: path.to_owned(), name, source: errno.into() });
        });
        Ok(Some(Reading { node, warnings }))
    }

    fn fill_times(&self, node: &mut Node, stat: &Stat) {
        let time = |seconds, nanoseconds: u64| {
            let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
            Timestamp::from_unix_in(seconds, nanoseconds, &self.zone)
        };
        node.mtime = time(stat.st_mtime, stat.st_mtime_nsec);
        node.ctime = time(stat.st_ctime, stat.st_ctime_nsec);
        node.atime =
            if self.with_atime { time(stat.st_atime, stat.st_atime_nsec) } else { node.mtime };
    }
}

impl Default for NodeReader {
    fn default() -> Self {
        Self::new()
    }
}

/// A node, and what could not be found out of it.
#[derive(Debug)]
pub struct Reading {
    /// The node.
    pub node: Node,
    /// Extended attributes that are missing in it. restic stores such a node and counts each as an error,
    /// but ignores for folders above those that a backup is of that it may not list them.
    pub warnings: Vec<MetadataWarning>,
}

/// Extended attributes that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct MetadataWarning {
    /// Of which file.
    pub path: PathBuf,
    /// Which one; `None` if they could not even be listed.
    pub name: Option<OsString>,
    /// Why.
    pub source: io::Error,
}

impl MetadataWarning {
    fn sentence(&self) -> String {
        let Self { path, name, source } = self;
        match name {
            Some(name) => format!("read extended attribute {name:?} of {path:?}: {source}"),
            None => format!("list extended attributes of {path:?}: {source}"),
        }
    }
}

fn read_link(path: &Path) -> Result<OsString> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(target.into_os_string()),
        Err(source) => Err(Error::io("read link", path, source)),
    }
}

fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
}

/// Names by number. A lookup may ask a server, so each is made once.
#[derive(Debug, Default)]
struct Names(Mutex<HashMap<u32, String>>);

impl Names {
    /// The name; empty if there is none.
    fn of(&self, number: u32, look_up: impl FnOnce(u32) -> Option<String>) -> String {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(number).or_insert_with(|| look_up(number).unwrap_or_default()).clone()
    }
}

/// Where metadata is read from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// What is at the path, be it a link.
    Path(&'a Path),
    /// Where the path leads.
    Target(&'a Path),
    /// An open file.
    Open(BorrowedFd<'a>),
}

impl Source<'_> {
    fn stat(self) -> Result<Stat, Errno> {
        match self {
            Self::Path(path) => fs::lstat(path),
            Self::Target(path) => fs::stat(path),
            Self::Open(file) => fs::fstat(file),
        }
    }

    /// All extended attributes that can be read, in the file system's order.
    fn attributes(self, mut warn: impl FnMut(Option<&OsStr>, Errno)) -> Vec<ExtendedAttribute> {
        let names = match read_growing(|buffer| self.list_attributes(buffer)) {
            Ok(names) => names,
            Err(errno) => {
                if !is_unsupported(errno) {
                    warn(None, errno);
                }
                return Vec::new();
            }
        };
        let mut attributes = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            match read_growing(|buffer| self.read_attribute(name, buffer)) {
                Ok(value) => attributes
                    .push(ExtendedAttribute { name: OsString::from_vec(name.to_vec()), value }),
                Err(errno) if is_unsupported(errno) => {}
                Err(errno) => warn(Some(OsStr::from_bytes(name)), errno),
            }
        }
        attributes
    }

    fn list_attributes(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Path(path) => fs::llistxattr(path, buffer),
            Self::Target(path) => fs::listxattr(path, buffer),
            Self::Open(file) => fs::flistxattr(file, buffer),
        }
    }

    fn read_attribute(self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Path(path) => fs::lgetxattr(path, name, buffer),
            Self::Target(path) => fs::getxattr(path, name, buffer),
            Self::Open(file) => fs::fgetxattr(file, name, buffer),
        }
    }
}

/// Whether the file system has no extended attributes. SMB says `ENODATA` for it, which also means that
/// an attribute was removed since it was listed.
fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::NOTSUP | Errno::NODATA)
}

/// Calls with ever larger buffers until one is large enough. The kernel's own limit is 64 KiB.
fn read_growing(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    const LIMIT: usize = 1 << 20;
    let mut small = [0; 256];
    match read(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut large = vec![0; 1 << 16];
    loop {
        match read(&mut large) {
            Ok(length) => {
                large.truncate(length);
                return Ok(large);
            }
            Err(Errno::RANGE) if large.len() < LIMIT => large.resize(large.len() * 2, 0),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &[u8]) -> PathBuf {
            self.0.path().join(OsStr::from_bytes(name))
        }

        fn file(&self, name: &[u8], content: &[u8]) -> PathBuf {
            let path = self.path(name);
            std::fs::write(&path, content).unwrap();
            path
        }
    }

    fn node(path: &Path) -> Node {
        let reading = NodeReader::new().read(path).unwrap().unwrap();
        assert!(reading.warnings.is_empty(), "{:?}", reading.warnings);
        reading.node
    }

    #[test]
    fn a_file_has_all_that_the_system_says_of_it() {
        let folder = Folder::new();
        let path = folder.file(b"odd\n\xff", b"hello");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4750)).unwrap();
        std::fs::hard_link(&path, folder.path(b"other")).unwrap();
        let stat = std::fs::metadata(&path).unwrap();
        let node = node(&path);
        assert_eq!(node.name.as_bytes(), b"odd\n\xff");
        assert_eq!(node.node_type, NodeType::File);
        assert_eq!(node.mode, Mode::from_unix(0o104_750));
        assert_eq!(node.size, 5);
        assert_eq!(node.links, 2);
        assert_eq!(node.inode, stat.ino());
        assert_eq!(node.device_id, stat.dev());
        assert_eq!((node.uid, node.gid), (stat.uid(), stat.gid()));
        assert_eq!(node.content, Some(vec![]));
        assert_eq!(node.subtree, None);
        assert_eq!(node.ctime.unix_seconds(), stat.ctime());
        assert_eq!(i64::from(node.ctime.subsec_nanoseconds()), stat.ctime_nsec());
    }

    #[test]
    fn the_time_of_reading_is_stored_only_when_asked_for() {
        let folder = Folder::new();
        let path = folder.file(b"a", b"");
        let time = |seconds| std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 7);
        let times =
            std::fs::FileTimes::new().set_accessed(time(2_000_000_000)).set_modified(time(1));
        std::fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let read = |reader: NodeReader| {
            let node = reader.in_zone(berlin.clone()).read(&path).unwrap().unwrap().node;
            (node.mtime.to_string(), node.atime.to_string())
        };
        let mtime = "1970-01-01T01:00:01.000000007+01:00".to_owned();
        assert_eq!(read(NodeReader::new()), (mtime.clone(), mtime.clone()));
        let atime = "2033-05-18T05:33:20.000000007+02:00".to_owned();
        assert_eq!(read(NodeReader::new().with_atime(true)), (mtime, atime));
    }

    #[test]
    fn a_link_is_a_link_unless_it_is_followed() {
        let folder = Folder::new();
        let path = folder.path(b"link");
        symlink(OsStr::from_bytes(b"gone\xff"), &path).unwrap();
        let link = node(&path);
        assert_eq!(link.node_type, NodeType::Symlink);
        assert_eq!(link.link_target, OsStr::from_bytes(b"gone\xff"));
        assert_eq!((link.size, link.links, link.mode.bits()), (0, 1, 134_218_239));
        assert!(NodeReader::new().read_following(&path).is_err());

        let path = folder.path(b"to-folder");
        symlink(".", &path).unwrap();
        let target = NodeReader::new().read_following(&path).unwrap().unwrap().node;
        assert_eq!(target.name, "to-folder".into());
        assert_eq!(target.node_type, NodeType::Dir);
        assert_eq!((target.size, target.links), (0, 0));
        assert_eq!((target.content, target.subtree), (None, None));
    }

    #[test]
    fn an_open_file_is_what_is_read_whatever_its_path_shows() {
        let folder = Folder::new();
        let path = folder.file(b"a", b"hello");
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let node = NodeReader::new().read_open(&file, &path).unwrap().unwrap().node;
        assert_eq!((node.size, node.links), (5, 0));
        assert!(NodeReader::new().read(&path).is_err());
    }

    #[test]
    fn pipes_and_devices_are_told_apart_and_sockets_left_out() {
        let folder = Folder::new();
        let path = folder.path(b"fifo");
        fs::mknodat(fs::CWD, &path, fs::FileType::Fifo, fs::Mode::RUSR, 0).unwrap();
        let fifo = node(&path);
        assert_eq!((fifo.node_type, fifo.links, fifo.content), (NodeType::Fifo, 0, None));

        let null = node(Path::new("/dev/null"));
        assert_eq!((null.node_type, null.device, null.links), (NodeType::CharDev, 0x103, 1));

        let path = folder.path(b"socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(NodeReader::new().read(&path).unwrap().is_none());
    }

    #[test]
    fn extended_attributes_keep_order_and_bytes() {
        let folder = Folder::new();
        let path = folder.file(b"a", b"");
        let large = vec![b'x'; 2000];
        let set =
            |name: &str, value: &[u8]| fs::lsetxattr(&path, name, value, fs::XattrFlags::empty());
        match set("user.z", b"\0\xff") {
            Err(Errno::NOTSUP) => return, // no attributes on this machine's temporary folder
            result => result.unwrap(),
        }
        set("user.empty", b"").unwrap();
        set("user.large", &large).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        for reading in [NodeReader::new().read(&path), NodeReader::new().read_open(&file, &path)] {
            let mut attributes = reading.unwrap().unwrap().node.extended_attributes;
            attributes.retain(|attribute| attribute.name.as_bytes().starts_with(b"user."));
            attributes.sort_by(|one, other| one.name.cmp(&other.name));
            let expected =
                [("user.empty", &b""[..]), ("user.large", &large), ("user.z", b"\0\xff")];
            let found: Vec<_> = attributes
                .iter()
                .map(|attribute| (attribute.name.to_str().unwrap(), &*attribute.value))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_name_is_looked_up_once() {
        let names = Names::default();
        assert_eq!(names.of(1, |_| Some("one".to_owned())), "one");
        assert_eq!(names.of(1, |_| panic!("again")), "one");
        assert_eq!(names.of(2, |_| None), "");
        assert_eq!(names.of(2, |_| panic!("again")), "");
    }

    #[test]
    fn buffers_grow_until_all_is_read() {
        for size in [0, 256, 257, 65_536, 65_537, 1 << 20] {
            let read = read_growing(|buffer| {
                buffer.get_mut(..size).ok_or(Errno::RANGE)?.fill(7);
                Ok(size)
            });
            assert_eq!(read.unwrap(), vec![7; size]);
        }
        assert_eq!(read_growing(|_| Err(Errno::RANGE)), Err(Errno::RANGE));
        assert_eq!(read_growing(|_| Err(Errno::IO)), Err(Errno::IO));
    }
}
