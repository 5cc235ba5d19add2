//! A repository on a disk that fills up.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use restic_oracle::{Program, Repo, Scratch, SmallDisk, Tree, Version, data};

use crate::exit_codes::one_sentence;
use crate::{files, init_cheaply, locks, one_restic};

/// Set for the test that runs once more, as root of a namespace of its own.
const INSIDE: &str = "ONE_RESTIC_TEST_IN_NAMESPACE";

/// Runs a test that mounts. Who is not root is root in a user namespace of his own, where that is
/// allowed.
fn with_mounts(name: &str, test: fn()) {
    if rustix::process::geteuid().is_root() || std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let possible = Command::new("unshare").args(["-rm", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return println!("skipped: only root can mount a small file system here");
    }
    let status = Command::new("unshare")
        .arg("-rm")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("full_disk::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success());
}

/// Backs up what is in the home's `vm`.
const BACKUP: [&str; 5] = ["backup", "--pack-size=4", "--compression=off", "--host=test", "vm"];

fn restores(program: &Program, scratch: &Scratch, repo: &Repo, expected: &Tree) {
    let target = scratch.path().join("restored");
    let arguments = ["--no-lock", "restore", "latest", "--target", target.to_str().unwrap()];
    program.run(repo, arguments).success();
    expected.assert_same(&Tree::of(&target.join("vm")));
    fs::remove_dir_all(target).unwrap();
}

#[test]
fn a_full_disk_stops_the_backup_and_harms_nothing() {
    with_mounts("a_full_disk_stops_the_backup_and_harms_nothing", || {
        let scratch = Scratch::new();
        let Some(disk) = SmallDisk::mount("size=80m") else { return };
        // What is left is enough for the first backup and not for the second.
        let others = disk.path().join("others");
        fs::write(&others, vec![1; 64 << 20]).unwrap();
        let restic = Program::restic(Version::V0_19);
        let repo = scratch.repo_at(disk.path().join("repo"), "geheim");
        init_cheaply(&repo);
        let folder = scratch.folder("home/vm");
        fs::write(folder.join("disk.0"), data::ctr(b"one", 1 << 20)).unwrap();
        one_restic().run(&repo, BACKUP).success();
        let before = Tree::of(&folder);
        fs::write(folder.join("disk.1"), data::ctr(b"two", 32 << 20)).unwrap();
        let after = Tree::of(&folder);

        let outcome = one_restic().run(&repo, BACKUP).exits(1);
        assert!(one_sentence(&outcome, &repo).contains("the storage is full"), "{outcome}");
        let temporary = |path: &PathBuf| path.to_string_lossy().contains("-tmp-");
        assert_eq!(files(&repo.location).into_iter().find(temporary), None);
        assert!(locks(&repo).is_empty());

        // Not a byte is left now.
        let filler = disk.path().join("filler");
        assert!(fs::write(&filler, vec![1; 16 << 20]).is_err());
        for command in [&BACKUP[..], &["unlock"], &["check"], &["init"]] {
            let outcome = one_restic().run(&repo, command);
            match command[0] {
                "unlock" => drop(outcome.success()),
                "init" => drop(one_sentence(&outcome.exits(1), &repo)),
                _ => {
                    let said = one_sentence(&outcome.exits(1), &repo).to_owned();
                    assert!(said.contains("the storage is full"), "{said}");
                }
            }
        }
        for program in [one_restic(), restic.clone()] {
            program.run(&repo, ["--no-lock", "check", "--read-data"]).success();
            restores(&program, &scratch, &repo, &before);
        }

        for file in [filler, others] {
            fs::remove_file(file).unwrap();
        }
        one_restic().run(&repo, BACKUP).success();
        for program in [one_restic(), restic] {
            program.run(&repo, ["check", "--read-data"]).success();
            restores(&program, &scratch, &repo, &after);
        }
    });
}
