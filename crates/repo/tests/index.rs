//! The index as its users see it, on index files of restic's and on made-up ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use restic_repo::index::{Builder, Index, IndexFile, PackBlobs};
use restic_repo::{BlobEntry, BlobHandle, BlobLocation, BlobType, Error, Id};

/// Plaintexts of index files, with their repository's version.
fn golden() -> Vec<(&'static str, u32, Vec<u8>)> {
    let unpack = |bytes: &[u8]| zstd::decode_all(bytes).expect("a whole frame");
    vec![
        ("1-0.18", 1, unpack(include_bytes!("data/index/version-1-0.18.json.zst"))),
        ("2-0.19", 2, unpack(include_bytes!("data/index/version-2-0.19.json.zst"))),
        ("disks-0.18", 2, include_bytes!("data/index/disks-0.18.json").to_vec()),
        ("supersedes-0.14", 2, include_bytes!("data/index/supersedes-0.14.json").to_vec()),
        ("duplicates-a", 2, include_bytes!("data/index/duplicates-a-0.18.json").to_vec()),
        ("duplicates-b", 2, include_bytes!("data/index/duplicates-b-0.18.json").to_vec()),
        ("no-newline", 2, include_bytes!("data/index/no-newline.json").to_vec()),
    ]
}

fn number(number: u32) -> Id {
    Id::of(&number.to_le_bytes())
}

fn entry(handle: BlobHandle, offset: u32, length: u32) -> BlobEntry {
    BlobEntry { handle, offset, length, uncompressed_length: 0 }
}

fn pack(pack: u32, blobs: impl IntoIterator<Item = BlobEntry>) -> PackBlobs {
    PackBlobs { pack: number(pack), blobs: blobs.into_iter().collect() }
}

/// An index of these files, each with these packs.
fn load(files: &[&[PackBlobs]]) -> Index {
    let builder = Builder::new(2);
    for (id, packs) in (0..).zip(files) {
        let file = IndexFile { packs: packs.to_vec() };
        builder.add_file(number(id), &file.encode()).expect("a good file");
    }
    builder.finish()
}

fn packs_of(index: &Index, blob: BlobHandle) -> HashSet<Id> {
    index.lookup(&blob).map(|location| location.pack).collect()
}

