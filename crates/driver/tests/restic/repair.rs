//! `repair index` and `repair packs`: what can be had again of damaged repositories, held against restic.

use std::collections::BTreeSet;
use std::sync::Arc;

use restic_oracle::damaged::{
    Content, F0, F0_BLOB, F0_PACK, F2, F2_BLOB, NEWEST, OLDEST, OLDEST_INDEX, Variant,
};
use restic_oracle::{Program, Repo, Scratch, Version};
use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::key::{Password, ScryptParams};
use restic_repo::progress::Silent;
use restic_repo::repository::{Options, Repository};

use crate::damaged::reads;
use crate::one_restic;

fn restic() -> Program {
    Program::restic(Version::V0_19)
}

/// A damaged repository whose password is quickly tried.
fn unpack(variant: &Variant, scratch: &Scratch) -> Repo {
    let repo = variant.unpack(scratch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let backend = Arc::new(Local::new(&repo.location));
        let password = Password::new(repo.password.as_str());
        let open = Repository::open(backend, &password, None, Options::default(), &Silent);
        let quick = Some(ScryptParams { n: 1 << 10, r: 8, p: 1 });
        let changed = open.await.unwrap();
        changed.change_password(&password, &Identity::current(), quick).await.unwrap();
    });
    repo
}

/// All blobs that the index lists, each once.
fn blobs(repo: &Repo) -> BTreeSet<String> {
    let listed = restic().run(repo, ["--no-cache", "list", "blobs"]).success();
    listed.text().lines().map(str::to_owned).collect()
}

fn run(program: &Program, repo: &Repo, arguments: &[&str]) {
    program.run(repo, [&["--no-cache"], arguments].concat()).success();
}

/// The packs that a check of the data calls broken.
fn broken_packs(program: &Program, repo: &Repo) -> Vec<String> {
    let checked = program.run(repo, ["--no-cache", "check", "--read-data", "--json"]);
    let summary = checked.json_lines().pop().unwrap();
    let packs = summary["broken_packs"].as_array().cloned().unwrap_or_default();
    packs.iter().map(|pack| pack.as_str().unwrap().to_owned()).collect()
}

/// Repairs all that a program can repair, but for snapshots.
fn repair(program: &Program, repo: &Repo, read_all: bool) {
    let index: &[&str] = match read_all {
        true => &["repair", "index", "--read-all-packs"],
        false => &["repair", "index"],
    };
    run(program, repo, index);
    let packs = broken_packs(program, repo);
    if !packs.is_empty() {
        let packs: Vec<&str> = packs.iter().map(String::as_str).collect();
        run(program, repo, &[&["repair", "packs"], &packs[..]].concat());
    }
}

/// Repairs two copies, one with us and one with restic, and compares what is left.
fn repairs(name: &str, f0: Content, keeps_more: bool) {
    let variant = Variant::named(name);
    // The bomb goes off in every check of the data, which takes its time.
    let modes = if name == "blob-zip-bomb" { &[false][..] } else { &[false, true] };
    for &read_all in modes {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let (ours, theirs) = (unpack(variant, &scratch), unpack(variant, &other));
        repair(&one_restic(), &ours, read_all);
        repair(&restic(), &theirs, read_all);
        let (kept, expected) = (blobs(&ours), blobs(&theirs));
        match keeps_more {
            true => assert!(kept.is_superset(&expected), "{read_all}"),
            false => assert_eq!(kept, expected, "{read_all}"),
        }
        reads(f0, &one_restic().run(&ours, ["dump", OLDEST, F0]), F0_BLOB);
        reads(f0, &restic().run(&ours, ["--no-cache", "dump", OLDEST, F0]), F0_BLOB);
        reads(Content::Whole, &one_restic().run(&ours, ["dump", NEWEST, F2]), F2_BLOB);
        if f0 == Content::Lost {
            run(&one_restic(), &ours, &["repair", "snapshots", "--forget"]);
        }
        one_restic().run(&ours, ["check", "--read-data"]).success();
        run(&restic(), &ours, &["check", "--read-data"]);
    }
}

macro_rules! repairs {
    ($($test:ident: $name:literal, $f0:ident, $keeps_more:literal;)*) => {
        $(#[test]
        fn $test() {
            repairs($name, Content::$f0, $keeps_more);
        })*
    };
}

repairs! {
    whole: "base", Whole, false;
    // restic drops what the index knows of a pack whose header it cannot read.
    pack_cut_short: "trunc-data-pack", Whole, true;
    bit_flipped_in_a_pack_header: "flip-pack-header", Whole, true;
    bit_flipped_in_data: "flip-data-blob", Lost, false;
    bit_flipped_in_a_tree: "flip-tree-blob", Lost, false;
    pack_missing: "missing-data-pack", Lost, false;
    other_content_under_an_id: "blob-wrong-hash", Lost, false;
    blob_shorter_than_it_says: "blob-wrong-length", Lost, false;
    zip_bomb: "blob-zip-bomb", Lost, false;
    index_missing: "missing-one-index", Whole, false;
    every_index_missing: "missing-all-index", Whole, false;
    bit_flipped_in_an_index: "flip-index", Whole, false;
    index_twice: "duplicate-index", Whole, false;
    index_of_an_unneeded_missing_pack: "index-missing-pack-unneeded", Whole, false;
}

#[test]
fn the_old_name_and_the_sentences_are_restics() {
    let scratch = Scratch::new();
    let repo = unpack(Variant::named("flip-index"), &scratch);
    let outcome = one_restic().run(&repo, ["rebuild-index"]).success();
    let invalid = format!("removing invalid index {OLDEST_INDEX}: ");
    let adding = format!("adding pack file to index {F0_PACK}\n");
    for said in [&invalid, &adding] {
        assert!(outcome.complaint().contains(said), "{outcome}");
    }
    assert!(outcome.text().starts_with("loading indexes...\n"), "{outcome}");
    assert!(outcome.text().ends_with("done\n"), "{outcome}");
}

#[test]
fn packs_are_named_in_full_and_copied_before_they_are_removed() {
    let scratch = Scratch::new();
    let repo = unpack(Variant::named("flip-data-blob"), &scratch);
    one_restic().run(&repo, ["repair", "packs"]).exits(1);
    one_restic().run(&repo, ["repair", "packs", &F0_PACK[..8]]).exits(1);
    let pack = repo.location.join("data").join(&F0_PACK[..2]).join(F0_PACK);
    let content = std::fs::read(&pack).unwrap();
    let outcome = one_restic().run(&repo, ["repair", "packs", F0_PACK]).success();
    let lost = format!("failed to load data blob {F0_BLOB}\n");
    assert!(outcome.complaint().contains(&lost), "{outcome}");
    assert!(!pack.exists());
    let copy = repo.home.join(format!("pack-{F0_PACK}"));
    assert_eq!(std::fs::read(&copy).unwrap(), content);
    // It is never written over, whatever is asked for then.
    std::fs::write(&pack, b"other").unwrap();
    one_restic().run(&repo, ["repair", "packs", F0_PACK]).exits(1);
    assert_eq!(std::fs::read(&copy).unwrap(), content);
    assert!(pack.exists());
    // What is not there is nothing to be stopped by.
    let missing = "00".repeat(32);
    let outcome = one_restic().run(&repo, ["repair", "packs", &missing]).success();
    assert!(outcome.complaint().contains("is missing"), "{outcome}");
}
