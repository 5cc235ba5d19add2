//! What `find` found, and in which snapshots.

use std::os::unix::ffi::{OsStrExt, OsStringExt};

use restic_repo::find::Found;
use restic_repo::node::{Mode, Node};
use restic_repo::snapshot::Snapshot;
use restic_repo::time::{Timestamp, Zone};
use restic_repo::{BlobHandle, BlobLocation, Id};
use serde::Serialize;

use crate::report::listing::{Detail, Entry, line, lossy};
use crate::report::terminal::Terminal;

/// Prints what is found, snapshot by snapshot. As JSON, it is all in one line.
pub struct Places<'a> {
    terminal: &'a Terminal,
    detail: Detail,
    /// What is in the array so far.
    json: JsonArray,
    /// The snapshot that the last file was found in.
    current: Option<Id>,
    /// How many files were found in it.
    hits: u64,
}

impl<'a> Places<'a> {
    /// Nothing is found yet.
    pub fn new(terminal: &'a Terminal, detail: Detail) -> Self {
        Self { terminal, detail, json: JsonArray::default(), current: None, hits: 0 }
    }

    /// Something was found in a snapshot.
    pub fn found(&mut self, snapshot: &(Id, Snapshot), found: Found) {
        let (id, time) = (snapshot.0, snapshot.1.time);
        match found {
            Found::Node { path, node } => {
                let path = path.into_os_string().into_vec();
                self.node(id, time, Entry { path, node: *node });
            }
            Found::Tree { id: tree, path } => {
                let path = path.as_os_str().as_bytes();
                self.object(Object::new("tree", tree, path, None, snapshot), path);
            }
            Found::Blob { id: blob, path, tree } => {
                let path = path.as_os_str().as_bytes();
                self.object(Object::new("blob", blob, path, Some(tree), snapshot), path);
            }
            Found::Unreadable { path, error } => {
                let path = path.display();
                let text = format!("cannot search {path} in snapshot {}: {error}", id.short());
                self.terminal.error(text);
            }
        }
    }

    fn node(&mut self, id: Id, time: Timestamp, entry: Entry) {
        let is_first = self.current != Some(id);
        if self.terminal.is_json() {
            if is_first {
                self.end_snapshot();
                self.json.begin(b"{\"matches\":[");
            }
            self.current = Some(id);
            self.json.element(self.hits == 0, &JsonNode::from(&entry));
            self.hits += 1;
            self.show_json();
            return;
        }
        if is_first {
            if self.current.is_some() {
                self.terminal.note("");
            }
            self.current = Some(id);
            let time = time.in_zone(Zone::local()).date_time();
            let id = id.short();
            self.terminal.note(format!("Found matching entries in snapshot {id} from {time}"));
        }
        self.terminal.print_one_of_many(line(&entry, self.detail, Zone::local()));
    }

    fn object(&mut self, object: Object, path: &[u8]) {
        if self.terminal.is_json() {
            self.json.begin(b"");
            self.json.element(self.hits == 0, &object);
            self.hits += 1;
            self.show_json();
            return;
        }
        let print = |start: &str, path: &[u8]| {
            self.terminal.print_one_of_many([start.as_bytes(), path].concat());
        };
        print(&format!("Found {} {}", object.object_type, object.id), b"");
        match object.parent_tree {
            Some(tree) => {
                print(" ... in file ", path);
                print(&format!("     (tree {tree})"), b"");
            }
            None => print(" ... path ", path),
        }
        let time = object.time.in_zone(Zone::local()).date_time();
        print(&format!(" ... in snapshot {} ({time})", object.snapshot.short()), b"");
    }

    /// There is nothing more.
    pub fn end(mut self) {
        if self.terminal.is_json() {
            self.end_snapshot();
            self.json.begin(b"");
            self.json.bytes.extend_from_slice(b"]\n");
            self.show_json();
        }
    }

    fn end_snapshot(&mut self) {
        if let Some(id) = self.current.take() {
            let end = format!("],\"hits\":{},\"snapshot\":\"{id}\"}}", self.hits);
            self.json.bytes.extend_from_slice(end.as_bytes());
            self.json.needs_comma = true;
        }
        self.hits = 0;
    }

