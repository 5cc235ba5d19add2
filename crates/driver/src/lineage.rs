//! Which snapshots hold the increments of a backup.
//!
//! Each increment is a snapshot of its own, until some are merged: then one snapshot stands for all of them, and
//! remembers which. OpenNebula is told, but it may not hear it: if the front-end dies at that moment, its records
//! still name the old ones. What they name is found here all the same.

use restic_repo::Id;
use restic_repo::json::Raw;
use restic_repo::snapshot::Snapshot;

use crate::exit::{Failure, Result};
use crate::opennebula::increments::Increment;

/// The member of a snapshot that says what it was merged from. restic passes it over.
const MERGED: &str = "one_restic_merged";

/// A snapshot, and its id.
pub type Known = (Id, Snapshot);

/// Why increments cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// No snapshot holds this increment.
    Missing(Increment),
    /// It was merged with later ones, into this snapshot.
    MergedBeyond(Increment, Id),
    /// Several snapshots begin with what names this increment.
    Ambiguous(Increment),
}

/// The snapshots that hold these increments, in their order, of all that are in a repository. Where some of the
/// oldest were merged, one snapshot stands for them.
///
/// # Errors
/// Names the first increment that nothing holds, or that cannot be had without a later one.
pub fn resolve<'a>(
    snapshots: &'a [Known],
    increments: &[Increment],
) -> Result<Vec<&'a Known>, Unresolved> {
    let plain: Result<Vec<_>, _> =
        increments.iter().map(|increment| find(snapshots, increment)).collect();
    let missing = match plain {
        Ok(found) => return Ok(found),
        Err(missing) => missing,
    };
    let stands_for = |known: &&Known| {
        let parts = parts(&known.1);
        let is_prefix = parts.len() <= increments.len()
            && parts.iter().zip(increments).all(|(id, increment)| names(increment, id));
        (is_prefix && !parts.is_empty()).then_some(parts.len())
    };
    let best = snapshots.iter().filter_map(|known| Some((stands_for(&known)?, known)));
    match best.max_by_key(|(length, _)| *length) {
        Some((length, merged)) => {
            let rest = increments[length..].iter().map(|increment| find(snapshots, increment));
            std::iter::once(Ok(merged)).chain(rest).collect()
        }
        None => Err(merged_beyond(snapshots, increments).unwrap_or(missing)),
    }
}

/// The snapshots that were merged from nothing but these increments.
pub fn merged_from<'a>(
    snapshots: &'a [Known],
    increments: &'a [Increment],
) -> impl Iterator<Item = &'a Known> {
    let is_named = |id: &Id| increments.iter().any(|increment| names(increment, id));
    snapshots.iter().filter(move |(_, snapshot)| {
        let parts = parts(snapshot);
        !parts.is_empty() && parts.iter().all(is_named)
    })
}

/// The snapshots that one was merged from; none if it was made by a backup.
pub fn parts(snapshot: &Snapshot) -> Vec<Id> {
    let merged = snapshot.unknown.iter().find(|(name, _)| name == MERGED);
    merged.and_then(|(_, json)| serde_json::from_str(json.as_str()).ok()).unwrap_or_default()
}

/// What makes a snapshot remember what it was merged from.
pub fn remember(parts: &[Id]) -> Result<(String, Raw)> {
    let json = serde_json::to_string(parts).map_err(Failure::new)?;
    Ok((MERGED.to_owned(), serde_json::from_str(&json).map_err(Failure::new)?))
}

/// Whether an increment's snapshot is this one.
pub fn names(increment: &Increment, id: &Id) -> bool {
    id.to_string().starts_with(&increment.snapshot)
}

/// The snapshot of an increment itself.
fn find<'a>(snapshots: &'a [Known], increment: &Increment) -> Result<&'a Known, Unresolved> {
    let mut found = snapshots.iter().filter(|(id, _)| names(increment, id));
    match (found.next(), found.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(Unresolved::Missing(increment.clone())),
        (Some(_), Some(_)) => Err(Unresolved::Ambiguous(increment.clone())),
    }
}

