//! A folder of a snapshot as a tar archive.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::tar::{Builder, EntryType, Header};

use crate::blob::BlobHandle;
use crate::dump::sink::Sink;
use crate::dump::{acl, content};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeType};
use crate::progress::{Progress, Warning};
use crate::reader::BlobStream;
use crate::repository::Repository;
use crate::time::Timestamp;
use crate::walk::{Step, Walk};

/// How many entries are looked at together, so that their blobs can be fetched together.
const BATCH_ENTRIES: usize = 8192;
/// How many blobs these may have.
const BATCH_BLOBS: usize = 256 << 10;
/// Archives consist of blocks of so many bytes.
const BLOCK: u64 = 512;

/// An archive that was written.
#[derive(Debug)]
pub struct Tarred<W> {
    /// Where it was written.
    pub out: W,
    /// How many files, folders and links are in it.
    pub entries: u64,
    /// How many folders or files could not be read and are not in it.
    pub errors: u64,
}

/// Writes what is in a folder to `out`, as a tar archive. `tree` is the folder's tree and `top` its path
/// in the snapshot, with which all names in the archive begin: restic names them so, too.
///
/// As in restic's archives there are files, folders and symbolic links, with PAX records for attributes
/// and for what the old headers have no room for; hard links are files of their own. Devices, pipes and
/// sockets are left out.
///
/// A folder that cannot be read is a warning, and counted. `out` is written as by
/// [`dump_file`](super::dump_file).
///
/// # Errors
/// A file's content that cannot be read, or is not as long as its node says: the archive has promised
/// it by then. And whatever makes `out` fail.
pub async fn dump_tar<W: Write + Send + 'static>(
    repository: &Repository,
    index: Arc<Index>,
    tree: Id,
    top: &Path,
    out: W,
    progress: &dyn Progress,
) -> Result<Tarred<W>> {
    let walk = Walk::new(repository, Arc::clone(&index), tree, top);
    let mut walk = walk.descend_if(|_, node| node.name.is_safe());
    let mut sink = Sink::new(out);
    let mut headers = Headers::new();
    let (mut entries, mut errors) = (0, 0);
    loop {
        let batch = next_batch(&mut walk, &mut errors, progress).await;
        if batch.is_empty() {
            break;
        }
        let blobs = batch.iter().flat_map(|entry| entry.content.iter().copied());
        let mut blobs =
            BlobStream::new(repository, Arc::clone(&index), blobs.map(BlobHandle::data));
        for entry in &batch {
            let header = headers.of(&entry.path, &entry.node, entry.size());
            sink.write_small(&header.map_err(|error| Error::io("archive", &entry.path, error))?)
                .await?;
            let mut length = 0;
            for _ in &entry.content {
                let blob = blobs.next().await.unwrap_or(Err(Error::Cancelled))?;
                length += blob.len() as u64;
                if length > entry.size() {
                    break;
                }
                sink.write(blob).await?;
            }
            if length != entry.size() {
                let detail = format!("its content is not {} bytes long", entry.size());
                return Err(Error::mismatch(&entry.path, detail));
            }
            let padding = (BLOCK - length % BLOCK) % BLOCK;
            sink.write_small(&[0; BLOCK as usize][..padding as usize]).await?;
            entries += 1;
        }
    }
    let end = headers.finish().map_err(|error| Error::io("archive", top, error))?;
    sink.write_small(&end).await?;
    Ok(Tarred { out: sink.finish().await?, entries, errors })
}

struct Entry {
    path: PathBuf,
    node: Node,
    content: Vec<Id>,
}

impl Entry {
    fn size(&self) -> u64 {
        if self.node.node_type == NodeType::File { self.node.size } else { 0 }
    }
}

async fn next_batch(walk: &mut Walk, errors: &mut u64, progress: &dyn Progress) -> Vec<Entry> {
    let mut batch = Vec::new();
    let mut blobs = 0;
    let mut refuse = |path: &Path, error: Error| {
        *errors += 1;
        progress.warn(&Warning::NotRestored { path, error: &error });
    };
    while batch.len() < BATCH_ENTRIES
        && blobs < BATCH_BLOBS
        && let Some(step) = walk.next().await
    {
        match step {
            Step::Entry { path, node, .. } if !node.name.is_safe() => {
                refuse(&path, Error::UnsafeName { name: node.name.as_os_str().into() });
            }
            Step::Entry { path, node, .. } => {
                let content = match node.node_type {
                    NodeType::File => content(&node, &path).map(<[Id]>::to_vec),
                    NodeType::Dir | NodeType::Symlink => Ok(Vec::new()),
                    _ => continue,
                };
                match content {
                    Ok(content) => {
                        blobs += content.len();
                        batch.push(Entry { path, node: *node, content });
                    }
                    Err(error) => refuse(&path, error),
                }
            }
            Step::Unreadable { path, error } => refuse(&path, error),
            Step::Leave { .. } => {}
        }
    }
    batch
}

