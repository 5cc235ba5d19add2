//! Changes merged into the full file below them.

use std::sync::Arc;

use bytes::Bytes;
use virtual_disk::commit::{self, Commit};
use virtual_disk::{Chain, Error, Feature, Source};

use super::qemu::{Counting, Disks, all, assert_same, read};

const CLUSTER: u64 = 65_536;

/// A disk of a gibibyte with 40 MiB of content.
fn full(disks: &Disks) {
    disks.create("0.qcow2", 1 << 30, "compat=1.1");
    disks.io("0.qcow2", &["write -P 1 0 40M"]);
}

/// What a commit of these files makes of the first, and that it is right.
async fn committed(disks: &Disks, names: &[&str]) -> Commit {
    let chain = disks.chain(names).await;
    let plan = commit::plan(&chain).await.unwrap();
    let (name, format) = match names[0].ends_with(".raw") {
        true => ("committed.raw", "raw"),
        false => ("committed.qcow2", "qcow2"),
    };
    disks.apply(&plan, names[0], name).await;
    let last = names[names.len() - 1];
    if disks.chain(&[name]).await.virtual_size() == chain.virtual_size() {
        disks.img(["compare", "-f", "qcow2", "-F", format, last, name]);
    } else {
        let content = disks.content(last);
        assert_same(&disks.content(name)[..content.len()], &content);
    }
    plan
}

#[tokio::test]
async fn where_nothing_changed_nothing_is_to_be_done() {
    let disks = Disks::new();
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    disks.create_on("1.qcow2", "2.qcow2", 1 << 30, "compat=1.1");
    // Zeros where there were zeros are no change either.
    disks.io("2.qcow2", &["write -z 600M 10M"]);
    for names in [&["0.qcow2"][..], &["0.qcow2", "1.qcow2"], &["0.qcow2", "1.qcow2", "2.qcow2"]] {
        let plan = committed(&disks, names).await;
        assert_eq!(plan.changes(), [], "{names:?}");
        assert_eq!(plan.len(), disks.source("0.qcow2").len());
    }
}

#[tokio::test]
async fn what_was_overwritten_is_overwritten_in_place_and_nothing_else_changes() {
    let disks = Disks::new();
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    disks.io("1.qcow2", &["write -P 2 1M 3M", "write -P 3 20M 64k"]);
    let plan = committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    disks.assert_clean("committed.qcow2");
    let lengths: Vec<_> = plan.changes().iter().map(|range| range.end - range.start).collect();
    assert_eq!(lengths, [3 << 20, CLUSTER]);
    assert_eq!(plan.len(), disks.source("0.qcow2").len());
}

#[tokio::test]
async fn what_is_new_is_one_piece_at_the_end() {
    let disks = Disks::new();
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    // Out of order, into two L2 tables, of which there is only one yet.
    disks.io("1.qcow2", &["write -P 4 700M 1M", "write -P 3 100M 1M", "write -P 2 80M 64k"]);
    let plan = committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    disks.assert_clean("committed.qcow2");
    let old = disks.source("0.qcow2").len().next_multiple_of(CLUSTER);
    assert_eq!(plan.len(), old + (2 << 20) + 2 * CLUSTER);
    // A few words of tables, and all that is new.
    let (last, tables) = plan.changes().split_last().unwrap();
    assert_eq!(last.end, plan.len());
    assert!(tables.len() <= 3, "{:?}", plan.changes());
    assert!(tables.iter().all(|range| range.end - range.start <= CLUSTER));
}

