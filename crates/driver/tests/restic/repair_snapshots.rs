//! What `repair snapshots` saves is what the real restic saves, tree by tree.

use std::fs;
use std::path::Path;

use restic_oracle::damaged::Variant;
use restic_oracle::{Golden, Program, Repo, Scratch, Version};

use crate::rewrite::{lines, sample, snapshots};
use crate::{copy, files, one_restic};

/// Before 0.19, restic stored an empty folder with no list of nodes, which restic 0.19 does not read.
const RESTIC: Version = Version::V0_19;

/// Lets restic and us repair copies of a repository, with `--forget`, and compares what is left. Gives
/// our copy.
fn same(repo: &Repo, name: &str) -> Repo {
    let (theirs, ours) = (copy(repo, "theirs"), copy(repo, "ours"));
    // What restic has in its cache is not lost.
    let arguments = ["--no-cache", "repair", "snapshots", "--forget"];
    let said = Program::restic(RESTIC).run(&theirs, arguments);
    let we_said = one_restic().run(&ours, arguments).exits(said.code.unwrap());
    if said.code == Some(0) {
        assert_eq!(lines(we_said.text()), lines(said.text()), "{name}");
    }
    assert_eq!(snapshots(&ours), snapshots(&theirs), "{name}");
    fs::remove_dir_all(theirs.location).unwrap();
    ours
}

fn repairs(name: &str) {
    let scratch = Scratch::new();
    same(&Variant::named(name).unpack(&scratch), name);
}

macro_rules! repairs {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            repairs($name);
        })*
    };
}

repairs! {
    pack_cut_short: "trunc-data-pack";
    bit_flipped_in_a_tree: "flip-tree-blob";
    pack_missing: "missing-data-pack";
    index_missing: "missing-one-index";
    every_index_missing: "missing-all-index";
    bit_flipped_in_an_index: "flip-index";
    bit_flipped_in_a_snapshot: "flip-snapshot";
    snapshot_under_another_name: "renamed-snapshot";
    blob_shorter_than_it_says: "blob-wrong-length";
}

#[test]
fn sound_repositories_stay_as_they_are() {
    for name in ["v1-r014", "pruned-r018", "v2-r019-max"] {
        let golden = Golden::unpack(name);
        let before = files(&golden.repo.location);
        let outcome = one_restic().run(&golden.repo, ["repair", "snapshots", "--forget"]).success();
        assert!(outcome.text().ends_with("\nno snapshots were modified\n"), "{name}: {outcome}");
        assert_eq!(files(&golden.repo.location), before, "{name}");
    }
}

/// The packs of a repository, the largest first.
fn packs(repo: &Repo) -> Vec<std::path::PathBuf> {
    let mut packs = files(&repo.location.join("data"));
    packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(pack).unwrap().len()));
    packs
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

#[test]
fn after_the_loss_of_any_pack_the_same_is_left() {
    let scratch = Scratch::new();
    let repo = sample(&scratch, RESTIC);
    for (number, pack) in packs(&repo).iter().enumerate() {
        let damaged = copy(&repo, &format!("damaged-{number}"));
        let pack = damaged.location.join(pack.strip_prefix(&repo.location).unwrap());
        remove(&pack);
        // With an index that still lists it: what is in the pack is seen to be lost only if it is read.
        let ours = same(&damaged, &format!("pack {number} is gone"));
        fs::remove_dir_all(ours.location).unwrap();
        // With an index that does not.
        Program::restic(RESTIC).run(&damaged, ["repair", "index"]).success();
        let ours = same(&damaged, &format!("pack {number} is gone from the index, too"));
        for program in [one_restic(), Program::restic(RESTIC)] {
            program.run(&ours, ["check", "--read-data"]).success();
        }
        fs::remove_dir_all(ours.location).unwrap();
        fs::remove_dir_all(damaged.location).unwrap();
    }
}

#[test]
fn without_forget_the_old_snapshots_stay_whatever_is_lost() {
    let scratch = Scratch::new();
    let repo = sample(&scratch, RESTIC);
    let before = snapshots(&repo);
    // All that the snapshots are made of.
    packs(&repo).iter().for_each(|pack| remove(pack));
    let outcome = one_restic().run(&repo, ["repair", "snapshots"]).success();
    assert!(outcome.text().contains("dir \"/\": not readable"), "{outcome}");
    assert!(outcome.text().ends_with("\nno snapshots were modified\n"), "{outcome}");
    assert_eq!(snapshots(&repo), before);
    one_restic().run(&repo, ["repair", "snapshots", "--forget"]).success();
    assert!(snapshots(&repo).is_empty());
}
