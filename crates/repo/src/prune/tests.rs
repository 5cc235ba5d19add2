use std::collections::BTreeSet;

use super::*;
use crate::backend::Backend;
use crate::backend::fault::{Fault, Operation, Rule};
use crate::blob::BlobHandle;
use crate::checker::{self, ReadData};
use crate::handle::{FileType, Handle};
use crate::id::Id;
use crate::identity::Identity;
use crate::index::PackBlobs;
use crate::progress::Silent;
use crate::workshop::{Piece, Workshop, data, file, noise, tree};

fn silent() -> Arc<dyn Progress> {
    Arc::new(Silent)
}

fn tight() -> Options {
    Options { max_unused: MaxUnused::Bytes(0), ..Options::default() }
}

fn locks() -> LockOptions {
    LockOptions::new(Identity::current())
}

impl Workshop {
    async fn plan(&self, options: &Options) -> Result<Plan> {
        Plan::make(&self.repository, options, &silent()).await
    }

    async fn repacked(&self, options: &Options) -> Repacked {
        self.plan(options).await.unwrap().repack(&self.repository, &silent()).await.unwrap()
    }

    async fn sweep(&self, repacked: Repacked) -> Result<Swept> {
        let unlisted = repacked.unlist(&self.repository, &silent()).await?;
        Ok(unlisted.remove(&self.repository, &silent()).await)
    }

    async fn prune(&self, options: &Options) -> Result<Swept> {
        let repacked = self.plan(options).await?.repack(&self.repository, &silent()).await?;
        self.sweep(repacked).await
    }

    async fn packs(&self) -> BTreeSet<Id> {
        let files = self.repository.list(FileType::Pack).await.unwrap();
        files.into_iter().map(|file| file.id).collect()
    }

    async fn remove_pack(&self, pack: Id) {
        self.repository.remove(FileType::Pack, pack).await.unwrap();
    }

    async fn forget(&self, snapshot: Id) {
        self.repository.remove(FileType::Snapshot, snapshot).await.unwrap();
    }

    /// Everything is there and sound, nothing is listed that is not there, and the other way round.
    #[track_caller]
    fn assert_sound(&self) -> impl Future<Output = checker::Report> {
        let caller = std::panic::Location::caller();
        let repository = self.repository.clone();
        async move {
            let read_data = ReadData::All;
            let options = checker::Options { read_data, find_unused: true, ..Default::default() };
            let report = checker::check(&repository, &options, silent()).await.unwrap();
            let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
            assert!(report.is_sound(), "{caller}: {problems:?}");
            assert_eq!(report.orphaned_packs, 0, "{caller}");
            report
        }
    }
}

fn of(piece: &Piece) -> Piece {
    Piece { handle: piece.handle, plaintext: piece.plaintext.clone(), claim: None }
}

/// Two snapshots, of one file each: the first needs the blobs 0 and 1, the second 1 and 2. All data is in
/// one pack.
struct Two {
    workshop: Workshop,
    blobs: Vec<Piece>,
    pack: PackBlobs,
    snapshots: [Id; 2],
}

impl Two {
    async fn new() -> Self {
        let workshop = Workshop::new().await;
        let blobs: Vec<_> = (0..3).map(|n| data(noise(n, 5000))).collect();
        let pack = workshop.pack(blobs.iter().map(of));
        workshop.index([pack.clone()]).await;
        let one = workshop.snapshot_of(vec![file("f", &[&blobs[0], &blobs[1]])]).await;
        let two = workshop.snapshot_of(vec![file("f", &[&blobs[1], &blobs[2]])]).await;
        Self { workshop, blobs, pack, snapshots: [one, two] }
    }

    async fn has(&self, number: usize) -> bool {
        let index = self.workshop.repository.load_index(&Silent).await.unwrap();
        index.contains(&self.blobs[number].handle)
    }
}