/// What to say if the increments were merged with a later one.
fn merged_beyond(snapshots: &[Known], increments: &[Increment]) -> Option<Unresolved> {
    let last = increments.last()?;
    let holds = |known: &&Known| parts(&known.1).iter().any(|id| names(last, id));
    let (id, _) = snapshots.iter().find(holds)?;
    Some(Unresolved::MergedBeyond(last.clone(), *id))
}

impl Unresolved {
    /// Whether nothing is known of what is missing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

impl From<Unresolved> for Failure {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Missing(Increment { id, snapshot }) => Self::new(format_args!(
                "No such snapshot: {snapshot}, which is increment {id} of the backup; a backup job may have \
                 stored it in its own repository (job_N), or somebody has removed it; make a full backup of \
                 the VM to begin a new chain"
            )),
            Unresolved::MergedBeyond(Increment { id, .. }, into) => Self::new(format_args!(
                "increment {id} was merged with later ones into snapshot {}; restore a later increment",
                into.short()
            )),
            Unresolved::Ambiguous(Increment { snapshot, .. }) => {
                Self::new(format_args!("several snapshots begin with {snapshot}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use restic_repo::time::Timestamp;

    use super::*;

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 32])
    }

    fn increments(numbers: &[u8]) -> Vec<Increment> {
        let increment =
            |n: &u8| Increment { id: u64::from(*n), snapshot: id(*n).to_string()[..8].to_owned() };
        numbers.iter().map(increment).collect()
    }

    fn snapshot(n: u8, parts: &[u8]) -> Known {
        let mut snapshot = Snapshot::new(Timestamp::ZERO, Id::default(), Vec::new());
        if !parts.is_empty() {
            let parts: Vec<_> = parts.iter().map(|n| id(*n)).collect();
            snapshot.unknown.push(remember(&parts).unwrap());
        }
        (id(n), Snapshot::decode(&snapshot.encode()).unwrap())
    }

    fn resolved(snapshots: &[Known], numbers: &[u8]) -> Result<Vec<Id>, Unresolved> {
        let found = resolve(snapshots, &increments(numbers))?;
        Ok(found.into_iter().map(|(id, _)| *id).collect())
    }

    #[test]
    fn increments_are_their_own_snapshots() {
        let all = [snapshot(1, &[]), snapshot(2, &[]), snapshot(9, &[7, 8])];
        assert_eq!(resolved(&all, &[1, 2]), Ok(vec![id(1), id(2)]));
        assert_eq!(resolved(&all, &[2]), Ok(vec![id(2)]));
        assert_eq!(resolved(&all, &[1, 3]), Err(Unresolved::Missing(increments(&[3]).remove(0))));
    }

    #[test]
    fn what_opennebula_has_not_heard_of_stands_for_what_it_names() {
        // 1 and 2 became 9; of the old ones, 1 was left behind.
        let all = [snapshot(1, &[]), snapshot(3, &[]), snapshot(9, &[1, 2])];
        assert_eq!(resolved(&all, &[1, 2, 3]), Ok(vec![id(9), id(3)]));
        assert_eq!(resolved(&all, &[1, 2]), Ok(vec![id(9)]));
        assert!(resolved(&all, &[2, 3]).is_err());
        // And once more: 1, 2 and 3 became 8.
        let all = [snapshot(9, &[1, 2]), snapshot(8, &[1, 2, 3]), snapshot(4, &[])];
        assert_eq!(resolved(&all, &[1, 2, 3, 4]), Ok(vec![id(8), id(4)]));
    }

    #[test]
    fn an_increment_that_became_part_of_a_later_one_is_named_as_such() {
        let all = [snapshot(9, &[1, 2, 3])];
        let beyond = Unresolved::MergedBeyond(increments(&[2]).remove(0), id(9));
        assert_eq!(resolved(&all, &[1, 2]), Err(beyond));
    }

    #[test]
    fn what_was_merged_from_an_image_belongs_to_it() {
        let all = [snapshot(1, &[]), snapshot(8, &[1, 2]), snapshot(9, &[1, 2, 3])];
        let of = |numbers: &[u8]| {
            let increments = increments(numbers);
            merged_from(&all, &increments).map(|(id, _)| *id).collect::<Vec<_>>()
        };
        assert_eq!(of(&[1, 2]), [id(8)]);
        assert_eq!(of(&[1, 2, 3]), [id(8), id(9)]);
        assert_eq!(of(&[1]), []);
    }
}
