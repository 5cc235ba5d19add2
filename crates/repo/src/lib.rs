//! The [restic](https://restic.net) repository format, and everything one does with a repository.
//!
//! Whatever restic 0.14 to 0.19 wrote, this library reads; whatever it writes, they read, check and
//! restore; and both may work on one repository at the same time, since they honour each other's locks.
//!
//! # A backup and a restore
//!
//! ```
//! use std::sync::Arc;
//! use restic_repo::archiver::Backup;
//! use restic_repo::backend::local::Local;
//! use restic_repo::identity::Identity;
//! use restic_repo::key::Password;
//! use restic_repo::lock::{Lock, LockKind, LockOptions};
//! use restic_repo::progress::Silent;
//! use restic_repo::repository::{InitOptions, Options, Repository};
//!
//! # async fn example() -> restic_repo::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let (place, file) = (folder.path().join("repo"), folder.path().join("disk"));
//! # std::fs::write(&file, "content").expect("a file");
//! let me = Identity::current();
//! let backend = Arc::new(Local::new(&place));
//! let password = Password::new("correct horse battery staple");
//! let init = InitOptions::new(me.clone());
//! let repository = Repository::init(backend, &password, init, Options::default()).await?;
//!
//! let lock = Lock::acquire(&repository, LockKind::Shared, &LockOptions::new(me.clone())).await?;
//! let work = async {
//!     let index = repository.load_index(&Silent).await?;
//!     Backup::of_paths(vec![file], me).run(&repository, index, Arc::new(Silent)).await
//! };
//! let outcome = lock.protect(work).await;
//! lock.release().await?;
//! println!("stored snapshot {:?}", outcome?.id);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
//! #     .block_on(example()).expect("the example works");
//! ```
//!
//! More in `examples/`.
//!
//! # The map
//!
//! | layer | rooms |
//! |---|---|
//! | names | [`Id`], [`Handle`], [`BlobHandle`], [`Error`], [`progress`] |
//! | storage: whole files and ranges | [`backend`] and its wrappers, [`buffers`] |
//! | format: bytes in, bytes out, no I/O | [`crypto`], [`codec`], [`key`], [`config`], [`pack`], [`index`], [`json`], [`time`], [`node`], [`tree`], [`snapshot`], [`chunker`] |
//! | a repository: single things | [`repository`], [`lock`], [`packer`], [`reader`] |
//! | operations | [`archiver`], [`patch`], [`revision`], [`restorer`], [`dump`], [`checker`], [`forget`], [`prune`], [`rewrite`], [`copy`], [`diff`], [`find`], [`migrate`], [`recover`], [`repair`], [`stats`], [`walk`] |
//!
//! # What an embedder should know
//!
//! * **The runtime is yours.** Everything that does I/O is async on Tokio; what computes runs on the
//!   runtime's blocking threads, as many as [`repository::Options::workers`] says.
//! * **Dropping a future cancels it**, and leaves nothing half written. A [`lock::Lock`] that is dropped
//!   is released.
//! * **Locks are yours to take.** An operation does not know what else you do under the same lock. Wrap
//!   it in [`lock::Lock::protect`], so that it ends when the lock is lost; and ignore SIGHUP, which
//!   other programs send to find out whether a lock's process lives.
//! * **Memory is bounded**, whatever a repository claims of itself; the index is the one thing that
//!   grows with the repository.
//! * The library prints nothing, reads no environment but the time zone, and holds no global state.

pub mod archiver;
pub mod backend;
mod bench;
mod blob;
pub mod buffers;
pub mod checker;
pub mod chunker;
pub mod codec;
mod compress;
pub mod config;
pub mod copy;
pub mod crypto;
pub mod diff;
pub mod dump;
mod error;
pub mod filter;
pub mod find;
pub mod forget;
mod handle;
mod header;
mod id;
pub mod identity;
pub mod index;
pub mod json;
pub mod key;
mod keystream;
pub mod lock;
pub mod migrate;
pub mod node;
pub mod pack;
pub mod packer;
pub mod patch;
pub mod progress;
pub mod prune;
pub mod reader;
pub mod recover;
pub mod repair;
pub mod repository;
pub mod restorer;
pub mod revision;
pub mod rewrite;
mod sha256;
pub mod snapshot;
pub mod stats;
pub mod time;
pub mod tree;
mod used;
mod visit;
pub mod walk;
#[cfg(test)]
mod workshop;

pub use blob::{BlobEntry, BlobHandle, BlobLocation, BlobType};
pub use compress::Compression;
pub use error::{Error, Result, Subject};
pub use handle::{FileType, Handle};
pub use id::{Id, InvalidId};
