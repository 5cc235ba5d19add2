//! What a backup did, as its snapshot tells.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::value;
use crate::json::{Members, Raw, Text};
use crate::time::Timestamp;

/// What a backup did. All fields are written, also zeros.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// When it began.
    pub backup_start: Timestamp,
    /// When it was done.
    pub backup_end: Timestamp,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that have changed since the parent.
    pub files_changed: u64,
    /// Files that have not.
    pub files_unmodified: u64,
    /// Folders that the parent did not have.
    pub dirs_new: u64,
    /// Folders whose tree has changed since the parent.
    pub dirs_changed: u64,
    /// Folders whose tree has not.
    pub dirs_unmodified: u64,
    /// Data blobs that were added to the repository.
    pub data_blobs: u64,
    /// Tree blobs that were added.
    pub tree_blobs: u64,
    /// Bytes in the added blobs.
    pub data_added: u64,
    /// Bytes that these take in the repository, compressed and encrypted.
    pub data_added_packed: u64,
    /// Files in the snapshot.
    pub total_files_processed: u64,
    /// Bytes in these files.
    pub total_bytes_processed: u64,
    /// Fields that a newer or other program wrote, in their order; they are written after all others.
    pub unknown: Vec<(String, Raw)>,
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("backup_start", &self.backup_start)?;
        map.serialize_entry("backup_end", &self.backup_end)?;
        for (name, count) in [
            ("files_new", self.files_new),
            ("files_changed", self.files_changed),
            ("files_unmodified", self.files_unmodified),
            ("dirs_new", self.dirs_new),
            ("dirs_changed", self.dirs_changed),
            ("dirs_unmodified", self.dirs_unmodified),
            ("data_blobs", self.data_blobs),
            ("tree_blobs", self.tree_blobs),
            ("data_added", self.data_added),
            ("data_added_packed", self.data_added_packed),
            ("total_files_processed", self.total_files_processed),
            ("total_bytes_processed", self.total_bytes_processed),
        ] {
            map.serialize_entry(name, &count)?;
        }
        for (name, value) in &self.unknown {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Summary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Members(members) = Members::deserialize(deserializer)?;
        let mut summary = Self::default();
        for (Text(name), json) in members {
            let count = match &*name {
                "backup_start" => {
                    summary.backup_start = value(json)?;
                    continue;
                }
                "backup_end" => {
                    summary.backup_end = value(json)?;
                    continue;
                }
                "files_new" => &mut summary.files_new,
                "files_changed" => &mut summary.files_changed,
                "files_unmodified" => &mut summary.files_unmodified,
                "dirs_new" => &mut summary.dirs_new,
                "dirs_changed" => &mut summary.dirs_changed,
                "dirs_unmodified" => &mut summary.dirs_unmodified,
                "data_blobs" => &mut summary.data_blobs,
                "tree_blobs" => &mut summary.tree_blobs,
                "data_added" => &mut summary.data_added,
                "data_added_packed" => &mut summary.data_added_packed,
                "total_files_processed" => &mut summary.total_files_processed,
                "total_bytes_processed" => &mut summary.total_bytes_processed,
                _ => {
                    summary.unknown.push((name.into_owned(), json.into()));
                    continue;
                }
            };
            *count = value(json)?;
        }
        Ok(summary)
    }
}
