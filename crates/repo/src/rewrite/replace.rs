//! A new snapshot in place of an old one.

use crate::error::Result;
use crate::handle::FileType;
use crate::id::Id;
use crate::repository::Repository;
use crate::rewrite::Rewritten;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// What is new in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Another tree.
    pub tree: Option<Id>,
    /// The number of files in the tree and their size in bytes, for the record in the snapshot.
    pub totals: Option<(u64, u64)>,
    /// Another host.
    pub hostname: Option<String>,
    /// Another time.
    pub time: Option<Timestamp>,
    /// A tag more, which tells the new snapshot from the old one.
    pub tag: Option<String>,
}

impl Changes {
    /// With another tree, as it came from a [`Rewriter`](super::Rewriter); `count` says whether its totals
    /// go into the record.
    #[must_use]
    pub fn with_tree(self, rewritten: &Rewritten, count: bool) -> Self {
        let totals = count.then_some((rewritten.files, rewritten.bytes));
        Self { tree: rewritten.tree, totals, ..self }
    }

    /// The new snapshot, which says what it was made from; nothing if nothing is new. A tag alone is
    /// nothing new; a host or a time is, even the same one.
    pub fn apply(&self, (id, old): &(Id, Snapshot)) -> Option<Snapshot> {
        let mut new = old.clone();
        if let Some(tree) = self.tree {
            new.tree = tree;
        }
        if let Some((files, bytes)) = self.totals {
            let summary = new.summary.get_or_insert_default();
            (summary.total_files_processed, summary.total_bytes_processed) = (files, bytes);
        }
        if new == *old && self.hostname.is_none() && self.time.is_none() {
            return None;
        }
        new.original = Some(*id);
        new.add_tags(self.tag.as_slice());
        if let Some(hostname) = &self.hostname {
            new.hostname.clone_from(hostname);
        }
        new.time = self.time.unwrap_or(new.time);
        Some(new)
    }
}

/// Other tags for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagChanges {
    /// These, and no others.
    Set(Vec<String>),
    /// Some more, and some less.
    Alter {
        /// Added, unless they are there.
        add: Vec<String>,
        /// Removed after that.
        remove: Vec<String>,
    },
}

impl TagChanges {
    /// The new snapshot; nothing if there are no other tags than before. It keeps the name of the snapshot
    /// that it was first made from, through any number of changes.
    pub fn apply(&self, (id, old): &(Id, Snapshot)) -> Option<Snapshot> {
        let mut new = old.clone();
        let changed = match self {
            Self::Set(tags) => {
                new.tags.clone_from(tags);
                true
            }
            Self::Alter { add, remove } => new.add_tags(add) | new.remove_tags(remove),
        };
        new.original = new.original.or(Some(*id));
        changed.then_some(new)
    }
}

/// Stores a new snapshot, and with `forget` removes the old one after that. Whatever the new one refers to
/// must be stored before.
///
/// # Errors
/// What the storage says. If the old one could not be removed, both are there.
pub async fn replace(repository: &Repository, old: Id, new: &Snapshot, forget: bool) -> Result<Id> {
    let id = repository.save_snapshot(new).await?;
    if forget {
        repository.remove(FileType::Snapshot, old).await?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Summary;

    fn old() -> (Id, Snapshot) {
        let tree = Id::of(b"tree");
        let time = "2024-01-01T00:00:00Z".parse().unwrap();
        let snapshot = Snapshot {
            tags: vec!["a".to_owned()],
            original: Some(Id::of(b"first")),
            unknown: vec![],
            ..Snapshot::new(time, tree, vec!["/srv".to_owned()])
        };
        (Id::of(b"old"), snapshot)
    }

    #[test]
    fn what_changes_nothing_makes_no_snapshot() {
        let (id, snapshot) = old();
        let tag = Some("rewrite".to_owned());
        let same = Changes { tree: Some(snapshot.tree), tag, ..Changes::default() };
        assert_eq!(same.apply(&(id, snapshot.clone())), None);
        let counted = Changes { totals: Some((2, 30)), ..same };
        let summary = counted.apply(&(id, snapshot.clone())).unwrap().summary.unwrap();
        assert_eq!((summary.total_files_processed, summary.total_bytes_processed), (2, 30));
        let summary = Summary {
            total_files_processed: 2,
            total_bytes_processed: 30,
            files_new: 1,
            ..Summary::default()
        };
        let snapshot = Snapshot { summary: Some(summary), ..snapshot };
        assert_eq!(counted.apply(&(id, snapshot)), None);
    }

    #[test]
    fn a_new_snapshot_names_the_one_it_was_made_from() {
        let old = old();
        let changes = Changes {
            tree: Some(Id::of(b"new tree")),
            hostname: Some("vm".to_owned()),
            tag: Some("rewrite".to_owned()),
            ..Changes::default()
        };
        let new = changes.apply(&old).unwrap();
        let expected = Snapshot {
            tree: Id::of(b"new tree"),
            hostname: "vm".to_owned(),
            original: Some(old.0),
            tags: vec!["a".to_owned(), "rewrite".to_owned()],
            ..old.1
        };
        assert_eq!(new, expected);
    }

    #[test]
    fn other_tags_leave_the_name_of_the_first_snapshot() {
        let old = old();
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let alter = |add: &[&str], remove: &[&str]| {
            TagChanges::Alter { add: texts(add), remove: texts(remove) }.apply(&old)
        };
        assert_eq!(alter(&["a"], &["x"]), None);
        let new = alter(&["b", "c"], &["a"]).unwrap();
        assert_eq!(new.tags, ["c", "b"]);
        assert_eq!(new.original, old.1.original);
        let set = TagChanges::Set(texts(&["a"])).apply(&old).unwrap();
        assert_eq!(set.tags, ["a"]);
        let (id, snapshot) = old;
        let first = Snapshot { original: None, ..snapshot };
        let set = TagChanges::Set(Vec::new()).apply(&(id, first)).unwrap();
        assert_eq!((set.original, set.tags.len()), (Some(id), 0));
    }
}
