//! The content of a snapshot, one line for each file and folder.

use std::cmp::Ordering;

use std::os::unix::ffi::OsStrExt;

use restic_repo::Id;
use restic_repo::node::{Mode, Node, NodeType};
use restic_repo::snapshot::Snapshot;
use restic_repo::time::{Timestamp, Zone};
use serde::Serialize;

use crate::report::number;
use crate::report::snapshots::WithId;

/// A file, folder or link in a snapshot.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path in the snapshot, from `/` on.
    pub path: Vec<u8>,
    /// What is known of it.
    pub node: Node,
}

/// How much a line for people shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// Mode, owner, size and time too.
    pub long: bool,
    /// Sizes with units.
    pub human_readable: bool,
}

/// The line for people, with times on the clocks of `zone`.
pub fn line(entry: &Entry, detail: Detail, zone: &Zone) -> Vec<u8> {
    if !detail.long {
        return entry.path.clone();
    }
    let Node { uid, gid, size, .. } = entry.node;
    let size = match detail.human_readable {
        true => number::bytes(size),
        false => format!("{size:6}"),
    };
    let mode = entry.node.mode | type_bits(&entry.node.node_type);
    let time = entry.node.mtime.in_zone(zone).date_time();
    let mut line = format!("{mode} {uid:5} {gid:5} {size} {time} ").into_bytes();
    line.extend_from_slice(&entry.path);
    if entry.node.node_type == NodeType::Symlink {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(entry.node.link_target.as_bytes());
    }
    line
}

/// The mode bits of a type, which a mode has already unless another program left them out.
fn type_bits(node_type: &NodeType) -> Mode {
    match node_type {
        NodeType::Dir => Mode::DIR,
        NodeType::Symlink => Mode::SYMLINK,
        NodeType::Dev => Mode::DEVICE,
        NodeType::CharDev => Mode::DEVICE | Mode::CHAR_DEVICE,
        NodeType::Fifo => Mode::FIFO,
        NodeType::Socket => Mode::SOCKET,
        _ => Mode::from_bits(0),
    }
}

/// An entry as `ls --json` shows it.
#[derive(Debug, Serialize)]
pub struct JsonNode<'a> {
    name: String,
    #[serde(rename = "type")]
    node_type: &'a str,
    path: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "is_zero_mode")]
    mode: Mode,
    permissions: String,
    mtime: Timestamp,
    atime: Timestamp,
    ctime: Timestamp,
    #[serde(skip_serializing_if = "is_zero")]
    inode: u64,
    message_type: &'static str,
    struct_type: &'static str,
}

impl<'a> From<&'a Entry> for JsonNode<'a> {
    fn from(Entry { path, node }: &'a Entry) -> Self {
        Self {
            name: lossy(node.name.as_bytes()),
            node_type: node.node_type.as_str(),
            path: lossy(path),
            uid: node.uid,
            gid: node.gid,
            size: (node.node_type == NodeType::File).then_some(node.size),
            mode: node.mode,
            permissions: node.mode.to_string(),
            mtime: node.mtime,
            atime: node.atime,
            ctime: node.ctime,
            inode: node.inode,
            message_type: "node",
            struct_type: "node",
        }
    }
}

/// The snapshot as the first line of `ls --json`.
#[derive(Debug, Serialize)]
pub struct JsonHeader<'a> {
    #[serde(flatten)]
    snapshot: WithId<'a>,
    message_type: &'static str,
    struct_type: &'static str,
}

impl<'a> From<&'a (Id, Snapshot)> for JsonHeader<'a> {
    fn from(entry: &'a (Id, Snapshot)) -> Self {
        Self { snapshot: entry.into(), message_type: "snapshot", struct_type: "snapshot" }
    }
}

/// What a listing can be sorted by; always by the path too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// The order of the snapshot.
    #[default]
    Name,
    /// The size.
    Size,
    /// When the content was last changed.
    Mtime,
    /// When it was last read.
    Atime,
    /// When anything about it was last changed.
    Ctime,
    /// What follows the last dot of the name.
    Extension,
}

