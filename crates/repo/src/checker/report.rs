//! What a check found.

use std::collections::BTreeSet;
use std::fmt;

use crate::blob::BlobHandle;
use crate::checker::affected::Affected;
use crate::error::Error;
use crate::id::Id;
use crate::node::Name;
use crate::pack::HeaderError;

/// What a check found, and how much it looked at.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, in the order in which it was found; at most [`Report::LONGEST`], so that a
    /// repository in ruins cannot fill the memory. Each was also told to the progress as it was found.
    pub problems: Vec<Problem>,
    /// How many problems there are: restic's `num_errors`.
    pub errors: u64,
    /// What is not as it should be, but harms nobody. At most [`Report::LONGEST`] as well.
    pub hints: Vec<Hint>,
    /// Packs that are damaged or missing, for `repair packs`: restic's `broken_packs`.
    pub broken_packs: BTreeSet<Id>,
    /// Snapshots that cannot be read, for `repair snapshots`.
    pub broken_snapshots: BTreeSet<Id>,
    /// Whether rebuilding the index would help: restic's `suggest_repair_index`.
    pub suggest_repair_index: bool,
    /// Whether a prune would tidy up: restic's `suggest_prune`.
    pub suggest_prune: bool,
    /// Blobs that no snapshot uses, if that was asked for. They are no problem; prune removes them.
    pub unused: Vec<BlobHandle>,
    /// What the damage means for the snapshots.
    pub affected: Affected,
    /// How many index files were read.
    pub index_files: u64,
    /// How many packs the index lists.
    pub packs: u64,
    /// How many packs are in the repository without being listed.
    pub orphaned_packs: u64,
    /// How many snapshots were looked at.
    pub snapshots: u64,
    /// How many trees were read; each once, however many snapshots share it.
    pub trees: u64,
    /// How many packs were read in full.
    pub packs_read: u64,
    /// How many bytes these packs have.
    pub bytes_read: u64,
}

impl Report {
    /// How many problems and how many hints a report keeps.
    pub const LONGEST: usize = 100_000;

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.errors == 0
    }

    /// Adds a problem.
    pub(super) fn add(&mut self, problem: Problem) {
        self.errors += 1;
        if let Some(pack) = problem.broken_pack() {
            self.broken_packs.insert(pack);
        }
        match &problem {
            Problem::IndexUnreadable { .. } => self.suggest_repair_index = true,
            Problem::SnapshotUnreadable { snapshot, .. } => {
                self.broken_snapshots.insert(*snapshot);
            }
            _ => {}
        }
        if self.problems.len() < Self::LONGEST {
            self.problems.push(problem);
        }
    }

    /// Adds a hint.
    pub(super) fn add_hint(&mut self, hint: Hint) {
        match hint {
            Hint::DuplicateIndex { .. } => self.suggest_repair_index = true,
            Hint::MixedPack { .. } => self.suggest_prune = true,
            Hint::OrphanedPack { .. } => {
                self.suggest_prune = true;
                self.orphaned_packs += 1;
            }
            Hint::UnorderedTree { .. } | Hint::UnsafeName { .. } => {}
        }
        if self.hints.len() < Self::LONGEST {
            self.hints.push(hint);
        }
    }
}

/// Something that is wrong with a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An index file cannot be read. What it lists is unknown, so the check ends early.
    #[error("index {} cannot be read: {error}", .index.short())]
    IndexUnreadable {
        /// Which.
        index: Id,
        /// Why.
        error: Error,
    },
    /// Several index files list a pack, and do not agree on what is in it.
    #[error("pack {pack} has different data in indexes {}", short_list(.indexes))]
    IndexesDisagree {
        /// The pack.
        pack: Id,
        /// The index files that list it.
        indexes: Vec<Id>,
    },
    /// A blob is not where the one before it ends, as the index tells it. In a pack there is neither
    /// a gap nor an overlap.
    #[error(
        "the index places {blob} of pack {pack} at byte {offset}, but the one before it ends at {end}"
    )]
    Misplaced {
        /// The pack.
        pack: Id,
        /// The first blob that is out of place.
        blob: BlobHandle,
        /// Where the index says that it begins.
        offset: u32,
        /// Where it should begin.
        end: u64,
    },
    /// The index gives a blob a length that no sealed blob can have.
    #[error("the index gives {blob} of pack {pack} the length {length}, which cannot be")]
    ImpossibleLength {
        /// The pack.
        pack: Id,
        /// The blob.
        blob: BlobHandle,
        /// The length in the index.
        length: u32,
    },
    /// A pack that the index lists is not there.
    #[error("pack {pack} is missing")]
    PackMissing {
        /// The pack.
        pack: Id,
    },
    /// A pack does not have the size that follows from the index.
    #[error("pack {pack} has {found} bytes, but should have {expected}")]
    PackSize {
        /// The pack.
        pack: Id,
        /// What the blobs that the index lists amount to, with their header.
        expected: u64,
        /// The file's size.
        found: u64,
    },
    /// A snapshot cannot be read.
    #[error("snapshot {snapshot} cannot be read: {error}")]
    SnapshotUnreadable {
        /// Which.
        snapshot: Id,
        /// Why.
        error: Error,
    },
    /// A tree that is needed cannot be read. Nothing below it was looked at.
    #[error("tree {tree} cannot be read: {error}")]
    TreeUnreadable {
        /// Which.
        tree: Id,
        /// Why.
        error: Error,
    },
    /// A node of a tree is not as nodes are.
    #[error("tree {tree}: {name} {fault}")]
    Node {
        /// The tree.
        tree: Id,
        /// The node's name.
        name: Name,
        /// What is wrong with it.
        fault: NodeFault,
    },
    /// A pack's content is not as it was written.
    #[error("pack {pack} is damaged: {}", list(.faults))]
    PackDamaged {
        /// The pack.
        pack: Id,
        /// How it shows; never empty.
        faults: Vec<PackFault>,
    },
    /// A pack could not be read to its end, so nothing is known of its content.
    #[error("pack {pack} cannot be read: {error}")]
    PackUnreadable {
        /// The pack.
        pack: Id,
        /// Why.
        error: Error,
    },
    /// A pack was damaged when it was read, and sound when it was read again: the storage, the way to
    /// it or the memory of this machine is not to be trusted.
    #[error("pack {pack} was sound only when it was read again; at first: {}", list(.faults))]
    PackUnsteady {
        /// The pack.
        pack: Id,
        /// What was wrong the first time.
        faults: Vec<PackFault>,
    },
}

