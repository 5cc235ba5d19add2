//! Forgets all snapshots but the newest three, and then makes room:
//!
//! ```text
//! PASSWORD=secret cargo run --example prune -- /tmp/repository
//! ```
//!
//! Backups may go on meanwhile; for a moment at the end they have to wait.

#![allow(clippy::print_stdout, reason = "an example is a program")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::key::Password;
use restic_repo::lock::{Lock, LockKind, LockOptions};
use restic_repo::progress::Silent;
use restic_repo::prune::{Options as Limits, Prune};
use restic_repo::repository::{Options, Repository};
use restic_repo::{FileType, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let place = std::env::args_os().nth(1).map(PathBuf::from);
    let place = place.expect("the argument is the repository");
    let password = Password::new(std::env::var("PASSWORD").expect("PASSWORD is set"));
    let backend = Arc::new(Local::new(place));
    let repository =
        Repository::open(backend, &password, None, Options::default(), &Silent).await?;
    let locks =
        LockOptions { retry: Duration::from_secs(60), ..LockOptions::new(Identity::current()) };

    let lock = Lock::acquire(&repository, LockKind::Shared, &locks).await?;
    let forget = async {
        let mut snapshots = repository.readable_snapshots(&Silent).await?;
        snapshots.truncate(snapshots.len().saturating_sub(3));
        for (id, snapshot) in snapshots {
            println!("forgetting {} of {}", id.short(), snapshot.time);
            repository.remove(FileType::Snapshot, id).await?;
        }
        Ok(())
    };
    let forgotten: Result<()> = lock.protect(forget).await;
    lock.release().await?;
    forgotten?;

    // This takes its own locks: a shared one for most of the work.
    let prune = Prune { options: Limits::default(), locks: &locks, progress: Arc::new(Silent) };
    let outcome = prune
        .run(&repository, |statistics| {
            println!("{} bytes are going to be free", statistics.total_removed().bytes);
            true
        })
        .await?;
    println!("{:?}; others had to wait for {:?}", outcome.end, outcome.exclusive);
    Ok(())
}
