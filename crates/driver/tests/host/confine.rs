//! What a backup takes of its host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use restic_oracle::data;

use crate::site::{Site, ended, start, stat_of, told, wait_for};

#[test]
fn nice_and_ionice_are_those_of_all_threads_of_the_job() {
    let site = Site::new();
    site.lay_out(5, &data::ctr(b"disk", 8 << 20));
    let attributes = "<RESTIC_BWLIMIT>1000</RESTIC_BWLIMIT><RESTIC_NICE>7</RESTIC_NICE>\
                      <RESTIC_IONICE>6</RESTIC_IONICE>";
    let child = start(&mut site.backup(5), &site.message(5, attributes, ""));
    wait_for("the host is at work", || !site.locks("5").is_empty());
    let job = site.jobs()[0];
    let own = stat_of(std::process::id(), 19);
    let threads = fs::read_dir(format!("/proc/{job}/task")).unwrap();
    for thread in threads.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        let thread = thread.parse().unwrap();
        assert_eq!(stat_of(thread, 19), (own + 7).min(19));
        let level = Command::new("ionice").args(["-p", &thread.to_string()]).output().unwrap();
        assert_eq!(String::from_utf8(level.stdout).unwrap().trim(), "best-effort: prio 6");
    }
    ended("backup".to_owned(), child).success();
}

/// Puts a script in place of a program.
fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// There is no systemd here, so scripts stand for its programs: they note what they are called with, and
/// run what they are told to run.
#[test]
fn limits_of_a_slice_are_set_through_systemd() {
    let programs = tempfile::tempdir().unwrap();
    let place = programs.path().display().to_string();
    script(
        programs.path(),
        "systemd-run",
        &format!(
            "printf '%s\\n' \"$@\" >> {place}/run\nwhile :; do case $1 in --*) shift;; *) break;; esac; done\n\
             exec \"$@\""
        ),
    );
    script(programs.path(), "systemctl", &format!("echo \"$@\" >> {place}/reload"));
    let site = Site::with(&format!("PATH={place}:/usr/bin:/bin HOME={place}"));
    site.lay_out(5, b"disk");
    let attributes = "<RESTIC_CPU_QUOTA>50</RESTIC_CPU_QUOTA><RESTIC_MAX_RIOPS>200</RESTIC_MAX_RIOPS>\
                      <RESTIC_NICE>3</RESTIC_NICE>";
    told(&mut site.backup(5), &site.message(5, attributes, "")).success();
    let slice = format!("{place}/.config/systemd/user/backup.102.slice");
    let vm = site.vm_folder(5).display().to_string();
    assert_eq!(
        fs::read_to_string(slice).unwrap(),
        format!("[Slice]\nCPUQuota=50%\nMemoryMax=\nIOReadIOPSMax={vm} 200\nIOWriteIOPSMax=\n")
    );
    // The repository was missing first, and then the backup was made.
    let reloaded = fs::read_to_string(format!("{place}/reload")).unwrap();
    assert_eq!(reloaded, "--user daemon-reload\n".repeat(2));
    let run = fs::read_to_string(format!("{place}/run")).unwrap();
    let words: Vec<_> = run.lines().collect();
    let half = words.len() / 2;
    assert_eq!(
        words[..half.min(6)],
        ["--user", "--quiet", "--pipe", "--collect", "--wait", "--slice=backup.102.slice"]
    );
    assert_eq!(words[half - 3..half], ["datastore", "job", "--bounded"]);
    assert!(words.contains(&"--property=Nice=3"));
    assert!(words.iter().any(|word| word.starts_with("--setenv=SSH_AUTH_SOCK=/")));
    assert!(!run.contains(&site.password));
    // A systemd that does not play along keeps no secret of it.
    script(programs.path(), "systemctl", "echo 'Failed to connect to bus' >&2; exit 1");
    let outcome = told(&mut site.backup(5), &site.message(5, attributes, "")).exits(255);
    assert!(outcome.complaint().contains("Failed to connect to bus"), "{outcome}");
}
