//! What an operator sees who installs the drivers on a front-end, and takes them off again.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");

/// A front-end with OpenNebula's own drivers, and an unpacked tarball beside it.
struct FrontEnd(TempDir);

impl FrontEnd {
    fn new() -> Self {
        let front_end = Self(tempfile::tempdir().unwrap());
        let driver = front_end.remotes().join("datastore/restic");
        fs::create_dir_all(driver.join("vendor")).unwrap();
        fs::write(driver.join("backup"), "upstream's backup").unwrap();
        fs::write(driver.join("restic.rb"), "upstream's library").unwrap();
        fs::write(driver.join("vendor/restic"), "upstream's restic").unwrap();
        symlink("vendor/restic", driver.join("restic")).unwrap();
        fs::write(driver.with_file_name("restic_downloader.rb"), "upstream's downloader").unwrap();

        let packed = front_end.tarball().join("remotes/datastore/restic");
        fs::create_dir_all(&packed).unwrap();
        for script in ["install", "remove"] {
            fs::copy(format!("{PACKAGING}/{script}"), front_end.tarball().join(script)).unwrap();
        }
        for action in ["backup", "cp"] {
            fs::copy(format!("{PACKAGING}/action"), packed.join(action)).unwrap();
        }
        let downloader = packed.with_file_name("restic_downloader.rb");
        fs::copy(format!("{PACKAGING}/restic_downloader.rb"), downloader).unwrap();
        // It shows what it was called with, in place of doing it.
        let program = packed.join("restic");
        fs::write(&program, "#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        front_end
    }

    fn tarball(&self) -> PathBuf {
        self.0.path().join("tarball")
    }

    fn remotes(&self) -> PathBuf {
        self.0.path().join("one/var/remotes")
    }

    fn run(&self, script: &str) -> Output {
        let mut command = Command::new(self.tarball().join(script));
        command.env("ONE_LOCATION", self.0.path().join("one")).output().unwrap()
    }

    fn succeeds(&self, script: &str) {
        let output = self.run(script);
        assert!(output.status.success(), "{script}: {output:?}");
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.remotes().join("datastore").join(file)).unwrap()
    }

    /// All that is below the front-end's folder, with what is in it.
    fn everything(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        collect(&self.0.path().join("one"), &mut found);
        found.sort();
        found
    }
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            found.push((path.clone(), format!("-> {}", fs::read_link(&path).unwrap().display())));
        } else if path.is_dir() {
            collect(&path, found);
        } else {
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn removing_the_drivers_leaves_everything_as_it_was() {
    let front_end = FrontEnd::new();
    let before = front_end.everything();
    front_end.succeeds("install");
    assert_ne!(front_end.everything(), before);
    // Installing twice does not take the first time's files for OpenNebula's.
    front_end.succeeds("install");
    front_end.succeeds("remove");
    assert_eq!(front_end.everything(), before);
    assert_eq!(front_end.run("remove").status.code(), Some(1), "there is nothing left to remove");
}

#[test]
fn an_action_reaches_the_program_by_its_name_with_all_that_it_was_called_with() {
    let front_end = FrontEnd::new();
    front_end.succeeds("install");
    for (file, words) in [
        ("restic/backup", "<datastore><backup><a b><$(id)><>"),
        ("restic_downloader.rb", "<datastore><restic_downloader><a b><$(id)><>"),
    ] {
        let called = Command::new(front_end.remotes().join("datastore").join(file))
            .args(["a b", "$(id)", ""])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&called.stdout), words, "{file}");
    }
}

#[test]
fn what_an_upgrade_of_opennebula_brings_is_kept_and_comes_back() {
    let front_end = FrontEnd::new();
    front_end.succeeds("install");
    let backup = front_end.remotes().join("datastore/restic/backup");
    fs::write(&backup, "a newer upstream's backup").unwrap();
    front_end.succeeds("install");
    assert!(front_end.text("restic/backup").contains("datastore"));
    front_end.succeeds("remove");
    assert_eq!(front_end.text("restic/backup"), "a newer upstream's backup");

    front_end.succeeds("install");
    fs::write(&backup, "the newest upstream's backup").unwrap();
    front_end.succeeds("remove");
    assert_eq!(front_end.text("restic/backup"), "the newest upstream's backup");
    assert_eq!(front_end.text("restic_downloader.rb"), "upstream's downloader");
}

#[test]
fn a_machine_without_opennebula_is_left_alone() {
    let front_end = FrontEnd::new();
    fs::remove_dir_all(front_end.0.path().join("one")).unwrap();
    let output = front_end.run("install");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this is no OpenNebula front-end"));
    assert!(!front_end.0.path().join("one").exists());
}