    fn show_json(&mut self) {
        let bytes = std::mem::take(&mut self.json.bytes);
        // What is wrong with the output is told at the end.
        let _ = self.terminal.lend(|output| output.write_all(&bytes));
    }
}

/// An array that is written piece by piece.
#[derive(Default)]
struct JsonArray {
    bytes: Vec<u8>,
    is_begun: bool,
    needs_comma: bool,
}

impl JsonArray {
    fn begin(&mut self, text: &[u8]) {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.bytes.push(b'[');
        }
        if !text.is_empty() {
            if std::mem::take(&mut self.needs_comma) {
                self.bytes.push(b',');
            }
            self.bytes.extend_from_slice(text);
        }
    }

    fn element(&mut self, is_first: bool, value: &impl Serialize) {
        if !is_first {
            self.bytes.push(b',');
        }
        self.bytes.extend(restic_repo::json::to_vec(value));
    }
}

/// The lines that tell which pack holds a blob.
pub fn place_of(blob: &BlobHandle, place: Option<BlobLocation>) -> String {
    let BlobHandle { blob_type, id } = blob;
    match place {
        None => format!("Object {blob_type} with type {} not found in the index", id.short()),
        Some(BlobLocation { pack, entry }) => format!(
            "Object belongs to pack {pack}\n ... Pack {}: <Blob ({blob_type}) {}, offset {}, length {}, \
             uncompressed length {}>",
            pack.short(),
            id.short(),
            entry.offset,
            entry.length,
            entry.uncompressed_length
        ),
    }
}

/// A file or folder as `find --json` shows it.
#[derive(Serialize)]
struct JsonNode<'a> {
    path: String,
    permissions: String,
    #[serde(rename = "type")]
    node_type: &'a str,
    #[serde(skip_serializing_if = "is_zero_mode")]
    mode: Mode,
    mtime: Timestamp,
    atime: Timestamp,
    ctime: Timestamp,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    inode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    device_id: u64,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    links: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    linktarget: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

impl<'a> From<&'a Entry> for JsonNode<'a> {
    fn from(Entry { path, node }: &'a Entry) -> Self {
        let Node { mode, mtime, atime, ctime, uid, gid, inode, device_id, size, links, .. } = *node;
        Self {
            path: lossy(path),
            permissions: mode.to_string(),
            node_type: node.node_type.as_str(),
            mode,
            mtime,
            atime,
            ctime,
            uid,
            gid,
            user: &node.user,
            group: &node.group,
            inode,
            device_id,
            size,
            links,
            linktarget: lossy(node.link_target.as_bytes()),
            error: &node.error,
        }
    }
}

/// A blob or tree as `find --json` shows it.
#[derive(Serialize)]
struct Object {
    object_type: &'static str,
    id: Id,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_tree: Option<Id>,
    snapshot: Id,
    time: Timestamp,
}

impl Object {
    fn new(
        object_type: &'static str,
        id: Id,
        path: &[u8],
        parent_tree: Option<Id>,
        (snapshot, Snapshot { time, .. }): &(Id, Snapshot),
    ) -> Self {
        Self { object_type, id, path: lossy(path), parent_tree, snapshot: *snapshot, time: *time }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_zero_mode(mode: &Mode) -> bool {
    mode.bits() == 0
}

#[cfg(test)]
mod tests {
    use restic_repo::BlobEntry;

    use super::*;

    #[test]
    fn a_place_is_told_as_restic_does() {
        let id = Id::of(b"");
        let handle = BlobHandle::tree(id);
        let entry = BlobEntry { handle, offset: 632, length: 250, uncompressed_length: 353 };
        assert_eq!(
            place_of(&handle, Some(BlobLocation { pack: id, entry })),
            format!(
                "Object belongs to pack {id}\n ... Pack e3b0c442: <Blob (tree) e3b0c442, \
                 offset 632, length 250, uncompressed length 353>"
            )
        );
        assert!(place_of(&handle, None).ends_with("not found in the index"));
    }
}
