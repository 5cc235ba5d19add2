//! One entry of a folder, as a tree holds it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::id::Id;
use crate::json::Raw;
use crate::time::Timestamp;

pub use metadata::{MetadataWarning, NodeReader, Reading};
pub use mode::Mode;
pub use name::{InvalidName, Name};

mod decode;
mod encode;
mod metadata;
mod mode;
mod name;

/// A file, folder, link or other thing in a backup.
///
/// The fields stand in the order in which restic writes them. What comes from a repository may be
/// hostile: a name may lead elsewhere ([`Name::is_safe`]), a size may be a lie, and any field may be
/// missing, which leaves it empty or zero. Other crates make nodes with [`Node::new`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Node {
    /// The name in its folder.
    pub name: Name,
    /// What it is.
    pub node_type: NodeType,
    /// Type and permissions. Zero both for `chmod 000` and where unknown.
    pub mode: Mode,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// When it was last read; restic stores the `mtime` here unless told to do otherwise.
    pub atime: Timestamp,
    /// When content or metadata last changed. It cannot be restored; it tells whether a file changed.
    pub ctime: Timestamp,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The owner's name; empty if unknown.
    pub user: String,
    /// The group's name; empty if unknown.
    pub group: String,
    /// The inode; 0 if unknown.
    pub inode: u64,
    /// The device that the file is on, `st_dev`; 0 if unknown. With the inode it tells hard links.
    pub device_id: u64,
    /// Bytes in a file, as its metadata said; what was read may differ if the file changed meanwhile.
    pub size: u64,
    /// How many names the file has; 0 for folders and others that are not counted.
    pub links: u64,
    /// Where a symbolic link points: raw bytes.
    pub link_target: OsString,
    /// Extended attributes, in the order in which the file system listed them.
    pub extended_attributes: Vec<ExtendedAttribute>,
    /// What other systems know of a file, as "windows.security_descriptor"; never read here, only kept.
    pub generic_attributes: BTreeMap<String, Raw>,
    /// For devices, which one: `st_rdev`.
    pub device: u64,
    /// A file's data blobs in order, an empty list for an empty file. `None` for all but files; a file
    /// without a list is damaged.
    pub content: Option<Vec<Id>>,
    /// A folder's tree blob.
    pub subtree: Option<Id>,
    /// What went wrong when it was backed up, from very old programs; else empty.
    pub error: String,
    /// Fields that a newer or other program wrote, in their order; they are written after all others.
    pub unknown: Vec<(String, Raw)>,
    pub(crate) spelling: encode::Spelling,
}

impl Node {
    /// A node that has only a name and a type, and the content list that a file must have.
    pub fn new(name: impl Into<Name>, node_type: NodeType) -> Self {
        let content = (node_type == NodeType::File).then(Vec::new);
        Self { name: name.into(), node_type, content, ..Self::default() }
    }

    /// Whether the file of this node, just read from the file system, may be taken to have the same
    /// content as when `before` was stored. The blobs of `before` must be known to exist, too.
    ///
    /// As restic does: both are files, and size, `mtime`, `ctime` and inode are equal. The device is
    /// not compared, since it often changes when a machine starts.
    pub fn unchanged_since(&self, before: &Self, ignored: Ignored) -> bool {
        self.node_type == NodeType::File
            && before.node_type == NodeType::File
            && self.size == before.size
            && self.mtime == before.mtime
            && (ignored.ctime || self.ctime == before.ctime)
            && (ignored.inode || self.inode == before.inode)
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodeType {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Dev,
    /// A character device.
    CharDev,
    /// A named pipe.
    Fifo,
    /// A socket. restic does not store these.
    Socket,
    /// Something that is none of these. restic does not store these.
    Irregular,
    /// A word that nobody knows; empty if the node has no type.
    Other(Box<str>),
}

impl NodeType {
    /// The word for it in a tree.
    pub fn as_str(&self) -> &str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Dev => "dev",
            Self::CharDev => "chardev",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Irregular => "irregular",
            Self::Other(word) => word,
        }
    }
}

impl Default for NodeType {
    fn default() -> Self {
        Self::Other("".into())
    }
}

