//! What a backup leaves behind, however it ends.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::backend::fault::{Fault, Operation, Rule};
use crate::backend::mem::Mem;
use crate::backend::{Backend, BackendErrorKind};
use crate::checker::{self, Report};
use crate::progress::Silent;
use crate::workshop::Workshop;

fn source() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    write(folder.path(), "sub/small", b"first");
    write(folder.path(), "image", &vec![7; 3 << 20]);
    write(folder.path(), "zeros", &vec![0; 2 << 20]);
    folder
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    std::fs::write(folder.join(name), content).unwrap();
}

async fn back_up(repository: &Repository, folder: &Path) -> Result<Outcome> {
    let index = repository.load_index(&Silent).await?;
    let backup = Backup::of_paths(vec![folder.to_owned()], Identity::current());
    backup.run(repository, index, Arc::new(Silent)).await
}

async fn check(repository: &Repository) -> Report {
    let options =
        checker::Options { read_data: checker::ReadData::All, ..checker::Options::default() };
    checker::check(repository, &options, Arc::new(Silent)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_change_it_costs_nothing_that_was_there() {
    let folder = source();
    let workshop = Workshop::new().await;
    let before = back_up(&workshop.repository, folder.path()).await.unwrap().id;
    write(folder.path(), "sub/small", b"second");
    write(folder.path(), "new", &vec![9; 1 << 20]);
    for n in 1.. {
        let storage = Mem::from_files(workshop.mem.files());
        let fault = Arc::new(Fault::new(storage.clone()));
        fault.kill_at(n);
        let mortal = workshop.repository.with_backend(Arc::clone(&fault) as Arc<dyn Backend>);
        let outcome = back_up(&mortal, folder.path()).await;

        let survivor = workshop.repository.with_backend(Arc::new(storage));
        let report = check(&survivor).await;
        assert!(report.is_sound(), "killed at change {n}: {:?}", report.problems);
        let snapshots = survivor.readable_snapshots(&Silent).await.unwrap();
        assert!(snapshots.iter().any(|(id, _)| Some(*id) == before), "killed at change {n}");
        match outcome {
            Ok(_) => {
                assert!(n > 3, "packs, an index and a snapshot are stored, but {n} was the end");
                return;
            }
            Err(_) => assert_eq!(snapshots.len(), 1, "killed at change {n}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_come_first_then_the_index_then_the_snapshot() {
    let folder = source();
    let workshop = Workshop::new().await;
    let fault = Arc::new(Fault::new(workshop.mem.clone()));
    let repository = workshop.repository.with_backend(Arc::clone(&fault) as Arc<dyn Backend>);
    back_up(&repository, folder.path()).await.unwrap();
    let save = |file_type| (Operation::Save, file_type);
    assert!(fault.happened_before(save(FileType::Pack), save(FileType::Index)));
    assert!(fault.happened_before(save(FileType::Index), save(FileType::Snapshot)));
    assert_eq!(fault.count(Operation::Save, Some(FileType::Snapshot)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_storage_ends_it_with_that_as_the_reason() {
    let folder = source();
    let workshop = Workshop::new().await;
    let fault = Arc::new(Fault::new(workshop.mem.clone()));
    fault.inject(Rule::fail(BackendErrorKind::NoSpace).of(FileType::Pack).always());
    let repository = workshop.repository.with_backend(fault);
    let error = back_up(&repository, folder.path()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Backend(error) if error.kind == BackendErrorKind::NoSpace),
        "{error}"
    );
    assert!(check(&workshop.repository).await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_missing_pack_held_is_stored_anew() {
    let folder = source();
    let workshop = Workshop::new().await;
    back_up(&workshop.repository, folder.path()).await.unwrap();
    for pack in workshop.repository.list(FileType::Pack).await.unwrap() {
        workshop.repository.remove(FileType::Pack, pack.id).await.unwrap();
    }
    let outcome = back_up(&workshop.repository, folder.path()).await.unwrap();
    let index = workshop.repository.load_index(&Silent).await.unwrap();
    let tree = workshop.repository.load_tree(&index, outcome.snapshot.tree).await;
    assert!(tree.is_ok(), "{tree:?}");
    let summary = outcome.snapshot.summary.unwrap();
    assert!(summary.data_blobs >= 3 && summary.tree_blobs >= 3, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_is_left_out_and_counted() {
    let folder = source();
    let workshop = Workshop::new().await;
    let index = workshop.repository.load_index(&Silent).await.unwrap();
    let paths = vec![folder.path().to_owned(), folder.path().join("../does-not-exist")];
    let backup = Backup::of_paths(paths, Identity::current());
    let outcome = backup.run(&workshop.repository, index, Arc::new(Silent)).await.unwrap();
    assert_eq!(outcome.unreadable, 1);
    assert!(outcome.id.is_some());
    assert!(check(&workshop.repository).await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing_means_no_snapshot_where_something_is_unreadable() {
    let folder = source();
    let workshop = Workshop::new().await;
    for missing in [true, false] {
        let index = workshop.repository.load_index(&Silent).await.unwrap();
        let mut paths = vec![folder.path().to_owned()];
        if missing {
            paths.push(folder.path().join("../does-not-exist"));
        }
        let mut backup = Backup::of_paths(paths, Identity::current());
        backup.all_or_nothing = true;
        let made = backup.run(&workshop.repository, index, Arc::new(Silent)).await;
        let snapshots = workshop.repository.list(FileType::Snapshot).await.unwrap().len();
        assert_eq!((made.is_err(), snapshots), (missing, usize::from(!missing)), "{made:?}");
    }
    assert!(check(&workshop.repository).await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_becomes_one_file_and_a_broken_one_no_snapshot() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the pipe broke"))
        }
    }
    let workshop = Workshop::new().await;
    let run = async |content: Box<dyn Read + Send>| {
        let index = workshop.repository.load_index(&Silent).await.unwrap();
        let backup = Backup::of_stream("a/dump".into(), content, Identity::current());
        backup.run(&workshop.repository, index, Arc::new(Silent)).await
    };
    let outcome = run(Box::new(&b"content"[..])).await.unwrap();
    assert_eq!(outcome.snapshot.paths, ["/a/dump"]);
    assert_eq!(outcome.snapshot.summary.unwrap().total_bytes_processed, 7);
    assert!(run(Box::new(Broken)).await.is_err());
    assert_eq!(workshop.repository.list(FileType::Snapshot).await.unwrap().len(), 1);
    assert!(check(&workshop.repository).await.is_sound());
}
