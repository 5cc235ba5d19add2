//! Repositories that the real restics wrote come back exactly as they were.

use restic_oracle::{Golden, Powers, golden};
use serde_json::Value;

use crate::one_restic;

/// Restores every snapshot and compares the folder with the manifest: type, mode, times, owner, links,
/// attributes, content.
fn restores(name: &str) {
    let golden = Golden::unpack(name);
    let powers = Powers::here(golden.scratch.path());
    for snapshot in &golden.manifest.snapshots {
        let target = golden.scratch.folder(&snapshot.id[..8]);
        let path = target.to_str().unwrap();
        let outcome = one_restic().run(&golden.repo, ["restore", &snapshot.id, "--target", path]);
        if powers == Powers::ALL {
            outcome.success();
        }
        snapshot.tree().assert_restored(&target, powers);
    }
}

macro_rules! restores {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            restores($name);
        })*

        #[test]
        fn no_golden_repository_is_left_out() {
            assert_eq!([$($name),*], golden::NAMES);
        }
    };
}

restores! {
    restores_version_1: "v1-r014";
    restores_default_compression: "v2-r018-auto";
    restores_best_compression_of_0_18: "v2-r018-max";
    restores_no_compression: "v2-r019-off";
    restores_best_compression_of_0_19: "v2-r019-max";
    restores_vms_of_0_14: "vm-r014";
    restores_vms_of_0_18: "vm-r018";
    restores_after_prune_of_0_14: "pruned-r014";
    restores_after_prune_of_0_18: "pruned-r018";
    restores_where_every_blob_is_there_twice: "dups-r018";
    restores_nothing_from_an_empty_repository: "empty-r018";
    restores_without_a_password: "nopass-r019";
}

#[test]
fn every_golden_repository_passes_a_check_of_all_data() {
    for name in golden::NAMES {
        let golden = Golden::unpack(name);
        one_restic().run(&golden.repo, ["check", "--read-data"]).success();
    }
}

#[test]
fn snapshots_are_listed_with_the_fields_that_restic_stored() {
    for name in golden::NAMES {
        let golden = Golden::unpack(name);
        let listed = one_restic().run(&golden.repo, ["snapshots", "--json"]).success().json();
        let listed = listed.as_array().expect("an array of snapshots");
        assert_eq!(listed.len(), golden.manifest.snapshots.len(), "{name}");
        for snapshot in &golden.manifest.snapshots {
            let found = listed.iter().find(|found| found["id"] == *snapshot.id);
            let found = found.unwrap_or_else(|| panic!("{name}: {} is not listed", snapshot.id));
            for (field, value) in snapshot.json.as_object().expect("an object") {
                assert_eq!(&found[field], value, "{name}: {field} of {}", snapshot.id);
            }
        }
    }
}

#[test]
fn a_dumped_file_has_the_bytes_that_restic_stored() {
    use sha2::Digest;
    let golden = Golden::unpack("vm-r018");
    for snapshot in &golden.manifest.snapshots {
        for node in snapshot.entries.iter().filter(|node| node.node_type == "file") {
            let path = node.path();
            let path = path.to_str().unwrap();
            let dumped = one_restic().run(&golden.repo, ["dump", &snapshot.id, path]).success();
            let digest = sha2::Sha256::digest(&dumped.stdout);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(Some(hex), node.sha256, "{path}");
        }
    }
}

#[test]
fn ls_names_every_node_once() {
    for name in ["v2-r018-auto", "vm-r014"] {
        let golden = Golden::unpack(name);
        for snapshot in &golden.manifest.snapshots {
            let lines = one_restic()
                .run(&golden.repo, ["ls", "--json", &snapshot.id])
                .success()
                .json_lines();
            let nodes: Vec<&Value> =
                lines.iter().filter(|line| line["struct_type"] == "node").collect();
            assert_eq!(nodes.len(), snapshot.entries.len(), "{name}");
        }
    }
}