impl From<&str> for NodeType {
    fn from(word: &str) -> Self {
        match word {
            "file" => Self::File,
            "dir" => Self::Dir,
            "symlink" => Self::Symlink,
            "dev" => Self::Dev,
            "chardev" => Self::CharDev,
            "fifo" => Self::Fifo,
            "socket" => Self::Socket,
            "irregular" => Self::Irregular,
            word => Self::Other(word.into()),
        }
    }
}

impl From<Mode> for NodeType {
    /// As restic decides it; a mode with several types has none.
    fn from(mode: Mode) -> Self {
        const REGULAR: Mode = Mode::from_bits(0);
        const CHAR_DEVICE: Mode = Mode::from_bits(Mode::DEVICE.bits() | Mode::CHAR_DEVICE.bits());
        match mode.file_type() {
            REGULAR => Self::File,
            Mode::DIR => Self::Dir,
            Mode::SYMLINK => Self::Symlink,
            Mode::DEVICE => Self::Dev,
            CHAR_DEVICE => Self::CharDev,
            Mode::FIFO => Self::Fifo,
            Mode::SOCKET => Self::Socket,
            Mode::IRREGULAR => Self::Irregular,
            _ => Self::default(),
        }
    }
}

impl std::fmt::Display for NodeType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedAttribute {
    /// Its name, as "user.comment".
    pub name: OsString,
    /// Its value.
    pub value: Vec<u8>,
}

/// What [`Node::unchanged_since`] leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ignored {
    /// restic's `--ignore-ctime`.
    pub ctime: bool,
    /// restic's `--ignore-inode`, which also implies the former there.
    pub inode: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Node {
        Node { size: 5, inode: 7, ..Node::new("a", NodeType::File) }
    }

    #[test]
    fn a_file_is_unchanged_only_if_all_that_is_compared_is_equal() {
        let before = file();
        let all = Ignored::default();
        assert!(file().unchanged_since(&before, all));
        let later = "2024-01-01T00:00:00Z".parse().unwrap();
        assert!(!Node { size: 6, ..file() }.unchanged_since(&before, all));
        assert!(!Node { mtime: later, ..file() }.unchanged_since(&before, all));

        let ctime = Node { ctime: later, ..file() };
        assert!(!ctime.unchanged_since(&before, all));
        assert!(ctime.unchanged_since(&before, Ignored { ctime: true, inode: false }));

        let inode = Node { inode: 8, ..file() };
        assert!(!inode.unchanged_since(&before, all));
        assert!(inode.unchanged_since(&before, Ignored { ctime: false, inode: true }));
    }

    #[test]
    fn a_file_is_unchanged_where_only_device_owner_or_zone_differ() {
        let before = Node { mtime: "2024-01-01T01:00:00+01:00".parse().unwrap(), ..file() };
        let now = Node {
            mtime: "2024-01-01T00:00:00Z".parse().unwrap(),
            device_id: 9,
            uid: 1000,
            ..file()
        };
        assert!(now.unchanged_since(&before, Ignored::default()));
    }

    #[test]
    fn what_was_no_file_is_changed() {
        let before = Node { node_type: NodeType::Fifo, ..file() };
        assert!(!file().unchanged_since(&before, Ignored::default()));
        assert!(!before.unchanged_since(&before, Ignored::default()));
    }

    #[test]
    fn types_and_words_belong_together() {
        for word in ["file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"] {
            let node_type = NodeType::from(word);
            assert!(!matches!(node_type, NodeType::Other(_)));
            assert_eq!(node_type.as_str(), word);
        }
        assert_eq!(NodeType::from("door").as_str(), "door");
        for (unix, node_type) in [
            (0o100_644, NodeType::File),
            (0o041_777, NodeType::Dir),
            (0o120_777, NodeType::Symlink),
            (0o060_600, NodeType::Dev),
            (0o020_600, NodeType::CharDev),
            (0o010_600, NodeType::Fifo),
            (0o140_600, NodeType::Socket),
            (0o600, NodeType::Irregular),
        ] {
            assert_eq!(NodeType::from(Mode::from_unix(unix)), node_type);
        }
        assert_eq!(NodeType::from(Mode::DIR | Mode::SYMLINK), NodeType::default());
    }
}
