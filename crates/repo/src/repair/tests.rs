use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::backend::BackendErrorKind;
use crate::backend::fault::{Fault, Operation, Rule};
use crate::checker::{self, ReadData, Report};
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::index::{IndexFile, PackBlobs};
use crate::progress::Silent;
use crate::workshop::{Workshop, data, file, noise};

/// Three files in two packs, each pack in an index file of its own, and a snapshot of them.
struct Scene {
    shop: Workshop,
    first: PackBlobs,
    second: PackBlobs,
    indexes: [Id; 2],
}

impl Scene {
    async fn new() -> Self {
        let shop = Workshop::new().await;
        let [one, two, three] = [noise(1, 3000), b"text".repeat(100), noise(2, 300)].map(data);
        let nodes = vec![file("a", &[&one, &two]), file("b", &[&three])];
        let (first, second) = (shop.pack([one, two]), shop.pack([three]));
        let indexes = [shop.index([first.clone()]).await, shop.index([second.clone()]).await];
        shop.snapshot_of(nodes).await;
        Self { shop, first, second, indexes }
    }

    async fn repair(&self) -> index::Outcome {
        self.repair_index(index::Options::default()).await.unwrap()
    }

    async fn read_all(&self) -> index::Outcome {
        self.repair_index(index::Options { read_all_packs: true }).await.unwrap()
    }

    async fn repair_index(&self, options: index::Options) -> Result<index::Outcome> {
        index::repair(&self.shop.repository, options, Arc::new(Silent)).await
    }

    async fn repair_packs(&self, packs: &[Id]) -> packs::Outcome {
        let packs: HashSet<Id> = packs.iter().copied().collect();
        packs::repair(&self.shop.repository, &packs, Arc::new(Silent)).await.unwrap()
    }

    async fn check(&self) -> Report {
        let options = checker::Options { read_data: ReadData::All, ..Default::default() };
        checker::check(&self.shop.repository, &options, Arc::new(Silent)).await.unwrap()
    }

    async fn assert_sound(&self) {
        let report = self.check().await;
        assert!(report.is_sound() && report.hints.is_empty(), "{report:?}");
    }

    async fn indexes(&self) -> Vec<Id> {
        let files = self.shop.repository.list(FileType::Index).await.unwrap();
        files.into_iter().map(|file| file.id).collect()
    }

    async fn remove(&self, file_type: FileType, id: Id) {
        self.shop.repository.remove(file_type, id).await.unwrap();
    }
}

#[tokio::test]
async fn small_index_files_become_one_and_that_one_is_left_alone() {
    let scene = Scene::new().await;
    let outcome = scene.repair().await;
    assert_eq!((outcome.rewritten.stored.len(), outcome.rewritten.removed.len()), (1, 3));
    let before = scene.indexes().await;
    for outcome in [scene.repair().await, scene.read_all().await] {
        assert_eq!(outcome.rewritten, Rewritten::default());
        assert!(outcome.added.is_empty() && outcome.resized.is_empty());
    }
    assert_eq!(scene.indexes().await, before);
    scene.assert_sound().await;
}

#[tokio::test]
async fn an_empty_repository_is_left_alone() {
    let shop = Workshop::new().await;
    let options = index::Options { read_all_packs: true };
    let outcome = index::repair(&shop.repository, options, Arc::new(Silent)).await.unwrap();
    assert_eq!(outcome.rewritten, Rewritten::default());
}

#[tokio::test]
async fn what_no_index_lists_is_listed_again_and_what_is_gone_no_more() {
    let scene = Scene::new().await;
    scene.remove(FileType::Index, scene.indexes[0]).await;
    scene.remove(FileType::Pack, scene.second.pack).await;
    scene.shop.index([scene.second.clone()]).await;
    let outcome = scene.repair().await;
    assert_eq!(outcome.added, [scene.first.pack]);
    assert_eq!(outcome.missing, [scene.second.pack]);
    let index = scene.shop.repository.load_index(&Silent).await.unwrap();
    assert!(index.contains(&scene.first.blobs[0].handle));
    assert!(!index.contains(&scene.second.blobs[0].handle));
}

