//! `recover`: what was forgotten by accident comes back, for the real restics too.

use std::fs;

use restic_oracle::{Outcome, Program, Scratch, Tree, Version, source};

use crate::{files, init_cheaply, one_restic};

#[test]
fn a_removed_snapshot_comes_back() {
    let scratch = Scratch::new();
    let folder = scratch.folder("source");
    source::write(&folder);
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    let restic = Program::restic(Version::V0_19);
    let mut command = restic.command(&repo);
    command.args(["backup", "source"]).current_dir(scratch.path());
    Outcome::of(&mut command).success();
    let nothing = one_restic().run(&repo, ["recover"]).success();
    assert!(nothing.text().contains("found 0 unreferenced roots\nno snapshot to write."));
    let listed = restic.run(&repo, ["snapshots", "--json"]).success().json();
    let root = listed[0]["tree"].as_str().unwrap()[..8].to_owned();
    for snapshot in files(&repo.location.join("snapshots")) {
        fs::remove_file(snapshot).unwrap();
    }
    let found = one_restic().run(&repo, ["recover"]).success();
    assert!(found.text().contains("found 1 unreferenced roots\nsaved new snapshot "), "{found}");
    let listed = restic.run(&repo, ["snapshots", "--json"]).success().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&listed[0]["paths"][0], &listed[0]["tags"][0]),
        (&"/recover".into(), &"recovered".into())
    );
    restic.run(&repo, ["check", "--read-data"]).success();
    let target = scratch.folder("restored");
    restic.run(&repo, ["restore", "latest", "--target", target.to_str().unwrap()]).success();
    Tree::of(&folder).assert_same(&Tree::of(&target.join(root).join("source")));
    // Then there is nothing left to be recovered, whoever looks.
    for program in [restic, one_restic()] {
        let again = program.run(&repo, ["recover"]).success();
        assert!(again.text().contains("found 0 unreferenced roots"), "{again}");
    }
}
