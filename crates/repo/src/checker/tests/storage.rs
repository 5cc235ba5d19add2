//! What is asked of the storage, and what becomes of its faults.

use super::*;

#[tokio::test]
async fn every_byte_of_every_pack_is_read_once() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    let options = Options { snapshots: Some(vec![]), ..reading() };
    assert_sound(&check(&repository, &options, Arc::new(Silent)).await.unwrap());
    assert_eq!(fault.bytes(Operation::Load, Some(FileType::Pack)), 0, "nothing is needed");
    let report = check(&repository, &Options::default(), Arc::new(Silent)).await.unwrap();
    assert_sound(&report);
    let for_trees = fault.bytes(Operation::Load, Some(FileType::Pack));
    fault.reset();
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    let read = fault.bytes(Operation::Load, Some(FileType::Pack));
    assert_eq!(read - for_trees, report.bytes_read);
    assert!(for_trees <= sound.trees.file_size(), "neighbouring trees come with one request");
}

#[tokio::test]
async fn a_pack_that_is_sound_only_when_read_again_is_a_problem_of_the_storage() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    // The first two loads are for the trees, one after the other.
    fault.inject(Rule::flip(40).of(FileType::Pack).nth(3));
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    assert!(matches!(only(&report), Problem::PackUnsteady { .. }), "{report:?}");
    assert!(report.broken_packs.is_empty(), "there is nothing to mend in it");
}

#[tokio::test]
async fn a_pack_that_cannot_be_read_is_a_problem_but_not_called_broken() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    let failing = Rule::fail(BackendErrorKind::Permanent).on(Operation::Load).of(FileType::Pack);
    fault.inject(failing.always());
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    assert_eq!(report.errors, 4, "the root, and three packs");
    let unreadable = |problem: &&Problem| matches!(problem, Problem::PackUnreadable { .. });
    assert_eq!(report.problems.iter().filter(unreadable).count(), 3);
    assert!(report.broken_packs.is_empty());
}

#[tokio::test]
async fn storage_that_gives_less_than_asked_for_is_a_problem_and_no_panic() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    fault.inject(Rule::shorten(10).of(FileType::Pack).always());
    let report = check(&repository, &reading(), Arc::new(Silent)).await.unwrap();
    assert_eq!(report.errors, 4, "{report:?}");
}

#[tokio::test]
async fn a_transfer_that_fails_once_is_no_problem() {
    let sound = Sound::new().await;
    let (fault, repository) = faulty(&sound);
    for file_type in [FileType::Index, FileType::Snapshot] {
        fault.inject(Rule::flip(40).of(file_type));
    }
    assert_sound(&check(&repository, &Options::default(), Arc::new(Silent)).await.unwrap());
}

#[tokio::test]
async fn storage_that_cannot_be_listed_is_an_error() {
    let sound = Sound::new().await;
    for file_type in [FileType::Index, FileType::Snapshot, FileType::Pack] {
        let (fault, repository) = faulty(&sound);
        let rule = Rule::fail(BackendErrorKind::Permanent).on(Operation::List).of(file_type);
        fault.inject(rule);
        let result = check(&repository, &Options::default(), Arc::new(Silent)).await;
        assert!(matches!(result, Err(Error::Backend(_))), "{file_type}: {result:?}");
    }
}
