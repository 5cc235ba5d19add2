//! What is in a folder, and how two folders differ.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::XattrFlags;
use sha2::{Digest, Sha256};

/// Everything in a folder, by path relative to it. Sockets are left out, as restic leaves them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The entries; a path may hold any bytes.
    pub entries: BTreeMap<PathBuf, Entry>,
}

/// One file, folder, link or device: all of it that a restore brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permissions with the setuid, setgid and sticky bits: the lower twelve bits of `st_mode`.
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub mtime: i128,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path in the tree that is the same file, if the file has several and this is another.
    pub hard_link_to: Option<PathBuf>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// The SHA-256 of its content.
        sha256: [u8; 32],
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink {
        /// Where it points, whatever bytes that is.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A block device.
    BlockDevice {
        /// `st_rdev`.
        device: u64,
    },
    /// A character device.
    CharacterDevice {
        /// `st_rdev`.
        device: u64,
    },
}

impl Tree {
    /// What is in a folder and the folder itself, which has the empty path. Panics if it cannot be read.
    pub fn of(folder: &Path) -> Self {
        let mut scan = Scan::default();
        scan.add(folder, PathBuf::new());
        scan.tree
    }

    /// What is in a folder, without the folder itself.
    pub fn beneath(folder: &Path) -> Self {
        let mut tree = Self::of(folder);
        tree.entries.remove(Path::new(""));
        tree
    }

    /// A sentence for each difference, none if the trees are the same.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (path, expected) in &self.entries {
            match found.entries.get(path) {
                None => differences.push(format!("{path:?} is missing")),
                Some(found) => {
                    let sentences = expected.differences(found);
                    differences.extend(sentences.map(|sentence| format!("{path:?}: {sentence}")));
                }
            }
        }
        let extra = found.entries.keys().filter(|path| !self.entries.contains_key(*path));
        differences.extend(extra.map(|path| format!("{path:?} should not be there")));
        differences
    }

    /// Asserts that another tree is the same.
    #[track_caller]
    pub fn assert_same(&self, found: &Self) {
        let differences = self.differences(found);
        let shown = differences.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(differences.is_empty(), "{} differences:\n{shown}", differences.len());
    }

    /// Asserts that a folder holds this tree, as far as a user of such powers can restore it.
    #[track_caller]
    pub fn assert_restored(&self, folder: &Path, powers: Powers) {
        let mut expected = self.clone();
        let mut found = Self::beneath(folder);
        if !powers.devices {
            expected.entries.retain(|_, entry| {
                !matches!(entry.kind, Kind::BlockDevice { .. } | Kind::CharacterDevice { .. })
            });
        }
        for (path, entry) in &mut expected.entries {
            if !powers.ownership {
                entry.uid = rustix::process::geteuid().as_raw();
                entry.gid = rustix::process::getegid().as_raw();
            }
            // restic sets no further attribute of a file once one was refused.
            if !powers.trusted_xattrs
                && entry.xattrs.keys().any(|name| name.starts_with(b"trusted."))
                && let Some(found) = found.entries.get_mut(path)
            {
                found.xattrs.clone_from(&entry.xattrs);
            }
        }
        expected.assert_same(&found);
    }
}

impl Entry {
    fn differences(&self, found: &Self) -> impl Iterator<Item = String> {
        let field = |name: &str, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
            let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
            (expected != found).then(|| format!("{name} is {found}, should be {expected}"))
        };
        [
            field("kind", &self.kind, &found.kind),
            field("mode", &format_args!("{:04o}", self.mode), &format_args!("{:04o}", found.mode)),
            field("mtime", &self.mtime, &found.mtime),
            field("owner", &(self.uid, self.gid), &(found.uid, found.gid)),
            field("xattrs", &Names(&self.xattrs), &Names(&found.xattrs)),
            field("hard link", &self.hard_link_to, &found.hard_link_to),
        ]
        .into_iter()
        .flatten()
    }
}

/// Extended attributes as one reads them.
struct Names<'a>(&'a BTreeMap<Vec<u8>, Vec<u8>>);

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        f.debug_map()
            .entries(self.0.iter().map(|(name, value)| (shown(name), shown(value))))
            .finish()
    }
}

