//! What check and stats say of repositories that the real restics wrote, and of damaged ones.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use restic_oracle::damaged::{Door, F0_BLOB, F0_PACK, OLDEST, OLDEST_INDEX, OLDEST_TREE_PACK};
use restic_oracle::damaged::{VARIANTS, Variant};
use restic_oracle::{Golden, Program, Scratch, Version, golden};
use restic_repo::backend::local::Local;
use restic_repo::checker::{self, Hint, NodeFault, PackFault, Problem, ReadData, Report};
use restic_repo::key::Password;
use restic_repo::progress::Silent;
use restic_repo::repository::{Options, Repository};
use restic_repo::stats::{self, Mode};

async fn open(location: &Path, password: &str) -> Repository {
    let backend = Arc::new(Local::new(location));
    let password = Password::new(password);
    Repository::open(backend, &password, None, Options::default(), &Silent).await.unwrap()
}

async fn check(repository: &Repository, read_data: ReadData) -> Report {
    let options = checker::Options { read_data, ..checker::Options::default() };
    checker::check(repository, &options, Arc::new(Silent)).await.unwrap()
}

/// A problem in a few words.
fn word(problem: &Problem) -> String {
    let fault = |fault: &PackFault| match fault {
        PackFault::Hash { .. } => "hash",
        PackFault::Header(_) => "header",
        PackFault::Blob(_) => "blob",
        _ => "other",
    };
    match problem {
        Problem::PackMissing { pack } => format!("missing {pack}"),
        Problem::PackSize { pack, .. } => format!("size {pack}"),
        Problem::PackDamaged { pack, faults } => {
            let mut faults: Vec<_> = faults.iter().map(fault).collect();
            faults.sort_unstable();
            format!("damaged {pack} {}", faults.join(" "))
        }
        Problem::IndexUnreadable { index, .. } => format!("index {index}"),
        Problem::SnapshotUnreadable { snapshot, .. } => format!("snapshot {snapshot}"),
        Problem::TreeUnreadable { .. } => "tree".to_owned(),
        Problem::Node { fault: NodeFault::BlobMissing { id }, .. } => format!("blob {id}"),
        other => format!("{other:?}"),
    }
}

fn words(report: &Report) -> Vec<String> {
    let mut words: Vec<_> = report.problems.iter().map(word).collect();
    words.sort_unstable();
    words
}