#[tokio::test]
async fn a_plan_reads_tables_and_content_is_only_read_from_the_changes() {
    let disks = Disks::new();
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    disks.io("1.qcow2", &["write -P 2 1M 3M", "write -P 4 700M 1M"]);
    let (base, delta) =
        (Counting::new(disks.source("0.qcow2")), Counting::new(disks.source("1.qcow2")));
    let chain = Chain::open(vec![base.clone(), delta.clone()]).await.unwrap();
    let plan = commit::plan(&chain).await.unwrap();
    // Header, L1, L2, refcount table, one refcount block twice.
    assert!(base.count() <= 8 && base.bytes() <= 6 * 65_536, "{:?}", base.reads);
    assert!(delta.count() <= 4 && delta.bytes() <= 3 * 65_536, "{:?}", delta.reads);

    let (base_before, delta_before) = (base.bytes(), delta.bytes());
    for range in plan.changes() {
        plan.read_at(range.start, (range.end - range.start) as usize).await.unwrap();
    }
    assert!(base.bytes() - base_before <= 2 * 65_536, "{:?}", base.reads);
    assert_eq!(delta.bytes() - delta_before, 4 << 20, "{:?}", delta.reads);
}

#[tokio::test]
async fn zeros_keep_their_place_so_that_the_file_does_not_grow_for_ever() {
    let disks = Disks::new();
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    disks.io("1.qcow2", &["write -z -u 10M 10M"]);
    let zeroed = committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    disks.assert_clean("committed.qcow2");
    assert_eq!(zeroed.len(), disks.source("0.qcow2").len());
    let changed: u64 = zeroed.changes().iter().map(|range| range.end - range.start).sum();
    assert!(changed <= CLUSTER, "only the table: {:?}", zeroed.changes());

    // The same place once more.
    std::fs::rename(disks.path("committed.qcow2"), disks.path("0.qcow2")).unwrap();
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    disks.io("1.qcow2", &["write -P 7 12M 3000k"]);
    let written = committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    disks.assert_clean("committed.qcow2");
    assert_eq!(written.len(), disks.source("0.qcow2").len());
}

#[tokio::test]
async fn a_commit_can_be_built_upon() {
    let disks = Disks::new();
    disks.create("0.qcow2", 80 << 20, "compat=1.1");
    disks.io("0.qcow2", &["write -P 1 0 40M"]);
    let mut base = disks.source("0.qcow2");
    let mut below = "0.qcow2".to_owned();
    for round in 1..6u64 {
        let name = format!("{round}.qcow2");
        disks.create_on(&below, &name, 80 << 20, "compat=1.1");
        let write = format!("write -P {round} {}M 3M", round * 13);
        disks.io(&name, &[&write, &format!("write -z {}M 1M", round * 5)]);
        let chain = Chain::open(vec![base, disks.source(&name)]).await.unwrap();
        base = Arc::new(commit::plan(&chain).await.unwrap());
        below = name;
    }
    let chain = Chain::open(vec![base]).await.unwrap();
    assert_same(&all(&chain).await, &disks.content("5.qcow2"));
}

#[tokio::test]
async fn a_disk_that_grew_beyond_its_table_gets_a_new_one() {
    let disks = Disks::new();
    disks.create("0.qcow2", 500 << 20, "compat=1.1");
    disks.io("0.qcow2", &["write -P 1 499M 1M"]);
    // From 1 entry to 3, which fit into the same cluster.
    disks.create_on("0.qcow2", "1.qcow2", 1100 << 20, "compat=1.1");
    disks.io("1.qcow2", &["write -P 2 1099M 1M"]);
    committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    disks.assert_clean("committed.qcow2");

    // From 1 cluster to several.
    disks.create("0.qcow2", 2 << 20, "cluster_size=512");
    disks.create_on("0.qcow2", "1.qcow2", 12 << 20, "cluster_size=512");
    disks.create_on("1.qcow2", "2.qcow2", 12 << 20, "compat=1.1");
    disks.io("2.qcow2", &["write -P 2 1M 4M"]);
    committed(&disks, &["0.qcow2", "1.qcow2", "2.qcow2"]).await;
    disks.assert_clean("committed.qcow2");

    // Nothing but the size.
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 20 << 30, "compat=1.1");
    committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    disks.assert_clean("committed.qcow2");
}