#[tokio::test]
async fn where_everything_is_needed_nothing_is_done() {
    let two = Two::new().await;
    let plan = two.workshop.plan(&tight()).await.unwrap();
    assert!(plan.is_nothing());
    assert_eq!((plan.statistics().used.blobs, plan.statistics().packs_kept), (5, 3));
    let prune = Prune { options: tight(), locks: &locks(), progress: silent() };
    let outcome = prune.run(&two.workshop.repository, |_| true).await.unwrap();
    assert!(matches!(outcome.end, End::Nothing));
    assert_eq!(outcome.exclusive, Duration::ZERO);
}

#[tokio::test]
async fn who_holds_a_shared_lock_prunes_with_it() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let fault = Arc::new(Fault::new(two.workshop.mem.clone()));
    let repository = two.workshop.repository.with_backend(Arc::clone(&fault) as _);
    let prune = Prune { options: tight(), locks: &locks(), progress: silent() };
    let shared = Lock::acquire(&repository, LockKind::Shared, &locks()).await.unwrap();
    let outcome = prune.run_under(&repository, shared, |_| true).await.unwrap();
    assert!(matches!(&outcome.end, End::Swept(Swept { packs: 2, .. })), "{outcome:?}");
    let stored = fault.calls().into_iter().filter(|call| call.operation == Operation::Save);
    let mut stored = stored.map(|call| call.file_type.unwrap());
    // Only then comes the exclusive one.
    assert_eq!(stored.next(), Some(FileType::Lock));
    assert_eq!(stored.next(), Some(FileType::Pack));
    assert!(repository.list(FileType::Lock).await.unwrap().is_empty());
    two.workshop.assert_sound().await;

    let shared = Lock::acquire(&repository, LockKind::Shared, &locks()).await.unwrap();
    let outcome = prune.run_under(&repository, shared, |_| true).await.unwrap();
    assert!(matches!(outcome.end, End::Nothing), "{outcome:?}");
    assert!(repository.list(FileType::Lock).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_forgotten_snapshot_alone_needed_is_removed() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let prune = Prune { options: tight(), locks: &locks(), progress: silent() };
    let outcome = prune.run(&two.workshop.repository, |_| true).await.unwrap();
    let End::Swept(swept) = outcome.end else { panic!("{outcome:?}") };
    // The pack of data, and that of the forgotten snapshot's tree.
    assert_eq!((swept.packs, swept.packs_left, swept.packs_rescued), (2, 0, 0));
    let statistics = outcome.statistics;
    assert_eq!((statistics.packs_repacked, statistics.packs_removed), (1, 1));
    assert_eq!((statistics.repack.blobs, statistics.repack_removed.blobs), (3, 1));
    assert!(!two.has(0).await && two.has(1).await && two.has(2).await);
    let report = two.workshop.assert_sound().await;
    assert_eq!((report.unused.len(), report.packs, report.hints.len()), (0, 2, 0));
}

#[tokio::test]
async fn a_little_waste_is_tolerated() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let options = Options { max_unused: MaxUnused::Percent(50.0), ..tight() };
    // The pack is far from full, but alone.
    let options = Options { small_pack: Some(1), ..options };
    let swept = two.workshop.prune(&options).await.unwrap();
    assert_eq!(swept.packs, 1, "the tree alone");
    assert!(two.has(0).await);
    two.workshop.assert_sound().await;
}

#[tokio::test]
async fn limits_for_copying_are_kept() {
    for options in
        [Options { max_repack: Some(0), ..tight() }, Options { cacheable_only: true, ..tight() }]
    {
        let two = Two::new().await;
        two.workshop.forget(two.snapshots[0]).await;
        let plan = two.workshop.plan(&options).await.unwrap();
        assert_eq!(plan.statistics().packs_repacked, 0, "{options:?}");
        assert_eq!(plan.statistics().packs_removed, 1, "{options:?}");
    }
}

#[tokio::test]
async fn nothing_is_done_if_the_plan_is_refused() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let before = two.workshop.mem.files();
    let prune = Prune { options: tight(), locks: &locks(), progress: silent() };
    let outcome = prune.run(&two.workshop.repository, |_| false).await.unwrap();
    assert!(matches!(outcome.end, End::Nothing));
    assert_eq!(two.workshop.mem.files(), before);
}

