//! The content of a snapshot, one line for each file and folder.

use std::cmp::Ordering;

use serde::Serialize;

use crate::report::{mode, number};

/// What a listing shows of a file, folder or link.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The path in the snapshot, from `/` on.
    pub path: Vec<u8>,
    /// The last name of it.
    pub name: Vec<u8>,
    /// restic's word for the type: `file`, `dir`, `symlink`, …
    pub node_type: &'static str,
    /// The mode in Go's spelling.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size in bytes; 0 for what is no file.
    pub size: u64,
    /// When the content was last changed.
    pub mtime: Time,
    /// When it was last read.
    pub atime: Time,
    /// When anything about it was last changed.
    pub ctime: Time,
    /// The inode; 0 if unknown.
    pub inode: u64,
    /// The device it was on.
    pub device_id: u64,
    /// How many names it has.
    pub links: u64,
    /// Where a symbolic link leads.
    pub link_target: Vec<u8>,
}

/// A point in time, in the forms that listings need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Nanoseconds since 1970.
    pub unix_nanoseconds: i128,
    /// RFC 3339, as stored.
    pub stored: String,
    /// Local time for people: `2026-11-22 20:21:31`.
    pub local: String,
}

/// How much a line for people shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// Mode, owner, size and time too.
    pub long: bool,
    /// Sizes with units.
    pub human_readable: bool,
}

/// The line for people.
pub fn line(entry: &Entry, detail: Detail) -> Vec<u8> {
    if !detail.long {
        return entry.path.clone();
    }
    let size = match detail.human_readable {
        true => number::bytes(entry.size),
        false => format!("{:6}", entry.size),
    };
    let mode = mode::format(entry.mode | type_bits(entry.node_type));
    let Entry { uid, gid, mtime, .. } = entry;
    let mut line = format!("{mode} {uid:5} {gid:5} {size} {} ", mtime.local).into_bytes();
    line.extend_from_slice(&entry.path);
    if entry.node_type == "symlink" {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(&entry.link_target);
    }
    line
}

/// Go's mode bits for a type, which a mode has already unless another program left them out.
fn type_bits(node_type: &str) -> u32 {
    match node_type {
        "dir" => 1 << 31,
        "symlink" => 1 << 27,
        "dev" => 1 << 26,
        "chardev" => 1 << 26 | 1 << 21,
        "fifo" => 1 << 25,
        "socket" => 1 << 24,
        _ => 0,
    }
}

/// An entry as `ls --json` shows it.
#[derive(Debug, Serialize)]
pub struct Node<'a> {
    name: String,
    #[serde(rename = "type")]
    node_type: &'static str,
    path: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "is_zero_mode")]
    mode: u32,
    permissions: String,
    mtime: &'a str,
    atime: &'a str,
    ctime: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    inode: u64,
    message_type: &'static str,
    struct_type: &'static str,
}

impl<'a> From<&'a Entry> for Node<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            name: lossy(&entry.name),
            node_type: entry.node_type,
            path: lossy(&entry.path),
            uid: entry.uid,
            gid: entry.gid,
            size: (entry.node_type == "file").then_some(entry.size),
            mode: entry.mode,
            permissions: mode::format(entry.mode),
            mtime: &entry.mtime.stored,
            atime: &entry.atime.stored,
            ctime: &entry.ctime.stored,
            inode: entry.inode,
            message_type: "node",
            struct_type: "node",
        }
    }
}

/// The snapshot as the first line of `ls --json`.
#[derive(Debug, Serialize)]
pub struct Header<S> {
    /// The snapshot and its id.
    #[serde(flatten)]
    pub snapshot: crate::report::snapshots::WithId<S>,
    message_type: &'static str,
    struct_type: &'static str,
}

impl<S> Header<S> {
    /// The line for this snapshot.
    pub fn new(snapshot: crate::report::snapshots::WithId<S>) -> Self {
        Self { snapshot, message_type: "snapshot", struct_type: "snapshot" }
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
                Self::Size => a.size.cmp(&b.size),
                Self::Mtime => a.mtime.unix_nanoseconds.cmp(&b.mtime.unix_nanoseconds),
                Self::Atime => a.atime.unix_nanoseconds.cmp(&b.atime.unix_nanoseconds),
                Self::Ctime => a.ctime.unix_nanoseconds.cmp(&b.ctime.unix_nanoseconds),
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

fn is_zero_mode(mode: &u32) -> bool {
    *mode == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;

    fn entry(path: &str, node_type: &'static str, mode: u32, size: u64) -> Entry {
        let name = path.rsplit('/').next().unwrap();
        let time = Time {
            unix_nanoseconds: 0,
            stored: "2026-11-22T19:18:22.388334897+01:00".into(),
            local: "2026-11-22 20:21:29".into(),
        };
        Entry {
            path: path.into(),
            name: name.into(),
            node_type,
            mode,
            size,
            inode: 10_117_971,
            mtime: time.clone(),
            atime: time.clone(),
            ctime: time,
            ..Entry::default()
        }
    }

    #[test]
    fn long_lines_are_restics() {
        let long = |entry: &Entry| {
            let detail = Detail { long: true, human_readable: false };
            String::from_utf8(line(entry, detail)).unwrap()
        };
        assert_eq!(
            long(&entry("/src", "dir", 1 << 31 | 0o755, 0)),
            "drwxr-xr-x     0     0      0 2026-11-22 20:21:29 /src"
        );
        assert_eq!(
            long(&entry("/src/a", "file", 1 << 23 | 0o755, 3)),
            "urwxr-xr-x     0     0      3 2026-11-22 20:21:29 /src/a"
        );
        let mut link = entry("/src/l", "symlink", 0o777, 0);
        link.link_target = b"a".to_vec();
        assert_eq!(long(&link), "Lrwxrwxrwx     0     0      0 2026-11-22 20:21:29 /src/l -> a");
    }

    #[test]
    fn sizes_can_be_readable_and_lines_short() {
        let file = entry("/src/b", "file", 0o644, 3893);
        let detail = Detail { long: true, human_readable: true };
        assert_eq!(
            line(&file, detail),
            b"-rw-r--r--     0     0 3.802 KiB 2026-11-22 20:21:29 /src/b"
        );
        assert_eq!(line(&file, Detail::default()), b"/src/b");
    }

    #[test]
    fn json_has_a_size_for_files_only() {
        let text = |entry: &Entry| String::from_utf8(json::line(&Node::from(entry))).unwrap();
        assert_eq!(
            text(&entry("/srv/js/src/a", "file", 420, 4)),
            "{\"name\":\"a\",\"type\":\"file\",\"path\":\"/srv/js/src/a\",\"uid\":0,\"gid\":0,\
             \"size\":4,\"mode\":420,\"permissions\":\"-rw-r--r--\",\
             \"mtime\":\"2026-11-22T19:18:22.388334897+01:00\",\
             \"atime\":\"2026-11-22T19:18:22.388334897+01:00\",\
             \"ctime\":\"2026-11-22T19:18:22.388334897+01:00\",\"inode\":10117971,\
             \"message_type\":\"node\",\"struct_type\":\"node\"}\n"
        );
        assert!(!text(&entry("/srv", "dir", 2_147_484_141, 0)).contains("size"));
        assert!(text(&entry("/srv/e", "file", 0, 0)).contains("\"size\":0,\"permissions\""));
    }

    #[test]
    fn listings_can_be_sorted() {
        let sorted = |by: SortBy| {
            let mut entries = vec![
                entry("/b.txt", "file", 0, 1),
                entry("/a.zip", "file", 0, 1),
                entry("/c", "file", 0, 0),
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
