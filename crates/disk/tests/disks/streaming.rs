//! Disks as one new file, and how they are read for it.

use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt};
use virtual_disk::Chain;

use super::qemu::{Counting, Disks};

#[tokio::test]
async fn the_header_comes_before_anything_is_looked_for() {
    let disks = Disks::new();
    disks.create("0.qcow2", 1 << 30, "compat=1.1");
    disks.io("0.qcow2", &["write -P 1 0 30M", "write -P 2 600M 1M"]);
    let counting = Counting::new(disks.source("0.qcow2"));
    let chain = Chain::open(vec![counting.clone()]).await.unwrap();
    let opened = counting.count();
    let mut stream = pin!(chain.stream());
    let header = stream.next().await.unwrap().unwrap();
    assert_eq!(header.len(), 65_536);
    assert_eq!(counting.count(), opened);
}

#[tokio::test]
async fn every_byte_of_a_file_is_read_once_in_order_and_in_large_pieces() {
    let disks = Disks::new();
    disks.create("0.qcow2", 1 << 30, "compat=1.1");
    // Not in the order of the disk.
    let writes: Vec<_> =
        (0..40).map(|i| format!("write -P {} {}M 1M", i + 1, i * 7 % 40 * 20)).collect();
    disks.io("0.qcow2", &writes);
    let counting = Counting::new(disks.source("0.qcow2"));
    let chain = Chain::open(vec![counting.clone()]).await.unwrap();
    let mut pieces = pin!(chain.stream());
    while pieces.try_next().await.unwrap().is_some() {}

    let reads = counting.reads.lock().unwrap();
    let large: Vec<_> = reads.iter().filter(|(_, length)| *length > 65_536).collect();
    assert!(large.len() <= 12, "{reads:?}");
    assert!(large.is_sorted(), "{reads:?}");
    assert!(large.windows(2).all(|pair| pair[0].0 + pair[0].1 as u64 <= pair[1].0), "{reads:?}");
    let bytes: usize = reads.iter().map(|(_, length)| length).sum();
    assert!(bytes < (41 << 20), "{bytes}");
}

#[tokio::test]
async fn another_read_is_not_held_up_by_a_stream_that_nobody_asks_to_go_on() {
    let disks = Disks::new();
    disks.create("0.qcow2", 8 << 30, "compat=1.1");
    let writes: Vec<_> = (0..16).map(|i| format!("write -P 1 {}M 64k", i * 512)).collect();
    disks.io("0.qcow2", &writes);
    let chain = disks.chain(&["0.qcow2"]).await;
    let mut stream = pin!(chain.stream());
    // The header, and a look at all that is under way behind it.
    stream.next().await.unwrap().unwrap();
    let _ = futures_util::poll!(stream.next());
    for i in 0..16 {
        assert_eq!(chain.read_at(i * (512 << 20), 1).await.unwrap()[0], 1);
    }
}
