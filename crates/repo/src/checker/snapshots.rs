//! Whether all snapshots can be read.

use std::collections::HashSet;
use std::sync::Arc;

use crate::checker::findings::Findings;
use crate::checker::report::Problem;
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::id::Id;
use crate::repository::Repository;
use crate::time::Timestamp;

/// A snapshot that can be read.
pub(super) struct Root {
    pub(super) snapshot: Id,
    pub(super) time: Timestamp,
    pub(super) tree: Id,
}

/// Reads the snapshots, or those that are given, and returns where to begin below them: the oldest
/// first.
pub(super) async fn check(
    repository: &Repository,
    only: Option<&[Id]>,
    findings: &Arc<Findings>,
) -> Result<Vec<Root>> {
    let mut only: Option<HashSet<Id>> = only.map(|ids| ids.iter().copied().collect());
    let mut roots = Vec::new();
    for (snapshot, loaded) in repository.load_snapshots(&*findings.progress).await? {
        if only.as_mut().is_some_and(|only| !only.remove(&snapshot)) {
            continue;
        }
        findings.count(|report| report.snapshots += 1);
        match loaded {
            Ok(loaded) => roots.push(Root { snapshot, time: loaded.time, tree: loaded.tree }),
            Err(error) => findings.problem(Problem::SnapshotUnreadable { snapshot, error }),
        }
    }
    match only.into_iter().flatten().next() {
        Some(id) => Err(Error::NoMatch { file_type: FileType::Snapshot, query: id.to_string() }),
        None => Ok(roots),
    }
}
