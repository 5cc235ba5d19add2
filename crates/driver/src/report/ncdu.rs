//! A snapshot's content in the export format of ncdu, for `ncdu -f -`.
//!
//! The format is JSON: a list for each folder, whose first element is the folder itself. See
//! <https://dev.yorhel.nl/ncdu/jsonfmt>.

use restic_repo::node::{Mode, Node, NodeType};
use serde::Serialize;

use crate::report::json;
use crate::report::listing::{Entry, lossy};

/// Writes the format piece by piece. The pieces are to be printed one after the other.
#[derive(Debug, Default)]
pub struct Export {
    depth: usize,
}

impl Export {
    /// The beginning, with the snapshot as JSON.
    pub fn begin(&mut self, snapshot: &[u8]) -> Vec<u8> {
        self.depth = 1;
        let snapshot = snapshot.strip_suffix(b"\n").unwrap_or(snapshot);
        [&b"[1, 2, "[..], snapshot, b", [{\"name\":\"/\"}"].concat()
    }

    /// A file, or a folder that is entered by this.
    pub fn entry(&mut self, entry: &Entry) -> Vec<u8> {
        let mut piece = format!(",\n{}", self.indentation()).into_bytes();
        if entry.node.node_type == NodeType::Dir {
            self.depth += 1;
            piece.extend_from_slice(format!("[\n{}", self.indentation()).as_bytes());
        }
        let object = json::line(&Object::from(&entry.node));
        piece.extend_from_slice(object.strip_suffix(b"\n").unwrap_or(&object));
        piece
    }

    /// Leaves the folder entered last.
    pub fn leave(&mut self) -> Vec<u8> {
        self.depth = self.depth.saturating_sub(1);
        format!("\n{}]", self.indentation()).into_bytes()
    }

    /// The end.
    pub fn end(&self) -> &'static [u8] {
        b"\n]\n]\n"
    }

    fn indentation(&self) -> String {
        "  ".repeat(self.depth)
    }
}

#[derive(Serialize)]
struct Object {
    name: String,
    asize: u64,
    dsize: u64,
    dev: u64,
    ino: u64,
    nlink: u64,
    notreg: bool,
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: i64,
}

/// What ncdu takes for the size of a block.
const BLOCK: u64 = 512;

impl From<&Node> for Object {
    fn from(node: &Node) -> Self {
        let special = [(Mode::SETUID, 0o4000), (Mode::SETGID, 0o2000), (Mode::STICKY, 0o1000)];
        let special = special.iter().filter(|(bit, _)| node.mode.contains(*bit));
        Self {
            name: lossy(node.name.as_bytes()),
            asize: node.size,
            dsize: node.size.checked_next_multiple_of(BLOCK).unwrap_or(node.size),
            dev: node.device_id,
            ino: node.inode,
            nlink: node.links,
            notreg: !matches!(node.node_type, NodeType::File | NodeType::Dir),
            uid: node.uid,
            gid: node.gid,
            mode: special.fold(node.mode.bits() & 0o777, |mode, (_, bit)| mode | bit),
            // ncdu knows no times before 1970.
            mtime: node.mtime.unix_seconds().max(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use restic_repo::time::Timestamp;

    #[test]
    fn the_export_is_restics() {
        let entry = |name: &str, node_type: NodeType, mode, size, inode| {
            let mut node = Node::new(name, node_type);
            node.links = u64::from(node.node_type == NodeType::File);
            (node.mode, node.size, node.inode) = (Mode::from_bits(mode), size, inode);
            (node.device_id, node.mtime) = (65024, Timestamp::from_unix(1_795_378_889, 1));
            Entry { path: Vec::new(), node }
        };
        let mut export = Export::default();
        let pieces = [
            export.begin(b"{\"time\":\"x\"}\n"),
            export.entry(&entry("src", NodeType::Dir, 1 << 31 | 0o755, 0, 10)),
            export.entry(&entry("a", NodeType::File, 1 << 23 | 0o755, 3, 11)),
            export.entry(&entry("p", NodeType::Fifo, 1 << 25 | 0o644, 0, 12)),
            export.leave(),
            export.end().to_vec(),
        ];
        let expected = r#"[1, 2, {"time":"x"}, [{"name":"/"},
  [
    {"name":"src","asize":0,"dsize":0,"dev":65024,"ino":10,"nlink":0,"notreg":false,"uid":0,"gid":0,"mode":493,"mtime":1795378889},
    {"name":"a","asize":3,"dsize":512,"dev":65024,"ino":11,"nlink":1,"notreg":false,"uid":0,"gid":0,"mode":2541,"mtime":1795378889},
    {"name":"p","asize":0,"dsize":0,"dev":65024,"ino":12,"nlink":0,"notreg":true,"uid":0,"gid":0,"mode":420,"mtime":1795378889}
  ]
]
]
"#;
        assert_eq!(String::from_utf8(pieces.concat()).unwrap(), expected);
    }
}
