//! Makes a repository and backs up files into it:
//!
//! ```text
//! PASSWORD=secret cargo run --example back_up -- /tmp/repository FILE…
//! ```

#![allow(clippy::print_stdout, reason = "an example is a program")]

use std::path::PathBuf;
use std::sync::Arc;

use restic_repo::Result;
use restic_repo::archiver::Backup;
use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::key::Password;
use restic_repo::lock::{Lock, LockKind, LockOptions};
use restic_repo::progress::Silent;
use restic_repo::repository::{InitOptions, Options, Repository};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let place = arguments.next().expect("the first argument is the repository");
    let password = Password::new(std::env::var("PASSWORD").expect("PASSWORD is set"));
    let me = Identity::current();

    let backend = Arc::new(Local::new(place));
    let options = Options::default();
    let init = InitOptions::new(me.clone());
    let repository = match Repository::init(backend.clone(), &password, init, options.clone()).await
    {
        Err(restic_repo::Error::AlreadyInitialized { .. }) => {
            Repository::open(backend, &password, None, options, &Silent).await?
        }
        made => made?,
    };

    let lock = Lock::acquire(&repository, LockKind::Shared, &LockOptions::new(me.clone())).await?;
    let work = async {
        let index = repository.load_index(&Silent).await?;
        let backup = Backup::of_paths(arguments.collect(), me);
        backup.run(&repository, index, Arc::new(Silent)).await
    };
    let outcome = lock.protect(work).await;
    lock.release().await?;

    let outcome = outcome?;
    println!("snapshot {:?}: {:#?}", outcome.id, outcome.snapshot.summary);
    Ok(())
}
