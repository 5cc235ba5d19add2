//! What is asked for, and what is told.

use super::*;

#[tokio::test]
async fn of_a_subset_only_the_packs_in_it_are_read() {
    let shop = Workshop::new().await;
    let packs: Vec<_> = (0..40).map(|n| shop.pack([data(noise(n, 100))])).collect();
    for pack in &packs {
        shop.alter_pack(pack.pack, |bytes| bytes[50] ^= 1);
    }
    shop.index(packs.clone()).await;
    let read = async |subset| {
        let options = Options { read_data: ReadData::Subset(subset), ..Options::default() };
        checked(&shop, options).await
    };
    let report = read(Subset::Group { number: 1, of: 4 }).await;
    let expected = packs.iter().map(|pack| pack.pack).filter(|id| id.as_bytes()[0] % 4 == 0);
    assert_eq!(report.broken_packs, expected.collect());
    assert_eq!(read(Subset::Percent(25.0)).await.packs_read, 10);
    assert_eq!(read(Subset::Bytes(packs[0].file_size() * 5)).await.packs_read, 5);
}

#[tokio::test]
async fn of_given_snapshots_only_what_they_use_is_looked_at() {
    let sound = Sound::new().await;
    let other = sound.shop.snapshot(sound.sub).await;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| bytes[50] ^= 1);
    let of = |ids: Vec<Id>| Options { snapshots: Some(ids), ..reading() };
    let report = checked(&sound.shop, of(vec![other])).await;
    assert_sound(&report);
    assert_eq!((report.snapshots, report.trees, report.packs_read), (1, 1, 2));
    let report = checked(&sound.shop, of(vec![sound.snapshot, other])).await;
    assert!(matches!(only(&report), Problem::PackDamaged { .. }));
    assert_eq!((report.snapshots, report.packs_read), (2, 3));

    let missing = of(vec![Id::of(b"no")]);
    let result = check(&sound.shop.repository, &missing, Arc::new(Silent)).await;
    assert!(matches!(result, Err(Error::NoMatch { .. })));
}

#[tokio::test]
async fn unused_blobs_are_listed_if_that_is_asked_for() {
    let sound = Sound::new().await;
    let handles = [data("unused"), tree(vec![])].map(|piece| piece.handle);
    sound.shop.index([sound.shop.pack([data("unused")]), sound.shop.pack([tree(vec![])])]).await;
    assert_eq!(sound.check().await.unused, []);
    let options = Options { find_unused: true, ..Options::default() };
    let report = checked(&sound.shop, options).await;
    assert_sound(&report);
    let unused: std::collections::HashSet<BlobHandle> = report.unused.into_iter().collect();
    assert_eq!(unused, std::collections::HashSet::from(handles));
}

#[tokio::test]
async fn problems_are_told_as_they_are_found() {
    let sound = Sound::new().await;
    sound.alter(FileType::Pack, sound.first.pack, |bytes| bytes[50] ^= 1);
    let watch = Arc::new(Watch::default());
    check(&sound.shop.repository, &reading(), watch.clone()).await.unwrap();
    let told = watch.problems.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(&sound.first.pack.to_hex()), "{told:?}");
    assert!(told[0].contains("MAC"), "{told:?}");
    assert_eq!(watch.advanced(Phase::ReadPacks), 3);
}

#[test]
fn a_report_counts_all_problems_but_keeps_only_so_many() {
    let mut report = Report::default();
    for n in 0..Report::LONGEST + 5 {
        report.add(Problem::PackMissing { pack: Id::of(&n.to_le_bytes()) });
    }
    assert_eq!(report.errors as usize, Report::LONGEST + 5);
    assert_eq!(report.problems.len(), Report::LONGEST);
    assert_eq!(report.broken_packs.len(), Report::LONGEST + 5);
}