#[tokio::test]
async fn a_backup_that_began_before_and_ends_meanwhile_loses_nothing() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let repacked = two.workshop.repacked(&tight()).await;
    // It loaded the index when blob 0 was there, and stores nothing but a tree of its own.
    let tree = tree(vec![file("again", &[&two.blobs[0]])]);
    let root = tree.handle.id;
    two.workshop.index([two.workshop.pack([tree])]).await;
    two.workshop.snapshot(root).await;
    let swept = two.workshop.sweep(repacked).await.unwrap();
    assert_eq!((swept.packs, swept.packs_rescued), (1, 1));
    assert!(two.workshop.packs().await.contains(&two.pack.pack));
    two.workshop.assert_sound().await;
    // What was copied in vain is noticed by the next prune.
    two.workshop.prune(&tight()).await.unwrap();
    let report = two.workshop.assert_sound().await;
    assert_eq!(report.unused.len(), 0);
    assert!(two.has(0).await);
}

#[tokio::test]
async fn a_snapshot_that_comes_back_as_it_was_keeps_its_tree() {
    let two = Two::new().await;
    let old = two.workshop.repository.load_snapshot(two.snapshots[0]).await.unwrap();
    two.workshop.forget(two.snapshots[0]).await;
    let repacked = two.workshop.repacked(&tight()).await;
    // Another backup of the same files needs no new blob at all.
    two.workshop.snapshot(old.tree).await;
    let swept = two.workshop.sweep(repacked).await.unwrap();
    assert_eq!((swept.packs, swept.packs_rescued), (0, 2));
    two.workshop.assert_sound().await;
}

#[tokio::test]
async fn the_packs_of_a_backup_at_work_are_not_taken_for_orphans() {
    let two = Two::new().await;
    let orphan = two.workshop.pack([data(noise(7, 100))]);
    let blob = data(noise(8, 100));
    let handle = blob.handle;
    let content = file("new", &[&blob]);
    let unfinished = two.workshop.pack([blob]);
    let repacked = two.workshop.repacked(&tight()).await;
    two.workshop.index([unfinished.clone()]).await;
    two.workshop.snapshot_of(vec![content]).await;
    let swept = two.workshop.sweep(repacked).await.unwrap();
    assert_eq!(swept.packs, 1);
    let packs = two.workshop.packs().await;
    assert!(packs.contains(&unfinished.pack) && !packs.contains(&orphan.pack));
    two.workshop.assert_sound().await;
    let index = two.workshop.repository.load_index(&Silent).await.unwrap();
    assert!(index.contains(&handle));
}

#[tokio::test]
async fn another_prune_in_between_ends_it() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let repacked = two.workshop.repacked(&tight()).await;
    two.workshop.prune(&tight()).await.unwrap();
    let before = two.workshop.mem.files();
    let error = two.workshop.sweep(repacked).await.unwrap_err();
    assert!(matches!(error, Error::Overtaken), "{error}");
    assert_eq!(two.workshop.mem.files(), before);
    two.workshop.prune(&tight()).await.unwrap();
    let report = two.workshop.assert_sound().await;
    assert_eq!((report.unused.len(), report.hints.len()), (0, 0));
}

#[tokio::test]
async fn a_repair_in_between_that_was_killed_ends_it() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let repacked = two.workshop.repacked(&tight()).await;
    // It has stored its new index and not removed the old one yet, and its lock was removed.
    two.workshop.index([two.pack.clone()]).await;
    let error = two.workshop.sweep(repacked).await.unwrap_err();
    assert!(matches!(error, Error::Overtaken), "{error}");
    assert!(two.workshop.packs().await.contains(&two.pack.pack));
    two.workshop.prune(&tight()).await.unwrap();
    let report = two.workshop.assert_sound().await;
    assert_eq!((report.unused.len(), report.hints.len()), (0, 0));
}

