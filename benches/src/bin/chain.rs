//! Streams a disk out of a full backup and its increments, from a repository in a local folder: what a restore
//! costs without a server.
//!
//! `RESTIC_PASSWORD=... chain FOLDER SNAPSHOT:PATH... > disk.qcow2`, the oldest first.

use std::env;
use std::error::Error;
use std::io::stdout;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use one_restic::allocator::{Allocator, keep_few_arenas};
use one_restic::disk_source::BackupFile;
use restic_repo::backend::local::Local;
use restic_repo::dump::{self, Sink};
use restic_repo::key::Password;
use restic_repo::progress::Silent;
use restic_repo::reader::FileReader;
use restic_repo::repository::{Options, Repository};
use restic_repo::snapshot::{Filter, resolve};
use restic_repo::walk::find_path;
use virtual_disk::{Chain, Source};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What all files of the chain share for what they have read, in bytes: as the program has it.
const CACHE: u64 = 64 << 20;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    keep_few_arenas();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(stream())
}

async fn stream() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let (backend, password) = (Arc::new(Local::new(folder)), env::var("RESTIC_PASSWORD")?);
    let (password, options) = (Password::new(password), Options::default());
    let repository = Repository::open(backend, &password, None, options, &Silent).await?;
    let snapshots = repository.readable_snapshots(&Silent).await?;
    let index = Arc::new(repository.load_index(&Silent).await?);
    let files: Vec<String> = arguments.collect();
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    for file in &files {
        let (id, path) = file.split_once(':').ok_or("a file is SNAPSHOT:PATH")?;
        let (_, snapshot) = resolve(&snapshots, &Filter::default(), id)?;
        let path = Path::new(path);
        let node = find_path(&repository, &index, snapshot.tree, path).await?;
        let content = dump::content(&node, path)?.to_vec();
        let cache = CACHE / files.len() as u64;
        let reader = FileReader::new(&repository, Arc::clone(&index), content, cache)?;
        sources.push(Arc::new(BackupFile::new(reader)));
    }
    let chain = Chain::open(sources).await?;
    let mut sink = Sink::new(stdout());
    let mut pieces = pin!(chain.stream());
    while let Some(piece) = pieces.next().await {
        sink.write(piece?).await?;
    }
    sink.finish().await?;
    Ok(())
}
