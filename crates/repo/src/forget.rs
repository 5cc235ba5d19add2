//! Forgetting: which snapshots a policy keeps, and removing the others.
//!
//! Deciding is apart from doing: [`plan`] looks at snapshots that are in memory and says of each whether
//! it stays and why; [`remove`] takes away what the caller hands it. Only snapshot files are removed. What
//! they referred to stays until a prune, so a backup may go on meanwhile: its snapshot is a new one, and
//! its parent is nothing that anybody needs.

use futures_util::StreamExt;
use futures_util::stream;

use crate::backend::{BackendError, BackendErrorKind};
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::id::Id;
use crate::progress::{Phase, Progress};
use crate::repository::Repository;
use crate::snapshot::{Group, GroupKey};
use crate::time::{Timestamp, Zone};

pub use policy::{Count, InvalidCount, Kept, Policy, Verdict};
pub use span::{InvalidSpan, Span};

mod policy;
mod span;

/// What becomes of the snapshots of one group.
#[derive(Clone, Debug)]
pub struct GroupPlan<'a> {
    /// What they have in common.
    pub key: GroupKey,
    /// Which stay and which go.
    pub verdict: Verdict<'a>,
}

/// Decides for each group on its own. `now` tells which snapshots are from the future, `zone` is that of
/// this machine: see [`Policy::apply`].
///
/// # Errors
/// [`Error::Refused`] if the policy keeps nothing of some group. A policy without any rule is refused
/// too, unless `allow_remove_all` says that removing everything is meant.
pub fn plan<'a>(
    groups: Vec<Group<'a>>,
    policy: &Policy,
    allow_remove_all: bool,
    now: Timestamp,
    zone: &Zone,
) -> Result<Vec<GroupPlan<'a>>> {
    if policy.is_empty() && !allow_remove_all {
        let message = "no policy was specified, no snapshots will be removed";
        return Err(Error::Refused(message.to_owned()));
    }
    let decide = |Group { key, snapshots }| {
        let verdict = policy.apply(&snapshots, now, zone);
        if verdict.keep.is_empty() && !policy.is_empty() {
            return Err(Error::Refused(format!(
                "refusing to delete last snapshot of snapshot group \"{}\"",
                describe(&key)
            )));
        }
        Ok(GroupPlan { key, verdict })
    };
    groups.into_iter().map(decide).collect()
}

/// A group's key in words, as `host vm, path [/srv /etc]`.
fn describe(key: &GroupKey) -> String {
    let GroupKey { hostname, paths, tags } = key;
    let list = |name: &str, texts: &Option<Vec<String>>| {
        let texts = texts.as_ref().filter(|texts| !texts.is_empty())?;
        Some(format!("{name} [{}]", texts.join(" ")))
    };
    let host = (!hostname.is_empty()).then(|| format!("host {hostname}"));
    let parts = [host, list("path", paths), list("tags", tags)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What came of removing snapshots.
#[derive(Debug, Default)]
pub struct Removed {
    /// Those that are gone.
    pub removed: Vec<Id>,
    /// Those that could not be removed, and why.
    pub failed: Vec<(Id, Error)>,
}

/// Removes snapshots, several at a time. A failure does not stop the others. One that is gone already is
/// as good as removed.
pub async fn remove(repository: &Repository, ids: &[Id], progress: &dyn Progress) -> Removed {
    progress.begin(Phase::RemoveSnapshots, Some(ids.len() as u64));
    let mut results = stream::iter(ids.iter().copied())
        .map(|id| async move { (id, repository.remove(FileType::Snapshot, id).await) })
        .buffer_unordered(repository.backend().properties().connections.max(1));
    let mut outcome = Removed::default();
    while let Some((id, result)) = results.next().await {
        match result {
            Ok(()) => outcome.removed.push(id),
            Err(Error::Backend(BackendError { kind: BackendErrorKind::NotFound, .. })) => {
                outcome.removed.push(id);
            }
            Err(error) => outcome.failed.push((id, error)),
        }
        progress.advance(Phase::RemoveSnapshots, 1);
    }
    progress.end(Phase::RemoveSnapshots);
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::fault::{Fault, Operation, Rule};
    use crate::progress::Silent;
    use crate::snapshot::{GroupBy, Snapshot, group};
    use crate::workshop::Workshop;

    fn snapshots() -> Vec<(Id, Snapshot)> {
        let snapshot = |(number, host, second): (u8, &str, u8)| {
            let time = format!("2024-01-01T00:00:{second:02}Z").parse().unwrap();
            let snapshot = Snapshot {
                hostname: host.to_owned(),
                ..Snapshot::new(time, Id::default(), vec!["/b".to_owned(), "/a".to_owned()])
            };
            (Id::from_bytes([number; 32]), snapshot)
        };
        [(1, "g", 1), (2, "g", 2), (3, "h", 3)].map(snapshot).to_vec()
    }

    fn planned(policy: &Policy, allow: bool) -> Result<Vec<(usize, usize)>> {
        let snapshots = snapshots();
        let groups = group(&snapshots, GroupBy::default());
        let count = |group: &GroupPlan<'_>| (group.verdict.keep.len(), group.verdict.remove.len());
        let planned = plan(groups, policy, allow, Timestamp::now(), &Zone::UTC)?;
        Ok(planned.iter().map(count).collect())
    }

    #[test]
    fn each_group_is_decided_on_its_own() {
        let last = Policy { last: Count::AtMost(1), ..Policy::default() };
        assert_eq!(planned(&last, false).unwrap(), [(1, 1), (1, 0)]);
    }

    #[test]
    fn nothing_is_removed_without_a_rule_unless_it_is_meant() {
        let refused = planned(&Policy::default(), false).unwrap_err();
        assert!(refused.to_string().contains("no policy was specified"), "{refused}");
        assert_eq!(planned(&Policy::default(), true).unwrap(), [(0, 2), (0, 1)]);
    }

    #[test]
    fn a_policy_that_leaves_nothing_of_a_group_is_refused() {
        let tags = vec![crate::snapshot::TagList::parse("never")];
        let policy = Policy { tags, ..Policy::default() };
        for allow in [false, true] {
            let refused = planned(&policy, allow).unwrap_err().to_string();
            assert!(refused.ends_with("snapshot group \"host g, path [/a /b]\""), "{refused}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_named_and_the_rest_is_removed() {
        let workshop = Workshop::new().await;
        let mut ids = Vec::new();
        for tree in 0..4 {
            ids.push(workshop.snapshot(Id::from_bytes([tree; 32])).await);
        }
        ids.push(Id::of(b"gone already"));
        let fault = Fault::new(workshop.mem.clone());
        fault.inject(Rule::fail(BackendErrorKind::PermissionDenied).on(Operation::Remove).nth(2));
        let repository = workshop.repository.with_backend(Arc::new(fault));
        let mut outcome = remove(&repository, &ids, &Silent).await;
        let (stuck, _) = outcome.failed.pop().unwrap();
        assert!(outcome.failed.is_empty());
        ids.retain(|id| *id != stuck);
        ids.sort();
        outcome.removed.sort();
        assert_eq!(outcome.removed, ids);
        let left = workshop.repository.list(FileType::Snapshot).await.unwrap();
        assert_eq!(left.iter().map(|file| file.id).collect::<Vec<_>>(), [stuck]);
    }
}
