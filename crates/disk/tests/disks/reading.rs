//! Reading disks, and how little is read for it.

use std::sync::Arc;

use bytes::Bytes;
use virtual_disk::{Chain, Error, Feature};

use super::qemu::{Counting, DANGLING, Disks, all, assert_same, read};

/// A gibibyte.
const GIB: u64 = 1 << 30;

/// A full disk and three changes to it.
fn three_changes(disks: &Disks) -> [&'static str; 4] {
    disks.create("0.qcow2", 64 << 20, "compat=1.1");
    disks.io("0.qcow2", &["write -P 1 0 20M", "write -P 2 40M 1M"]);
    disks.create_on("0.qcow2", "1.qcow2", 64 << 20, "compat=1.1");
    disks.io("1.qcow2", &["write -P 3 1M 3M", "write -z 10M 1M", "write -P 4 41000k 5k"]);
    disks.create_on("1.qcow2", "2.qcow2", 64 << 20, "compat=1.1");
    disks.create_on("2.qcow2", "3.qcow2", 64 << 20, "compat=1.1");
    disks.io("3.qcow2", &["write -P 5 10700k 64k", "write -P 6 63M 1M"]);
    ["0.qcow2", "1.qcow2", "2.qcow2", "3.qcow2"]
}

#[tokio::test]
async fn names_of_backing_files_that_are_gone_do_not_matter() {
    let disks = Disks::new();
    let names = three_changes(&disks);
    let content = disks.content("3.qcow2");
    disks.rebase(&names[1..], DANGLING);
    let chain = disks.chain(&names).await;
    assert_same(&all(&chain).await, &content);
    // As the increments of SNAPSHOT have it: no name at all. The full one may have one, too.
    disks.rebase(&names[1..], "");
    disks.rebase(&names[..1], DANGLING);
    let chain = disks.chain(&names).await;
    assert_same(&all(&chain).await, &content);
    disks.stream(&chain, "streamed.qcow2").await;
    disks.assert_clean("streamed.qcow2");
    assert_same(&disks.content("streamed.qcow2"), &content);
}

#[tokio::test]
async fn the_first_file_may_be_raw() {
    let disks = Disks::new();
    let raw: Vec<_> = (0..3_000_320u32).map(|i| (i / 512) as u8).collect();
    std::fs::write(disks.path("0.raw"), &raw).unwrap();
    disks.create_on("0.raw", "1.qcow2", 3_000_320, "compat=1.1");
    disks.io("1.qcow2", &["write -P 7 2920k 10k", "write -P 8 1000k 1k"]);
    disks.create_on("1.qcow2", "2.qcow2", 5 << 20, "compat=1.1");
    let content = disks.content("2.qcow2");
    let chain = disks.chain(&["0.raw", "1.qcow2", "2.qcow2"]).await;
    assert_same(&all(&chain).await, &content);
    disks.stream(&chain, "streamed.qcow2").await;
    disks.assert_clean("streamed.qcow2");
    assert_same(&disks.content("streamed.qcow2"), &content);

    let refused = Chain::open(vec![disks.source("2.qcow2"), disks.source("0.raw")]).await;
    assert!(matches!(refused, Err(Error::NotQcow2 { file: 1 })));
    assert!(matches!(Chain::open(vec![]).await, Err(Error::NoFiles)));
}

#[tokio::test]
async fn a_disk_of_no_bytes_is_a_disk() {
    let disks = Disks::new();
    disks.create("0.qcow2", 0, "compat=1.1");
    std::fs::write(disks.path("empty.raw"), b"").unwrap();
    for name in ["0.qcow2", "empty.raw"] {
        let chain = disks.chain(&[name]).await;
        assert_eq!(chain.virtual_size(), 0);
        assert_eq!(all(&chain).await, Bytes::new());
        disks.stream(&chain, "streamed.qcow2").await;
        disks.assert_clean("streamed.qcow2");
        assert_eq!(disks.content("streamed.qcow2"), Bytes::new());
    }
}

