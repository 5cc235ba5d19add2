//! Writes a disk as one qcow2 file to standard output:
//!
//! ```text
//! cargo run --example stream -- disk.0.0 disk.0.1 disk.0.2 >disk.qcow2
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use virtual_disk::{Chain, LocalFile, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let sources: io::Result<Vec<_>> = std::env::args_os()
        .skip(1)
        .map(|path| Ok(Arc::new(LocalFile::open(path)?) as Arc<dyn Source>))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let chain = Chain::open(sources?).await?;
        let mut pieces = pin!(chain.stream());
        let mut out = io::stdout().lock();
        while let Some(piece) = pieces.try_next().await? {
            out.write_all(&piece)?;
        }
        Ok(())
    })
}
