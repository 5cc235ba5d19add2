//! Snapshots: one backup each, how they are found and grouped.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::id::Id;
use crate::json::{self, Members, Raw, Text};
use crate::time::Timestamp;

pub use find::{
    Filter, TagList, find_id, latest, parent_of, resolve, sort_newest_first, split_subfolder,
};
pub use group::{Group, GroupBy, GroupKey, InvalidGroupBy, group};
pub use summary::Summary;

mod find;
mod group;
mod summary;

/// One backup: when, of what, by whom, and the tree that holds it.
///
/// A snapshot is named by the hash of the file that it is stored in, so it cannot be altered: whoever
/// changes a tag writes a new snapshot and deletes the old one. The fields stand in restic's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When the backup began, or what the user said.
    pub time: Timestamp,
    /// The snapshot whose files were not read again if they seemed unchanged. It may be gone by now;
    /// nothing needs it.
    pub parent: Option<Id>,
    /// The tree of the root folder.
    pub tree: Id,
    /// What was backed up: absolute paths in the order in which the user gave them.
    pub paths: Vec<String>,
    /// The machine's name.
    pub hostname: String,
    /// The user's name.
    pub username: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's group.
    pub gid: u32,
    /// The patterns of what was left out.
    pub excludes: Vec<String>,
    /// Words that users find it by. One may come twice.
    pub tags: Vec<String>,
    /// For a copy or an altered snapshot, what it was made from.
    pub original: Option<Id>,
    /// What wrote it, as "restic 0.18.0". Empty before restic 0.16.
    pub program_version: String,
    /// What the backup did. None before restic 0.17.
    pub summary: Option<Summary>,
    /// Fields that a newer or other program wrote, in their order; they are written after all others.
    pub unknown: Vec<(String, Raw)>,
}

