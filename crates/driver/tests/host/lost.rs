//! Backups whose front-end, connection, or server goes away.

use std::process::Child;
use std::time::{Duration, Instant};

use restic_oracle::{Proxy, data};

use crate::site::{Site, complaint, ended, processes, signal, start, stat_of, wait_for};

fn site() -> Site {
    let site = Site::new();
    site.lay_out(5, &data::ctr(b"disk", 8 << 20));
    site
}

/// The parent of a process.
fn parent(pid: u32) -> u32 {
    u32::try_from(stat_of(pid, 4)).unwrap()
}

/// The `ssh` of a backup.
fn ssh_of(backup: &Child) -> u32 {
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(ssh)") && parent(*pid) == backup.id()
    };
    processes().into_iter().find(is_child).expect("the backup runs ssh")
}

/// Nothing is left, and the next backup works.
fn assert_recovered(site: &Site) {
    site.assert_tidy(5);
    site.back_up(5).success();
    site.restic("5", &["check", "--read-data"]).success();
}

#[test]
fn the_front_end_is_killed() {
    let site = site();
    let mut backup = site.begin_slowly(5);
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert_recovered(&site);
}

#[test]
fn the_ssh_of_the_front_end_is_killed() {
    let site = site();
    let backup = site.begin_slowly(5);
    signal(ssh_of(&backup), "KILL");
    let outcome = ended("backup".to_owned(), backup).exits(255);
    assert!(complaint(&outcome).contains("the connection to it broke"), "{outcome}");
    assert_eq!(complaint(&outcome).lines().count(), 1, "{outcome}");
    assert_recovered(&site);
}

#[test]
fn the_session_on_the_host_is_killed() {
    let site = site();
    let backup = site.begin_slowly(5);
    signal(parent(site.jobs()[0]), "KILL");
    let outcome = ended("backup".to_owned(), backup).exits(255);
    assert!(complaint(&outcome).contains("the connection to it broke"), "{outcome}");
    assert_recovered(&site);
}

#[test]
fn the_job_on_the_host_is_killed_and_the_next_one_removes_its_lock() {
    let site = site();
    let backup = site.begin_slowly(5);
    signal(site.jobs()[0], "KILL");
    let outcome = ended("backup".to_owned(), backup).exits(255);
    assert_eq!(complaint(&outcome).lines().count(), 1, "{outcome}");
    assert_eq!(site.locks("5").len(), 1);
    let outcome = site.back_up(5).success();
    assert!(outcome.complaint().contains("removed a lock held"), "{outcome}");
    assert!(site.locks("5").is_empty());
}

#[test]
fn the_server_is_rebooted_and_the_backup_goes_on() {
    let site = site();
    let proxy = Proxy::to(site.server.port());
    site.write_ssh_config(site.host.port(), proxy.port());
    site.back_up(5).success();
    site.lay_out(5, &data::ctr(b"other", 8 << 20));
    let attributes = "<RESTIC_BWLIMIT>2000</RESTIC_BWLIMIT>";
    let child = start(&mut site.backup(5), &site.message(5, attributes, ""));
    wait_for("the host is at work", || !site.locks("5").is_empty());
    std::thread::sleep(Duration::from_millis(500));
    proxy.refuse(true);
    proxy.cut();
    std::thread::sleep(Duration::from_secs(2));
    proxy.refuse(false);
    let outcome = ended("backup".to_owned(), child).success();
    assert!(outcome.complaint().contains("broke"), "{outcome}");
    assert!(site.locks("5").is_empty());
    assert_eq!(site.snapshots("5").len(), 2);
    site.restic("5", &["check", "--read-data"]).success();
}

#[test]
fn the_lock_of_a_backup_that_is_cancelled_while_the_server_is_away_goes_when_it_is_back() {
    let site = site();
    let proxy = Proxy::to(site.server.port());
    site.write_ssh_config(site.host.port(), proxy.port());
    site.back_up(5).success();
    site.lay_out(5, &data::ctr(b"other", 8 << 20));
    let child = site.begin_slowly(5);
    let ssh = ssh_of(&child);
    proxy.refuse(true);
    proxy.cut();
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    site.cancel(5).success();
    let outcome = ended("backup".to_owned(), child).exits(255);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(complaint(&outcome), "Backup cancelled");
    assert_eq!(site.locks("5").len(), 1);
    proxy.refuse(false);
    // The host's half can still log in, though the front-end's is gone.
    wait_for("the lock is released", || site.locks("5").is_empty());
    wait_for("no job is left", || site.jobs().is_empty());
    wait_for("no connection is left", || !is_running(ssh));
    site.back_up(5).success();
    assert_eq!(site.snapshots("5").len(), 2);
}

/// Whether a process is there, and not only waits for somebody to notice its end.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