/// What this user may do in a folder: root may do all of it, root in a container perhaps not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Powers {
    /// Give files to other users.
    pub ownership: bool,
    /// Make device nodes.
    pub devices: bool,
    /// Set attributes whose names begin with `trusted.`.
    pub trusted_xattrs: bool,
}

impl Powers {
    /// All of them.
    pub const ALL: Self = Self { ownership: true, devices: true, trusted_xattrs: true };

    /// Finds out by trying. Panics where not even `user.` attributes can be set.
    pub fn here(folder: &Path) -> Self {
        let path = folder.join("powers");
        File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let set = |name| rustix::fs::setxattr(&path, name, b"1", XattrFlags::empty()).is_ok();
        assert!(
            set("user.powers"),
            "{} does not keep extended attributes; set TMPDIR to a folder on a file system that does",
            folder.display()
        );
        let powers = Self {
            ownership: std::os::unix::fs::chown(&path, Some(12345), Some(54321)).is_ok(),
            trusted_xattrs: set("trusted.powers"),
            devices: {
                let _ = fs::remove_file(&path);
                let null = rustix::fs::makedev(1, 3);
                let mode = rustix::fs::Mode::RUSR;
                let kind = rustix::fs::FileType::CharacterDevice;
                rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, null).is_ok()
            },
        };
        let _ = fs::remove_file(&path);
        powers
    }
}

#[derive(Default)]
struct Scan {
    tree: Tree,
    /// The first path of each file that has several: by device and inode.
    first: BTreeMap<(u64, u64), PathBuf>,
}

impl Scan {
    fn add(&mut self, path: &Path, name: PathBuf) {
        let fail = |error: io::Error| -> ! { panic!("{}: {error}", path.display()) };
        let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| fail(error));
        let Some(kind) = kind(path, &metadata).unwrap_or_else(|error| fail(error)) else { return };
        let mut children = Vec::new();
        if kind == Kind::Folder {
            let listed = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            children = listed.unwrap_or_else(|error| fail(error));
            // The first path of a hard link must not depend on the order of a directory.
            children.sort_by_key(fs::DirEntry::file_name);
        }
        let hard_link_to = (metadata.nlink() > 1 && kind != Kind::Folder)
            .then(|| {
                let inode = (metadata.dev(), metadata.ino());
                self.first.insert_first(inode, &name)
            })
            .flatten();
        let entry = Entry {
            mode: if metadata.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 },
            mtime: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            uid: metadata.uid(),
            gid: metadata.gid(),
            xattrs: xattrs(path).unwrap_or_else(|error| fail(error)),
            hard_link_to,
            kind,
        };
        for child in children {
            self.add(&child.path(), name.join(child.file_name()));
        }
        self.tree.entries.insert(name, entry);
    }
}

/// Remembers the first path of each file.
pub(crate) trait FirstPaths {
    /// Gives the file's first path, or nothing if this is it.
    fn insert_first(&mut self, inode: (u64, u64), path: &Path) -> Option<PathBuf>;
}

impl FirstPaths for BTreeMap<(u64, u64), PathBuf> {
    fn insert_first(&mut self, inode: (u64, u64), path: &Path) -> Option<PathBuf> {
        if let Some(first) = self.get(&inode) {
            return Some(first.clone());
        }
        self.insert(inode, path.to_owned());
        None
    }
}

