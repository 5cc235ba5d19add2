use std::path::Path;

use restic_repo::Id;
use restic_repo::time::Timestamp;

use super::*;
use crate::report::json;

fn text(value: &impl Serialize) -> String {
    String::from_utf8(json::line(value)).unwrap()
}

fn time(text: &str) -> Timestamp {
    serde_json::from_value(text.into()).unwrap()
}

fn summary() -> Summary {
    Summary {
        message_type: "summary",
        files_new: 2,
        files_changed: 0,
        files_unmodified: 1,
        dirs_new: 2,
        dirs_changed: 0,
        dirs_unmodified: 0,
        data_blobs: 3,
        tree_blobs: 6,
        data_added: 5850,
        data_added_packed: 667,
        total_files_processed: 3,
        total_bytes_processed: 3896,
        total_duration: 0.690174918,
        backup_start: time("2026-11-22T19:19:16.296493531+01:00"),
        backup_end: time("2026-11-22T19:19:16.986668456+01:00"),
        snapshot_id: Some(Id::of(b"")),
        dry_run: false,
    }
}

fn normal_lines(summary: &Summary) -> Vec<String> {
    let lines = summary.lines().into_iter();
    lines.filter(|(from, _)| *from <= Verbosity::Normal).map(|(_, line)| line).collect()
}

#[test]
fn the_summary_is_restics() {
    assert_eq!(
        normal_lines(&summary()),
        [
            "",
            "Files:           2 new,     0 changed,     1 unmodified",
            "Dirs:            2 new,     0 changed,     0 unmodified",
            "Added to the repository: 5.713 KiB (667 B stored)",
            "",
            "processed 3 files, 3.805 KiB in 0:00",
            "snapshot e3b0c442 saved",
        ]
    );
    let verbose: Vec<_> = summary().lines().into_iter().map(|(_, line)| line).collect();
    assert_eq!(verbose[3..5], ["Data Blobs:      3 new", "Tree Blobs:      6 new"]);
}

#[test]
fn the_summary_tells_if_nothing_was_stored() {
    let skipped = Summary { snapshot_id: None, ..summary() };
    assert_eq!(normal_lines(&skipped).last().unwrap(), "skipped creating snapshot");
    let dry = Summary { dry_run: true, data_added: 0, data_added_packed: 0, ..summary() };
    assert_eq!(normal_lines(&dry)[3], "Would add to the repository: 0 B   (0 B   stored)");
    assert_eq!(normal_lines(&dry).last().unwrap(), "processed 3 files, 3.805 KiB in 0:00");
}

#[test]
fn the_summary_in_json_has_restics_fields() {
    let id = Id::of(b"");
    assert_eq!(
        text(&summary()),
        format!(
            "{{\"message_type\":\"summary\",\"files_new\":2,\"files_changed\":0,\
             \"files_unmodified\":1,\"dirs_new\":2,\"dirs_changed\":0,\"dirs_unmodified\":0,\
             \"data_blobs\":3,\"tree_blobs\":6,\"data_added\":5850,\"data_added_packed\":667,\
             \"total_files_processed\":3,\"total_bytes_processed\":3896,\
             \"total_duration\":0.690174918,\
             \"backup_start\":\"2026-11-22T19:19:16.296493531+01:00\",\
             \"backup_end\":\"2026-11-22T19:19:16.986668456+01:00\",\"snapshot_id\":\"{id}\"}}\n"
        )
    );
    let dry = text(&Summary { snapshot_id: None, dry_run: true, ..summary() });
    assert!(dry.ends_with("+01:00\",\"dry_run\":true}\n"), "{dry}");
}

#[test]
fn the_status_counts_what_the_library_reports() {
    let report = BackupReport::new(Arc::new(Terminal::new(Verbosity::Normal, true)));
    assert_eq!(text(&report.status()), "{\"message_type\":\"status\",\"percent_done\":0}\n");
    report.advance(Phase::Scan, 4);
    report.advance(Phase::ScanBytes, 4096);
    report.advance(Phase::BackupFiles, 1);
    report.advance(Phase::BackupBytes, 1024);
    let path = Path::new("/srv/disk.0");
    report.item(&Item {
        path,
        action: ItemAction::Started,
        is_folder: false,
        size: 9,
        data_added: 0,
        data_stored: 0,
    });
    assert_eq!(
        text(&report.status()),
        "{\"message_type\":\"status\",\"percent_done\":0.25,\"total_files\":4,\"files_done\":1,\
         \"total_bytes\":4096,\"bytes_done\":1024,\"current_files\":[\"/srv/disk.0\"]}\n"
    );
    let line = report.status_line();
    assert!(line.contains("1 files 1.000 KiB, total 4 files 4.000 KiB, 0 errors, "), "{line}");
    assert_eq!(report.errors(), 0);
}

#[test]
fn items_are_told_as_restic_does() {
    let item = |action, is_folder| Item {
        path: Path::new("/src/d"),
        action,
        is_folder,
        size: 5,
        data_added: 300,
        data_stored: 241,
    };
    let line = |action, is_folder| item_line(&item(action, is_folder), 0.0034);
    assert_eq!(
        line(ItemAction::New, false).unwrap(),
        "new       /src/d, saved in 0.003s (300 B added, 241 B stored)"
    );
    assert_eq!(
        line(ItemAction::Changed, true).unwrap(),
        "modified  /src/d/, saved in 0.003s (0 B added, 0 B stored, 241 B metadata)"
    );
    assert_eq!(line(ItemAction::Unmodified, false).unwrap(), "unchanged /src/d");
    assert_eq!(line(ItemAction::Restored, false), None);
    assert_eq!(
        text(&VerboseStatus::of(&item(ItemAction::New, true), 0.5)),
        "{\"message_type\":\"verbose_status\",\"action\":\"new\",\"item\":\"/src/d/\",\
         \"duration\":0.5,\"data_size\":0,\"data_size_in_repo\":0,\"metadata_size\":300,\
         \"metadata_size_in_repo\":241,\"total_files\":0}\n"
    );
}