impl Snapshot {
    /// A snapshot that says no more than it must.
    pub fn new(time: Timestamp, tree: Id, paths: Vec<String>) -> Self {
        Self {
            time,
            parent: None,
            tree,
            paths,
            hostname: String::new(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
            unknown: Vec::new(),
        }
    }

    /// Reads a snapshot's plaintext. Only the tree must be there.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The snapshot's plaintext, without a newline.
    pub fn encode(&self) -> Vec<u8> {
        json::to_vec(self)
    }

    /// Adds tags that are not there yet. Tells whether there were any.
    pub fn add_tags(&mut self, tags: &[String]) -> bool {
        let before = self.tags.len();
        for tag in tags {
            if !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
        self.tags.len() > before
    }

    /// Removes tags; of a tag that is there twice, one. Tells whether there were any.
    ///
    /// As in restic, the last tag takes the place of a removed one.
    pub fn remove_tags(&mut self, tags: &[String]) -> bool {
        let before = self.tags.len();
        for tag in tags {
            if let Some(index) = self.tags.iter().position(|other| other == tag) {
                self.tags.swap_remove(index);
            }
        }
        self.tags.len() < before
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { paths, time, username, hostname, .. } = self;
        write!(f, "snapshot of {paths:?} at {time} by {username}@{hostname}")
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &self.time)?;
        entry_unless(self.parent.is_none(), &mut map, "parent", &self.parent)?;
        map.serialize_entry("tree", &self.tree)?;
        map.serialize_entry("paths", &self.paths)?;
        entry_unless(self.hostname.is_empty(), &mut map, "hostname", &self.hostname)?;
        entry_unless(self.username.is_empty(), &mut map, "username", &self.username)?;
        entry_unless(self.uid == 0, &mut map, "uid", &self.uid)?;
        entry_unless(self.gid == 0, &mut map, "gid", &self.gid)?;
        entry_unless(self.excludes.is_empty(), &mut map, "excludes", &self.excludes)?;
        entry_unless(self.tags.is_empty(), &mut map, "tags", &self.tags)?;
        entry_unless(self.original.is_none(), &mut map, "original", &self.original)?;
        let version = &self.program_version;
        entry_unless(version.is_empty(), &mut map, "program_version", version)?;
        entry_unless(self.summary.is_none(), &mut map, "summary", &self.summary)?;
        for (name, value) in &self.unknown {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What Go's `omitempty` does.
fn entry_unless<M: SerializeMap>(
    empty: bool,
    map: &mut M,
    name: &str,
    value: &impl Serialize,
) -> Result<(), M::Error> {
    if empty { Ok(()) } else { map.serialize_entry(name, value) }
}

/// As Go reads a snapshot: fields in any order, each of which may be missing or null.
impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Members(members) = Members::deserialize(deserializer)?;
        let mut tree = None;
        let mut snapshot = Self::new(Timestamp::ZERO, Id::default(), Vec::new());
        for (Text(name), json) in members {
            match &*name {
                "time" => snapshot.time = value(json)?,
                "parent" => snapshot.parent = value(json)?,
                "tree" => tree = value(json)?,
                "paths" => snapshot.paths = value(json)?,
                "hostname" => snapshot.hostname = value(json)?,
                "username" => snapshot.username = value(json)?,
                "uid" => snapshot.uid = value(json)?,
                "gid" => snapshot.gid = value(json)?,
                "excludes" => snapshot.excludes = value(json)?,
                "tags" => snapshot.tags = value(json)?,
                "original" => snapshot.original = value(json)?,
                "program_version" => snapshot.program_version = value(json)?,
                "summary" => snapshot.summary = value(json)?,
                _ => snapshot.unknown.push((name.into_owned(), json.into())),
            }
        }
        snapshot.tree = tree.ok_or_else(|| D::Error::missing_field("tree"))?;
        Ok(snapshot)
    }
}

/// A value, or what stands for none where it is null.
fn value<T: DeserializeOwned + Default, E: serde::de::Error>(json: &RawValue) -> Result<T, E> {
    serde_json::from_str::<Option<T>>(json.get()).map(Option::unwrap_or_default).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text(snapshot: &Snapshot) -> String {
        String::from_utf8(snapshot.encode()).unwrap()
    }

    fn decode(json: &str) -> Snapshot {
        Snapshot::decode(json.as_bytes()).unwrap()
    }

    #[test]
    fn all_fields_stand_in_restics_order() {
        let json = [
            r#"{"time":"2024-01-01T00:00:00.000000001+01:00""#,
            &format!(r#""parent":"{TREE}","tree":"{TREE}","paths":["/b","/a"]"#),
            r#""hostname":"h\u0026","username":"u","uid":1,"gid":2,"excludes":["*.tmp"],"tags":["b","a","b"]"#,
            &format!(r#""original":"{TREE}","program_version":"restic 0.18.0""#),
            r#""summary":{"backup_start":"2024-01-01T00:00:00Z","backup_end":"2024-01-01T00:00:01Z""#,
            r#""files_new":1,"files_changed":2,"files_unmodified":3,"dirs_new":4,"dirs_changed":5"#,
            r#""dirs_unmodified":6,"data_blobs":7,"tree_blobs":8,"data_added":9,"data_added_packed":10"#,
            r#""total_files_processed":11,"total_bytes_processed":12,"speed":{ "x": 1.0 }}"#,
            r#""label":"x","delete":{ "After": "2025" }}"#,
        ]
        .join(",");
        assert_eq!(text(&decode(&json)), json);
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let snapshot = Snapshot::new(Timestamp::ZERO, TREE.parse().unwrap(), vec![]);
        let json = format!(r#"{{"time":"0001-01-01T00:00:00Z","tree":"{TREE}","paths":[]}}"#);
        assert_eq!(text(&snapshot), json);
        assert_eq!(decode(&json), snapshot);
        assert_eq!(
            decode(&format!(r#"{{"tree":"{TREE}","paths":null,"summary":null}}"#)),
            snapshot
        );
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        for json in ["", "null", "{}", "[]", r#"{"tree":null}"#, r#"{"tree":"00"}"#] {
            assert!(Snapshot::decode(json.as_bytes()).is_err(), "{json}");
        }
        for field in [r#""time":1"#, r#""paths":"/""#, r#""uid":-1"#, r#""summary":[]"#] {
            let json = format!(r#"{{"tree":"{TREE}",{field}}}"#);
            assert!(Snapshot::decode(json.as_bytes()).is_err(), "{json}");
        }
        let deep = format!(r#"{{"tree":"{TREE}","x":{}"#, "[".repeat(1_000_000));
        assert!(Snapshot::decode(deep.as_bytes()).is_err());
    }

    #[test]
    fn tags_are_added_and_removed_as_restic_does() {
        let tags = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut snapshot = decode(&format!(r#"{{"tree":"{TREE}","tags":["a","b","a"]}}"#));
        assert!(!snapshot.add_tags(&tags(&["b"])));
        assert!(snapshot.add_tags(&tags(&["c", "c", "a"])));
        assert_eq!(snapshot.tags, ["a", "b", "a", "c"]);
        assert!(!snapshot.remove_tags(&tags(&["x"])));
        assert!(snapshot.remove_tags(&tags(&["a", "x"])));
        assert_eq!(snapshot.tags, ["c", "b", "a"]);
    }
}
