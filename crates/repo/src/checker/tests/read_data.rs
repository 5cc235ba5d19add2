//! Reading packs in full.

use super::*;

#[tokio::test]
async fn reading_finds_what_a_plain_check_does_not() {
    type Change = fn(&mut Vec<u8>);
    type Shows = fn(&PackFault) -> bool;
    let changes: [(Change, Shows); 4] = [
        (|bytes| bytes[100] ^= 1, |fault| matches!(fault, PackFault::Blob(_))),
        // In the sealed header; in its length.
        (
            |bytes| {
                let at = bytes.len() - 30;
                bytes[at] ^= 1
            },
            |fault| matches!(fault, PackFault::Header(_)),
        ),
        (
            |bytes| {
                let at = bytes.len() - 4;
                bytes[at..].fill(0xff)
            },
            |fault| matches!(fault, PackFault::Header(_)),
        ),
        (|bytes| bytes.fill(0), |fault| matches!(fault, PackFault::Header(_))),
    ];
    for (change, expected) in changes {
        let sound = Sound::new().await;
        sound.alter(FileType::Pack, sound.first.pack, change);
        assert_sound(&sound.check().await);
        let report = sound.check_data().await;
        let Problem::PackDamaged { pack, faults } = only(&report) else { panic!("{report:?}") };
        assert_eq!(*pack, sound.first.pack);
        assert!(faults.iter().any(|fault| matches!(fault, PackFault::Hash { .. })), "{faults:?}");
        assert!(faults.iter().any(expected), "{faults:?}");
        assert_eq!(report.broken_packs, BTreeSet::from([sound.first.pack]));
        assert_eq!(report.packs_read, 3, "the others are read all the same");
    }
}

#[tokio::test]
async fn a_sound_pack_under_another_name_is_a_problem() {
    let sound = Sound::new().await;
    let mut renamed = sound.second.clone();
    renamed.pack = Id::of(b"another");
    let bytes = sound.shop.mem.files()[&Handle::new(FileType::Pack, sound.second.pack)].clone();
    sound.shop.mem.put(&Handle::new(FileType::Pack, renamed.pack), bytes);
    sound.remove(FileType::Pack, sound.second.pack).await;
    sound.reindex([sound.first.clone(), renamed, sound.trees.clone()]).await;
    assert_sound(&sound.check().await);
    let report = sound.check_data().await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert!(matches!(faults[..], [PackFault::Hash { found }] if found == sound.second.pack));
}

#[tokio::test]
async fn an_index_that_differs_from_the_header_is_a_problem() {
    type Change = fn(&mut PackBlobs);
    let changes: [Change; 3] = [
        |pack| pack.blobs[1].uncompressed_length += 7,
        |pack| pack.blobs[1].handle.id = Id::of(b"other"),
        // Same place, same length, other type.
        |pack| pack.blobs[1].handle.blob_type = BlobType::Tree,
    ];
    for change in changes {
        let sound = Sound::new().await;
        let mut wrong = sound.first.clone();
        let right = wrong.blobs[1].handle;
        change(&mut wrong);
        let listed = wrong.blobs[1].handle;
        // Both entries, so that no file lacks a blob.
        let copy = sound.shop.pack([data(b"text".repeat(1000))]);
        sound.reindex([wrong, sound.second.clone(), sound.trees.clone(), copy]).await;
        assert!(sound.check().await.is_sound());
        let report = sound.check_data().await;
        let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
        let has = |wanted: &dyn Fn(&PackFault) -> bool| faults.iter().any(wanted);
        assert!(has(&|fault| matches!(fault, PackFault::NotInIndex { blob } if *blob == right)));
        assert!(has(&|fault| matches!(fault, PackFault::NotInHeader { blob } if *blob == listed)));
    }
}

#[tokio::test]
async fn a_wrong_length_on_which_index_and_header_agree_is_a_problem() {
    let shop = Workshop::new().await;
    let mut blob = data(b"text".repeat(1000));
    let node = file("a", &[&blob]);
    blob.claim = Some(4001);
    shop.index([shop.pack([blob])]).await;
    shop.snapshot_of(vec![node]).await;
    assert_sound(&checked(&shop, Options::default()).await);
    let report = checked(&shop, reading()).await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert!(matches!(faults[..], [PackFault::BlobLength { expected: 4001, found: 4000, .. }]));
}

#[tokio::test]
async fn other_content_and_bombs_under_a_blobs_name_are_problems() {
    for (content, claim) in [(b"other".to_vec(), None), (vec![0; 80 << 20], Some(5))] {
        let shop = Workshop::new().await;
        let mut blob = data("right");
        let (node, handle) = (file("a", &[&blob]), blob.handle);
        (blob.plaintext, blob.claim) = (content, claim);
        shop.index([shop.pack([blob])]).await;
        shop.snapshot_of(vec![node]).await;
        assert_sound(&checked(&shop, Options::default()).await);
        let report = checked(&shop, reading()).await;
        let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
        let [PackFault::Blob(Error::Damaged { what, .. })] = &faults[..] else {
            panic!("{faults:?}")
        };
        assert_eq!(*what, handle.into());
    }
}

#[tokio::test]
async fn blobs_larger_than_what_is_read_at_once_are_checked() {
    let shop = Workshop::new().await;
    let pieces = || [data(noise(1, 3 << 20)), data(noise(2, 9 << 20)), data(noise(3, 10))];
    let [one, two, three] = pieces();
    let node = file("a", &[&one, &two, &three]);
    let pack = shop.pack(pieces());
    let id = pack.pack;
    shop.index([pack]).await;
    shop.snapshot_of(vec![node]).await;
    assert_sound(&checked(&shop, reading()).await);
    shop.alter_pack(id, |bytes| flip(bytes));
    let report = checked(&shop, reading()).await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert_eq!(faults.len(), 2, "the hash and one blob: {faults:?}");
}

#[tokio::test]
async fn a_pack_full_of_faults_lists_only_some_of_them() {
    let shop = Workshop::new().await;
    let pack = shop.pack((0..500).map(|n| data(noise(n, 20))));
    let id = pack.pack;
    shop.index([pack]).await;
    shop.alter_pack(id, |bytes| bytes.fill(7));
    let report = checked(&shop, reading()).await;
    let Problem::PackDamaged { faults, .. } = only(&report) else { panic!("{report:?}") };
    assert!(matches!(faults.last(), Some(PackFault::More(402))), "{:?}", faults.last());
    assert_eq!(faults.len(), 101);
}
