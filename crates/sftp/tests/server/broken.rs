//! Networks that break: does the data get there, does anybody wait for ever, and who is told?

use std::time::{Duration, Instant};

use restic_repo::backend::BackendErrorKind::Transient;
use restic_repo::backend::{Backend, Extent};
use restic_repo::{FileType, Handle};
use restic_sftp::Options;

use crate::testbed::{Testbed, Told, files, sample};

fn pack(seed: u64, length: usize) -> (Handle, bytes::Bytes) {
    let (id, data) = sample(seed, length);
    (Handle::new(FileType::Pack, id), data)
}

/// A number below a bound, the same for the same seed.
fn random(seed: &mut u64, bound: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % bound
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_when_the_right_bytes_are_there_in_the_end() {
    let testbed = Testbed::new();
    let told = Told::default();
    let mut seed = 20_261_122;
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    for round in 0..25 {
        // Each of the next connections breaks somewhere, the first of them while this is going on.
        testbed.proxy.cut();
        let cuts = (0..2).map(|_| 3000 + random(&mut seed, 4 << 20));
        testbed.proxy.cut_next(cuts.collect::<Vec<_>>());
        let (handle, data) = pack(round, 2 << 20);
        sftp.save(&handle, data.clone()).await.unwrap();
        assert!(sftp.load(&handle, Extent::Whole).await.unwrap() == data, "round {round}");
        let range = Extent::Range { offset: 1000, length: 1 << 20 };
        assert!(sftp.load(&handle, range).await.unwrap() == data[1000..][..1 << 20]);
        assert_eq!(sftp.list(FileType::Pack).await.unwrap().len(), round as usize + 1);
        assert_eq!(sftp.stat(&handle).await.unwrap(), 2 << 20);
    }
    assert!(told.reconnects() >= 25, "{} times", told.reconnects());
    // What the broken connections left is gone too.
    let (handle, data) = pack(1000, 10);
    sftp.save(&handle, data).await.unwrap();
    for _ in 0..1000 {
        if !files(&testbed.path()).iter().any(|name| name.contains("-restic-temp-")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", files(&testbed.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_survive_that_all_connections_break() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..12 {
        let sftp = sftp.clone();
        tasks.spawn(async move {
            let (handle, data) = pack(seed, 8 << 20);
            sftp.save(&handle, data.clone()).await.unwrap();
            assert!(sftp.load(&handle, Extent::Whole).await.unwrap() == data);
        });
    }
    for _ in 0..4 {
        let before = testbed.proxy.bytes();
        // Only when something is under way again.
        while testbed.proxy.bytes() < before + (4 << 20) && !tasks.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            while tasks.try_join_next().transpose().unwrap().is_some() {}
        }
        testbed.proxy.cut();
    }
    tasks.join_all().await;
    assert_eq!(sftp.list(FileType::Pack).await.unwrap().len(), 12);
    assert!(told.reconnects() >= 1);
}

#[tokio::test]
async fn a_server_that_comes_back_is_waited_for() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    testbed.proxy.refuse(true);
    testbed.proxy.cut();
    let (handle, data) = pack(1, 1 << 20);
    let save = tokio::spawn({
        let (sftp, data) = (sftp.clone(), data.clone());
        async move { sftp.save(&handle, data).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!save.is_finished());
    testbed.proxy.refuse(false);
    save.await.unwrap().unwrap();
    assert_eq!(told.reconnects(), 1);
    assert_eq!(told.losses().len(), 1);
    assert_eq!(sftp.load(&handle, Extent::Whole).await.unwrap(), data);
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up_after_the_agreed_time() {
    let testbed = Testbed::new();
    let options = Options { patience: Duration::from_secs(2), ..Told::default().impatient() };
    let sftp = testbed.proxied(options).await.unwrap();
    sftp.create().await.unwrap();
    testbed.proxy.refuse(true);
    testbed.proxy.cut();
    let began = Instant::now();
    // All who wait are told at the same time, not one after another.
    let (one, other) = tokio::join!(sftp.list(FileType::Pack), sftp.stat(&Handle::CONFIG));
    let error = one.unwrap_err();
    assert_eq!(error.kind, Transient, "{error}");
    assert!(error.to_string().contains("there is no new one"), "{error}");
    assert_eq!(other.unwrap_err().kind, Transient);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    testbed.proxy.refuse(false);
    sftp.list(FileType::Pack).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_noticed_and_replaced() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    testbed.proxy.stall(true);
    let (handle, data) = pack(1, 4 << 20);
    let save = tokio::spawn({
        let (sftp, data) = (sftp.clone(), data.clone());
        async move { sftp.save(&handle, data).await }
    });
    while told.losses().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(told.losses()[0].contains("not answered for 2 seconds"), "{:?}", told.losses());
    testbed.proxy.stall(false);
    save.await.unwrap().unwrap();
    assert_eq!(sftp.load(&handle, Extent::Whole).await.unwrap(), data);
}

#[tokio::test]
async fn nobody_waits_so_silence_does_not_matter() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    sftp.list(FileType::Key).await.unwrap();
    assert_eq!(told.losses(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_is_not_taken_for_a_dead_one() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    testbed.proxy.throttle(400 << 10);
    // Longer than the silence that is tolerated.
    let (handle, data) = pack(1, 2 << 20);
    sftp.save(&handle, data.clone()).await.unwrap();
    assert_eq!(sftp.load(&handle, Extent::Whole).await.unwrap(), data);
    assert_eq!(told.losses(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_whose_answer_was_lost_succeeds() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    let (handle, data) = pack(1, 1000);
    sftp.save(&handle, data).await.unwrap();
    testbed.proxy.delay(Duration::from_millis(100));
    let removal = tokio::spawn({
        let sftp = sftp.clone();
        async move { sftp.remove(&handle).await }
    });
    let path = testbed.path().join(handle.path());
    while path.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The answer is still under way.
    testbed.proxy.cut();
    removal.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_refuses_as_a_further_connection_is_done_without() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    testbed.proxy.refuse(true);
    let saves = (0..8).map(|seed| {
        let sftp = sftp.clone();
        async move {
            let (handle, data) = pack(seed, 8 << 20);
            sftp.save(&handle, data).await.unwrap();
        }
    });
    futures_util::future::join_all(saves).await;
    assert_eq!(sftp.list(FileType::Pack).await.unwrap().len(), 8);
    assert_eq!(told.losses(), Vec::<String>::new());
}
