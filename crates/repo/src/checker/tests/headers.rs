//! Reading headers, and nothing else of packs.

use super::*;

fn headers() -> Options {
    Options { read_headers: true, ..Options::default() }
}

#[tokio::test]
async fn a_flipped_header_is_found_at_the_price_of_a_request_a_pack_and_affects_no_file() {
    let sound = Sound::new().await;
    assert_sound(&checked(&sound.shop, headers()).await);
    let (fault, repository) = faulty(&sound);
    let options = Options { snapshots: Some(vec![]), ..headers() };
    assert_sound(&check(&repository, &options, Arc::new(Silent)).await.unwrap());
    assert_eq!(fault.count(Operation::Load, Some(FileType::Pack)), 3);
    sound.alter(FileType::Pack, sound.first.pack, |bytes| {
        let at = bytes.len() - 30;
        bytes[at] ^= 1;
    });
    assert_sound(&sound.check().await);
    let report = checked(&sound.shop, headers()).await;
    let Problem::PackDamaged { pack, faults } = only(&report) else { panic!("{report:?}") };
    assert_eq!(*pack, sound.first.pack);
    assert!(matches!(faults[..], [PackFault::Header(_)]), "{faults:?}");
    assert!(report.affected.snapshots.is_empty());
}

#[tokio::test]
async fn an_index_that_says_something_else_is_found_and_affects_what_it_hides() {
    let sound = Sound::new().await;
    let mut wrong = sound.first.clone();
    let (one, two) = (wrong.blobs[0].handle, wrong.blobs[1].handle);
    (wrong.blobs[0].handle, wrong.blobs[1].handle) = (two, one);
    sound.reindex([wrong, sound.second.clone(), sound.trees.clone()]).await;
    assert_sound(&sound.check().await);
    let report = checked(&sound.shop, headers()).await;
    assert!(matches!(only(&report), Problem::PackDamaged { faults, .. } if faults.len() == 4));
    assert_eq!(report.affected.snapshots[0].count, 1);
    // What the index claims of lengths hides nothing.
    let sound = Sound::new().await;
    let mut wrong = sound.first.clone();
    wrong.blobs[1].uncompressed_length += 1;
    sound.reindex([wrong, sound.second.clone(), sound.trees.clone()]).await;
    let report = checked(&sound.shop, headers()).await;
    assert_eq!((report.errors, report.affected.snapshots.len()), (1, 0));
}

#[tokio::test]
async fn a_header_longer_than_the_first_request_is_read_and_one_bad_transfer_forgiven() {
    let shop = Workshop::new().await;
    shop.index([shop.pack((0..500).map(|n| data(noise(n, 20))))]).await;
    let fault = Arc::new(Fault::new(shop.mem.clone()));
    let repository = shop.repository.with_backend(Arc::clone(&fault) as Arc<dyn Backend>);
    fault.inject(Rule::flip(40).of(FileType::Pack));
    assert_sound(&check(&repository, &headers(), Arc::new(Silent)).await.unwrap());
}
