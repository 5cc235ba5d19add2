//! What can go wrong with a disk, as facts to match on.

use std::fmt;

/// The result of most operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a [`Source`](crate::Source) could not be read; whatever its maker has to say.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Why a disk could not be read or changed. `file` counts the files of the chain; the first, with the
/// number 0, is the one that stands on no other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A chain has at least one file.
    #[error("a disk is made of at least one file")]
    NoFiles,
    /// A file other than the first has to say what it changes, so it has to be qcow2.
    #[error("file {file} of the chain is not a qcow2 file")]
    NotQcow2 {
        /// Which file.
        file: usize,
    },
    /// A file asks for something that is not known here.
    #[error("file {file} of the chain {what}, which is not supported")]
    Unsupported {
        /// Which file.
        file: usize,
        /// What it asks for.
        what: Feature,
    },
    /// A file is not as any program should have written it, or not all of it is there.
    #[error("file {file} of the chain is damaged: {what}")]
    Damaged {
        /// Which file.
        file: usize,
        /// What is wrong.
        what: String,
    },
    /// A file could not be read.
    #[error("file {file} of the chain cannot be read")]
    Source {
        /// Which file.
        file: usize,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The disk is larger than what one qcow2 file of the usual kind can hold.
    #[error("a disk of {size} bytes does not fit into one qcow2 file")]
    TooLarge {
        /// The disk's size in bytes.
        size: u64,
    },
}

impl Error {
    pub(crate) fn damaged(file: usize, what: impl Into<String>) -> Self {
        Self::Damaged { file, what: what.into() }
    }
}

/// What a file may ask for, and is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Another version of the format than 2 and 3.
    Version(u32),
    /// Content that is encrypted.
    Encryption,
    /// Content that is in another file.
    ExternalDataFile,
    /// Clusters that are compressed in another way than with zlib or zstd.
    CompressionType(u8),
    /// Incompatible features without a name here, as bits.
    IncompatibleFeatures(u64),
    /// Its last user found it damaged and marked it so.
    MarkedCorrupt,
    /// Clusters of this size, as the logarithm to base 2.
    ClusterBits(u32),
    /// Reference counts of this width, as the logarithm to base 2.
    RefcountOrder(u32),
    /// Reference counts that are not up to date: the program that wrote it did not come to its end. It can
    /// be read, but not committed into.
    StaleRefcounts,
    /// Snapshots within it that have no size of their own, as it is in version 2. It can be read, but no disk
    /// that has grown can be committed into it.
    SnapshotsWithoutSize,
    /// Tables that are larger than QEMU would allow.
    LargeTables,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "is qcow2 of version {version}"),
            Self::Encryption => f.write_str("is encrypted"),
            Self::ExternalDataFile => f.write_str("has its content in another file"),
            Self::CompressionType(code) => write!(f, "is compressed in the way number {code}"),
            Self::IncompatibleFeatures(bits) => write!(f, "uses unknown features ({bits:#x})"),
            Self::MarkedCorrupt => f.write_str("is marked as corrupt"),
            Self::ClusterBits(bits) => write!(f, "has clusters of 2^{bits} bytes"),
            Self::RefcountOrder(order) => write!(f, "has reference counts of 2^{order} bits"),
            Self::StaleRefcounts => f.write_str("has reference counts that are not up to date"),
            Self::SnapshotsWithoutSize => {
                f.write_str("would have to grow, and has snapshots that cannot tell their size")
            }
            Self::LargeTables => f.write_str("has tables larger than any program makes them"),
        }
    }
}