/// The problems of a damaged repository: those of a plain check, and those found by reading besides.
fn expected(variant: &str) -> (Vec<String>, Vec<String>) {
    let f0 = |fault: &str| format!("damaged {F0_PACK} {fault}");
    let one = |plain: String| (vec![plain], vec![]);
    let reading = |damaged: String| (vec![], vec![damaged]);
    match variant {
        "trunc-data-pack" => (vec![format!("size {F0_PACK}")], vec![f0("hash header")]),
        "flip-data-blob" => reading(f0("blob hash")),
        "flip-pack-header" => reading(f0("hash header")),
        "flip-tree-blob" => {
            (vec!["tree".into()], vec![format!("damaged {OLDEST_TREE_PACK} blob hash")])
        }
        "missing-data-pack" => one(format!("missing {F0_PACK}")),
        "index-missing-pack-unneeded" => one(format!("missing {}", "cd".repeat(32))),
        "flip-index" => one(format!("index {OLDEST_INDEX}")),
        "flip-snapshot" => one(format!("snapshot {OLDEST}")),
        "renamed-snapshot" => one(format!("snapshot {}", "1".repeat(64))),
        "missing-all-index" => (vec!["tree".into(); 3], vec![]),
        "missing-one-index" => {
            let t0 = "8d02339100c6da268c2775a65100142c52392438d398dde201356f825c574303";
            let of_two_trees = [t0, t0, F0_BLOB, F0_BLOB].map(|id| format!("blob {id}"));
            (of_two_trees.into_iter().chain(["tree".into()]).collect(), vec![])
        }
        // The pack was made anew for these.
        "blob-wrong-hash" => reading(
            "damaged 214ad263d40dd5e6bd4aac0686e2b43dc8c4b6eaa20129896e7c0e46f47ddacf blob".into(),
        ),
        "blob-wrong-length" => reading(
            "damaged 965ebc6f6f2404d33ab55342fb8a03978e342374bdda64db458343685bd3944f blob".into(),
        ),
        "blob-zip-bomb" => reading(
            "damaged e34bba4ad83fb214a7fbc32a9a38054ade157b9fa7d97fe592a40985a2f4da64 blob".into(),
        ),
        _ => (vec![], vec![]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_where_restic_finds_it_and_is_called_by_its_name() {
    let scratch = Scratch::new();
    let inside = |variant: &&Variant| matches!(variant.door, Door::Open | Door::Locked);
    for variant in VARIANTS.iter().filter(inside) {
        let repo = variant.unpack(&scratch);
        let repository = open(&repo.location, &repo.password).await;
        let name = variant.name;
        let (mut all, mut found_by_reading) = expected(name);

        let report = check(&repository, ReadData::Nothing).await;
        assert_eq!(words(&report), all, "{name}");
        assert_eq!(report.errors as usize, all.len(), "{name}");

        all.append(&mut found_by_reading);
        all.sort_unstable();
        let with_data = check(&repository, ReadData::All).await;
        assert_eq!(words(&with_data), all, "{name}");

        // restic does not come in where there is a lock.
        if variant.door == Door::Open {
            assert_eq!(report.is_sound(), variant.passes_check(), "{name}");
            assert_eq!(with_data.is_sound(), variant.passes_check_of_data(), "{name}");
        }
        let broken = with_data.broken_packs.iter().map(ToString::to_string);
        let named = all.iter().filter_map(|problem| {
            let (kind, pack) = problem.split_once(' ')?;
            matches!(kind, "missing" | "size" | "damaged").then(|| pack[..64].to_owned())
        });
        let mut named: Vec<_> = named.collect();
        named.dedup();
        assert_eq!(broken.collect::<Vec<_>>(), named, "{name}");
        assert_eq!(report.suggest_repair_index, matches!(name, "flip-index" | "duplicate-index"));
        assert_eq!(report.suggest_prune, matches!(name, "missing-one-index" | "missing-all-index"));
        let duplicate = |hint: &Hint| matches!(hint, Hint::DuplicateIndex { .. });
        assert_eq!(report.hints.iter().any(duplicate), name == "duplicate-index");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_restics_wrote_is_sound() {
    for name in golden::NAMES {
        let Golden { repo, manifest, scratch: _scratch } = Golden::unpack(name);
        let repository = open(&repo.location, &repo.password).await;
        let report = check(&repository, ReadData::All).await;
        assert!(report.is_sound() && report.hints.is_empty(), "{name}: {report:?}");
        assert_eq!(report.snapshots as usize, manifest.snapshots.len(), "{name}");
        assert_eq!(report.packs, report.packs_read, "{name}");
        if !manifest.snapshots.is_empty() {
            assert_eq!(report.trees, manifest.unique_blobs["tree"], "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_restics_to_the_digit() {
    // The release before 0.19, which counts a blob in raw-data once for each of its places.
    let restic = Program::restic(Version::V0_18);
    for name in ["v1-r014", "v2-r018-auto", "vm-r018", "dups-r018"] {
        let Golden { repo, scratch: _scratch, .. } = Golden::unpack(name);
        let repository = open(&repo.location, &repo.password).await;
        let snapshots = repository.readable_snapshots(&Silent).await.unwrap();
        let trees: Vec<_> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
        let index = Arc::new(repository.load_index(&Silent).await.unwrap());
        for mode in Mode::ALL {
            let counted = stats::stats(&repository, &index, &trees, mode, &Silent).await.unwrap();
            let mut args =
                vec!["--no-cache", "--no-lock", "stats", "--json", "--mode", mode.as_str()];
            if repo.password.is_empty() {
                args.push("--insecure-no-password");
            }
            let theirs = restic.run(&repo, args).success();
            let ours = String::from_utf8(restic_repo::json::to_vec(&counted)).unwrap();
            assert_eq!(ours, theirs.text().trim(), "{name} {mode}");
        }
    }
}
