use super::*;
use crate::backend::BackendErrorKind;
use crate::backend::fault::{Fault, Operation, Rule};
use crate::handle::FileType;
use crate::progress::Silent;
use crate::workshop::{Workshop, data, file, folder, noise, tree};

/// A repository with a snapshot: a file of two blobs, and one in a folder.
async fn source(version: u32) -> (Workshop, Id) {
    let shop = Workshop::of_version(version).await;
    let pieces = [data(noise(1, 100_000)), data(noise(2, 50_000)), data("hello")];
    let below = tree(vec![file("deep", &[&pieces[2]])]);
    let nodes = vec![file("a", &[&pieces[0], &pieces[1], &pieces[0]]), folder("d", &below)];
    shop.index([shop.pack(pieces), shop.pack([below])]).await;
    let id = shop.snapshot_of(nodes).await;
    (shop, id)
}

async fn copy_all(from: &Repository, to: &Repository) -> Result<(Vec<Copied>, Added)> {
    let snapshots = from.readable_snapshots(&Silent).await?;
    let there = to.readable_snapshots(&Silent).await?;
    let (source_index, index) = (from.load_index(&Silent).await?, to.load_index(&Silent).await?);
    let progress = Arc::new(Silent);
    let mut copier = Copier::new(from, Arc::new(source_index), to, index, progress).await?;
    for (id, snapshot) in snapshots {
        if find_copy(&(id, snapshot.clone()), &there).is_none() {
            copier.add(id, snapshot).await?;
        }
    }
    let copied = copier.commit().await?;
    Ok((copied, copier.added()))
}

async fn is_sound(repository: &Repository) {
    let options = crate::checker::Options {
        read_data: crate::checker::ReadData::All,
        ..crate::checker::Options::default()
    };
    let found = crate::checker::check(repository, &options, Arc::new(Silent)).await.unwrap();
    assert!(found.is_sound());
}

#[tokio::test]
async fn a_copy_has_all_blobs_and_says_what_it_was_made_from() {
    for (from, to) in [(1, 2), (2, 1), (2, 2)] {
        let (shop, id) = source(from).await;
        let other = Workshop::of_version(to).await;
        let (copied, added) = copy_all(&shop.repository, &other.repository).await.unwrap();
        assert_eq!((added.data_blobs, added.tree_blobs), (3, 2));
        assert_eq!(copied.len(), 1);
        let copy = other.repository.load_snapshot(copied[0].id).await.unwrap();
        let mut expected = shop.repository.load_snapshot(id).await.unwrap();
        expected.original = Some(id);
        assert_eq!(copy, expected);
        is_sound(&other.repository).await;
        // Once more, and back: nothing is new.
        let (copied, added) = copy_all(&shop.repository, &other.repository).await.unwrap();
        assert_eq!((copied, added), (Vec::new(), Added::default()));
        let (copied, added) = copy_all(&other.repository, &shop.repository).await.unwrap();
        assert_eq!((copied, added), (Vec::new(), Added::default()));
    }
}

#[tokio::test]
async fn a_copy_keeps_its_first_origin_and_loses_its_parent() {
    let (shop, id) = source(2).await;
    let first = shop.repository.load_snapshot(id).await.unwrap();
    let origin = Id::of(b"origin");
    let tagged = Snapshot {
        original: Some(origin),
        parent: Some(id),
        tags: vec!["tag".to_owned()],
        ..first
    };
    shop.repository.save_snapshot(&tagged).await.unwrap();
    let other = Workshop::new().await;
    let (copied, _) = copy_all(&shop.repository, &other.repository).await.unwrap();
    assert_eq!(copied.len(), 2);
    let copies = other.repository.readable_snapshots(&Silent).await.unwrap();
    assert!(copies.iter().all(|(_, copy)| copy.parent.is_none()));
    assert!(copies.iter().any(|(_, copy)| copy.original == Some(origin)));
    assert!(copies.iter().any(|(_, copy)| copy.original == Some(id)));
}

#[tokio::test]
async fn what_the_destination_lost_is_copied_anew() {
    let (shop, _) = source(2).await;
    let other = Workshop::new().await;
    let (copied, _) = copy_all(&shop.repository, &other.repository).await.unwrap();
    other.repository.remove(FileType::Snapshot, copied[0].id).await.unwrap();
    for pack in other.repository.list(FileType::Pack).await.unwrap() {
        other.repository.remove(FileType::Pack, pack.id).await.unwrap();
    }
    let (copied, added) = copy_all(&shop.repository, &other.repository).await.unwrap();
    assert_eq!((copied.len(), added.data_blobs, added.tree_blobs), (1, 3, 2));
}

#[tokio::test]
async fn a_damaged_blob_is_not_copied_and_no_snapshot_appears() {
    let (shop, _) = source(2).await;
    let packs = shop.repository.list(FileType::Pack).await.unwrap();
    let largest = packs.iter().max_by_key(|pack| pack.size).unwrap().id;
    shop.alter_pack(largest, |bytes| bytes[1000] ^= 1);
    let other = Workshop::new().await;
    let copied = copy_all(&shop.repository, &other.repository).await;
    assert!(matches!(copied, Err(Error::Damaged { .. })), "{copied:?}");
    assert!(other.repository.list(FileType::Snapshot).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_destination_says_so_and_has_no_snapshot() {
    let (shop, _) = source(2).await;
    for file_type in [FileType::Pack, FileType::Index, FileType::Snapshot] {
        let other = Workshop::new().await;
        let full = Arc::new(Fault::new(other.mem.clone()));
        full.inject(Rule::fail(BackendErrorKind::NoSpace).on(Operation::Save).of(file_type));
        let destination = other.repository.with_backend(full);
        match copy_all(&shop.repository, &destination).await {
            Err(Error::Backend(error)) => assert_eq!(error.kind, BackendErrorKind::NoSpace),
            copied => panic!("{copied:?}"),
        }
        assert!(other.repository.list(FileType::Snapshot).await.unwrap().is_empty());
        // The next run finds room, and all is well.
        copy_all(&shop.repository, &destination).await.unwrap();
        is_sound(&other.repository).await;
    }
}

#[tokio::test]
async fn packs_come_before_index_files_and_those_before_snapshots() {
    let (shop, _) = source(2).await;
    let other = Workshop::new().await;
    let watched = Arc::new(Fault::new(other.mem.clone()));
    let destination = other.repository.with_backend(Arc::clone(&watched) as _);
    copy_all(&shop.repository, &destination).await.unwrap();
    let save = |file_type| (Operation::Save, file_type);
    assert!(watched.count(Operation::Save, Some(FileType::Pack)) > 0);
    assert!(watched.happened_before(save(FileType::Pack), save(FileType::Index)));
    assert!(watched.happened_before(save(FileType::Index), save(FileType::Snapshot)));
}

#[tokio::test]
async fn blobs_are_read_with_few_requests_and_trees_once() {
    let (shop, id) = source(2).await;
    let again = Snapshot {
        tags: vec!["again".to_owned()],
        ..shop.repository.load_snapshot(id).await.unwrap()
    };
    shop.repository.save_snapshot(&again).await.unwrap();
    let watched = Arc::new(Fault::new(shop.mem.clone()));
    let from = shop.repository.with_backend(Arc::clone(&watched) as _);
    let other = Workshop::new().await;
    assert_eq!(copy_all(&from, &other.repository).await.unwrap().0.len(), 2);
    // Two trees to find out what to copy; then the pack of the data, and those of both trees.
    assert_eq!(watched.count(Operation::Load, Some(FileType::Pack)), 5);
}
