//! Files and folders of a snapshot, written out in one stream.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::blob::BlobHandle;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};
use crate::reader::BlobStream;
use crate::repository::Repository;

mod acl;
mod sink;
mod tar;

pub use self::sink::Sink;
pub use self::tar::{Tarred, dump_tar};

/// Writes the content of a file to `out`, in order, and gives `out` back. Every blob is verified before
/// it is written.
///
/// `path` is for messages. `out` is written in large pieces on a thread of its own while more is fetched
/// and decoded, so it needs no buffer: for standard output take the bare file, since
/// [`std::io::Stdout`] searches what it is given for line ends. Where `out` is stuck, dropping the
/// future does not free that thread.
///
/// # Errors
/// [`Error::WrongNodeType`] for what is no file; [`Error::Io`] with the operation "write" if `out`
/// fails, of kind [`std::io::ErrorKind::BrokenPipe`] if the one who reads has gone; whatever keeps the
/// content from being read. What was written until then is a correct beginning.
pub async fn dump_file<W: Write + Send + 'static>(
    repository: &Repository,
    index: Arc<Index>,
    path: &Path,
    node: &Node,
    out: W,
) -> Result<W> {
    let content = content(node, path)?.iter().copied().map(BlobHandle::data);
    let mut blobs = BlobStream::new(repository, index, content);
    let mut sink = Sink::new(out);
    while let Some(blob) = blobs.next().await {
        sink.write(blob?).await?;
    }
    sink.finish().await
}

/// The blobs of a node that has to be a file.
///
/// # Errors
/// [`Error::WrongNodeType`] if it is none, [`Error::Mismatch`] if it is damaged.
pub fn content<'a>(node: &'a Node, path: &Path) -> Result<&'a [Id]> {
    if node.node_type != NodeType::File {
        return Err(Error::WrongNodeType {
            path: path.to_owned(),
            found: node.node_type.to_string(),
            wanted: "file",
        });
    }
    let missing = || Error::mismatch(path, "it is a file without a list of its content");
    node.content.as_deref().ok_or_else(missing)
}
