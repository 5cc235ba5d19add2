//! The index and the packs that it lists.

use super::*;

#[tokio::test]
async fn a_missing_pack_is_a_problem_whether_it_is_needed_or_not() {
    let sound = Sound::new().await;
    sound.remove(FileType::Pack, sound.second.pack).await;
    for report in [sound.check().await, sound.check_data().await] {
        assert!(
            matches!(only(&report), Problem::PackMissing { pack } if *pack == sound.second.pack)
        );
        assert_eq!(report.broken_packs, BTreeSet::from([sound.second.pack]));
    }
}

#[tokio::test]
async fn a_pack_of_another_size_is_a_problem() {
    for change in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 10),
        |bytes: &mut Vec<u8>| bytes.push(0),
    ] {
        let sound = Sound::new().await;
        sound.alter(FileType::Pack, sound.first.pack, change);
        let report = sound.check().await;
        let Problem::PackSize { pack, expected, found } = only(&report) else {
            panic!("{report:?}")
        };
        assert_eq!((*pack, *expected), (sound.first.pack, sound.first.file_size()));
        assert!(expected.abs_diff(*found) <= 10);
        assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
        let report = sound.check_data().await;
        assert_eq!(report.errors, 2, "as restic, which counts it again when it reads: {report:?}");
    }
}

#[tokio::test]
async fn a_pack_of_no_bytes_is_a_problem_and_nothing_worse() {
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.first.pack, Vec::clear);
    let report = sound.check_data().await;
    assert_eq!(report.errors, 2);
    assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
}

#[tokio::test]
async fn an_orphaned_pack_is_a_hint_to_prune() {
    let sound = Sound::new().await;
    let orphan = sound.shop.pack([data("left behind")]);
    let report = sound.check_data().await;
    assert!(report.is_sound() && report.suggest_prune && !report.suggest_repair_index);
    assert_eq!(report.orphaned_packs, 1);
    assert_eq!(report.packs_read, 3, "nobody knows what should be in it");
    let size = orphan.file_size();
    assert_eq!(report.hints, [Hint::OrphanedPack { pack: orphan.pack, size }]);
}

#[tokio::test]
async fn a_pack_in_two_indexes_that_agree_is_a_hint_to_repair_the_index() {
    let sound = Sound::new().await;
    let mut turned = sound.first.clone();
    turned.blobs.reverse(); // the order within an index means nothing
    let second = sound.shop.index([turned]).await;
    let report = sound.check_data().await;
    assert!(report.is_sound() && report.suggest_repair_index && !report.suggest_prune);
    let [Hint::DuplicateIndex { pack, indexes }] = &*report.hints else { panic!("{report:?}") };
    assert_eq!(*pack, sound.first.pack);
    assert_eq!(BTreeSet::from_iter(indexes), BTreeSet::from([&sound.index, &second]));
}

#[tokio::test]
async fn two_indexes_that_say_different_things_of_a_pack_are_a_problem() {
    let sound = Sound::new().await;
    let mut part = sound.first.clone();
    part.blobs.pop();
    sound.shop.index([part]).await;
    let report = sound.check().await;
    assert!(matches!(only(&report), Problem::IndexesDisagree { pack, indexes }
        if *pack == sound.first.pack && indexes.len() == 2));
    assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
}

#[tokio::test]
async fn a_pack_that_one_index_lists_in_two_parts_is_fine() {
    let sound = Sound::new().await;
    let mut parts = [sound.first.clone(), sound.first.clone()];
    parts[0].blobs.pop();
    parts[1].blobs.remove(0);
    let others = [sound.second.clone(), sound.trees.clone()];
    sound.reindex(parts.into_iter().chain(others)).await;
    assert_sound(&sound.check().await);
}

#[tokio::test]
async fn a_mixed_pack_is_a_hint_to_prune() {
    let shop = Workshop::new().await;
    let blob = data("text");
    let root = tree(vec![file("a", &[&blob])]);
    let id = root.handle.id;
    let mixed = shop.pack([blob, root]);
    let pack = mixed.pack;
    shop.index([mixed]).await;
    shop.snapshot(id).await;
    let report = checked(&shop, reading()).await;
    assert!(report.is_sound() && report.suggest_prune);
    assert_eq!(report.hints, [Hint::MixedPack { pack }]);
}
