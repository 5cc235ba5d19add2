//! The index files.

use super::*;

#[tokio::test]
async fn an_index_that_cannot_be_read_ends_the_check_with_a_hint_to_repair_it() {
    for change in
        [|bytes: &mut Vec<u8>| flip(bytes), Vec::clear, |bytes: &mut Vec<u8>| bytes.truncate(40)]
    {
        let sound = Sound::new().await;
        sound.alter(FileType::Index, sound.index, change);
        let report = sound.check_data().await;
        assert!(
            matches!(only(&report), Problem::IndexUnreadable { index, .. } if *index == sound.index)
        );
        assert!(report.suggest_repair_index);
        assert_eq!((report.snapshots, report.trees, report.packs_read), (1, 0, 0));
    }
}

#[tokio::test]
async fn an_index_that_is_no_index_is_a_problem() {
    for json in ["", "{}", "[]", "{\"packs\":[{}]}", "{\"packs\":7}", "\u{0}"] {
        let sound = Sound::new().await;
        sound.shop.repository.save_unpacked(FileType::Index, json.as_bytes()).await.unwrap();
        let report = sound.check().await;
        assert!(matches!(only(&report), Problem::IndexUnreadable { .. }), "{json}");
    }
}

#[tokio::test]
async fn all_indexes_gone_is_a_problem_of_each_root_and_packs_are_orphans() {
    let sound = Sound::new().await;
    sound.remove(FileType::Index, sound.index).await;
    let report = sound.check().await;
    assert!(
        matches!(only(&report), Problem::TreeUnreadable { tree, error: Error::BlobNotFound(_) }
        if *tree == sound.root)
    );
    assert_eq!(report.orphaned_packs, 3);
}

#[tokio::test]
async fn blobs_that_overlap_in_the_index_are_a_problem_at_once_and_reading_ends() {
    for offset in [1, 40_000, u32::MAX] {
        let sound = Sound::new().await;
        let mut wrong = sound.first.clone();
        let moved = wrong.blobs[1].handle;
        wrong.blobs[1].offset = offset;
        sound.reindex([wrong, sound.second.clone(), sound.trees.clone()]).await;
        let report = sound.check().await;
        let end = u64::from(sound.first.blobs[0].length);
        let misplaced = report.problems.iter().any(|problem| {
            matches!(problem, Problem::Misplaced { blob, offset: at, end: expected, .. }
                if *blob == moved && *at == offset && *expected == end)
        });
        assert!(misplaced, "{report:?}");
        let report = sound.check_data().await;
        let damaged = report.problems.iter().find_map(|problem| match problem {
            Problem::PackDamaged { pack, faults } if *pack == sound.first.pack => Some(faults),
            _ => None,
        });
        let faults = damaged.unwrap();
        assert!(
            faults
                .iter()
                .any(|fault| matches!(fault, PackFault::NotInIndex { blob } if *blob == moved))
        );
    }
}

#[tokio::test]
async fn a_length_that_no_sealed_blob_has_is_a_problem() {
    let sound = Sound::new().await;
    let mut wrong = sound.second.clone();
    wrong.blobs[0].length = 31;
    sound.reindex([sound.first.clone(), wrong, sound.trees.clone()]).await;
    let report = sound.check_data().await;
    let has = |wanted: fn(&Problem) -> bool| report.problems.iter().any(wanted);
    assert!(has(|problem| matches!(problem, Problem::ImpossibleLength { length: 31, .. })));
    assert!(has(|problem| matches!(problem, Problem::PackSize { .. })));
    assert!(has(|problem| matches!(problem, Problem::PackDamaged { .. })));
    assert!(has(|problem| matches!(
        problem,
        Problem::Node { fault: NodeFault::BlobMissing { .. }, .. }
    )));
}
