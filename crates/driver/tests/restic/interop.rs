//! one-restic and the real restics in one repository, in turns and at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use restic_oracle::{Outcome, Program, Repo, Scratch, Tree, Version, disk, source};

use crate::one_restic;

/// Backs up a folder by its name, so that the snapshot holds nothing of the folders above it.
fn backup(program: &Program, repo: &Repo, folder: &Path, arguments: &[&str]) -> Outcome {
    let mut command = program.command(repo);
    command.args(["backup", "--json", "--host", "test"]).args(arguments);
    command.arg(folder.file_name().unwrap()).current_dir(folder.parent().unwrap());
    Outcome::of(&mut command).success()
}

/// Restores the newest snapshot with a program and gives the folder that was backed up.
fn restore(program: &Program, repo: &Repo, scratch: &Scratch, folder: &Path) -> PathBuf {
    let target = scratch.folder(&format!("restored by {} {}", program.name, fresh()));
    program.run(repo, ["restore", "latest", "--target", target.to_str().unwrap()]).success();
    target.join(folder.file_name().unwrap())
}

fn fresh() -> usize {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn newest(program: &Program, repo: &Repo) -> serde_json::Value {
    let listed = program.run(repo, ["snapshots", "--json"]).success().json();
    let newest = listed
        .as_array()
        .and_then(|listed| listed.iter().max_by_key(|each| each["time"].to_string()));
    newest.expect("there is a snapshot").clone()
}

/// restic 0.14 loses the bytes of a link's target that is no UTF-8.
fn as_seen_by(version: Version, mut tree: Tree) -> Tree {
    if version == Version::V0_14 {
        tree.entries.remove(Path::new("links/no-utf8"));
    }
    tree
}

fn every_restic_reads_ours(init: &[&str], arguments: &[&str]) {
    let scratch = Scratch::new();
    let folder = scratch.folder("source");
    source::write(&folder);
    let repo = scratch.repo("repo");
    one_restic().run(&repo, [&["init"], init].concat()).success();
    backup(&one_restic(), &repo, &folder, arguments);
    for version in Version::ALL {
        let restic = Program::restic(version);
        restic.run(&repo, ["check", "--read-data"]).success();
        let restored = Tree::of(&restore(&restic, &repo, &scratch, &folder));
        as_seen_by(version, Tree::of(&folder)).assert_same(&as_seen_by(version, restored));
    }
    let restored = Tree::of(&restore(&one_restic(), &repo, &scratch, &folder));
    Tree::of(&folder).assert_same(&restored);
}

#[test]
fn every_restic_restores_our_backup() {
    every_restic_reads_ours(&[], &[]);
}

#[test]
fn every_restic_restores_our_backup_of_version_1() {
    every_restic_reads_ours(&["--repository-version", "1"], &[]);
}

#[test]
fn every_restic_restores_our_backup_without_compression() {
    every_restic_reads_ours(&[], &["--compression", "off"]);
}

#[test]
fn every_restic_restores_our_backup_with_best_compression() {
    every_restic_reads_ours(&[], &["--compression", "max"]);
}

#[test]
fn we_restore_the_backup_of_every_restic() {
    let scratch = Scratch::new();
    let folder = scratch.folder("source");
    source::write(&folder);
    for version in Version::ALL {
        let restic = Program::restic(version);
        let repo = scratch.repo(version.name());
        restic.run(&repo, ["init"]).success();
        backup(&restic, &repo, &folder, &[]);
        one_restic().run(&repo, ["check", "--read-data"]).success();
        let restored = Tree::of(&restore(&one_restic(), &repo, &scratch, &folder));
        as_seen_by(version, Tree::of(&folder)).assert_same(&as_seen_by(version, restored));
    }
}

#[test]
fn the_same_folder_gives_the_same_tree_as_with_restic_and_adds_nothing() {
    let scratch = Scratch::new();
    let folder = scratch.folder("source");
    source::write(&folder);
    for version in [Version::V0_18, Version::V0_19] {
        let restic = Program::restic(version);
        let repo = scratch.repo(version.name());
        restic.run(&repo, ["init"]).success();
        backup(&restic, &repo, &folder, &[]);
        let theirs = newest(&restic, &repo);
        let outcome = backup(&one_restic(), &repo, &folder, &["--force"]);
        let ours = newest(&restic, &repo);
        assert_ne!(ours["id"], theirs["id"]);
        assert_eq!(ours["tree"], theirs["tree"], "not the tree of {}", restic.name);
        let summary = outcome.json_lines().pop().expect("a summary");
        assert_eq!(summary["data_added"], 0, "{summary}");
    }
}

#[test]
fn restic_finds_our_snapshot_as_its_parent_and_we_find_theirs() {
    let scratch = Scratch::new();
    let folder = scratch.folder("source");
    source::write(&folder);
    let restic = Program::restic(Version::V0_19);
    let repo = scratch.repo("repo");
    restic.run(&repo, ["init"]).success();
    let (mut before, programs) =
        (None, [restic.clone(), one_restic(), restic.clone(), one_restic()]);
    for program in programs {
        let outcome = backup(&program, &repo, &folder, &[]);
        let summary = outcome.json_lines().pop().expect("a summary");
        let snapshot = newest(&restic, &repo);
        if let Some(before) = before.replace(snapshot["id"].clone()) {
            assert_eq!(snapshot["parent"], before, "{} took another parent", program.name);
            assert_eq!(summary["files_new"], 0, "{summary}");
            assert_eq!(summary["files_changed"], 0, "{summary}");
        }
    }
}

#[test]
fn a_changed_disk_image_comes_back_from_either_program() {
    let scratch = Scratch::new();
    let folder = scratch.folder("vm");
    let image = folder.join("disk.0");
    let repo = scratch.repo("repo");
    let restic = Program::restic(Version::V0_19);
    one_restic().run(&repo, ["init"]).success();
    disk::write_image(&image, 1, 64 << 20).unwrap();
    for (round, program) in [one_restic(), restic.clone(), one_restic()].into_iter().enumerate() {
        backup(&program, &repo, &folder, &[]);
        for reader in [one_restic(), restic.clone()] {
            let restored = restore(&reader, &repo, &scratch, &folder);
            Tree::of(&folder).assert_same(&Tree::of(&restored));
            fs::remove_dir_all(restored).unwrap();
        }
        disk::rewrite(&image, round as u64 + 2, 30).unwrap();
    }
    restic.run(&repo, ["check", "--read-data"]).success();
}

#[test]
fn both_programs_back_up_into_one_repository_at_once() {
    let scratch = Scratch::new();
    let repo = scratch.repo("repo");
    let restic = Program::restic(Version::V0_18);
    one_restic().run(&repo, ["init"]).success();
    let folders: Vec<PathBuf> = (0..4)
        .map(|number| {
            let folder = scratch.folder(&format!("vm-{number}"));
            // Every image is there twice, so that both programs store the same blobs.
            disk::write_image(&folder.join("disk.0"), number / 2, 32 << 20).unwrap();
            folder
        })
        .collect();
    thread::scope(|scope| {
        for (number, folder) in folders.iter().enumerate() {
            let program = if number % 2 == 0 { one_restic() } else { restic.clone() };
            let repo = &repo;
            scope.spawn(move || backup(&program, repo, folder, &[]));
        }
    });
    for program in [one_restic(), restic] {
        program.run(&repo, ["check", "--read-data"]).success();
        let listed = program.run(&repo, ["snapshots", "--json"]).success().json();
        assert_eq!(listed.as_array().map(Vec::len), Some(folders.len()));
    }
}