#[tokio::test]
async fn more_clusters_than_there_was_room_to_count_get_a_larger_table() {
    let disks = Disks::new();
    for bits in [1, 16, 64] {
        let options = format!("cluster_size=512,refcount_bits={bits}");
        disks.create("0.qcow2", 24 << 20, &options);
        disks.io("0.qcow2", &["write -P 1 0 64k"]);
        disks.create_on("0.qcow2", "1.qcow2", 24 << 20, "compat=1.1");
        disks.io("1.qcow2", &["write -P 2 10k 20M"]);
        committed(&disks, &["0.qcow2", "1.qcow2"]).await;
        disks.assert_clean("committed.qcow2");
        let table = |name: &str| read(&disks.path(name))[48..60].to_vec();
        // One cluster of the table is the way to as many as these, in bytes.
        let reach = 64 * (512 * 8 / bits) * 512;
        assert_eq!(table("0.qcow2") != table("committed.qcow2"), reach < 20 << 20, "{bits}");
    }
}

#[tokio::test]
async fn a_disk_that_shrank_keeps_what_is_behind_its_end() {
    let disks = Disks::new();
    for cluster in ["512", "64k", "2M"] {
        let options = format!("cluster_size={cluster}");
        disks.create("0.qcow2", 6 << 20, &options);
        disks.io("0.qcow2", &["write -P 1 0 6M"]);
        let before = disks.content("0.qcow2");
        disks.create_on("0.qcow2", "1.qcow2", 1_000_448, &options);
        disks.io("1.qcow2", &["write -P 2 980000 20448"]);
        let plan = committed(&disks, &["0.qcow2", "1.qcow2"]).await;
        disks.assert_clean("committed.qcow2");
        assert_same(&disks.content("committed.qcow2")[1_000_448..], &before[1_000_448..]);
        drop(plan);
        // What a disk that grows again gets to see there is zeros.
        disks.create_on("1.qcow2", "2.qcow2", 3 << 20, &options);
        committed(&disks, &["0.qcow2", "1.qcow2", "2.qcow2"]).await;
        disks.assert_clean("committed.qcow2");
    }
}

#[tokio::test]
async fn what_was_behind_the_end_of_a_disk_does_not_come_back_when_it_grows() {
    let disks = Disks::new();
    for cluster in ["512", "64k", "2M"] {
        for options in ["compat=0.10", "compat=1.1"] {
            let options = format!("{options},cluster_size={cluster}");
            disks.create("0.qcow2", 6 << 20, &options);
            disks.io("0.qcow2", &["write -P 1 0 6M"]);
            // Nobody who makes a disk smaller leaves that, but who knows.
            let file = disks.path("0.qcow2");
            let mut bytes = Vec::from(read(&file));
            bytes[24..32].copy_from_slice(&1_049_088u64.to_be_bytes());
            std::fs::write(&file, bytes).unwrap();
            disks.create_on("0.qcow2", "1.qcow2", 5_000_192, &options);
            committed(&disks, &["0.qcow2", "1.qcow2"]).await;
            disks.assert_clean("committed.qcow2");
        }
    }
}

#[tokio::test]
async fn a_raw_file_stays_raw() {
    let disks = Disks::new();
    let raw: Vec<_> = (0..3_000_320u32).map(|i| (i / 512) as u8 | 1).collect();
    std::fs::write(disks.path("0.raw"), &raw).unwrap();
    disks.create_on("0.raw", "1.qcow2", 3_000_320, "compat=1.1");
    disks.io("1.qcow2", &["write -P 7 2920k 10k", "write -z 1000k 1k"]);
    let plan = committed(&disks, &["0.raw", "1.qcow2"]).await;
    assert_eq!(plan.len(), 3_000_320);
    disks.create_on("1.qcow2", "2.qcow2", 5 << 20, "compat=1.1");
    disks.io("2.qcow2", &["write -P 8 4M 1k"]);
    let plan = committed(&disks, &["0.raw", "1.qcow2", "2.qcow2"]).await;
    assert_eq!(plan.len(), 5 << 20);
}