impl SortBy {
    /// The words of the command line.
    pub const WORDS: [&'static str; 7] =
        ["name", "size", "time", "mtime", "atime", "ctime", "extension"];

    /// What a word of the command line means.
    pub fn parse(word: &str) -> Result<Self, String> {
        Ok(match word {
            "name" => Self::Name,
            "size" => Self::Size,
            "time" | "mtime" => Self::Mtime,
            "atime" => Self::Atime,
            "ctime" => Self::Ctime,
            "extension" => Self::Extension,
            other => {
                return Err(format!("cannot sort by {other:?}, only by {}", Self::WORDS.join("|")));
            }
        })
    }

    /// Sorts a listing. By name it keeps the order of the snapshot.
    pub fn sort(self, entries: &mut [Entry]) {
        entries.sort_by(|a, b| {
            let first = match self {
                Self::Name => return Ordering::Equal,
                Self::Size => a.node.size.cmp(&b.node.size),
                Self::Mtime => a.node.mtime.cmp(&b.node.mtime),
                Self::Atime => a.node.atime.cmp(&b.node.atime),
                Self::Ctime => a.node.ctime.cmp(&b.node.ctime),
                Self::Extension => extension(&a.path).cmp(extension(&b.path)),
            };
            first.then_with(|| a.path.cmp(&b.path))
        });
    }
}

/// From the last dot of the last name on; also if the name begins with it.
fn extension(path: &[u8]) -> &[u8] {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    name.iter().rposition(|&byte| byte == b'.').map_or(&[], |dot| &name[dot..])
}

/// Text for JSON: each byte that is no UTF-8 becomes U+FFFD, as Go does it.
pub fn lossy(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::with_capacity(bytes.len()), |mut text, chunk| {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        text
    })
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_zero_mode(mode: &Mode) -> bool {
    mode.bits() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;

    fn entry(path: &str, node_type: NodeType, mode: u32, size: u64) -> Entry {
        let time: Timestamp =
            serde_json::from_str("\"2026-11-22T19:18:22.388334897+01:00\"").unwrap();
        let mut node = Node::new(path.rsplit('/').next().unwrap(), node_type);
        (node.mode, node.size, node.inode) = (Mode::from_bits(mode), size, 10_117_971);
        (node.mtime, node.atime, node.ctime) = (time, time, time);
        Entry { path: path.into(), node }
    }

    #[test]
    fn long_lines_are_restics() {
        let long = |entry: &Entry| {
            let detail = Detail { long: true, human_readable: false };
            String::from_utf8(line(entry, detail, &Zone::UTC)).unwrap()
        };
        assert_eq!(
            long(&entry("/src", NodeType::Dir, 1 << 31 | 0o755, 0)),
            "drwxr-xr-x     0     0      0 2026-11-22 18:18:22 /src"
        );
        assert_eq!(
            long(&entry("/src/a", NodeType::File, 1 << 23 | 0o755, 3)),
            "urwxr-xr-x     0     0      3 2026-11-22 18:18:22 /src/a"
        );
        let mut link = entry("/src/l", NodeType::Symlink, 0o777, 0);
        link.node.link_target = "a".into();
        assert_eq!(long(&link), "Lrwxrwxrwx     0     0      0 2026-11-22 18:18:22 /src/l -> a");
    }

    #[test]
    fn sizes_can_be_readable_and_lines_short() {
        let file = entry("/src/b", NodeType::File, 0o644, 3893);
        let detail = Detail { long: true, human_readable: true };
        assert_eq!(
            line(&file, detail, &Zone::UTC),
            b"-rw-r--r--     0     0 3.802 KiB 2026-11-22 18:18:22 /src/b"
        );
        assert_eq!(line(&file, Detail::default(), &Zone::UTC), b"/src/b");
    }

    #[test]
    fn json_has_a_size_for_files_only() {
        let text = |entry: &Entry| String::from_utf8(json::line(&JsonNode::from(entry))).unwrap();
        assert_eq!(
            text(&entry("/srv/js/src/a", NodeType::File, 420, 4)),
            "{\"name\":\"a\",\"type\":\"file\",\"path\":\"/srv/js/src/a\",\"uid\":0,\"gid\":0,\
             \"size\":4,\"mode\":420,\"permissions\":\"-rw-r--r--\",\
             \"mtime\":\"2026-11-22T19:18:22.388334897+01:00\",\
             \"atime\":\"2026-11-22T19:18:22.388334897+01:00\",\
             \"ctime\":\"2026-11-22T19:18:22.388334897+01:00\",\"inode\":10117971,\
             \"message_type\":\"node\",\"struct_type\":\"node\"}\n"
        );
        assert!(!text(&entry("/srv", NodeType::Dir, 2_147_484_141, 0)).contains("size"));
        let empty = text(&entry("/srv/e", NodeType::File, 0, 0));
        assert!(empty.contains("\"size\":0,\"permissions\""), "{empty}");
    }

    #[test]
    fn listings_can_be_sorted() {
        let sorted = |by: SortBy| {
            let mut entries = vec![
                entry("/b.txt", NodeType::File, 0, 1),
                entry("/a.zip", NodeType::File, 0, 1),
                entry("/c", NodeType::File, 0, 0),
            ];
            by.sort(&mut entries);
            entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.path).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(sorted(SortBy::Name), ["/b.txt", "/a.zip", "/c"]);
        assert_eq!(sorted(SortBy::Size), ["/c", "/a.zip", "/b.txt"]);
        assert_eq!(sorted(SortBy::Extension), ["/c", "/b.txt", "/a.zip"]);
        assert_eq!(extension(b"/a.d/b"), b"");
        assert!(SortBy::parse("colour").is_err());
        assert!(SortBy::WORDS.iter().all(|word| SortBy::parse(word).is_ok()));
    }

    #[test]
    fn bytes_that_are_no_text_are_marked_one_by_one() {
        assert_eq!(lossy(b"a\xe2\x82b\xff"), "a\u{fffd}\u{fffd}b\u{fffd}");
    }
}
