//! `find`, compared with what the real restics say.

use std::fs;
use std::path::Path;

use restic_oracle::{Outcome, Program, Repo, Scratch, Version, source};

use crate::{files, init_cheaply, one_restic};

fn backup(repo: &Repo, folder: &Path) {
    let mut command = one_restic().command(repo);
    command.args(["backup", "--host", "test", "--tag", "t", "source"]);
    Outcome::of(command.current_dir(folder.parent().unwrap())).success();
}

/// Two snapshots of one of everything.
fn two_snapshots(scratch: &Scratch) -> Repo {
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    let folder = scratch.folder("source");
    source::write(&folder);
    backup(&repo, &folder);
    fs::write(folder.join("Another File"), "content").unwrap();
    backup(&repo, &folder);
    repo
}

fn same(repo: &Repo, restic: &Program, arguments: &[&str]) -> String {
    let arguments = [&["find"], arguments].concat();
    let theirs = restic.run(repo, &arguments);
    let ours = one_restic().run(repo, &arguments);
    assert_eq!(ours.code, theirs.code, "{ours}\n{theirs}");
    // Go's JSON and ours agree to the byte, in one line.
    assert_eq!(ours.text(), theirs.text(), "{}: {arguments:?}", restic.name);
    ours.text().to_owned()
}

#[test]
fn files_are_found_as_restic_does() {
    let scratch = Scratch::new();
    let repo = two_snapshots(&scratch);
    let restic = Program::restic(Version::V0_19);
    let searches = [
        &["*"][..],
        &["another*"],
        &["another*", "-i"],
        &["/source"],
        &["nothing of that name"],
        &["*", "-l"],
        &["*", "-l", "--human-readable"],
        &["*", "--oldest", "2020-01-01", "--newest", "2030-01-01 10:00"],
        &["*", "--oldest", "2099-01-01"],
        &["*", "--reverse"],
        &["*", "-q"],
        &["*", "-s", "latest"],
        &["*", "--tag", "other"],
    ];
    for search in searches {
        same(&repo, &restic, search);
        same(&repo, &restic, &[search, &["--json"]].concat());
    }
    assert!(same(&repo, &restic, &["Another File"]).lines().count() == 2);
    for wrong in [
        &[][..],
        &["x", "--oldest", "yesterday"],
        &["x", "--oldest", "2030-01-01", "--newest", "2020-01-01"],
        &["x", "--tree", "--blob"],
        &["ffffffff", "--pack"],
        &["["],
    ] {
        same(&repo, &restic, wrong);
    }
    let older = Program::restic(Version::V0_18);
    same(&repo, &older, &["*"]);
    same(&repo, &older, &["*", "--json"]);
}

#[test]
fn blobs_trees_and_packs_are_found_as_restic_does() {
    let scratch = Scratch::new();
    let repo = two_snapshots(&scratch);
    let restic = Program::restic(Version::V0_19);
    let listed = restic.run(&repo, ["snapshots", "--json"]).success().json();
    let tree = listed[0]["tree"].as_str().unwrap().to_owned();
    for id in [&*tree, &tree[..8]] {
        for options in [&[][..], &["--json"]] {
            let found = same(&repo, &restic, &[&["--tree", id], options].concat());
            assert!(found.contains(&tree), "{found}");
        }
    }
    let mut blobs = Vec::new();
    for pack in files(&repo.location.join("data")) {
        let pack = pack.file_name().unwrap().to_str().unwrap().to_owned();
        // Of several trees that are in both snapshots, restic tells only once or so.
        let ours = one_restic().run(&repo, ["find", "--pack", &pack]).success();
        let theirs = restic.run(&repo, ["find", "--pack", &pack]).success();
        let holds_trees = theirs.text().contains("Found tree");
        assert!(holds_trees || ours.text() == theirs.text(), "{ours}\n{theirs}");
        assert!(theirs.text().lines().all(|line| ours.text().contains(line)), "{ours}\n{theirs}");
        let found = ours.text().lines().filter_map(|line| line.strip_prefix("Found blob "));
        blobs.extend(found.map(str::to_owned));
    }
    let blob = blobs.first().expect("there is a data blob");
    for id in [&**blob, &blob[..8]] {
        for options in [&[][..], &["--json"]] {
            same(&repo, &restic, &[&["--blob", id], options].concat());
        }
    }
    let packs = one_restic().run(&repo, ["find", "--show-pack-id", "--blob", blob]).success();
    let theirs = restic.run(&repo, ["find", "--show-pack-id", "--blob", blob]).success();
    // 0.19 shortens the second id.
    assert_eq!(packs.text(), theirs.text());
}