#[tokio::test]
async fn bitmaps_lose_their_mark_as_they_are_no_longer_true() {
    let disks = Disks::new();
    full(&disks);
    disks.img(["bitmap", "--add", "-f", "qcow2", "0.qcow2", "one-1-1"]);
    let autoclear = |name: &str| read(&disks.path(name))[88..96].to_vec();
    assert_eq!(autoclear("0.qcow2"), [0, 0, 0, 0, 0, 0, 0, 1]);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    let plan = committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    assert_eq!(plan.changes(), [], "they are still true");
    disks.io("1.qcow2", &["write -P 2 1M 64k"]);
    committed(&disks, &["0.qcow2", "1.qcow2"]).await;
    assert_eq!(autoclear("committed.qcow2"), [0; 8]);
}

#[tokio::test]
async fn a_file_that_was_not_closed_is_not_committed_into() {
    let disks = Disks::new();
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    disks.io("1.qcow2", &["write -P 2 1M 64k"]);
    let dirty = |name: &str| {
        let mut file = Vec::from(read(&disks.path(name)));
        file[79] |= 1;
        Arc::new(Bytes::from(file))
    };
    let chain = Chain::open(vec![dirty("0.qcow2"), disks.source("1.qcow2")]).await.unwrap();
    assert_eq!(chain.read_at(1 << 20, 1).await.unwrap()[0], 2);
    let refused = commit::plan(&chain).await;
    let what = Feature::StaleRefcounts;
    assert!(matches!(refused, Err(Error::Unsupported { file: 0, what: w }) if w == what));

    // The reference counts of a change do not matter.
    let chain = Chain::open(vec![disks.source("0.qcow2"), dirty("1.qcow2")]).await.unwrap();
    let plan = commit::plan(&chain).await.unwrap();
    disks.apply(&plan, "0.qcow2", "committed.qcow2").await;
    disks.img(["compare", "-f", "qcow2", "-F", "qcow2", "1.qcow2", "committed.qcow2"]);
}

#[tokio::test]
async fn content_is_not_written_where_tables_are() {
    let disks = Disks::new();
    full(&disks);
    disks.create_on("0.qcow2", "1.qcow2", 1 << 30, "compat=1.1");
    disks.io("1.qcow2", &["write -P 2 0 64k"]);
    let good = read(&disks.path("0.qcow2"));
    let l1 = u64::from_be_bytes(good[40..48].try_into().unwrap());
    let l1_entry = &good[l1 as usize..][..8];
    let l2 = u64::from_be_bytes(l1_entry.try_into().unwrap()) & !(1 << 63);
    for (place, name) in
        [(l1, "L1"), (l2, "L2"), (CLUSTER, "refcount table"), (2 * CLUSTER, "refcount block")]
    {
        let mut bad = Vec::from(good.clone());
        bad[l2 as usize..][..8].copy_from_slice(&(place | 1 << 63).to_be_bytes());
        let chain = vec![Arc::new(Bytes::from(bad)) as Arc<dyn Source>, disks.source("1.qcow2")];
        let planned = commit::plan(&Chain::open(chain).await.unwrap()).await;
        assert!(matches!(planned, Err(Error::Damaged { file: 0, .. })), "{name}: {planned:?}");
    }
    // Nor to one place twice.
    let mut bad = Vec::from(good.clone());
    bad.copy_within(l2 as usize..l2 as usize + 8, l2 as usize + 8);
    disks.io("1.qcow2", &["write -P 3 64k 64k"]);
    let chain = vec![Arc::new(Bytes::from(bad)) as Arc<dyn Source>, disks.source("1.qcow2")];
    let planned = commit::plan(&Chain::open(chain).await.unwrap()).await;
    assert!(matches!(planned, Err(Error::Damaged { file: 0, .. })), "{planned:?}");
}
