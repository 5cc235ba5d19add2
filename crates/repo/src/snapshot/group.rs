//! Snapshots that belong together.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::Snapshot;
use crate::id::Id;

/// What snapshots of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// The machine.
    pub host: bool,
    /// All paths, in any order.
    pub paths: bool,
    /// All tags, in any order.
    pub tags: bool,
}

impl Default for GroupBy {
    /// By host and paths, as backup and forget do.
    fn default() -> Self {
        Self { host: true, paths: true, tags: false }
    }
}

impl FromStr for GroupBy {
    type Err = InvalidGroupBy;

    /// Reads "host,paths,tags" or a part of it. The empty text makes one group of all.
    fn from_str(text: &str) -> Result<Self, InvalidGroupBy> {
        let mut by = Self { host: false, paths: false, tags: false };
        for word in text.split(',') {
            match word {
                "host" | "hosts" => by.host = true,
                "path" | "paths" => by.paths = true,
                "tag" | "tags" => by.tags = true,
                "" => {}
                word => return Err(InvalidGroupBy(word.to_owned())),
            }
        }
        Ok(by)
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.host, "host"), (self.paths, "paths"), (self.tags, "tags")];
        let words: Vec<_> =
            words.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
        f.write_str(&words.join(","))
    }
}

/// A word that one cannot group by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown grouping option: {0:?}")]
pub struct InvalidGroupBy(pub String);

/// What the snapshots of one group have in common. Its JSON is restic's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct GroupKey {
    /// The machine; empty if that does not count.
    pub hostname: String,
    /// The paths, sorted; `None` if they do not count.
    pub paths: Option<Vec<String>>,
    /// The tags, sorted; `None` if they do not count or if there are none.
    pub tags: Option<Vec<String>>,
}

impl GroupKey {
    /// The key of the group that a snapshot belongs to.
    pub fn of(snapshot: &Snapshot, by: GroupBy) -> Self {
        let sorted = |texts: &[String]| {
            let mut texts = texts.to_vec();
            texts.sort();
            texts
        };
        Self {
            hostname: if by.host { snapshot.hostname.clone() } else { String::new() },
            paths: by.paths.then(|| sorted(&snapshot.paths)),
            tags: (by.tags && !snapshot.tags.is_empty()).then(|| sorted(&snapshot.tags)),
        }
    }
}

/// Snapshots that belong together.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// What they have in common.
    pub key: GroupKey,
    /// Which they are, in the order of the list that they come from.
    pub snapshots: Vec<&'a (Id, Snapshot)>,
}

/// Puts together what belongs together. The groups are sorted by their keys.
pub fn group(snapshots: &[(Id, Snapshot)], by: GroupBy) -> Vec<Group<'_>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for entry in snapshots {
        groups.entry(GroupKey::of(&entry.1, by)).or_default().push(entry);
    }
    groups.into_iter().map(|(key, snapshots)| Group { key, snapshots }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::time::Timestamp;

    fn snapshots() -> Vec<(Id, Snapshot)> {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        [
            ("h", &["/b", "/a"][..], &["y", "x"][..]),
            ("g", &["/a"], &[]),
            ("h", &["/a", "/b"], &[]),
            ("h", &["/a"], &["x", "y"]),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, (host, paths, tags))| {
            let snapshot = Snapshot {
                hostname: host.to_owned(),
                tags: texts(tags),
                ..Snapshot::new(Timestamp::ZERO, Id::default(), texts(paths))
            };
            (Id::from_bytes([index as u8; 32]), snapshot)
        })
        .collect()
    }

    fn grouped(by: &str) -> Vec<(String, Vec<u8>)> {
        group(&snapshots(), by.parse().unwrap())
            .into_iter()
            .map(|Group { key, snapshots }| {
                let members = snapshots.iter().map(|(id, _)| id.as_bytes()[0]).collect();
                (String::from_utf8(json::to_vec(&key)).unwrap(), members)
            })
            .collect()
    }

    #[test]
    fn groups_have_restics_keys() {
        let expected = [
            (r#"{"hostname":"g","paths":["/a"],"tags":null}"#.to_owned(), vec![1]),
            (r#"{"hostname":"h","paths":["/a"],"tags":null}"#.to_owned(), vec![3]),
            (r#"{"hostname":"h","paths":["/a","/b"],"tags":null}"#.to_owned(), vec![0, 2]),
        ];
        assert_eq!(grouped("host,paths"), expected);
        let expected = [
            (r#"{"hostname":"","paths":null,"tags":null}"#.to_owned(), vec![1, 2]),
            (r#"{"hostname":"","paths":null,"tags":["x","y"]}"#.to_owned(), vec![0, 3]),
        ];
        assert_eq!(grouped("tags"), expected);
        let expected =
            [(r#"{"hostname":"","paths":null,"tags":null}"#.to_owned(), vec![0, 1, 2, 3])];
        assert_eq!(grouped(""), expected);
    }

    #[test]
    fn what_to_group_by_is_read_as_restic_reads_it() {
        let read = |text: &str| text.parse::<GroupBy>().map(|by| by.to_string());
        assert_eq!(read("").unwrap(), "");
        assert_eq!(read("tags,,path").unwrap(), "paths,tags");
        assert_eq!(read("hosts,tag,paths").unwrap(), "host,paths,tags");
        assert_eq!(read("host, paths"), Err(InvalidGroupBy(" paths".to_owned())));
        assert_eq!(GroupBy::default().to_string(), "host,paths");
    }
}
