//! A file whose content comes from a stream.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::archiver::file::OpenFile;
use crate::archiver::folder::Folder;
use crate::archiver::walk::Leaf;
use crate::chunker::{Chunker, Cutter, ReadSource, Source};
use crate::error::{Error, Result};
use crate::node::{Mode, Node, NodeType};
use crate::time::Timestamp;

/// Opens a stream as the file `path` below `top`. What restic 0.19 makes up for it: mode 0644, its
/// folders 0755, everything of the present time.
pub(super) fn open(
    top: &Arc<Folder>,
    path: &Path,
    content: Box<dyn Read + Send>,
    chunker: Arc<Chunker>,
    now: Timestamp,
) -> Result<OpenFile> {
    let mut names: Vec<&OsStr> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let name = names
        .pop()
        .ok_or_else(|| Error::Refused(format!("{path:?} cannot be the name of a file")))?;
    let mut folder = Arc::clone(top);
    folder.expect_one();
    let mut reached = PathBuf::from("/");
    for name in names {
        reached.push(name);
        let node = made_up(name, NodeType::Dir, Mode::DIR.bits() | 0o755, now);
        folder = Arc::new(Folder::new(reached.clone(), Some(node), Some(folder), None, None));
    }
    let node = made_up(name, NodeType::File, 0o644, now);
    let leaf = Leaf { path: path.to_owned(), name: name.to_owned(), folder };
    let source: Box<dyn Source + Send> = Box::new(ReadSource(content));
    Ok(OpenFile::new(leaf, node, None, Cutter::new(source, chunker)))
}

fn made_up(name: &OsStr, node_type: NodeType, mode: u32, now: Timestamp) -> Node {
    let mut node = Node::new(name, node_type);
    node.mode = Mode::from_bits(mode);
    (node.mtime, node.atime, node.ctime) = (now, now, now);
    node
}
