//! What damage means for snapshots.

use super::*;

/// The snapshots with the paths in them that are affected.
fn paths(report: &Report) -> Vec<(Id, Vec<String>)> {
    let path = |file: &AffectedFile| file.path.display().to_string();
    let files = |snapshot: &AffectedSnapshot| {
        assert_eq!(snapshot.count, snapshot.files.len() as u64);
        (snapshot.id, snapshot.files.iter().map(path).collect())
    };
    report.affected.snapshots.iter().map(files).collect()
}

#[tokio::test]
async fn of_a_sound_repository_nothing_is_affected_and_no_tree_is_read_twice() {
    let sound = Sound::new().await;
    let watch = Arc::new(Watch::default());
    let report = check(&sound.shop.repository, &reading(), watch.clone()).await.unwrap();
    assert_eq!(paths(&report), []);
    assert_eq!(watch.advanced(Phase::FindAffected), 0);
}

#[tokio::test]
async fn a_missing_pack_affects_the_files_with_blobs_in_it_in_every_snapshot_that_has_them() {
    let sound = Sound::new().await;
    let other = sound.shop.snapshot(sound.sub).await;
    sound.remove(FileType::Pack, sound.second.pack).await;
    let report = sound.check().await;
    let expected = [(other, vec!["/inner".into()]), (sound.snapshot, vec!["/sub/inner".into()])];
    let found = paths(&report);
    assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    assert_eq!(found.len(), 2);
    let lost = &report.affected.snapshots[0].files[0].loss;
    assert!(
        matches!(lost, Loss::Blob { pack: Some(pack), id }
            if *pack == sound.second.pack && *id == sound.second.blobs[0].handle.id),
        "{lost:?}"
    );
}

#[tokio::test]
async fn a_damaged_blob_is_seen_only_with_the_data_and_affects_only_what_has_it() {
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| bytes[50] ^= 1);
    assert_eq!(paths(&sound.check().await), []);
    assert_eq!(paths(&sound.check_data().await), [(sound.snapshot, vec!["/a".into()])]);
    // A header is needed by nobody who restores.
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| {
        let at = bytes.len() - 30;
        bytes[at] ^= 1;
    });
    let report = sound.check_data().await;
    assert_eq!((report.errors, paths(&report)), (1, vec![]));
}

#[tokio::test]
async fn a_pack_that_is_cut_short_affects_what_was_behind_the_cut() {
    let sound = Sound::new().await;
    let end = sound.first.blobs[0].length as usize;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| bytes.truncate(end));
    assert_eq!(paths(&sound.check().await), [(sound.snapshot, vec!["/a".into()])]);
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| bytes.truncate(bytes.len() - 10));
    assert_eq!(paths(&sound.check().await), []);
}

#[tokio::test]
async fn what_has_another_sound_copy_is_not_affected() {
    for (first, again) in [(true, false), (false, true), (true, true)] {
        let sound = Sound::new().await;
        let copy = sound.shop.pack([data(noise(2, 300))]);
        sound.shop.index([copy.clone()]).await;
        for (gone, pack) in [(first, sound.second.pack), (again, copy.pack)] {
            if gone {
                sound.remove(FileType::Pack, pack).await;
            }
        }
        let affected = paths(&sound.check().await);
        assert_eq!(affected.len(), usize::from(first && again), "{affected:?}");
    }
}

#[tokio::test]
async fn a_lost_tree_affects_its_folder_and_a_lost_root_all_of_the_snapshot() {
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.trees.pack, |bytes| bytes[20] ^= 1); // in the first: sub
    let report = sound.check().await;
    assert_eq!(paths(&report), [(sound.snapshot, vec!["/sub".into()])]);
    let loss = &report.affected.snapshots[0].files[0].loss;
    assert!(matches!(loss, Loss::Tree { id, .. } if *id == sound.sub), "{loss:?}");
    sound.remove(FileType::Index, sound.index).await;
    assert_eq!(paths(&sound.check().await), [(sound.snapshot, vec!["/".into()])]);
}

#[tokio::test]
async fn a_blob_that_is_in_no_index_affects_its_file() {
    let shop = Workshop::new().await;
    let id = shop.snapshot_of(vec![file("a", &[&data("missing")]), file("b", &[])]).await;
    let report = checked(&shop, Options::default()).await;
    assert_eq!(paths(&report), [(id, vec!["/a".into()])]);
}

#[tokio::test]
async fn files_beyond_those_that_are_listed_are_counted() {
    let shop = Workshop::new().await;
    let missing = data("missing");
    let nodes = (0..300).map(|n| file(&format!("f{n:03}"), &[&missing])).collect();
    let leaf = tree(nodes);
    let folders: Vec<_> = (0..10).map(|n| folder(&format!("d{n}"), &leaf)).collect();
    let root = tree(folders);
    let id = root.handle.id;
    shop.index([shop.pack([leaf, root])]).await;
    for _ in 0..Affected::LISTED + 2 {
        shop.snapshot(id).await;
    }
    let report = checked(&shop, Options::default()).await;
    let snapshots = &report.affected.snapshots;
    assert_eq!(snapshots.len(), Affected::LISTED + 2);
    assert!(snapshots.iter().all(|snapshot| snapshot.count == 3000));
    let listed = snapshots.iter().filter(|snapshot| snapshot.files.len() == Affected::FILES);
    assert_eq!(listed.count(), Affected::LISTED);
}

#[tokio::test]
async fn a_hostile_name_stays_in_its_folder() {
    let shop = Workshop::new().await;
    let inner = tree(vec![file("/etc/passwd", &[&data("missing")])]);
    let root = tree(vec![folder("..", &inner)]);
    let id = root.handle.id;
    shop.index([shop.pack([inner, root])]).await;
    let snapshot = shop.snapshot(id).await;
    let report = checked(&shop, Options::default()).await;
    assert_eq!(paths(&report), [(snapshot, vec!["/..//etc/passwd".into()])]);
}
