//! What a backup leaves behind that is killed: nothing that a later one, or restic, could stumble over.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;

use restic_oracle::{Outcome, Program, Repo, Scratch, Tree, Version, data, disk};

use crate::{copy_folder, files, init_cheaply, locks, one_restic};

/// Small packs and no compression: many files for little data.
const BACKUP: [&str; 5] = ["backup", "--pack-size=4", "--compression=off", "--host=test", "vm"];
/// SIGKILL.
const KILL: i32 = 9;

/// When to kill: once so many files have come, and after looking so many times more.
#[derive(Debug)]
struct Moment {
    files: usize,
    looks: u8,
}

/// A repository with one snapshot of a VM that has changed since.
struct Vm {
    scratch: Scratch,
    repo: Repo,
    before: Tree,
    after: Tree,
}

impl Vm {
    fn new() -> Self {
        let scratch = Scratch::new();
        let repo = scratch.repo("repo");
        init_cheaply(&repo);
        let folder = scratch.folder("home/vm");
        disk::write_image(&folder.join("disk.0"), 1, 8 << 20).unwrap();
        one_restic().run(&repo, BACKUP).success();
        let before = Tree::of(&folder);
        disk::rewrite(&folder.join("disk.0"), 2, 300).unwrap();
        disk::write_image(&folder.join("disk.1"), 3, 24 << 20).unwrap();
        let after = Tree::of(&folder);
        Self { scratch, repo, before, after }
    }

    /// The repository again, as it was before anybody was killed.
    fn copy(&self, name: &str) -> Repo {
        let copy = self.scratch.repo(name);
        copy_folder(&self.repo.location, &copy.location);
        copy
    }

    /// Begins a backup and kills it.
    fn kill(&self, repo: &Repo, moment: &Moment) -> ExitStatus {
        let before = files(&repo.location).len();
        let mut child = one_restic()
            .command(repo)
            .args(BACKUP)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut looks = 0;
        while looks <= moment.looks && child.try_wait().unwrap().is_none() {
            if looks > 0 || files(&repo.location).len() >= before + moment.files {
                looks += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap()
    }

    fn assert_restored(&self, program: &Program, repo: &Repo, snapshot: &str, expected: &Tree) {
        let target = self.scratch.path().join("restored");
        let arguments = ["restore", snapshot, "--target", target.to_str().unwrap()];
        program.run(repo, arguments).success();
        expected.assert_same(&Tree::of(&target.join("vm")));
        fs::remove_dir_all(target).unwrap();
    }
}

/// The snapshots, the oldest first.
fn snapshots(repo: &Repo) -> Vec<String> {
    let listed = one_restic().run(repo, ["--no-lock", "snapshots", "--json"]).success().json();
    let listed = listed.as_array().expect("a list");
    listed.iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
}

/// Kills a backup at each of these moments, in a repository of its own, and sees what is left.
fn kill_at(rounds: std::ops::Range<usize>) {
    static DELAYS: LazyLock<Vec<u8>> = LazyLock::new(|| data::ctr(b"kill", 64));
    let vm = Vm::new();
    let restic = Program::restic(Version::V0_19);

    // All of a backup's files, and its lock.
    let whole = vm.copy("whole");
    one_restic().run(&whole, BACKUP).success();
    let all = files(&whole.location).len() - files(&vm.repo.location).len() + 1;
    assert!(all >= 5, "too few files to stop in between: {all}");

    let mut killed = 0;
    for round in rounds {
        let moment = Moment { files: 1 + round % all, looks: DELAYS[round] % 16 };
        let repo = vm.copy(&format!("round-{round}"));
        let first = snapshots(&repo);
        let status = vm.kill(&repo, &moment);
        let left = snapshots(&repo);
        println!("{round}: {moment:?} of {all}: {status}, {} snapshots", left.len());
        killed += usize::from(status.signal() == Some(KILL));
        assert!(status.signal() == Some(KILL) || status.success(), "{status}");

        let unlocked = one_restic().run(&repo, ["unlock"]).success();
        assert!(locks(&repo).is_empty(), "{unlocked}");
        for program in [one_restic(), restic.clone()] {
            program.run(&repo, ["check", "--read-data"]).success();
            vm.assert_restored(&program, &repo, &first[0], &vm.before);
        }
        for more in left.iter().filter(|id| !first.contains(id)) {
            vm.assert_restored(&restic, &repo, more, &vm.after);
        }

        Outcome::of(one_restic().command(&repo).args(BACKUP)).success();
        let now = snapshots(&repo);
        assert_eq!(now.len(), left.len() + 1);
        vm.assert_restored(&restic, &repo, now.last().unwrap(), &vm.after);
        restic.run(&repo, ["check", "--read-data"]).success();
        fs::remove_dir_all(&repo.location).unwrap();
    }
    assert!(killed > 0, "every backup was done before it could be killed");
}

// Twenty moments, in two tests so that they run side by side.

#[test]
fn a_killed_backup_takes_nothing_with_it() {
    kill_at(0..10);
}

#[test]
fn a_killed_backup_takes_nothing_with_it_at_other_moments() {
    kill_at(10..20);
}