#[tokio::test]
async fn without_the_exclusive_lock_the_work_is_kept_for_the_next_prune() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let repository = &two.workshop.repository;
    let other = Lock::acquire(repository, LockKind::Shared, &locks()).await.unwrap();
    let prune = Prune { options: tight(), locks: &locks(), progress: silent() };
    let outcome = prune.run(repository, |_| true).await.unwrap();
    let End::Postponed(holders) = outcome.end else { panic!("{outcome:?}") };
    assert_eq!(holders.len(), 1);
    two.workshop.assert_sound().await;
    other.release().await.unwrap();

    let plan = two.workshop.plan(&tight()).await.unwrap();
    // The copies are chosen, the originals go, and nothing is copied again.
    assert_eq!(plan.statistics().packs_repacked, 0);
    assert_eq!(plan.statistics().packs_removed, 2);
    prune.run(repository, |_| true).await.unwrap();
    let report = two.workshop.assert_sound().await;
    assert_eq!((report.unused.len(), report.hints.len()), (0, 0));
    assert!(!two.has(0).await);
}

#[tokio::test(start_paused = true)]
async fn the_exclusive_lock_settles_while_the_last_is_stored() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let slow = Arc::new(Fault::new(two.workshop.mem.clone()));
    let a_while = Duration::from_secs(5);
    slow.inject(Rule::delay(a_while).on(Operation::Save).of(FileType::Index).times(1));
    let repository = two.workshop.repository.with_backend(Arc::clone(&slow) as Arc<dyn Backend>);
    let prune = Prune { options: tight(), locks: &locks(), progress: silent() };
    let outcome = prune.run(&repository, |_| true).await.unwrap();
    assert!(matches!(outcome.end, End::Swept(_)), "{outcome:?}");
    let saved = |file_type| {
        let calls = slow.calls().into_iter();
        calls.filter(move |call| {
            (call.operation, call.file_type) == (Operation::Save, Some(file_type))
        })
    };
    let index = saved(FileType::Index).next().unwrap();
    let exclusive = saved(FileType::Lock).nth(1).unwrap();
    assert!(exclusive.ended < index.ended, "{exclusive:?} {index:?}");
    two.workshop.assert_sound().await;
    assert_eq!(repository.list(FileType::Lock).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn others_who_leave_in_time_only_make_it_wait() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let repository = &two.workshop.repository;
    let other = Lock::acquire(repository, LockKind::Shared, &locks()).await.unwrap();
    let patient = LockOptions { retry: Duration::from_secs(60), ..locks() };
    let prune = Prune { options: tight(), locks: &patient, progress: silent() };
    let leaves = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        other.release().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(prune.run(repository, |_| true), leaves);
    assert!(matches!(outcome.unwrap().end, End::Swept(_)));
    two.workshop.assert_sound().await;
    assert_eq!(repository.list(FileType::Lock).await.unwrap(), []);
}

#[tokio::test]
async fn no_lock_is_left_behind() {
    let two = Two::new().await;
    two.workshop.forget(two.snapshots[0]).await;
    let prune = Prune { options: tight(), locks: &locks(), progress: silent() };
    prune.run(&two.workshop.repository, |_| true).await.unwrap();
    assert_eq!(two.workshop.repository.list(FileType::Lock).await.unwrap(), []);
}

#[tokio::test]
async fn a_repository_that_is_not_sound_is_left_alone() {
    // A needed pack is missing.
    let two = Two::new().await;
    two.workshop.remove_pack(two.pack.pack).await;
    let error = two.workshop.plan(&tight()).await.err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    // It is shorter than the index says.
    let two = Two::new().await;
    two.workshop.alter_pack(two.pack.pack, |bytes| bytes.truncate(100));
    let error = two.workshop.plan(&tight()).await.err().unwrap();
    assert!(error.to_string().contains("the index says"), "{error}");
    // A blob is nowhere.
    let two = Two::new().await;
    let lost = data(noise(9, 10));
    two.workshop.snapshot_of(vec![file("f", &[&lost])]).await;
    let error = two.workshop.plan(&tight()).await.err().unwrap();
    assert!(matches!(error, Error::IndexIncomplete { blob } if blob == lost.handle), "{error}");
    // A tree is nowhere.
    let two = Two::new().await;
    let lost = Id::of(b"no tree");
    two.workshop.snapshot(lost).await;
    let error = two.workshop.plan(&tight()).await.err().unwrap();
    assert!(
        matches!(error, Error::BlobNotFound(blob) if blob == BlobHandle::tree(lost)),
        "{error}"
    );
    // A snapshot cannot be read.
    let two = Two::new().await;
    let handle = Handle::new(FileType::Snapshot, two.snapshots[0]);
    two.workshop.mem.alter(&handle, |bytes| bytes[40] ^= 1);
    assert!(two.workshop.plan(&tight()).await.is_err());
}

