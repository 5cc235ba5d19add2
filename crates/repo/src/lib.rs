//! The restic repository format, and everything one does with a repository.

pub mod archiver;
pub mod backend;
pub mod blob;
pub mod checker;
pub mod chunker;
pub mod codec;
mod compress;
pub mod config;
pub mod crypto;
pub mod dump;
mod error;
mod handle;
mod id;
pub mod identity;
pub mod index;
pub mod json;
pub mod key;
pub mod lock;
pub mod node;
pub mod pack;
pub mod packer;
pub mod progress;
pub mod reader;
pub mod repository;
pub mod restorer;
pub mod snapshot;
pub mod stats;
pub mod time;
pub mod tree;
pub mod walk;

pub use compress::Compression;
pub use blob::{BlobEntry, BlobHandle, BlobLocation, BlobType};
pub use error::{Error, Result, Subject};
pub use handle::{FileType, Handle};
pub use id::{Id, InvalidId};