impl Problem {
    /// The pack that `repair packs` is to mend.
    fn broken_pack(&self) -> Option<Id> {
        match self {
            Self::IndexesDisagree { pack, .. }
            | Self::Misplaced { pack, .. }
            | Self::ImpossibleLength { pack, .. }
            | Self::PackMissing { pack }
            | Self::PackSize { pack, .. }
            | Self::PackDamaged { pack, .. } => Some(*pack),
            _ => None,
        }
    }
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeFault {
    /// A file without a list of blobs. An empty file has an empty list.
    #[error("is a file without a list of blobs")]
    NoContent,
    /// A file's list of blobs has an id of nothing but zeros.
    #[error("is a file whose blob number {position} has no id")]
    NullBlob {
        /// Where in the list, from 0.
        position: usize,
    },
    /// A file's blob is not in the index.
    #[error("is a file whose blob {id} is not in the index")]
    BlobMissing {
        /// Which.
        id: Id,
    },
    /// A folder without a tree.
    #[error("is a folder without a tree")]
    NoSubtree,
    /// A folder whose tree's id is nothing but zeros.
    #[error("is a folder whose tree has no id")]
    NullSubtree,
    /// A node of a type that is not known, or cannot be stored.
    #[error("has the unknown type {found:?}")]
    UnknownType {
        /// The type.
        found: String,
    },
    /// A node without a name.
    #[error("is a node without a name")]
    EmptyName,
}

/// What is wrong with the content of a pack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackFault {
    /// The file's hash is not its name.
    #[error("its content does not match its name but {}", .found.short())]
    Hash {
        /// The hash.
        found: Id,
    },
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The header has a blob that the index has not, or not there, or not with the same lengths.
    #[error("its {blob} is not in the index, or differs there")]
    NotInIndex {
        /// The blob.
        blob: BlobHandle,
    },
    /// The index has a blob that the header has not, or not there, or not with the same lengths.
    #[error("{blob} of the index is not in its header, or differs there")]
    NotInHeader {
        /// The blob.
        blob: BlobHandle,
    },
    /// A blob does not decode to what its id says.
    #[error("{0}")]
    Blob(Error),
    /// A blob decodes to what its id says, but not to the length that the index gives it. restic does
    /// not look at that; what lays out files by these lengths reads the wrong places.
    #[error("{blob} has {found} bytes, but the index says {expected}")]
    BlobLength {
        /// The blob.
        blob: BlobHandle,
        /// Its length in the index.
        expected: u32,
        /// Its length.
        found: u64,
    },
    /// The index has a blob where the pack has none: behind its end, or within another blob.
    #[error("{blob} is not where the index says")]
    BlobMisplaced {
        /// The blob.
        blob: BlobHandle,
    },
    /// There are more faults than are worth listing.
    #[error("and {0} more")]
    More(usize),
}

/// Something that is not as it should be, but harms nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Hint {
    /// Several index files list a pack, all alike. Repairing the index tidies that up.
    #[error("pack {pack} is in several indexes: {}", short_list(.indexes))]
    DuplicateIndex {
        /// The pack.
        pack: Id,
        /// The index files.
        indexes: Vec<Id>,
    },
    /// A pack has trees and data, which slows reading trees down. Prune takes it apart.
    #[error("pack {pack} has both trees and data")]
    MixedPack {
        /// The pack.
        pack: Id,
    },
    /// A pack is in no index: what an interrupted backup leaves, and one that is at work now. Prune
    /// removes it, and waits for those at work.
    #[error("pack {pack} is in no index")]
    OrphanedPack {
        /// The pack.
        pack: Id,
        /// Its size in bytes.
        size: u64,
    },
    /// The names in a tree are not in order, or one comes twice. restic 0.19 may miss some of them.
    #[error("tree {tree} is not in order")]
    UnorderedTree {
        /// The tree.
        tree: Id,
    },
    /// A name that would lead out of its folder. Restore refuses it.
    #[error("tree {tree} has the name {name}, which restore refuses")]
    UnsafeName {
        /// The tree.
        tree: Id,
        /// The name.
        name: Name,
    },
}

fn list(faults: &[impl fmt::Display]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn short_list(ids: &[Id]) -> String {
    ids.iter().map(Id::short).collect::<Vec<_>>().join(", ")
}
