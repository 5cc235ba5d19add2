//! What differs between two snapshots.

use std::os::unix::ffi::OsStrExt;

use restic_repo::diff::{Amount, Change, Statistics};
use serde::Serialize;

use crate::report::listing::lossy;
use crate::report::number;

/// The line for people.
pub fn line(change: &Change) -> Vec<u8> {
    let mut line = format!("{:<5}", change.kind.to_string()).into_bytes();
    line.extend_from_slice(change.path.as_os_str().as_bytes());
    line
}

/// What is below the lines for people.
pub fn summary(Statistics { changed_files, added, removed }: &Statistics) -> String {
    let new = |name: &str, added: u64, removed: u64| {
        format!("{name:<13}{added:5} new, {removed:5} removed")
    };
    [
        String::new(),
        format!("{}, {changed_files:5} changed", new("Files:", added.files, removed.files)),
        new("Dirs:", added.dirs, removed.dirs),
        new("Others:", added.others, removed.others),
        new("Data Blobs:", added.data_blobs, removed.data_blobs),
        new("Tree Blobs:", added.tree_blobs, removed.tree_blobs),
        format!("  Added:   {:<5}", number::bytes(added.bytes)),
        format!("  Removed: {:<5}", number::bytes(removed.bytes)),
    ]
    .join("\n")
}

/// A line of `diff --json`.
#[derive(Debug, Serialize)]
pub struct JsonChange {
    message_type: &'static str,
    path: String,
    modifier: String,
}

impl From<&Change> for JsonChange {
    fn from(change: &Change) -> Self {
        Self {
            message_type: "change",
            path: lossy(change.path.as_os_str().as_bytes()),
            modifier: change.kind.to_string(),
        }
    }
}

/// The last line of `diff --json`.
#[derive(Debug, Serialize)]
pub struct JsonStatistics<'a> {
    message_type: &'static str,
    source_snapshot: &'a str,
    target_snapshot: &'a str,
    changed_files: u64,
    added: JsonAmount,
    removed: JsonAmount,
}

#[derive(Debug, Serialize)]
struct JsonAmount {
    files: u64,
    dirs: u64,
    others: u64,
    data_blobs: u64,
    tree_blobs: u64,
    bytes: u64,
}

impl<'a> JsonStatistics<'a> {
    /// With the snapshots as the operator named them.
    pub fn new([source, target]: [&'a str; 2], found: &Statistics) -> Self {
        Self {
            message_type: "statistics",
            source_snapshot: source,
            target_snapshot: target,
            changed_files: found.changed_files,
            added: found.added.into(),
            removed: found.removed.into(),
        }
    }
}

impl From<Amount> for JsonAmount {
    fn from(amount: Amount) -> Self {
        let Amount { files, dirs, others, data_blobs, tree_blobs, bytes } = amount;
        Self { files, dirs, others, data_blobs, tree_blobs, bytes }
    }
}

#[cfg(test)]
mod tests {
    use restic_repo::diff::ChangeKind;

    use super::*;

    #[test]
    fn letters_and_paths_stand_in_columns() {
        let altered =
            ChangeKind::Altered { node_type: false, content: true, bit_rot: true, metadata: false };
        let change = |kind| Change { path: "/a/".into(), kind };
        assert_eq!(line(&change(altered)), b"M?   /a/");
        assert_eq!(line(&change(ChangeKind::Added)), b"+    /a/");
    }

    #[test]
    fn the_summary_is_restics() {
        let added = Amount { files: 1, bytes: 2391, ..Amount::default() };
        let statistics = Statistics { changed_files: 3, added, removed: Amount::default() };
        let text = summary(&statistics);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "Files:           1 new,     0 removed,     3 changed");
        assert_eq!(lines[4], "Data Blobs:      0 new,     0 removed");
        assert_eq!(lines[6..], ["  Added:   2.335 KiB", "  Removed: 0 B  "]);
    }
}
