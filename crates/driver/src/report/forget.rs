//! What `forget` says of each group.

use restic_repo::forget::{GroupPlan, Kept};
use restic_repo::time::Zone;
use serde::Serialize;

use crate::report::snapshots::{Row, WithId, table};

/// What stays of a group and why, and what goes: two tables, each only if it has rows.
pub fn tables(group: &GroupPlan<'_>, compact: bool, zone_name: &str) -> Vec<String> {
    let zone = Zone::local();
    let kept =
        |kept: &Kept<'_>| Row { reasons: kept.reasons.clone(), ..Row::new(kept.snapshot, zone) };
    // A plan begins with the newest, a table with the oldest.
    let keep: Vec<Row> = group.verdict.keep.iter().rev().map(kept).collect();
    let remove = group.verdict.remove.iter().rev();
    let remove: Vec<Row> = remove.map(|snapshot| Row::new(snapshot, zone)).collect();
    [("keep", keep), ("remove", remove)]
        .into_iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(verb, rows)| {
            let table = table(&rows, compact, zone_name);
            format!("{verb} {} snapshots:\n{table}\n", rows.len())
        })
        .collect()
}

/// A group in the array of `forget --json`. A list of nothing is null there.
#[derive(Debug, Serialize)]
pub struct JsonGroup<'a> {
    tags: Option<&'a Vec<String>>,
    host: &'a str,
    paths: Option<&'a Vec<String>>,
    keep: Option<Vec<WithId<'a>>>,
    remove: Option<Vec<WithId<'a>>>,
    reasons: Option<Vec<JsonReason<'a>>>,
}

/// Why a snapshot stays.
#[derive(Debug, Serialize)]
struct JsonReason<'a> {
    snapshot: WithId<'a>,
    matches: &'a [String],
}

impl<'a> From<&'a GroupPlan<'a>> for JsonGroup<'a> {
    fn from(GroupPlan { key, verdict }: &'a GroupPlan<'a>) -> Self {
        let reason = |kept: &'a Kept<'a>| JsonReason {
            snapshot: kept.snapshot.into(),
            matches: &kept.reasons,
        };
        Self {
            tags: key.tags.as_ref(),
            host: &key.hostname,
            paths: key.paths.as_ref(),
            keep: unless_empty(verdict.keep.iter().map(|kept| kept.snapshot.into()).collect()),
            remove: unless_empty(verdict.remove.iter().map(|&snapshot| snapshot.into()).collect()),
            reasons: unless_empty(verdict.keep.iter().map(reason).collect()),
        }
    }
}

fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