#[tokio::test]
async fn a_missing_pack_that_nobody_needs_leaves_the_index() {
    let two = Two::new().await;
    let lost = two.workshop.pack([data(noise(5, 100))]);
    two.workshop.index([lost.clone()]).await;
    two.workshop.remove_pack(lost.pack).await;
    let plan = two.workshop.plan(&tight()).await.unwrap();
    assert_eq!(plan.statistics().packs_missing, 1);
    two.workshop.prune(&tight()).await.unwrap();
    two.workshop.assert_sound().await;
}

#[tokio::test]
async fn a_damaged_blob_is_copied_from_elsewhere_or_not_at_all() {
    for has_copy in [true, false] {
        let two = Two::new().await;
        if has_copy {
            let copy = two.workshop.pack([of(&two.blobs[1]), data(noise(6, 9000))]);
            two.workshop.index([copy]).await;
        }
        two.workshop.forget(two.snapshots[0]).await;
        let entry = two.pack.blobs[1];
        two.workshop.alter_pack(two.pack.pack, |bytes| bytes[entry.offset as usize + 20] ^= 1);
        let packs = two.workshop.packs().await;
        let result = two.workshop.prune(&tight()).await;
        if has_copy {
            result.unwrap();
            two.workshop.assert_sound().await;
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
            assert!(two.workshop.packs().await.is_superset(&packs));
        }
    }
}

#[tokio::test]
async fn ten_small_packs_become_one_and_nine_stay() {
    // With the pack of the tree.
    for (count, packs) in [(8, 9), (9, 2)] {
        let workshop = Workshop::new().await;
        let blobs: Vec<_> = (0..count).map(|n| data(noise(n, 100))).collect();
        for blob in &blobs {
            workshop.index([workshop.pack([of(blob)])]).await;
        }
        let all: Vec<_> = blobs.iter().collect();
        workshop.snapshot_of(vec![file("f", &all)]).await;
        let options = Options { small_pack: Some(1 << 20), ..tight() };
        workshop.prune(&options).await.unwrap();
        let report = workshop.assert_sound().await;
        assert_eq!(report.packs, packs, "of {count}");
        assert!(workshop.plan(&options).await.unwrap().is_nothing());
    }
}

#[tokio::test]
async fn trees_are_compressed_and_mixed_packs_taken_apart() {
    let workshop = Workshop::new().await;
    let blob = data(noise(1, 100));
    let folder = tree(vec![file("f", &[&blob])]);
    let root = folder.handle.id;
    workshop.index([workshop.pack([blob, folder])]).await;
    workshop.snapshot(root).await;
    let swept = workshop.prune(&tight()).await.unwrap();
    assert_eq!(swept.packs, 1);
    let report = workshop.assert_sound().await;
    assert_eq!((report.packs, report.hints.len()), (2, 0));
    assert!(workshop.plan(&tight()).await.unwrap().is_nothing());
}

#[tokio::test]
async fn options_that_cannot_be_meant_are_refused() {
    let workshop = Workshop::of_version(1).await;
    let options = Options { uncompressed: true, ..Options::default() };
    assert!(matches!(workshop.plan(&options).await, Err(Error::Refused(_))));
    let options = Options { small_pack: Some(1 << 30), ..Options::default() };
    assert!(matches!(workshop.plan(&options).await, Err(Error::Refused(_))));
}
