//! Backups that somebody does not want any more.

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use restic_oracle::data;

use crate::site::{Site, complaint, deploy_id, ended, start, wait_for};

/// How long users wait for a backup to be cancelled, at most.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_backup_that_is_cancelled_ends_at_once_and_leaves_nothing() {
    let site = Site::new();
    site.lay_out(5, &data::ctr(b"disk", 8 << 20));
    let child = site.begin_slowly(5);
    let began = Instant::now();
    site.cancel(5).success();
    let outcome = ended("backup".to_owned(), child).exits(255);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(complaint(&outcome), "Backup cancelled");
    assert!(outcome.stdout.is_empty());
    site.assert_tidy(5);
    assert!(site.snapshots("5").is_empty());
    site.back_up(5).success();
    site.restic("5", &["check", "--read-data"]).success();
}

/// Cancels backups at these moments, each in one hundredth of a second after the beginning.
fn cancel_at(moments: &[u64]) {
    let site = Site::new();
    let mut cancelled = 0;
    for (round, moment) in moments.iter().enumerate() {
        // Every other VM is a new one, whose repository has to be made first.
        let vm = if round % 2 == 0 { 1 } else { 2 + round as u64 };
        site.lay_out(vm, &data::ctr(&moment.to_le_bytes(), 2 << 20));
        let message = site.message(vm, "<RESTIC_BWLIMIT>2000</RESTIC_BWLIMIT>", "");
        let repo = vm.to_string();
        let before = site.snapshot_count(&repo);
        let child = start(&mut site.backup(vm), &message);
        std::thread::sleep(Duration::from_millis(10 * moment));
        let began = Instant::now();
        site.cancel(vm).success();
        let outcome = ended("backup".to_owned(), child);
        let took = began.elapsed();
        println!("after {moment}0 ms: {:?} in {took:?}", outcome.code);
        if outcome.code == Some(0) {
            // It was made before it could be cancelled.
            assert!(!outcome.stdout.is_empty());
        } else if outcome.code.is_none() {
            // The signal came before the program listened to any: it had done nothing.
            assert_eq!((*moment, outcome.stdout.len()), (0, 0));
        } else {
            assert!(took < PATIENCE, "at {moment}: {took:?}");
            assert_eq!((outcome.code, &*complaint(&outcome)), (Some(255), "Backup cancelled"));
            cancelled += 1;
        }
        site.assert_tidy(vm);
        // OpenNebula knows of a backup that was made, and of none that was cancelled.
        assert_eq!(site.snapshot_count(&repo) - before, usize::from(outcome.code == Some(0)));
        site.back_up(vm).success();
        site.restic(&repo, &["check"]).success();
    }
    assert!(cancelled > 0, "every backup was done before it could be cancelled");
}

// Twenty moments, in two tests so that they run side by side.

#[test]
fn at_whatever_moment_a_backup_is_cancelled_the_next_one_works() {
    cancel_at(&[0, 3, 11, 24, 38, 55, 80, 120, 190, 260]);
}

#[test]
fn at_whatever_other_moment_a_backup_is_cancelled_the_next_one_works() {
    cancel_at(&[1, 7, 17, 31, 47, 66, 98, 150, 220, 310]);
}

#[test]
fn the_backup_of_one_vm_is_cancelled_and_that_of_no_other() {
    let site = Site::new();
    for vm in [5, 54] {
        site.lay_out(vm, &data::ctr(b"disk", 8 << 20));
    }
    let five = site.begin_slowly(5);
    let other = site.begin_slowly(54);
    site.cancel(5).success();
    ended("backup".to_owned(), five).exits(255);
    wait_for("one job is left", || site.jobs().len() == 1);
    site.cancel(4).success();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(site.jobs().len(), 1, "VM 54 is neither 5 nor 4");
    site.cancel(54).success();
    ended("backup".to_owned(), other).exits(255);
    site.assert_tidy(54);
}

/// A program that waits under the name and with the arguments of another.
fn stand_in(site: &Site, name: &str, arguments: &[&str]) -> Child {
    let script = site.scratch.folder("tm/qcow2").join(name);
    // Once: another shell may be about to read it.
    if !script.exists() {
        fs::write(&script, "trap 'kill $!; exit 7' TERM; echo; sleep 1000 & wait").unwrap();
    }
    let mut command = Command::new("sh");
    command.arg(script).args(arguments).process_group(0).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It listens to signals once it has said something.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

#[test]
fn cancelling_stops_the_export_of_the_disks_too() {
    let site = Site::new();
    let (place, other) = (site.place(5), site.place(54));
    let (five, fifty_four) = (deploy_id("5"), deploy_id("54"));
    let arguments = |place, id| [place, "0", id, "-", "5", "100"];
    let mut wanted = ["prebackup", "prebackup_live"]
        .map(|name| stand_in(&site, name, &arguments(&place, &five)));
    let mut others = [
        stand_in(&site, "prebackup", &arguments(&other, &fifty_four)),
        stand_in(&site, "postbackup", &arguments(&place, &five)),
        stand_in(&site, "prebackup", &[&place, "0", &format!("{five} "), "-", "5"]),
        stand_in(&site, "prebackup", &[&format!("{place} 0 {five} - 5 100")]),
    ];
    site.cancel(5).success();
    for child in &mut wanted {
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
    for child in &mut others {
        assert!(child.try_wait().unwrap().is_none(), "it is none of VM 5's");
        crate::site::signal(child.id(), "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}

#[test]
fn cancelling_what_is_not_there_is_fine() {
    let site = Site::new();
    site.cancel(5).success();
    // Nor does it matter that the host cannot be reached.
    site.write_ssh_config(1, 1);
    site.cancel(5).success();
}

#[test]
fn a_job_whose_front_end_is_stuck_is_stopped_on_its_host() {
    let site = Site::new();
    site.lay_out(5, &data::ctr(b"disk", 8 << 20));
    let mut child = site.begin_slowly(5);
    crate::site::signal(child.id(), "STOP");
    site.cancel(5).success();
    site.assert_tidy(5);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}
