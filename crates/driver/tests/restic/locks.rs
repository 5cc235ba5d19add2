//! What is told of locks: who holds them, since when, and whether he is still there.

use std::process::Stdio;
use std::time::Duration;

use restic_oracle::damaged::Variant;
use restic_oracle::{Program, Scratch, Version};

use crate::{locks, one_restic};

#[test]
fn a_lock_whose_process_was_killed_is_called_so_and_removed() {
    let scratch = Scratch::new();
    let repo = Variant::named("base").unpack(&scratch);
    // A backup that waits for its input holds its lock.
    let restic = Program::restic(Version::V0_19);
    let mut command = restic.command(&repo);
    command.args(["--no-cache", "backup", "--stdin"]).stdin(Stdio::piped());
    let mut backup = command.stdout(Stdio::null()).spawn().unwrap();
    while locks(&repo).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = backup.id();
    let told = format!(" shared, held by PID {pid} on ");
    let listed = one_restic().run(&repo, ["list", "locks", "--verbose"]).success();
    assert!(listed.text().contains(&told) && !listed.text().contains("no longer"), "{listed}");
    let outcome = one_restic().run(&repo, ["unlock"]).success();
    assert!(outcome.text().contains(&format!("is still locked by PID {pid} on ")), "{outcome}");
    let outcome = one_restic().run(&repo, ["repair", "index"]).exits(11);
    assert!(outcome.complaint().contains("--retry-lock"), "{outcome}");

    backup.kill().unwrap();
    backup.wait().unwrap();
    let gone = "whose process is no longer there";
    let outcome = one_restic().run(&repo, ["repair", "index"]).exits(11);
    let said = outcome.complaint();
    assert!(said.contains(gone) && said.contains("; remove it with `unlock`"), "{outcome}");
    // Scripts get names and nothing else.
    let listed = one_restic().run(&repo, ["list", "locks"]).success();
    assert_eq!(listed.text().trim().len(), 64, "{listed}");
    let outcome = one_restic().run(&repo, ["unlock"]).success();
    assert!(outcome.text().contains(gone), "{outcome}");
    assert!(outcome.text().ends_with("successfully removed 1 locks\n"), "{outcome}");
    assert_eq!(locks(&repo).len(), 0);
}

#[test]
fn a_lock_that_was_not_refreshed_for_long_is_called_stale() {
    let scratch = Scratch::new();
    let repo = Variant::named("stale-lock").unpack(&scratch);
    let outcome = one_restic().run(&repo, ["check", "--retry-lock=1s"]).exits(11);
    assert!(outcome.text().contains(", which is stale; trying again in"), "{outcome}");
    assert!(outcome.complaint().contains("which is stale; remove it with `unlock`"), "{outcome}");
    one_restic().run(&repo, ["unlock"]).success();
    one_restic().run(&repo, ["check"]).success();
}