/// Makes headers, with the PAX records before them that they need.
struct Headers(Builder<Vec<u8>>);

impl Headers {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn of(&mut self, path: &Path, node: &Node, size: u64) -> io::Result<Vec<u8>> {
        let mut records = Records::default();
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        let mut name = path.as_os_str().as_bytes();
        while let [b'/', rest @ ..] = name {
            name = rest;
        }
        let mut name = name.to_vec();
        let entry_type = match node.node_type {
            NodeType::Dir => {
                name.push(b'/');
                EntryType::Directory
            }
            NodeType::Symlink => {
                records.text("linkpath", node.link_target.as_bytes(), &mut old.linkname);
                EntryType::Symlink
            }
            _ => EntryType::Regular,
        };
        records.text("path", &name, &mut old.name);
        header.set_entry_type(entry_type);
        header.set_mode(node.mode.unix_permissions());
        header.set_uid(records.number("uid", node.uid.into(), 7));
        header.set_gid(records.number("gid", node.gid.into(), 7));
        header.set_size(records.number("size", size, 11));
        header.set_mtime(records.time("mtime", &node.mtime));
        if let Some(ustar) = header.as_ustar_mut() {
            records.text("uname", node.user.as_bytes(), &mut ustar.uname);
            records.text("gname", node.group.as_bytes(), &mut ustar.gname);
            ustar.set_device_major(0);
            ustar.set_device_minor(0);
        }
        header.set_cksum();
        for attribute in &node.extended_attributes {
            records.attribute(attribute.name.as_bytes(), &attribute.value);
        }
        let records = records.0.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.0.append_pax_extensions(records)?;
        self.0.append(&header, io::empty())?;
        Ok(std::mem::take(self.0.get_mut()))
    }

    /// The end of the archive.
    fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

/// What does not fit into a header.
#[derive(Default)]
struct Records(Vec<(String, Vec<u8>)>);

impl Records {
    /// A text goes into the header's field, if that has room for it and it is plain.
    fn text(&mut self, key: &str, text: &[u8], field: &mut [u8]) {
        if !text.is_ascii() || text.len() > field.len() {
            self.0.push((key.to_owned(), text.to_vec()));
        }
        let plain = text.iter().map(|byte| if byte.is_ascii() { *byte } else { b'_' });
        for (to, from) in field.iter_mut().zip(plain) {
            *to = from;
        }
    }

    /// A number goes into the header if that has enough octal digits for it.
    fn number(&mut self, key: &str, number: u64, digits: u32) -> u64 {
        if number < 1 << (3 * digits) {
            return number;
        }
        self.0.push((key.to_owned(), number.to_string().into_bytes()));
        0
    }

    /// A time is rounded to the second, as restic does. One before 1970 needs a record.
    fn time(&mut self, key: &str, time: &Timestamp) -> u64 {
        let up = i64::from(time.subsec_nanoseconds() >= 500_000_000);
        let seconds = time.unix_seconds().saturating_add(up);
        match u64::try_from(seconds) {
            Ok(seconds) => self.number(key, seconds, 11),
            Err(_) => {
                self.0.push((key.to_owned(), seconds.to_string().into_bytes()));
                0
            }
        }
    }

    fn attribute(&mut self, name: &[u8], value: &[u8]) {
        let acl = match name {
            b"system.posix_acl_access" => Some("SCHILY.acl.access"),
            b"system.posix_acl_default" => Some("SCHILY.acl.default"),
            _ => None,
        };
        match acl {
            Some(key) => {
                if let Some(text) = acl::to_text(value).filter(|text| !text.is_empty()) {
                    self.0.push((key.to_owned(), text.into_bytes()));
                }
            }
            None => {
                let key = format!("SCHILY.xattr.{}", String::from_utf8_lossy(name));
                // A record's key ends at the first equals sign.
                if !key.contains('=') {
                    self.0.push((key, value.to_vec()));
                }
            }
        }
    }
}
