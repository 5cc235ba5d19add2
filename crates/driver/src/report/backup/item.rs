//! What became of one file or folder.

use restic_repo::progress::{Item, ItemAction};
use serde::Serialize;

use crate::report::number;
use crate::report::terminal::printable;

/// The name of a file or folder as `-vv` shows it: folders end in a slash.
fn item_name(item: &Item<'_>) -> String {
    let name = item.path.to_string_lossy();
    let slash = if item.is_folder && !name.ends_with('/') { "/" } else { "" };
    format!("{name}{slash}")
}

/// What became of it, as `-vv` shows it; nothing for what is only restored.
pub(super) fn item_line(item: &Item<'_>, seconds: f64) -> Option<String> {
    let action = match item.action {
        ItemAction::New => "new",
        ItemAction::Changed => "modified",
        ItemAction::Unmodified => {
            return Some(format!("unchanged {}", printable(&item_name(item))));
        }
        _ => return None,
    };
    let name = printable(&item_name(item));
    let added = number::bytes(item.data_added);
    let stored = number::bytes(item.data_stored);
    Some(match item.is_folder {
        false => {
            format!("{action:<9} {name}, saved in {seconds:.3}s ({added} added, {stored} stored)")
        }
        true => format!(
            "{action:<9} {name}, saved in {seconds:.3}s (0 B added, 0 B stored, {stored} metadata)"
        ),
    })
}

/// What `-v` adds to `--json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct VerboseStatus {
    message_type: &'static str,
    action: &'static str,
    item: String,
    duration: f64,
    data_size: u64,
    data_size_in_repo: u64,
    metadata_size: u64,
    metadata_size_in_repo: u64,
    total_files: u64,
}

impl VerboseStatus {
    fn new(action: &'static str, item: String) -> Self {
        Self { message_type: "verbose_status", action, item, ..Self::default() }
    }

    /// All files are counted.
    pub(super) fn scan_finished(seconds: f64, files: u64, bytes: u64) -> Self {
        Self {
            duration: seconds,
            data_size: bytes,
            total_files: files,
            ..Self::new("scan_finished", String::new())
        }
    }

    /// What became of an item.
    pub(super) fn of(item: &Item<'_>, seconds: f64) -> Option<Self> {
        let action = match item.action {
            ItemAction::New => "new",
            ItemAction::Changed => "modified",
            ItemAction::Unmodified => return Some(Self::new("unchanged", item_name(item))),
            _ => return None,
        };
        let mut status = Self { duration: seconds, ..Self::new(action, item_name(item)) };
        if item.is_folder {
            status.metadata_size = item.data_added;
            status.metadata_size_in_repo = item.data_stored;
        } else {
            status.data_size = item.data_added;
            status.data_size_in_repo = item.data_stored;
        }
        Some(status)
    }
}