fn kind(path: &Path, metadata: &Metadata) -> io::Result<Option<Kind>> {
    let file_type = metadata.file_type();
    Ok(Some(if file_type.is_file() {
        Kind::File { size: metadata.len(), sha256: digest(path, metadata)? }
    } else if file_type.is_dir() {
        Kind::Folder
    } else if file_type.is_symlink() {
        Kind::Symlink { target: fs::read_link(path)?.into_os_string().into_vec() }
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else if file_type.is_block_device() {
        Kind::BlockDevice { device: metadata.rdev() }
    } else if file_type.is_char_device() {
        Kind::CharacterDevice { device: metadata.rdev() }
    } else {
        return Ok(None);
    }))
}

fn digest(path: &Path, metadata: &Metadata) -> io::Result<[u8; 32]> {
    let mut file = match File::open(path) {
        // Its owner may still allow himself to read it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(path, Permissions::from_mode(0o400))?;
            let file = File::open(path);
            fs::set_permissions(path, metadata.permissions())?;
            file?
        }
        opened => opened?,
    };
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut hasher))?;
    Ok(hasher.finalize().into())
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    // The kernel's limit on both a list of names and a value.
    const LIMIT: usize = 64 << 10;
    let mut names = Vec::with_capacity(LIMIT);
    match rustix::fs::llistxattr(path, spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    }
    let mut xattrs = BTreeMap::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        // The system puts labels on every file; they are not the user's.
        if name == b"security.selinux" {
            continue;
        }
        let mut value = Vec::with_capacity(LIMIT);
        rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), spare_capacity(&mut value))?;
        xattrs.insert(name.to_owned(), value);
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Scratch;

    fn example(scratch: &Scratch, name: &str) -> PathBuf {
        let folder = scratch.folder(name);
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/file"), "content").unwrap();
        fs::hard_link(folder.join("sub/file"), folder.join("twin")).unwrap();
        symlink("nowhere", folder.join("link")).unwrap();
        for path in ["sub/file", "sub", ""] {
            touch(&folder.join(path), 1_600_000_000, 5);
        }
        touch(&folder.join("link"), 1_600_000_000, 5);
        folder
    }

    fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
    }

    #[test]
    fn the_same_folder_made_twice_shows_no_difference() {
        let scratch = Scratch::new();
        let (one, two) = (example(&scratch, "one"), example(&scratch, "two"));
        Tree::of(&one).assert_same(&Tree::of(&two));
    }

    #[test]
    fn each_change_shows_as_one_difference() {
        type Change = fn(&Path);
        let changes: [(Change, &str); 8] = [
            (
                |folder| touch(&folder.join("twin"), 1_600_000_000, 6),
                "mtime is 1600000000000000006",
            ),
            (|folder| touch(&folder.join("link"), 1, 0), "mtime is 1000000000"),
            (
                |folder| fs::set_permissions(folder, Permissions::from_mode(0o2700)).unwrap(),
                "mode is 2700",
            ),
            (
                |folder| {
                    fs::write(folder.join("twin"), "CONTENT").unwrap();
                    touch(&folder.join("twin"), 1_600_000_000, 5);
                },
                "kind is File",
            ),
            (
                |folder| {
                    fs::remove_file(folder.join("link")).unwrap();
                    symlink("elsewhere", folder.join("link")).unwrap();
                    touch(&folder.join("link"), 1_600_000_000, 5);
                    touch(folder, 1_600_000_000, 5);
                },
                "kind is Symlink",
            ),
            (
                |folder| {
                    fs::remove_file(folder.join("twin")).unwrap();
                    fs::copy(folder.join("sub/file"), folder.join("twin")).unwrap();
                    touch(&folder.join("twin"), 1_600_000_000, 5);
                    touch(folder, 1_600_000_000, 5);
                },
                "hard link is None",
            ),
            (
                |folder| {
                    fs::remove_file(folder.join("link")).unwrap();
                    touch(folder, 1_600_000_000, 5);
                },
                "is missing",
            ),
            (
                |folder| {
                    fs::write(folder.join("new"), "").unwrap();
                    touch(folder, 1_600_000_000, 5);
                },
                "should not be there",
            ),
        ];
        for (number, (change, difference)) in changes.into_iter().enumerate() {
            let scratch = Scratch::new();
            let (one, two) = (example(&scratch, "one"), example(&scratch, "two"));
            change(&two);
            let differences = Tree::of(&one).differences(&Tree::of(&two));
            // A file with two names shows under both.
            let all_say_so = differences.iter().all(|found| found.contains(difference));
            assert!(!differences.is_empty() && all_say_so, "change {number}: {differences:?}");
        }
    }

    #[test]
    fn an_extended_attribute_more_is_a_difference() {
        let scratch = Scratch::new();
        let (one, two) = (example(&scratch, "one"), example(&scratch, "two"));
        Powers::here(scratch.path());
        rustix::fs::setxattr(two.join("sub"), "user.color", b"red", XattrFlags::empty()).unwrap();
        let differences = Tree::of(&one).differences(&Tree::of(&two));
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert!(differences[0].contains(r#""user.color": "red""#), "{differences:?}");
    }
}