#[tokio::test]
async fn an_index_file_that_cannot_be_read_is_dropped_but_not_one_that_cannot_be_had() {
    let scene = Scene::new().await;
    let mem = scene.shop.mem.clone();
    let fault = Arc::new(Fault::new(mem));
    let failing = Rule::fail(BackendErrorKind::Permanent).on(Operation::Load).of(FileType::Index);
    fault.inject(failing.always());
    let repository = scene.shop.repository.with_backend(fault);
    let before = scene.indexes().await;
    let options = index::Options { read_all_packs: true };
    let failed = index::repair(&repository, options, Arc::new(Silent)).await;
    assert!(matches!(failed, Err(Error::Backend(_))), "{failed:?}");
    assert_eq!(scene.indexes().await, before);

    let damaged = Handle::new(FileType::Index, scene.indexes[0]);
    scene.shop.mem.alter(&damaged, |bytes| bytes[30] ^= 1);
    let outcome = scene.repair().await;
    assert_eq!(outcome.unreadable_indexes.len(), 1);
    assert_eq!(outcome.added, [scene.first.pack]);
    scene.assert_sound().await;
}

#[tokio::test]
async fn indexes_that_contradict_each_other_give_way_to_the_header() {
    let scene = Scene::new().await;
    let mut wrong = scene.first.clone();
    wrong.blobs[1].offset += 7;
    scene.shop.index([wrong]).await;
    let outcome = scene.repair().await;
    assert_eq!(outcome.resized.len(), 1);
    scene.assert_sound().await;
}

#[tokio::test]
async fn a_wrong_index_of_the_right_size_is_found_when_all_headers_are_read() {
    type Change = fn(&mut PackBlobs);
    let changes: [Change; 3] = [
        |pack| pack.blobs[1].offset += 7,
        |pack| pack.blobs[1].handle.id = Id::of(b"other"),
        |pack| pack.blobs[1].uncompressed_length += 7,
    ];
    for change in changes {
        let scene = Scene::new().await;
        scene.remove(FileType::Index, scene.indexes[0]).await;
        let mut wrong = scene.first.clone();
        change(&mut wrong);
        scene.shop.index([wrong]).await;
        scene.repair().await;
        assert!(!scene.check().await.is_sound());
        scene.read_all().await;
        scene.assert_sound().await;
    }
}

#[tokio::test]
async fn what_the_index_knows_of_a_pack_without_a_header_is_kept_as_far_as_it_can_be_there() {
    let scene = Scene::new().await;
    let end = scene.first.blobs[0].length as usize + 5;
    scene.shop.alter_pack(scene.first.pack, |bytes| bytes.truncate(end));
    let outcome = scene.repair().await;
    assert_eq!(outcome.kept.len(), 1);
    let index = scene.shop.repository.load_index(&Silent).await.unwrap();
    let blobs = scene.first.blobs.clone();
    assert!(index.contains(&blobs[0].handle) && !index.contains(&blobs[1].handle));
    // Then its sound blobs are saved.
    let outcome = scene.repair_packs(&[scene.first.pack]).await;
    assert_eq!((outcome.packs[0].saved, outcome.packs[0].lost.len()), (1, 0));
    let problems = scene.check().await.problems;
    assert_eq!(problems.len(), 1, "the second blob: {problems:?}");

    // Of one that nobody knows anything of there is nothing to keep.
    let scene = Scene::new().await;
    scene.remove(FileType::Index, scene.indexes[0]).await;
    scene.shop.alter_pack(scene.first.pack, |bytes| bytes.truncate(end));
    let outcome = scene.repair().await;
    assert_eq!((outcome.kept.len(), outcome.skipped.len()), (0, 1));
}

#[tokio::test]
async fn full_index_files_stay_as_they_are() {
    let scene = Scene::new().await;
    // Never true, but as long as a full one.
    let blobs = (0..crate::index::FULL as u32).map(|n| crate::BlobEntry {
        handle: crate::BlobHandle::data(Id::of(&n.to_le_bytes())),
        offset: 40 * n,
        length: 40,
        uncompressed_length: 0,
    });
    let pack = PackBlobs { pack: Id::of(b"pack"), blobs: blobs.collect() };
    let size = pack.file_size() as usize;
    scene.shop.mem.put(&Handle::new(FileType::Pack, pack.pack), vec![0; size]);
    let full = scene.shop.index([pack]).await;
    scene.repair().await;
    let indexes = scene.indexes().await;
    assert!(indexes.contains(&full) && indexes.len() == 2, "{indexes:?}");
}