#[tokio::test]
async fn a_file_that_was_not_closed_can_be_read() {
    let disks = Disks::new();
    disks.create("0.qcow2", 1 << 20, "lazy_refcounts=on");
    disks.io("0.qcow2", &["write -P 9 64k 100k"]);
    let content = disks.content("0.qcow2");
    let mut file = Vec::from(read(&disks.path("0.qcow2")));
    file[79] |= 1; // dirty
    let chain = Chain::open(vec![Arc::new(Bytes::from(file))]).await.unwrap();
    assert_same(&all(&chain).await, &content);
}

#[tokio::test]
async fn what_is_not_known_here_is_refused_by_name() {
    let disks = Disks::new();
    disks.create("0.qcow2", 1 << 20, "compat=1.1");
    let file = read(&disks.path("0.qcow2"));
    let with = |at: usize, value: u8| {
        let mut file = Vec::from(file.clone());
        file[at] = value;
        Chain::open(vec![Arc::new(Bytes::from(file))])
    };
    for (at, value, feature) in [
        (7, 1, Feature::Version(1)),
        (7, 4, Feature::Version(4)),
        (23, 8, Feature::ClusterBits(8)),
        (23, 22, Feature::ClusterBits(22)),
        (35, 1, Feature::Encryption),
        (35, 2, Feature::Encryption),
        (79, 2, Feature::MarkedCorrupt),
        (79, 4, Feature::ExternalDataFile),
        (79, 32, Feature::IncompatibleFeatures(32)),
        (72, 1, Feature::IncompatibleFeatures(1 << 56)),
        (99, 7, Feature::RefcountOrder(7)),
        (36, 1, Feature::LargeTables),
        (104, 2, Feature::CompressionType(2)),
    ] {
        match with(at, value).await {
            Err(Error::Unsupported { file: 0, what }) => assert_eq!(what, feature),
            other => panic!("{at}: {other:?}"),
        }
    }
    // A real one that is encrypted, and one with its content elsewhere.
    disks.create("data.qcow2", 1 << 20, "data_file=content.raw");
    let opened = Chain::open(vec![disks.source("data.qcow2")]).await;
    assert!(matches!(opened, Err(Error::Unsupported { what: Feature::ExternalDataFile, .. })));
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_an_error_and_no_zeros() {
    let disks = Disks::new();
    disks.create("0.qcow2", 1 << 20, "compat=1.1");
    disks.io("0.qcow2", &["write -P 9 0 1M"]);
    let file = read(&disks.path("0.qcow2"));
    for length in [0, 3] {
        let chain = Chain::open(vec![Arc::new(file.slice(..length))]).await.unwrap();
        assert_eq!(chain.virtual_size(), length as u64, "it is too short to be qcow2");
    }
    for length in [4, 71, 100, 196_608] {
        let opened = Chain::open(vec![Arc::new(file.slice(..length))]).await;
        assert!(matches!(opened, Err(Error::Damaged { file: 0, .. })), "{length}: {opened:?}");
    }
    let chain = Chain::open(vec![Arc::new(file.slice(..file.len() - 65_536))]).await.unwrap();
    assert!(matches!(chain.read_at(0, 1 << 20).await, Err(Error::Damaged { file: 0, .. })));
}

#[tokio::test]
async fn opening_reads_the_header_and_one_table_and_reading_what_is_asked_for() {
    let disks = Disks::new();
    disks.create("0.qcow2", GIB, "compat=1.1");
    disks.io("0.qcow2", &["write -P 1 0 30M", "write -P 2 600M 1M"]);
    let counting = Counting::new(disks.source("0.qcow2"));
    let chain = Chain::open(vec![counting.clone()]).await.unwrap();
    assert!(counting.count() <= 2 && counting.bytes() <= 1024, "{:?}", counting.reads);

    let before = (counting.count(), counting.bytes());
    chain.read_at(5 << 20, 8 << 20).await.unwrap();
    let (count, bytes) = (counting.count() - before.0, counting.bytes() - before.1);
    assert!(count <= 2 && bytes == 65_536 + (8 << 20), "{:?}", counting.reads);
    let before = counting.count();
    chain.read_at(700 << 20, 8 << 20).await.unwrap();
    assert_eq!(counting.count() - before, 1, "zeros are not read: {:?}", counting.reads);
}
