//! `migrate`: repositories of version 1 that restic made, and what it says of them afterwards.

use std::fs;

use restic_oracle::{Golden, Program, Version};

use crate::{files, one_restic};

#[test]
fn restic_works_on_with_what_was_upgraded() {
    let golden = Golden::unpack("v1-r014");
    let repo = &golden.repo;
    let listed = one_restic().run(repo, ["migrate"]).success();
    assert!(listed.text().contains("  upgrade_repo_v2\tupgrade a repository to version 2"));
    let before = files(&repo.location).len();
    let done = one_restic().run(repo, ["migrate", "upgrade_repo_v2"]).success();
    assert!(done.text().ends_with("migration upgrade_repo_v2: success\n"), "{done}");
    assert_eq!(files(&repo.location).len(), before, "something was left behind");
    assert!(files(&repo.home.join("tmp")).is_empty(), "the copy of the config was left behind");
    for program in [Program::restic(Version::V0_14), Program::restic(Version::V0_19), one_restic()]
    {
        let config = program.run(repo, ["cat", "config"]).success().json();
        assert_eq!(config["version"], 2, "{}", program.name);
        assert_eq!(config["id"], golden.manifest.repo_id);
        assert_eq!(config["chunker_polynomial"], golden.manifest.polynomial);
        program.run(repo, ["check", "--read-data"]).success();
        let listed = program.run(repo, ["snapshots", "--json"]).success().json();
        assert_eq!(listed.as_array().map(Vec::len), Some(golden.manifest.snapshots.len()));
    }
    let again = one_restic().run(repo, ["migrate", "upgrade_repo_v2"]).success();
    assert!(again.complaint().contains("already upgraded to version 2"), "{again}");
    let none = one_restic().run(repo, ["migrate"]).success();
    assert!(none.text().ends_with("no migrations found\n"), "{none}");
    let unknown = one_restic().run(repo, ["migrate", "frob"]).success();
    assert_eq!(unknown.complaint(), "unknown migration frob\n");
}

#[test]
fn a_repository_that_is_not_sound_stays_as_it_is() {
    let golden = Golden::unpack("v1-r014");
    let repo = &golden.repo;
    let config = fs::read(repo.location.join("config")).unwrap();
    fs::remove_file(&files(&repo.location.join("data"))[0]).unwrap();
    one_restic().run(repo, ["migrate", "upgrade_repo_v2"]).exits(1);
    assert_eq!(fs::read(repo.location.join("config")).unwrap(), config);
}
