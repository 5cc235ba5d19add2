//! Chains of qcow2 files seen as one disk.
//!
//! An incremental backup of a virtual machine's disk is a qcow2 file that holds what changed. Together with
//! those before it, down to a full one, it is the disk as it was that day. This library reads such a disk,
//! streams it as one new file, and says what merging changes into the full file would change there; wherever
//! the files are, and without a place to unpack them.
//!
//! # A disk from its parts
//!
//! ```no_run
//! use std::io::Write;
//! use std::sync::Arc;
//! use futures_util::TryStreamExt;
//! use virtual_disk::{Chain, LocalFile};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let chain = Chain::open(vec![
//!     Arc::new(LocalFile::open("disk.0.0")?), // full
//!     Arc::new(LocalFile::open("disk.0.1")?), // what changed then
//!     Arc::new(LocalFile::open("disk.0.2")?), // and then
//! ])
//! .await?;
//!
//! let sector = chain.read_at(0, 512).await?;
//! assert_eq!(sector[510..], [0x55, 0xaa]);
//!
//! let mut whole = std::fs::File::create("disk.qcow2")?;
//! let mut pieces = std::pin::pin!(chain.stream());
//! while let Some(piece) = pieces.try_next().await? {
//!     whole.write_all(&piece)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! | room | what it knows |
//! |---|---|
//! | [`Source`], [`LocalFile`] | bytes of a file, wherever it is |
//! | `qcow2` | the format: header, tables, compressed clusters. Bytes in, places out |
//! | [`Chain`] | which file has which piece of the disk, and how to read many pieces in few reads |
//! | `stream` | the same disk as one new file |
//! | [`commit`] | what merging changes into the first file makes of it |
//!
//! # What an embedder should know
//!
//! * **The order of the files is what counts.** The names of backing files in their headers are ignored.
//!   Where a file has nothing, the one before it is asked, and below the first one there are zeros.
//! * Versions 2 and 3, all sizes of clusters, zlib and zstd, zero clusters and subclusters are read. Refused
//!   are encryption, external data files, files that are marked as corrupt, and features without a name here.
//!   Bitmaps and internal snapshots are passed over.
//! * **Any bytes give an error, or a disk.** Tables have to be inside their file, and none is read twice for one
//!   purpose; memory is bounded by a few bytes for each mebibyte in use and what is read ahead.
//! * A future or stream that is dropped is cancelled. [`LocalFile`] needs a Tokio runtime, the rest does not.

mod bitmap;
mod chain;
pub mod commit;
mod error;
mod extent;
mod fetch;
mod file;
mod qcow2;
mod source;
mod stream;

pub use chain::Chain;
pub use error::{Error, Feature, Result, SourceError};
pub use source::{LocalFile, Parts, Pieces, Source};
