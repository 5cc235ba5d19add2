//! Repositories that the real restics wrote.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use restic_oracle::{Golden, Powers, Program, Tree, Version, golden};
use restic_repo::Id;
use restic_repo::backend::local::Local;
use restic_repo::dump::{dump_file, dump_tar};
use restic_repo::key::Password;
use restic_repo::progress::Silent;
use restic_repo::repository::{Options, Repository};
use restic_repo::restorer::Restore;
use restic_repo::walk::find_path;

async fn open(golden: &Golden) -> Repository {
    let backend = Arc::new(Local::new(&golden.repo.location));
    let password = Password::new(golden.repo.password.as_str());
    Repository::open(backend, &password, None, Options::default(), &Silent).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restic_stored_comes_back() {
    for name in golden::NAMES {
        let golden = Golden::unpack(name);
        let repository = open(&golden).await;
        let index = Arc::new(repository.load_index(&Silent).await.unwrap());
        for snapshot in &golden.manifest.snapshots {
            let target = golden.scratch.folder(&snapshot.id);
            let powers = Powers::here(golden.scratch.path());
            let tree = repository.load_snapshot(snapshot.id.parse().unwrap()).await.unwrap().tree;
            let mut restore = Restore::new(&target);
            (restore.sparse, restore.verify) = (name.contains("max"), true);
            let restored =
                restore.run(&repository, Arc::clone(&index), tree, Arc::new(Silent)).await.unwrap();
            snapshot.tree().assert_restored(&target, powers);
            if powers == Powers::ALL {
                assert_eq!(restored.errors, 0, "{name}");
            }
            // Once more, over what is there.
            let again = Restore::new(&target);
            let again =
                again.run(&repository, Arc::clone(&index), tree, Arc::new(Silent)).await.unwrap();
            assert_eq!(again.bytes_restored, 0);
            assert_eq!(again.bytes_skipped, restored.bytes_restored);
            snapshot.tree().assert_restored(&target, powers);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restic_stored_is_dumped() {
    for name in ["vm-r014", "v2-r018-auto"] {
        let golden = Golden::unpack(name);
        let repository = open(&golden).await;
        let index = Arc::new(repository.load_index(&Silent).await.unwrap());
        let snapshot = golden.manifest.snapshots.last().unwrap();
        let tree = repository.load_snapshot(snapshot.id.parse().unwrap()).await.unwrap().tree;
        let mut files = 0;
        for entry in &snapshot.entries {
            let path = entry.path();
            let node = find_path(&repository, &index, tree, &path).await.unwrap();
            if let Some(sha256) = &entry.sha256 {
                let dumped = dump_file(&repository, Arc::clone(&index), &path, &node, Vec::new());
                assert_eq!(Id::of(&dumped.await.unwrap()).to_hex(), *sha256, "{path:?}");
                files += 1;
            }
        }
        assert!(files > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_unpacks_to_what_restics_unpacks_to() {
    let golden = Golden::unpack("v2-r018-auto");
    let repository = open(&golden).await;
    let index = Arc::new(repository.load_index(&Silent).await.unwrap());
    let snapshot = golden.manifest.snapshots.last().unwrap();
    let root = repository.load_snapshot(snapshot.id.parse().unwrap()).await.unwrap().tree;
    for top in ["/", "/srv/golden/"] {
        let node = find_path(&repository, &index, root, Path::new(top)).await.unwrap();
        let tree = node.subtree.unwrap();
        let ours = golden.scratch.path().join("ours.tar");
        let out = File::create(&ours).unwrap();
        let tarred =
            dump_tar(&repository, Arc::clone(&index), tree, Path::new(top), out, &Silent).await;
        assert_eq!(tarred.unwrap().errors, 0);
        let theirs = golden.scratch.path().join("theirs.tar");
        let restic = Program::restic(Version::V0_19);
        let mut restic = restic.command(&golden.repo);
        restic.args(["dump", "latest", top, "--target"]).arg(&theirs);
        assert!(restic.status().unwrap().success());
        let unpacked = [ours, theirs].map(|archive| {
            let folder = archive.with_extension("");
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir(&folder).unwrap();
            let mut tar = Command::new("tar");
            tar.args(["--xattrs", "--xattrs-include=*", "-xpf"]).arg(&archive);
            assert!(tar.arg("-C").arg(&folder).status().unwrap().success());
            // The folders above are not in the archive.
            Tree::beneath(&folder.join(top.trim_start_matches('/')))
        });
        assert!(unpacked[0].entries.len() > 50, "{}", unpacked[0].entries.len());
        unpacked[1].assert_same(&unpacked[0]);
    }
}
