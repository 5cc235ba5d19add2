//! Damage is found, named and survived, and never passed on as data.

use restic_oracle::damaged::{
    Content, Door, F0, F0_BLOB, F2, F2_BLOB, FILE_LENGTH, NEWEST, OLDEST, VARIANTS, Variant,
};
use restic_oracle::{Outcome, Repo, Scratch};
use sha2::{Digest, Sha256};

use crate::one_restic;

/// Runs what the facts of a variant speak of, and holds the outcomes against them.
fn behaves(name: &str) {
    let variant = Variant::named(name);
    let scratch = Scratch::new();
    let repo = variant.unpack(&scratch);
    match variant.door {
        Door::Open => open(variant, &repo),
        Door::Locked => {
            for command in [&["check"][..], &["dump", OLDEST, F0]] {
                one_restic().run(&repo, command).exits(11);
            }
            reads(variant.f0, &one_restic().run(&repo, ["--no-lock", "dump", OLDEST, F0]), F0_BLOB);
        }
        Door::WrongPassword => shut(&repo, 12),
        Door::NoRepository => shut(&repo, 10),
        Door::Damaged => shut(&repo, 1),
    }
}

fn open(variant: &Variant, repo: &Repo) {
    let failed = |sound: bool| i32::from(!sound);
    one_restic().run(repo, ["check"]).exits(failed(variant.passes_check()));
    one_restic().run(repo, ["check", "--read-data"]).exits(failed(variant.passes_check_of_data()));
    let listed = one_restic().run(repo, ["snapshots", "--json"]).success().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(variant.snapshots));
    reads(variant.f0, &one_restic().run(repo, ["dump", OLDEST, F0]), F0_BLOB);
    reads(variant.f2, &one_restic().run(repo, ["dump", NEWEST, F2]), F2_BLOB);
}

fn shut(repo: &Repo, code: i32) {
    for command in [&["check"][..], &["snapshots"], &["dump", OLDEST, F0]] {
        let outcome = one_restic().run(repo, command).exits(code);
        assert!(!outcome.stderr.is_empty(), "it does not say why\n{outcome}");
    }
}

pub fn reads(content: Content, outcome: &Outcome, sha256: &str) {
    let digest: String =
        Sha256::digest(&outcome.stdout).iter().map(|byte| format!("{byte:02x}")).collect();
    let whole = outcome.code == Some(0) && outcome.stdout.len() == FILE_LENGTH && digest == sha256;
    // The file is one blob, so it is there whole or not at all.
    let refused =
        outcome.code == Some(1) && outcome.stdout.is_empty() && !outcome.stderr.is_empty();
    let agrees = match content {
        Content::Whole => whole,
        Content::Lost => refused,
        Content::Astray => whole || refused,
    };
    assert!(agrees, "the file should be {content:?}\n{outcome}");
}

macro_rules! behaves {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            behaves($name);
        })*

        #[test]
        fn no_variant_is_left_out() {
            let mut tested = [$($name),*];
            let mut all: Vec<&str> = VARIANTS.iter().map(|variant| variant.name).collect();
            tested.sort_unstable();
            all.sort_unstable();
            assert_eq!(tested[..], all[..]);
        }
    };
}

behaves! {
    whole: "base";
    pack_cut_short: "trunc-data-pack";
    bit_flipped_in_data: "flip-data-blob";
    bit_flipped_in_a_tree: "flip-tree-blob";
    bit_flipped_in_a_pack_header: "flip-pack-header";
    pack_missing: "missing-data-pack";
    other_content_under_an_id: "blob-wrong-hash";
    blob_shorter_than_it_says: "blob-wrong-length";
    zip_bomb: "blob-zip-bomb";
    index_missing: "missing-one-index";
    every_index_missing: "missing-all-index";
    bit_flipped_in_an_index: "flip-index";
    index_twice: "duplicate-index";
    index_of_an_unneeded_missing_pack: "index-missing-pack-unneeded";
    bit_flipped_in_a_snapshot: "flip-snapshot";
    snapshot_under_another_name: "renamed-snapshot";
    garbage_among_the_keys: "garbage-key-hashname";
    foreign_names_among_the_keys: "garbage-key-nohex";
    only_key_damaged: "only-key-corrupt";
    key_of_another_password: "key-other-password";
    config_without_bytes: "config-zero";
    config_missing: "config-missing";
    config_with_a_bad_polynomial: "config-bad-pol";
    old_exclusive_lock: "stale-lock";
    exclusive_lock_of_the_future: "active-foreign-lock-exclusive";
    lock_without_bytes: "zero-lock";
    litter_in_every_folder: "stray-files";
    empty_folders_missing: "missing-data-dirs";
}
