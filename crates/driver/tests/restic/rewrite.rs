//! What `rewrite` makes of snapshots is what the real restic makes of them, tree by tree.

use std::fs;

use restic_oracle::{Program, Repo, Scratch, Tree, Version, source};
use serde_json::{Value, json};

use crate::{copy, init_cheaply, one_restic};

/// All that the snapshots of a repository say, but their own names: those are by chance.
pub fn snapshots(repo: &Repo) -> Vec<Value> {
    let restic = Program::restic(Version::V0_19);
    let mut listed = restic.run(repo, ["snapshots", "--json", "--no-lock"]).success().json();
    let listed = listed.as_array_mut().unwrap();
    for snapshot in listed.iter_mut() {
        let snapshot = snapshot.as_object_mut().unwrap();
        snapshot.remove("id");
        snapshot.remove("short_id");
    }
    listed.sort_by_key(|snapshot| snapshot.to_string());
    std::mem::take(listed)
}

/// Lines of a report, without the names of snapshots that are new.
pub fn lines(text: &str) -> Vec<String> {
    let line = |line: &str| match line.strip_prefix("saved new snapshot ") {
        Some(_) => "saved new snapshot".to_owned(),
        None => line.to_owned(),
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    // restic takes snapshots in any order.
    lines.sort();
    lines
}

/// Two snapshots of a folder with one of everything, made by restic.
pub fn sample(scratch: &Scratch, version: Version) -> Repo {
    let folder = scratch.folder("source");
    // restic 0.14 wrote some names in a way that today's restic cannot.
    match version {
        Version::V0_14 => fs::write(folder.join("file"), "content").unwrap(),
        _ => source::write(&folder),
    }
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    let backup = |time: &str| {
        let arguments = ["backup", "--quiet", "--host=vm", "--tag=t", "--time", time];
        let mut command = Program::restic(version).command(&repo);
        command.args(arguments).arg("source").current_dir(scratch.path());
        restic_oracle::Outcome::of(&mut command).success();
    };
    backup("2024-01-01 10:00:00");
    fs::write(folder.join("one more"), "more").unwrap();
    backup("2024-01-02 10:00:00");
    repo
}

const COMMANDS: [&[&str]; 10] = [
    &["--exclude=one more"],
    &["--exclude=*e*", "--exclude=!**/*more*", "--forget"],
    &["--iexclude=ONE MORE", "--new-host=other", "--new-time=2020-02-02 02:02:02"],
    &["--include=one more"],
    &["--include=/source/links", "--iinclude=ONE*", "--forget"],
    &["--include=/nothing", "--forget"],
    &["--exclude=/nothing"],
    &["--exclude=/source", "latest", "--forget"],
    &["--new-host=other", "--host=vm", "--tag=t"],
    &["--snapshot-summary", "--host=nobody"],
];

/// What restic and we make of the same, each in a copy of its own.
fn same(repo: &Repo, restic: &Program, command: &[&str], number: usize) {
    let theirs = copy(repo, &format!("theirs-{number}"));
    let ours = copy(repo, &format!("ours-{number}"));
    for dry in [true, false] {
        let mut arguments = [&["rewrite"], command].concat();
        arguments.extend(dry.then_some("--dry-run"));
        let said = restic.run(&theirs, &arguments).success();
        let we_said = one_restic().run(&ours, &arguments).success();
        assert_eq!(lines(we_said.text()), lines(said.text()), "{arguments:?}");
    }
    assert_eq!(snapshots(&ours), snapshots(&theirs), "{command:?}");
    restic.run(&ours, ["check"]).success();
    fs::remove_dir_all(theirs.location).unwrap();
    fs::remove_dir_all(ours.location).unwrap();
}

#[test]
fn new_snapshots_have_the_trees_that_restic_makes() {
    let scratch = Scratch::new();
    let repo = sample(&scratch, Version::V0_19);
    for (number, command) in COMMANDS.iter().enumerate() {
        same(&repo, &Program::restic(Version::V0_19), command, number);
    }
}

#[test]
fn snapshots_without_a_summary_get_one() {
    let scratch = Scratch::new();
    // restic 0.14 wrote none.
    let repo = sample(&scratch, Version::V0_14);
    same(&repo, &Program::restic(Version::V0_18), &["--snapshot-summary"], 0);
}

#[test]
fn what_is_left_comes_back_as_it_was() {
    let scratch = Scratch::new();
    let repo = sample(&scratch, Version::V0_18);
    one_restic().run(&repo, ["rewrite", "--exclude=one more", "--forget", "latest"]).success();
    let target = scratch.folder("restored");
    let arguments = ["restore", "latest", "--target", target.to_str().unwrap()];
    Program::restic(Version::V0_18).run(&repo, arguments).success();
    fs::remove_file(scratch.path().join("source/one more")).unwrap();
    // The folder's own time changed when the file was removed from it.
    let (before, after) = (scratch.path().join("source"), target.join("source"));
    for folder in [&before, &after] {
        let time = std::time::UNIX_EPOCH;
        fs::File::open(folder).unwrap().set_modified(time).unwrap();
    }
    Tree::of(&before).assert_same(&Tree::of(&after));
}

#[test]
fn nothing_to_do_and_contradictions_are_refused() {
    let scratch = Scratch::new();
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    for arguments in [
        &["rewrite"][..],
        &["rewrite", "--forget"],
        &["rewrite", "--exclude=a", "--include=b"],
        &["rewrite", "--new-time=yesterday", "--exclude=a"],
        &["rewrite", "--exclude=a["],
    ] {
        let outcome = one_restic().run(&repo, arguments).exits(1);
        assert!(outcome.complaint().starts_with("Fatal: "), "{outcome}");
    }
    let empty = one_restic().run(&repo, ["rewrite", "--exclude=a"]).success();
    assert_eq!(empty.text(), "\nno snapshots were modified\n");
    assert_eq!(json!(snapshots(&repo)), json!([]));
}
