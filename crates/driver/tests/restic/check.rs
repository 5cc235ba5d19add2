//! `check`: what damage means for the snapshots, and who may be at work meanwhile.

use std::io::Write;
use std::process::Stdio;

use restic_oracle::damaged::{F0, F0_BLOB, F0_PACK, NEWEST, OLDEST, Variant};
use restic_oracle::{Program, Scratch, Version};

use crate::{locks, one_restic};

#[test]
fn every_snapshot_with_a_file_whose_pack_is_missing_is_named() {
    let scratch = Scratch::new();
    let repo = Variant::named("missing-data-pack").unpack(&scratch);
    let outcome = one_restic().run(&repo, ["check"]).exits(1);
    let text = outcome.text();
    for snapshot in [&OLDEST[..8], NEWEST] {
        assert!(text.contains(&format!("snapshot {snapshot} of ")), "{outcome}");
    }
    let line = format!("  {F0} (blob {} in pack {})", &F0_BLOB[..8], &F0_PACK[..8]);
    assert_eq!(text.lines().filter(|found| *found == line).count(), 3, "{outcome}");

    let outcome = one_restic().run(&repo, ["check", "--json"]).exits(1);
    let lines = outcome.json_lines();
    let (summary, affected) = lines.split_last().unwrap();
    assert_eq!(affected.len(), 3, "{outcome}");
    for line in affected {
        assert_eq!(line["message_type"], "affected");
        assert_eq!(line["files"][0]["path"], F0);
    }
    // What restic says stays as it is.
    let restic = Program::restic(Version::V0_19).run(&repo, ["--no-cache", "check", "--json"]);
    let theirs = restic.json_lines().pop().unwrap();
    for field in ["message_type", "suggest_repair_index", "suggest_prune"] {
        assert_eq!(summary[field], theirs[field], "{field}\n{outcome}\n{restic}");
    }
}

#[test]
fn a_check_runs_beside_a_backup_and_not_beside_who_wants_to_be_alone() {
    let scratch = Scratch::new();
    let repo = Variant::named("base").unpack(&scratch);
    // A backup that waits for its input holds its lock.
    let restic = Program::restic(Version::V0_18);
    let mut command = restic.command(&repo);
    command.args(["--no-cache", "backup", "--stdin"]).stdin(Stdio::piped());
    let mut backup = command.stdout(Stdio::null()).spawn().unwrap();
    while locks(&repo).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    one_restic().run(&repo, ["check"]).success();
    restic.run(&repo, ["--no-cache", "check"]).exits(11);
    backup.stdin.take().unwrap().write_all(b"content").unwrap();
    assert!(backup.wait().unwrap().success());
    let locked = Variant::named("active-foreign-lock-exclusive").unpack(&scratch);
    one_restic().run(&locked, ["check"]).exits(11);
}
