//! A folder of copies that one-restic and the real restics share.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use restic_oracle::{Outcome, Program, Repo, Scratch, Tree, Version, source};

use crate::{files, init_cheaply, one_restic};

/// A repository with two snapshots, and the folder that was backed up.
fn repository(scratch: &Scratch) -> (Repo, PathBuf) {
    let folder = scratch.folder("source");
    source::write(&folder);
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    for _ in 0..2 {
        backup(&one_restic(), &repo, scratch);
    }
    (repo, folder)
}

fn backup(program: &Program, repo: &Repo, scratch: &Scratch) {
    let mut command = program.command(repo);
    command.args(["backup", "--host", "test", "source"]).current_dir(scratch.path());
    Outcome::of(&mut command).success();
}

/// The folder of the copies: the only one there is.
fn copies_of(repo: &Repo) -> PathBuf {
    let config = one_restic().run(repo, ["cat", "config"]).success().json();
    repo.home.join("cache").join(config["id"].as_str().unwrap())
}

/// The names of all copies.
fn copies(repo: &Repo) -> BTreeSet<String> {
    let folder = copies_of(repo);
    let relative = |path: PathBuf| path.strip_prefix(&folder).unwrap().display().to_string();
    files(&folder).into_iter().map(relative).collect()
}

/// Everything that is read from metadata.
fn read_all(program: &Program, repo: &Repo) {
    for command in [&["snapshots"][..], &["ls", "latest"], &["stats"], &["find", "*"]] {
        program.run(repo, command).success();
    }
}

fn restore(program: &Program, repo: &Repo, scratch: &Scratch, name: &str) -> PathBuf {
    let target = scratch.folder(name);
    program.run(repo, ["restore", "latest", "--target", target.to_str().unwrap()]).success();
    target.join("source")
}

#[test]
fn we_keep_the_same_copies_as_restic() {
    let scratch = Scratch::new();
    let (repo, _) = repository(&scratch);
    let cache = repo.home.join("cache");
    let mut kept = Vec::new();
    for program in [one_restic(), Program::restic(Version::V0_18), Program::restic(Version::V0_19)]
    {
        fs::remove_dir_all(&cache).unwrap();
        read_all(&program, &repo);
        assert!(cache.join("CACHEDIR.TAG").is_file());
        kept.push(copies(&repo));
    }
    assert!(kept[0].len() > 3 && kept[0].iter().any(|name| name.starts_with("data/")));
    assert_eq!(kept[0], kept[1]);
    assert_eq!(kept[0], kept[2]);
}

#[test]
fn we_take_turns_with_restic_in_one_folder() {
    let scratch = Scratch::new();
    let (repo, folder) = repository(&scratch);
    for version in [Version::V0_18, Version::V0_19] {
        let restic = Program::restic(version);
        for (program, other) in [(&restic, &one_restic()), (&one_restic(), &restic)] {
            fs::write(folder.join("changes"), format!("{} {}", program.name, version.name()))
                .unwrap();
            backup(program, &repo, &scratch);
            read_all(other, &repo);
            let name = format!("{} after {} of {}", other.name, program.name, version.name());
            Tree::of(&folder).assert_same(&Tree::of(&restore(other, &repo, &scratch, &name)));
        }
        restic.run(&repo, ["check", "--read-data", "--with-cache"]).success();
        one_restic().run(&repo, ["check", "--read-data", "--with-cache"]).success();
        // What the repository lacks is gone from the copies.
        let listed = restic.run(&repo, ["snapshots", "--json"]).success().json();
        let oldest = listed[0]["id"].as_str().unwrap();
        restic.run(&repo, ["forget", oldest]).success();
        let copy = copies_of(&repo).join("snapshots").join(&oldest[..2]).join(oldest);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(&copy, "stale").unwrap();
        one_restic().run(&repo, ["snapshots"]).success();
        assert!(!copy.exists());
    }
}

#[test]
fn damaged_copies_change_nothing() {
    let scratch = Scratch::new();
    let (repo, folder) = repository(&scratch);
    read_all(&one_restic(), &repo);
    let sound = copies(&repo);
    for (round, damage) in ["half", "zeros", "empty"].into_iter().enumerate() {
        for copy in files(&copies_of(&repo)) {
            if copy.ends_with("version") {
                continue;
            }
            let content = fs::read(&copy).unwrap();
            let damaged = match damage {
                "half" => content[..content.len() / 2].to_vec(),
                "zeros" => vec![0; content.len()],
                _ => Vec::new(),
            };
            fs::write(&copy, damaged).unwrap();
        }
        let restored = restore(&one_restic(), &repo, &scratch, &format!("restored {round}"));
        Tree::of(&folder).assert_same(&Tree::of(&restored));
        read_all(&one_restic(), &repo);
        assert_eq!(copies(&repo), sound);
        // They were mended, as restic can tell.
        read_all(&Program::restic(Version::V0_19), &repo);
    }
}

#[test]
fn a_check_looks_at_the_repository_and_not_at_copies() {
    let scratch = Scratch::new();
    let (repo, _) = repository(&scratch);
    read_all(&one_restic(), &repo);
    let before = copies(&repo);
    for index in files(&repo.location.join("index")) {
        let mut content = fs::read(&index).unwrap();
        content[40] ^= 1;
        fs::remove_file(&index).unwrap();
        fs::write(&index, content).unwrap();
    }
    one_restic().run(&repo, ["check"]).exits(1);
    assert_eq!(copies(&repo), before);
    one_restic().run(&repo, ["check", "--with-cache"]).success();
}

#[test]
fn copies_can_be_done_without_and_cleaned_up() {
    let scratch = Scratch::new();
    let (repo, _) = repository(&scratch);
    let cache = repo.home.join("cache");
    let restic = Program::restic(Version::V0_19);
    for arguments in [&["cache"][..], &["cache", "--no-size"], &["cache", "--cleanup"]] {
        let (ours, theirs) = (one_restic().run(&repo, arguments), restic.run(&repo, arguments));
        assert_eq!(ours.success().text(), theirs.success().text(), "{arguments:?}");
    }
    one_restic().run(&repo, ["cache", "--no-cache"]).exits(1);
    one_restic().run(&repo, ["cache", "what?"]).exits(1);
    fs::remove_dir_all(&cache).unwrap();
    one_restic().run(&repo, ["snapshots", "--no-cache"]).success();
    assert!(!cache.exists());
    let elsewhere = scratch.path().join("elsewhere");
    let option = ["snapshots", "--cache-dir", elsewhere.to_str().unwrap()];
    one_restic().run(&repo, option).success();
    assert!(!cache.exists() && elsewhere.join("CACHEDIR.TAG").is_file());
    // Where there can be none, it works all the same.
    fs::write(&cache, "a file is in the way").unwrap();
    let outcome = one_restic().run(&repo, ["snapshots"]).success();
    assert!(outcome.complaint().starts_with("unable to open cache: "), "{outcome}");
    let mut command = one_restic().command(&repo);
    command.env_remove("RESTIC_CACHE_DIR").env("XDG_CACHE_HOME", scratch.folder("xdg"));
    Outcome::of(command.arg("snapshots")).success();
    assert!(scratch.path().join("xdg/restic/CACHEDIR.TAG").is_file());
}
