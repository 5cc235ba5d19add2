//! Everything that fuzzing ever found, on every test run, and damage by chance.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

#[path = "../../../fuzz/src/disk_targets.rs"]
mod targets;

/// What is in the corpus of a target, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.sort_unstable();
    files
}

#[test]
fn nothing_in_the_fuzzing_corpus_breaks_a_promise() {
    for (name, target) in targets::ALL {
        for (path, bytes) in corpus(name) {
            // So that a failure says which file it was.
            println!("{path}");
            target(&bytes);
        }
    }
}

/// A part of a file that is other than it should be.
#[derive(Clone, Debug)]
struct Damage {
    at: Index,
    bytes: Vec<u8>,
}

/// Any bytes, or a number as a table has it: near the one or the other end, or a place in the file.
fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec(any::<u8>(), 1..9);
    let number = (0..64u32, -2..3i64, any::<bool>()).prop_map(|(bit, off, copied)| {
        let number = (1u64 << bit).wrapping_add_signed(off) | u64::from(copied) << 63;
        number.to_be_bytes().to_vec()
    });
    let place = (0..16u64, select(vec![0, 1 << 62, 1 << 63]))
        .prop_map(|(cluster, flags)| ((cluster * 512) | flags).to_be_bytes().to_vec());
    (any::<Index>(), prop_oneof![bytes, number, place]).prop_map(|(at, bytes)| Damage { at, bytes })
}

/// Where the tables are: of a file with clusters of 512 bytes, almost all of it.
fn place(damage: &Damage, length: usize) -> usize {
    let at = damage.at.index(length);
    if damage.bytes.len() == 8 { at / 8 * 8 + 2 } else { at }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_breaks_a_promise(
        which in any::<Index>(),
        damages in prop::collection::vec(damage(), 1..6),
        cut in prop::option::weighted(0.1, any::<Index>()),
    ) {
        let mut files = corpus("qcow2");
        let (_, mut file) = files.swap_remove(which.index(files.len()));
        for damage in &damages {
            let at = place(damage, file.len()).min(file.len());
            for (byte, value) in file[at..].iter_mut().zip(&damage.bytes) {
                *byte = *value;
            }
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        targets::qcow2(&file);
    }
}