#[test]
fn files_of_restic_are_read_and_written_back_byte_for_byte() {
    for (name, _, text) in golden() {
        let file = IndexFile::decode(Id::default(), &text).unwrap();
        assert!(file.blob_count() > 0, "{name}");
        let encoded = String::from_utf8(file.encode()).unwrap();
        let mut wanted = String::from_utf8(text).unwrap();
        if wanted.starts_with(r#"{"supersedes""#) {
            wanted.replace_range(1..wanted.find(r#""packs""#).unwrap(), "");
        }
        assert_eq!(encoded, wanted.trim_end().to_owned() + "\n", "{name}");
    }
}

#[test]
fn every_blob_of_restics_files_is_found_where_they_say() {
    for (name, version, text) in golden() {
        let builder = Builder::new(version);
        builder.add_file(number(1), &text).unwrap();
        let index = builder.finish();
        let file = IndexFile::decode(number(1), &text).unwrap();
        for PackBlobs { pack, blobs } in &file.packs {
            for entry in blobs {
                let location = BlobLocation { pack: *pack, entry: *entry };
                assert!(index.lookup(&entry.handle).any(|l| l == location), "{name}");
                assert_eq!(index.plaintext_length(&entry.handle), Some(entry.plaintext_length()));
            }
        }
        let (id, packs) = index.files().next().unwrap();
        assert_eq!(id, number(1));
        assert!(packs.eq(file.packs.iter().map(|pack| pack.pack)));
    }
}

#[test]
fn a_blob_in_two_packs_has_two_places() {
    let builder = Builder::new(2);
    for (name, _, text) in golden() {
        if name.starts_with("duplicates") {
            builder.add_file(Id::of(name.as_bytes()), &text).unwrap();
        }
    }
    let index = builder.finish();
    let blobs: HashSet<_> = index.loaded().map(|location| location.entry.handle).collect();
    assert!(!blobs.is_empty());
    for blob in blobs {
        assert_eq!(packs_of(&index, blob).len(), 2, "{blob}");
    }
}

#[test]
fn a_compressed_blob_in_version_1_is_damage_and_its_file_is_left_out() {
    for (name, _, text) in golden() {
        let compressed = String::from_utf8_lossy(&text).contains("uncompressed_length");
        let builder = Builder::new(1);
        let result = builder.add_file(number(1), &text);
        assert_eq!(matches!(result, Err(Error::Damaged { .. })), compressed, "{name}: {result:?}");
        let index = builder.finish();
        assert_eq!(index.loaded().next().is_none(), compressed);
        assert_eq!(index.files().next().is_none(), compressed);
    }
}

#[test]
fn a_bad_file_leaves_nothing_behind_and_harms_no_other() {
    let blobs =
        |first: u32| (first..first + 5000).map(|n| entry(BlobHandle::data(number(n)), n * 40, 40));
    let good = IndexFile { packs: vec![pack(1, blobs(0)), pack(2, blobs(5000))] }.encode();
    let bad = IndexFile { packs: vec![pack(2, blobs(7000)), pack(3, blobs(20_000))] }.encode();
    for order in [[true, false], [false, true]] {
        let builder = Builder::new(2);
        for is_good in order {
            let text = if is_good { &good[..] } else { &bad[..bad.len() - 9] };
            assert_eq!(builder.add_file(number(0), text).is_ok(), is_good);
        }
        let index = builder.finish();
        assert_eq!(index.loaded_count(BlobType::Data), 10_000);
        assert_eq!(index.packs().iter().count(), 2);
        assert_eq!(index.pack_sizes().count(), 2);
        assert!(!index.contains(&BlobHandle::data(number(20_000))));
        assert!(index.contains(&BlobHandle::data(number(9999))));
    }
}

#[test]
fn a_file_of_another_program_is_loaded_from_a_stream_as_well() {
    let blobs = (0..3000).map(|n| entry(BlobHandle::tree(number(n)), n * 40, 40));
    let text = String::from_utf8(IndexFile { packs: vec![pack(1, blobs)] }.encode()).unwrap();
    let text = text.replace("]}]}", "], \"size\": 1}]}");
    let builder = Builder::new(2);
    builder.add_stream(number(1), || Ok(text.as_bytes())).unwrap();
    let index = builder.finish();
    assert_eq!(index.loaded_count(BlobType::Tree), 3000);
    assert_eq!(index.packs().iter().count(), 1);
    assert!(matches!(
        Builder::new(2).add_stream(number(1), || Ok(&text.as_bytes()[..text.len() - 3])),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn a_data_blob_and_a_tree_blob_of_the_same_id_are_two_blobs() {
    let id = number(7);
    let index = load(&[&[pack(1, [entry(BlobHandle::data(id), 0, 40)])]]);
    assert!(index.contains(&BlobHandle::data(id)));
    assert!(!index.contains(&BlobHandle::tree(id)));
    assert!(index.claim(&BlobHandle::tree(id)));
    assert!(!index.claim(&BlobHandle::data(id)));
    index.add_pack(number(2), &[entry(BlobHandle::tree(id), 0, 50)]);
    assert_eq!(packs_of(&index, BlobHandle::data(id)), [number(1)].into());
    assert_eq!(packs_of(&index, BlobHandle::tree(id)), [number(2)].into());
}

#[test]
fn a_pack_that_two_files_list_alike_counts_once() {
    let blobs = [
        entry(BlobHandle::data(number(1)), 0, 40),
        entry(BlobHandle::tree(number(2)), 40, u32::MAX - 40),
    ];
    let index = load(&[&[pack(1, blobs)], &[pack(1, blobs), pack(2, [])]]);
    assert_eq!(index.lookup(&blobs[0].handle).count(), 1);
    assert_eq!(index.lookup(&blobs[1].handle).count(), 1);
    assert!(index.packs().iter().eq([pack(1, blobs)]));
    assert!(index.pack_sizes().eq([pack(1, blobs).file_info()]));
    let files: Vec<Vec<Id>> = index.files().map(|(_, packs)| packs.collect()).collect();
    assert_eq!(files, [vec![number(1)], vec![number(1), number(2)]]);
}

#[test]
fn what_two_files_say_differently_of_a_pack_is_all_kept() {
    let blob = BlobHandle::data(number(1));
    let index = load(&[&[pack(1, [entry(blob, 0, 40)])], &[pack(1, [entry(blob, 8, 40)])]]);
    let offsets: Vec<u32> = index.lookup(&blob).map(|location| location.entry.offset).collect();
    assert_eq!(offsets, [0, 8]);
    assert_eq!(index.packs().iter().next().unwrap().blobs.len(), 2);
}

#[test]
fn an_entry_that_cannot_be_true_is_not_found_but_shown() {
    for (offset, length) in [(0, 31), (0, 0), (u32::MAX, 32), (u32::MAX - 99, 100)] {
        let blob = BlobHandle::data(number(1));
        let index = load(&[&[pack(1, [entry(blob, offset, length)])]]);
        assert!(!index.contains(&blob), "{offset} {length}");
        assert_eq!(index.plaintext_length(&blob), None);
        assert!(index.claim(&blob), "a backup stores it again");
        assert_eq!(index.packs().iter().next().unwrap().blobs.len(), 1);
        assert_eq!(index.loaded().count(), 1);
    }
}

#[test]
fn excluded_packs_are_as_good_as_absent() {
    let (both, gone) = (BlobHandle::data(number(1)), BlobHandle::data(number(2)));
    let bad = pack(1, [entry(both, 0, 40), entry(gone, 40, 40)]);
    let mut index = load(&[&[bad, pack(2, [entry(both, 0, 40)])]]);
    index.exclude_packs(&[number(1), number(99)].into());
    assert_eq!(packs_of(&index, both), [number(2)].into());
    assert!(!index.contains(&gone));
    assert!(index.claim(&gone));
    index.add_pack(number(3), &[entry(gone, 0, 40)]);
    assert_eq!(packs_of(&index, gone), [number(3)].into());
    assert_eq!(index.packs().iter().count(), 2, "the index still says what it says");
}

#[test]
fn a_pack_lists_its_blobs_in_order_of_offset_and_has_the_size_of_restics_pack() {
    let (_, version, text) = golden().swap_remove(1);
    let builder = Builder::new(version);
    builder.add_file(number(1), &text).unwrap();
    let index = builder.finish();
    let sizes: HashMap<_, _> = index.pack_sizes().map(|info| (info.id, info.size)).collect();
    let mut blobs = 0;
    for pack in index.packs().iter() {
        let mut end = 0;
        for blob in &pack.blobs {
            assert_eq!(blob.offset, end, "blobs stand close together");
            end += blob.length;
        }
        assert_eq!(sizes[&pack.pack], pack.file_size());
        blobs += pack.blobs.len();
    }
    assert_eq!(blobs, index.loaded().count());
    assert_eq!(sizes.len(), index.packs().iter().count());
}

#[test]
fn of_many_workers_one_gets_to_store_a_blob() {
    let known = BlobHandle::data(number(0));
    let index = load(&[&[pack(0, [entry(known, 0, 40)])]]);
    let blobs: Vec<BlobHandle> = (0..3000).map(|n| BlobHandle::data(number(n))).collect();
    let claimed: Vec<Vec<BlobHandle>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4u32)
            .map(|worker| {
                let (index, blobs) = (&index, &blobs);
                scope.spawn(move || {
                    let mut claimed = Vec::new();
                    for blob in blobs {
                        if index.claim(blob) {
                            claimed.push(*blob);
                        }
                        // Some are stored at once, so that others meet stored and pending blobs.
                        if claimed.len().is_multiple_of(10) && claimed.last() == Some(blob) {
                            let entries: Vec<_> = claimed[claimed.len() - 10..]
                                .iter()
                                .map(|b| entry(*b, 0, 40))
                                .collect();
                            index.add_pack(
                                number(1 << 20 | worker << 12 | claimed.len() as u32),
                                &entries,
                            );
                        }
                    }
                    claimed
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let winners: Vec<_> = claimed.concat();
    assert_eq!(winners.len(), blobs.len() - 1, "all but the one known before, and none twice");
    assert_eq!(winners.iter().collect::<HashSet<_>>().len(), winners.len());
    let stored: usize = claimed.iter().map(|claimed| claimed.len() / 10 * 10).sum();
    assert_eq!(index.take_rest().unwrap().blob_count(), stored);
    assert_eq!(blobs.iter().filter(|blob| index.is_pending(blob)).count(), winners.len() - stored);
}

#[test]
fn a_blob_that_could_not_be_stored_can_be_claimed_again() {
    let (index, blob) = (Index::default(), BlobHandle::data(number(1)));
    assert!(!index.unclaim(&blob));
    assert!(index.claim(&blob));
    assert!(!index.claim(&blob));
    assert!(!index.contains(&blob), "a pending blob is nowhere yet");
    assert!(index.unclaim(&blob));
    assert!(index.claim(&blob));
}

#[test]
fn stored_packs_wait_for_one_index_file() {
    let index = Index::default();
    let packs: Vec<_> =
        (0..3u32).map(|n| pack(n, [entry(BlobHandle::data(number(n)), 0, 40)])).collect();
    for pack in &packs {
        index.add_pack(pack.pack, &pack.blobs);
        assert_eq!(index.take_full(), None);
    }
    assert_eq!(index.take_rest(), Some(IndexFile { packs }));
    assert_eq!(index.take_rest(), None);
    assert!(index.contains(&BlobHandle::data(number(2))), "what was handed out is still known");
}

#[test]
fn a_loaded_blob_takes_less_than_fifty_bytes() {
    let blobs =
        |first: u32| (first..first + 100).map(|n| entry(BlobHandle::data(number(n)), 0, 40));
    let packs: Vec<_> = (0..300).map(|n| pack(n, blobs(n * 100))).collect();
    let index = load(&[&packs]);
    assert!(index.memory_usage() < 30_000 * 50, "{}", index.memory_usage());
    assert!(index.memory_usage() > 30_000 * 45);
}

/// Few ids, so that files, packs and blobs often coincide.
fn any_files() -> impl Strategy<Value = Vec<Vec<PackBlobs>>> {
    let blob =
        (0..60u32, any::<bool>(), 0..3u32, 0..3u32).prop_map(|(id, tree, offset, length)| {
            let handle =
                if tree { BlobHandle::tree(number(id)) } else { BlobHandle::data(number(id)) };
            // Of ordinary, of large and of impossible size.
            let length = [100, 1 << 27, 31][length as usize];
            BlobEntry { handle, offset: offset << 29, length, uncompressed_length: id % 2 * 200 }
        });
    let pack = (0..12u32, vec(blob, 0..8)).prop_map(|(id, blobs)| pack(id, blobs));
    vec(vec(pack, 0..6), 0..6)
}

proptest! {
    #[test]
    fn an_index_of_any_files_agrees_with_a_map(
        files in any_files(),
        excluded in prop::collection::hash_set(0..12u32, 0..4),
        stored in vec((0..60u32, any::<bool>()), 0..20),
    ) {
        let excluded: HashSet<Id> = excluded.into_iter().map(number).collect();
        let mut model: HashMap<BlobHandle, HashSet<BlobLocation>> = HashMap::new();
        let mut packs: BTreeMap<Id, HashSet<BlobEntry>> = BTreeMap::new();
        for PackBlobs { pack, blobs } in files.iter().flatten() {
            for entry in blobs {
                packs.entry(*pack).or_default().insert(*entry);
                let possible = entry.length >= 32 && !excluded.contains(pack);
                let places = model.entry(entry.handle).or_default();
                places.extend(possible.then_some(BlobLocation { pack: *pack, entry: *entry }));
            }
        }

        let builder = Builder::new(2);
        thread::scope(|scope| {
            for (id, packs) in (0..).zip(&files) {
                let builder = &builder;
                let file = IndexFile { packs: packs.clone() };
                scope.spawn(move || builder.add_file(number(id), &file.encode()).unwrap());
            }
        });
        let mut index = builder.finish();
        index.exclude_packs(&excluded);

        let found: BTreeMap<Id, HashSet<BlobEntry>> =
            index.packs().iter().map(|pack| (pack.pack, pack.blobs.into_iter().collect())).collect();
        prop_assert_eq!(&found, &packs);
        let sizes: BTreeMap<Id, u64> = index.pack_sizes().map(|info| (info.id, info.size)).collect();
        let wanted = index.packs().iter().map(|pack| (pack.pack, pack.file_size())).collect();
        prop_assert_eq!(sizes, wanted);
        let mut numbers = HashSet::new();
        for blob in model.keys() {
            let number = index.number(blob).unwrap();
            prop_assert!(number < index.loaded().count());
            prop_assert!(numbers.insert(number));
        }

        for (pack, (id, tree)) in (100..).zip(stored) {
            let handle = if tree { BlobHandle::tree(number(id)) } else { BlobHandle::data(number(id)) };
            let known = model.get(&handle).is_some_and(|places| !places.is_empty());
            prop_assert_eq!(index.claim(&handle), !known);
            let entry = entry(handle, 1 << 31, 100);
            index.add_pack(number(pack), &[entry]);
            model.entry(handle).or_default().insert(BlobLocation { pack: number(pack), entry });
        }

        for id in 0..70 {
            for handle in [BlobHandle::data(number(id)), BlobHandle::tree(number(id))] {
                let places: Vec<_> = index.lookup(&handle).collect();
                let wanted = model.get(&handle).cloned().unwrap_or_default();
                prop_assert_eq!(places.len(), wanted.len(), "no place comes twice");
                prop_assert_eq!(index.contains(&handle), !wanted.is_empty());
                prop_assert_eq!(places.into_iter().collect::<HashSet<_>>(), wanted);
            }
        }
    }
}