#[tokio::test]
async fn sound_blobs_of_a_damaged_pack_are_saved_and_the_others_are_lost() {
    let scene = Scene::new().await;
    let at = scene.first.blobs[1].offset as usize + 20;
    scene.shop.alter_pack(scene.first.pack, |bytes| bytes[at] ^= 1);
    let outcome = scene.repair_packs(&[scene.first.pack]).await;
    let salvaged = &outcome.packs[0];
    assert!(salvaged.is_there && salvaged.saved == 1);
    assert_eq!(salvaged.lost, [scene.first.blobs[1].handle]);
    let packs = scene.shop.repository.list(FileType::Pack).await.unwrap();
    assert!(packs.iter().all(|pack| pack.id != scene.first.pack));
    let report = scene.check().await;
    assert_eq!(report.errors, 1, "{report:?}");
    let lost: Vec<_> = report.affected.snapshots[0].files.iter().map(|file| &file.path).collect();
    assert_eq!(lost, [std::path::Path::new("/a")]);
}

#[tokio::test]
async fn a_blob_is_saved_though_another_pack_claims_to_have_it() {
    let scene = Scene::new().await;
    let copy = scene.shop.pack([data(noise(1, 3000))]);
    scene.shop.index([copy.clone()]).await;
    // That one is no good, and here only the other blob is.
    scene.shop.alter_pack(copy.pack, |bytes| bytes[20] ^= 1);
    let at = scene.first.blobs[1].offset as usize + 20;
    scene.shop.alter_pack(scene.first.pack, |bytes| bytes[at] ^= 1);
    scene.repair_packs(&[scene.first.pack]).await;
    scene.repair_packs(&[copy.pack]).await;
    let index = scene.shop.repository.load_index(&Silent).await.unwrap();
    let saved = scene.shop.repository.load_blob(&index, scene.first.blobs[0].handle).await;
    assert_eq!(saved.unwrap(), noise(1, 3000));
}

#[tokio::test]
async fn where_the_index_is_wrong_a_pack_is_saved_by_its_header() {
    let scene = Scene::new().await;
    scene.remove(FileType::Index, scene.indexes[0]).await;
    let mut wrong = scene.first.clone();
    wrong.blobs[1].offset += 7;
    scene.shop.index([wrong]).await;
    let unlisted = scene.second.pack;
    scene.remove(FileType::Index, scene.indexes[1]).await;
    let outcome = scene.repair_packs(&[scene.first.pack, unlisted]).await;
    assert!(outcome.packs.iter().all(|pack| pack.lost.is_empty()), "{outcome:?}");
    scene.assert_sound().await;
}

#[tokio::test]
async fn packs_that_are_missing_or_unknown_are_no_hindrance() {
    let scene = Scene::new().await;
    scene.remove(FileType::Pack, scene.second.pack).await;
    let outcome = scene.repair_packs(&[scene.second.pack, Id::of(b"never there")]).await;
    assert!(outcome.packs.iter().all(|pack| !pack.is_there && pack.saved == 0), "{outcome:?}");
    let lost: usize = outcome.packs.iter().map(|pack| pack.lost.len()).sum();
    assert_eq!(lost, 1);
    let index = scene.shop.repository.load_index(&Silent).await.unwrap();
    assert!(!index.contains(&scene.second.blobs[0].handle));
}

#[tokio::test]
async fn a_pack_is_removed_last_and_an_index_file_before_nothing_that_replaces_it() {
    let scene = Scene::new().await;
    let fault = Arc::new(Fault::new(scene.shop.mem.clone()));
    let repository = scene.shop.repository.with_backend(Arc::clone(&fault) as _);
    let packs = HashSet::from([scene.first.pack]);
    packs::repair(&repository, &packs, Arc::new(Silent)).await.unwrap();
    let save = |file_type| (Operation::Save, file_type);
    let remove = |file_type| (Operation::Remove, file_type);
    assert!(fault.happened_before(save(FileType::Pack), save(FileType::Index)));
    assert!(fault.happened_before(save(FileType::Index), remove(FileType::Index)));
    assert!(fault.happened_before(remove(FileType::Index), remove(FileType::Pack)));
    assert_eq!(fault.count(Operation::Remove, Some(FileType::Pack)), 1);
    scene.assert_sound().await;
}

#[tokio::test]
async fn an_index_that_is_no_index_is_dropped() {
    let scene = Scene::new().await;
    let repository = &scene.shop.repository;
    repository.save_unpacked(FileType::Index, b"{\"packs\":7}").await.unwrap();
    repository.save_unpacked(FileType::Index, &IndexFile::default().encode()).await.unwrap();
    let outcome = scene.repair().await;
    assert_eq!(outcome.unreadable_indexes.len(), 1);
    assert_eq!(scene.indexes().await.len(), 1);
    scene.assert_sound().await;
}
