//! The files of a disk in Ceph's format, as one archive.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use restic_repo::BlobHandle;
use restic_repo::dump::{self, Sink};
use restic_repo::index::Index;
use restic_repo::node::Node;
use restic_repo::reader::BlobStream;
use tar::{EntryType, Header};

use crate::action::repository::BackupRepository;
use crate::action::stream::File;
use crate::exit::{Failure, Result};
use crate::gated_output::GatedOutput;

/// Archives consist of blocks of so many bytes.
const BLOCK: u64 = 512;

/// Writes files under their bare names, as `tar zc` does.
pub async fn write_archive(
    repository: &BackupRepository,
    index: &Arc<Index>,
    files: &[File],
    out: GatedOutput,
) -> Result {
    let mut sink = Sink::new(Compressed(GzEncoder::new(out, Compression::fast())));
    for file in files {
        let node = repository.file(index, &file.snapshot, &file.path).await?;
        let content = dump::content(&node, Path::new(&file.path))?;
        let header = header(&file.name, &node).map_err(|error| {
            Failure::new(format_args!("{} does not fit into an archive: {error}", file.path))
        })?;
        sink.write_small(header.as_bytes()).await.map_err(GatedOutput::failure)?;
        let content = content.iter().copied().map(BlobHandle::data);
        let mut blobs = BlobStream::new(&repository.repository, Arc::clone(index), content);
        let mut length = 0;
        while let Some(blob) = blobs.next().await {
            let blob = blob?;
            length += blob.len() as u64;
            sink.write(blob).await.map_err(GatedOutput::failure)?;
        }
        if length != node.size {
            return Err(Failure::new(format_args!(
                "{} has {length} bytes in the backup instead of {}",
                file.path, node.size
            )));
        }
        let padding = (BLOCK - length % BLOCK) % BLOCK;
        let padding = &[0; BLOCK as usize][..padding as usize];
        sink.write_small(padding).await.map_err(GatedOutput::failure)?;
    }
    sink.write_small(&[0; 2 * BLOCK as usize]).await.map_err(GatedOutput::failure)?;
    sink.finish().await.map(drop).map_err(GatedOutput::failure)
}

fn header(name: &str, node: &Node) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(node.size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// Ends the compressed stream when there is nothing more to come.
struct Compressed(GzEncoder<GatedOutput>);

impl Write for Compressed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.try_finish()?;
        self.0.get_mut().flush()
    }
}
