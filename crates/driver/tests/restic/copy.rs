//! `copy` from and into repositories of the real restics.

use std::fs;
use std::path::Path;

use restic_oracle::{Outcome, Program, Repo, Scratch, Tree, Version, source};
use serde_json::Value;

use crate::one_restic;

fn snapshots(program: &Program, repo: &Repo) -> Vec<Value> {
    let listed = program.run(repo, ["snapshots", "--json"]).success().json();
    listed.as_array().expect("a list of snapshots").clone()
}

/// Copies from one repository into another with a program.
fn copy(program: &Program, from: &Repo, to: &Repo, arguments: &[&str]) -> Outcome {
    let mut command = program.command(to);
    command.env("RESTIC_FROM_REPOSITORY", &from.location);
    command.env("RESTIC_FROM_PASSWORD", &from.password);
    Outcome::of(command.arg("copy").args(arguments)).success()
}

/// A folder, backed up twice and changed in between.
fn back_up_twice(program: &Program, repo: &Repo, folder: &Path) {
    for round in 0..2 {
        fs::write(folder.join("changes"), format!("round {round}")).unwrap();
        let arguments = ["backup", "--host", "test", "--tag", "daily,vm"];
        let mut command = program.command(repo);
        command.args(arguments).arg(folder.file_name().unwrap());
        Outcome::of(command.current_dir(folder.parent().unwrap())).success();
    }
}

/// What a snapshot is in any repository.
fn essence(snapshot: &Value) -> Value {
    let mut essence = snapshot.clone();
    for field in ["id", "short_id", "parent", "original"] {
        essence.as_object_mut().expect("an object").remove(field);
    }
    essence
}

fn copies_are_as_restics(source_version: &str, version: &str, program: Version) {
    let scratch = Scratch::new();
    let folder = scratch.folder("source");
    source::write(&folder);
    let restic = Program::restic(program);
    let from = scratch.repo("from");
    restic.run(&from, ["init", "--repository-version", source_version]).success();
    back_up_twice(&restic, &from, &folder);
    let to = scratch.repo_at(scratch.path().join("to"), "another password");
    restic.run(&to, ["init", "--repository-version", version]).success();
    copy(&one_restic(), &from, &to, &[]);
    let (before, after) = (snapshots(&restic, &from), snapshots(&restic, &to));
    assert_eq!(after.len(), 2);
    for (source, copy) in before.iter().zip(&after) {
        assert_eq!(essence(source), essence(copy));
        assert_eq!(copy["original"], source["id"]);
        assert!(copy.get("parent").is_none());
    }
    restic.run(&to, ["check", "--read-data"]).success();
    one_restic().run(&to, ["check", "--read-data"]).success();
    let target = scratch.folder("restored");
    let arguments = ["restore", "latest", "--target", target.to_str().unwrap()];
    restic.run(&to, arguments).success();
    Tree::of(&folder).assert_same(&Tree::of(&target.join("source")));
    // Neither program finds anything left to copy, forth or back.
    for (from, to) in [(&from, &to), (&to, &from)] {
        for program in [&restic, &one_restic()] {
            let before = snapshots(&restic, to).len();
            copy(program, from, to, &[]);
            assert_eq!(snapshots(&restic, to).len(), before, "{} copied again", program.name);
        }
    }
}

#[test]
fn a_copy_from_version_1_into_version_2_is_as_restics() {
    copies_are_as_restics("1", "2", Version::V0_19);
}

#[test]
fn a_copy_from_version_2_into_version_1_is_as_restics() {
    copies_are_as_restics("2", "1", Version::V0_18);
}

#[test]
fn what_is_copied_can_be_chosen() {
    let scratch = Scratch::new();
    let folder = scratch.folder("source");
    let (from, to) = (scratch.repo("from"), scratch.repo("to"));
    crate::init_cheaply(&from);
    crate::init_cheaply(&to);
    back_up_twice(&one_restic(), &from, &folder);
    let all = snapshots(&one_restic(), &from);
    copy(&one_restic(), &from, &to, &["--host", "other"]);
    copy(&one_restic(), &from, &to, &["--tag", "weekly"]);
    copy(&one_restic(), &from, &to, &["nonsense"]);
    assert!(snapshots(&one_restic(), &to).is_empty());
    copy(&one_restic(), &from, &to, &[all[0]["short_id"].as_str().unwrap()]);
    let copied = snapshots(&one_restic(), &to);
    assert_eq!((copied.len(), &copied[0]["original"]), (1, &all[0]["id"]));
    copy(
        &one_restic(),
        &from,
        &to,
        &["--tag", "vm", "--path", all[0]["paths"][0].as_str().unwrap()],
    );
    assert_eq!(snapshots(&one_restic(), &to).len(), 2);
    // Into itself: all is there already.
    copy(&one_restic(), &to, &to, &[]);
    assert_eq!(snapshots(&one_restic(), &to).len(), 2);
    let nowhere = one_restic().run(&to, ["copy"]).exits(1);
    assert!(nowhere.complaint().contains("--from-repo"), "{nowhere}");
}
