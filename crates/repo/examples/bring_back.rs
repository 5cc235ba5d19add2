//! Lists the snapshots of a repository; then reads a range of a file of the latest one, and restores it:
//!
//! ```text
//! PASSWORD=secret cargo run --example bring_back -- /tmp/repository /path/in/snapshot /tmp/target
//! ```

#![allow(clippy::print_stdout, reason = "an example is a program")]

use std::path::PathBuf;
use std::sync::Arc;

use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::key::Password;
use restic_repo::lock::{Lock, LockKind, LockOptions};
use restic_repo::progress::Silent;
use restic_repo::reader::{DEFAULT_CACHE, FileReader};
use restic_repo::repository::{Options, Repository};
use restic_repo::restorer::Restore;
use restic_repo::snapshot::{Filter, resolve};
use restic_repo::{Result, walk};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut argument = |what| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let (place, path, target) = (argument("repository"), argument("file"), argument("target"));
    let password = Password::new(std::env::var("PASSWORD").expect("PASSWORD is set"));

    let backend = Arc::new(Local::new(place));
    let repository =
        Repository::open(backend, &password, None, Options::default(), &Silent).await?;
    let options = LockOptions::new(Identity::current());
    let lock = Lock::acquire(&repository, LockKind::Shared, &options).await?;
    let work = async {
        // Snapshots before the index: whoever stores goes the other way round.
        let snapshots = repository.readable_snapshots(&Silent).await?;
        let index = Arc::new(repository.load_index(&Silent).await?);
        for (id, snapshot) in &snapshots {
            println!("{} {} {:?}", id.short(), snapshot.time, snapshot.paths);
        }
        let (_, latest) = resolve(&snapshots, &Filter::default(), "latest")?;

        let node = walk::find_path(&repository, &index, latest.tree, &path).await?;
        let content = node.content.unwrap_or_default();
        let file = FileReader::new(&repository, Arc::clone(&index), content, DEFAULT_CACHE)?;
        println!("{} bytes; the first: {:?}", file.len(), file.read_at(0, 16).await?);

        let restore = Restore::new(target);
        restore.run(&repository, index, latest.tree, Arc::new(Silent)).await
    };
    let outcome = lock.protect(work).await;
    lock.release().await?;
    println!("{:#?}", outcome?);
    Ok(())
}
