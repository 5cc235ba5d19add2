//! Check: is everything there, and is it what it was when it was written?
//!
//! Without reading data, a check compares what the parts of a repository say of each other: every index
//! file loads, the packs that the index lists are there and have the size that follows from it, every
//! snapshot loads, every tree below it decodes to what its id says, and every blob of every file is in
//! the index. That finds whatever is missing, at the price of reading indexes and trees.
//!
//! With [`Options::read_headers`], the headers of packs are read, and nothing else of them: they have to
//! say what the index says.
//!
//! With [`ReadData`], packs are read in full: the file's hash is its name, its header says what the
//! index says, and every blob in it decodes to what its id says. That finds whatever has changed.
//!
//! Where something is damaged or missing, the report also says what that means: which files in which
//! snapshots cannot be restored as they were.
//!
//! The caller holds the lock; a shared one will do, though restic takes an exclusive one. A check changes
//! nothing, and others may go on to store: it reads first the snapshots, then the index, then the list
//! of packs, while whoever stores goes the other way round. So whatever a snapshot needs that the check
//! sees is stored by then, and what comes later is not looked at. All that others leave on the way are
//! packs that are in no index yet, which is a hint and no problem. Snapshots may be removed meanwhile; what
//! they refer to may not, which takes an exclusive lock.

use std::sync::Arc;

use crate::blob::BlobLocation;
use crate::error::Result;
use crate::id::Id;
use crate::index::Index;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::used::UsedBlobs;

mod affected;
mod damage;
mod findings;
mod headers;
mod indexes;
mod pack;
mod packs;
mod read_data;
mod report;
mod snapshots;
mod subset;
#[cfg(test)]
mod tests;
mod trees;

pub use affected::{Affected, AffectedFile, AffectedSnapshot, Loss};
pub use report::{Hint, NodeFault, PackFault, Problem, Report};
pub use subset::{InvalidSubset, ReadData, Subset};

use damage::Damage;
use findings::Findings;

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which packs to read in full.
    pub read_data: ReadData,
    /// Whether to read the header of every pack and compare it with the index: that finds a wrong index
    /// and damaged headers, at the price of a small request for each pack. Reading packs in full does
    /// that, too.
    pub read_headers: bool,
    /// The snapshots to look at; all if not given. Then only packs that these use are read in full.
    pub snapshots: Option<Vec<Id>>,
    /// Whether to list the blobs that no snapshot uses.
    pub find_unused: bool,
}

/// Checks a repository. What is wrong with it is in the report, and told to the progress as it is
/// found.
///
/// # Errors
/// What keeps the check from being made: the storage cannot be listed, or a file of the given
/// snapshots does not exist.
pub async fn check(
    repository: &Repository,
    options: &Options,
    progress: Arc<dyn Progress>,
) -> Result<Report> {
    let findings = Arc::new(Findings::new(progress));
    // Snapshots before the index, and the index before packs: whoever stores goes the other way round.
    let roots = snapshots::check(repository, options.snapshots.as_deref(), &findings).await?;
    let Some(index) = indexes::check(repository, &findings).await? else {
        // What an unreadable index lists would seem to be missing everywhere.
        return Ok(findings.take());
    };
    let index = Arc::new(index);
    let damage = Arc::new(Damage::new(&index));
    let found = packs::check(repository, &index, &damage, &findings).await?;
    if options.read_headers && options.read_data != ReadData::All {
        headers::check(repository, &index, &found, &damage, &findings).await?;
    }
    let track = options.find_unused || options.snapshots.is_some();
    let used = Arc::new(UsedBlobs::new(Arc::clone(&index)));
    trees::check(repository, &index, &roots, &used, track, &damage, &findings).await?;
    if options.find_unused {
        let unused = unused(&index, &used);
        findings.count(|report| report.unused = unused);
    }
    let needed = options.snapshots.is_some().then_some(&*used);
    let read = options.read_data;
    read_data::check(repository, &index, &found, read, needed, &damage, &findings).await?;
    if damage.is_found() {
        let progress = &*findings.progress;
        let affected = affected::find(repository, &index, &roots, &damage, progress).await?;
        findings.count(|report| report.affected = affected);
    }
    Ok(findings.take())
}

fn unused(index: &Index, used: &UsedBlobs) -> Vec<crate::BlobHandle> {
    let handles = index.loaded().map(|BlobLocation { entry, .. }| entry.handle);
    let mut unused: Vec<_> = handles.filter(|handle| !used.contains(handle)).collect();
    unused.dedup(); // places of one blob come one after another
    unused
}
