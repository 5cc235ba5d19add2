//! What damage means for the snapshots.

use restic_repo::Id;
use restic_repo::checker::{Affected, AffectedSnapshot};
use restic_repo::time::{Timestamp, Zone};
use serde::Serialize;

use crate::report::terminal::printable;

/// A snapshot that has lost something, as a line of JSON. restic has no such line.
#[derive(Debug, Serialize)]
pub struct Loss {
    message_type: &'static str,
    snapshot: Id,
    time: Timestamp,
    /// How many files; only the first are listed.
    num_files: u64,
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    reason: String,
}

impl Loss {
    /// The line for this snapshot.
    pub fn new(lost: &AffectedSnapshot) -> Self {
        let files = lost.files.iter().map(|file| File {
            path: file.path.to_string_lossy().into_owned(),
            reason: file.loss.to_string(),
        });
        Self {
            message_type: "affected",
            snapshot: lost.id,
            time: lost.time,
            num_files: lost.count,
            files: files.collect(),
        }
    }
}

/// What people read; nothing if nothing is affected.
pub fn lines(affected: &Affected) -> Vec<String> {
    let mut lines = Vec::new();
    for AffectedSnapshot { id, time, count, files } in &affected.snapshots {
        let time = time.in_zone(Zone::local()).date_time();
        let what = match count {
            1 => "1 file cannot be restored as it was".to_owned(),
            count => format!("{count} files cannot be restored as they were"),
        };
        lines.push(format!("snapshot {} of {time}: {what}", id.short()));
        for file in files {
            lines.push(format!("  {} ({})", printable(&file.path.to_string_lossy()), file.loss));
        }
        let more = count.saturating_sub(files.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
    }
    if affected.is_partial {
        lines.push("there are too many folders to follow all; more may be affected".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use restic_repo::checker::{self, AffectedFile};

    use super::*;
    use crate::report::json;

    fn affected() -> Affected {
        let loss = checker::Loss::Blob { id: Id::of(b"blob"), pack: Some(Id::of(b"pack")) };
        let files = vec![AffectedFile { path: "/srv/a\x1bb".into(), loss }];
        let time = Timestamp::from_unix(0, 0);
        let lost = AffectedSnapshot { id: Id::of(b"snapshot"), time, count: 3, files };
        Affected { snapshots: vec![lost], is_partial: false }
    }

    #[test]
    fn people_read_which_files_are_affected_and_how_many_more() {
        let lines = lines(&affected());
        let snapshot = Id::of(b"snapshot").short();
        assert!(lines[0].starts_with(&format!("snapshot {snapshot} of 19")), "{lines:?}");
        assert!(lines[0].ends_with(": 3 files cannot be restored as they were"), "{lines:?}");
        let (blob, pack) = (Id::of(b"blob").short(), Id::of(b"pack").short());
        assert_eq!(lines[1], format!("  \"/srv/a\\u{{1b}}b\" (blob {blob} in pack {pack})"));
        assert_eq!(lines[2..], ["  and 2 more"]);
        assert_eq!(super::lines(&Affected::default()), Vec::<String>::new());
    }

    #[test]
    fn programs_get_a_line_of_a_type_of_its_own() {
        let line = json::line(&Loss::new(&affected().snapshots[0]));
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["message_type"], "affected");
        assert_eq!(line["snapshot"], Id::of(b"snapshot").to_string());
        assert_eq!(
            (line["num_files"].as_u64(), &line["files"][0]["path"]),
            (Some(3), &"/srv/a\x1bb".into())
        );
    }
}
