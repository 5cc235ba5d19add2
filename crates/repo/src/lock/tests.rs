//! The protocol as two programs see it.

use std::time::Duration;

use super::*;
use crate::backend::fault::{Fault, Operation, Rule};
use crate::backend::{Backend, BackendErrorKind};
use crate::handle::FileType;
use crate::workshop::Workshop;

fn options() -> LockOptions {
    LockOptions::new(Identity::current())
}

async fn locks(repository: &Repository) -> usize {
    repository.list(FileType::Lock).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn shared_locks_go_together_and_exclusive_ones_go_alone() {
    let Workshop { repository, .. } = Workshop::new().await;
    let one = Lock::acquire(&repository, LockKind::Shared, &options()).await.unwrap();
    let other = Lock::acquire(&repository, LockKind::Shared, &options()).await.unwrap();
    assert_eq!(locks(&repository).await, 2);
    let refused = Lock::acquire(&repository, LockKind::Exclusive, &options()).await;
    match refused {
        Err(Error::Locked { holders }) => assert_eq!(holders.len(), 2),
        other => panic!("{other:?}"),
    }
    one.release().await.unwrap();
    other.release().await.unwrap();
    let alone = Lock::acquire(&repository, LockKind::Exclusive, &options()).await.unwrap();
    let refused = Lock::acquire(&repository, LockKind::Shared, &options()).await;
    assert!(matches!(refused, Err(Error::Locked { .. })));
    alone.release().await.unwrap();
    assert_eq!(locks(&repository).await, 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_lock_ends_when_it_is_free() {
    let Workshop { repository, .. } = Workshop::new().await;
    let held = Lock::acquire(&repository, LockKind::Exclusive, &options()).await.unwrap();
    let patient = LockOptions { retry: Duration::from_secs(60), ..options() };
    let waiting = Lock::acquire(&repository, LockKind::Shared, &patient);
    let release = async {
        sleep(Duration::from_secs(12)).await;
        held.release().await.unwrap();
    };
    let (acquired, ()) = tokio::join!(waiting, release);
    acquired.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_moment_it_leaves_no_lock() {
    let Workshop { repository, mem } = Workshop::new().await;
    let fault = Arc::new(Fault::new(mem));
    fault.inject(Rule::delay(Duration::from_millis(500)).on(Operation::Save).always());
    let slow = repository.with_backend(fault as Arc<dyn Backend>);
    for moment in [0, 1, 100, 499, 501, 650, 750] {
        let options = options();
        let acquiring = Lock::acquire(&slow, LockKind::Exclusive, &options);
        let moment = Duration::from_millis(moment);
        drop(tokio::time::timeout(moment, acquiring).await);
        options.keepers.idle().await;
        assert_eq!(locks(&repository).await, 0, "dropped after {moment:?}");
    }
}

#[tokio::test]
async fn a_lock_that_somebody_removed_stops_the_work() {
    let Workshop { repository, .. } = Workshop::new().await;
    let quick = LockOptions { refresh: Duration::from_millis(20), ..options() };
    let lock = Lock::acquire(&repository, LockKind::Shared, &quick).await.unwrap();
    remove_all(&repository).await.unwrap();
    let never: std::future::Pending<Result<()>> = std::future::pending();
    let stopped = lock.protect(never).await;
    assert!(matches!(stopped, Err(Error::LockLost { .. })), "{stopped:?}");
    lock.release().await.unwrap();
}

#[tokio::test]
async fn a_refresh_changes_the_file_and_keeps_the_lock() {
    let Workshop { repository, .. } = Workshop::new().await;
    let quick = LockOptions { refresh: Duration::from_millis(20), ..options() };
    let lock = Lock::acquire(&repository, LockKind::Shared, &quick).await.unwrap();
    let first = lock.id().unwrap();
    while lock.id() == Some(first) {
        sleep(Duration::from_millis(5)).await;
    }
    lock.release().await.unwrap();
    assert_eq!(locks(&repository).await, 0);
}

#[tokio::test]
async fn only_the_locks_of_the_dead_are_stale() {
    let Workshop { repository, .. } = Workshop::new().await;
    let me = Identity::current();
    let mut dead = LockFile::new(LockKind::Exclusive, &me);
    dead.pid = 0x7fff_fff0; // above every limit of Linux
    let mut elsewhere = dead.clone();
    elsewhere.hostname = "elsewhere".into();
    let mut old = elsewhere.clone();
    old.time = old.time.add_seconds(-31 * 60);
    let alive = LockFile::new(LockKind::Exclusive, &me);
    for lock in [&dead, &elsewhere, &old, &alive] {
        lock.save(&repository).await.unwrap();
    }
    match Lock::acquire(&repository, LockKind::Shared, &options()).await {
        Err(error @ Error::Locked { .. }) => {
            let Error::Locked { holders } = &error else { unreachable!() };
            assert_eq!(holders.iter().filter(|holder| holder.is_gone()).count(), 2);
        }
        other => panic!("{other:?}"),
    }
    let unlocked = remove_stale(&repository, &me.hostname).await.unwrap();
    let mut removed: Vec<_> = unlocked.removed.iter().map(|lock| lock.presence).collect();
    removed.sort_by_key(|presence| *presence == Presence::Stale);
    assert_eq!(removed, [Presence::Dead, Presence::Stale]);
    assert_eq!((unlocked.left.len(), unlocked.unreadable.len()), (2, 0));
    let told: Vec<_> = unlocked.removed.iter().map(ToString::to_string).collect();
    for fact in ["whose process is no longer there", "which is stale", "exclusively by PID "] {
        assert!(told.iter().any(|sentence| sentence.contains(fact)), "{told:?}");
    }
    let left: Vec<_> = list(&repository).await.unwrap();
    let left: Vec<_> = left.into_iter().map(|(_, holder)| holder.unwrap().hostname).collect();
    assert!(left.contains(&"elsewhere".to_owned()) && left.contains(&me.hostname), "{left:?}");
    assert_eq!(remove_all(&repository).await.unwrap(), 2);
}

#[test]
fn a_process_that_only_waits_to_be_noticed_is_dead() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let mut lock = LockFile::new(LockKind::Shared, &Identity::current());
    lock.pid = child.id();
    let hostname = lock.hostname.clone();
    while !lock.is_stale(&hostname) {
        std::thread::yield_now();
    }
    child.wait().unwrap();
    assert!(lock.is_stale(&hostname));
}

/// Somebody who stores a lock after ours was looked for, and before it is looked for again.
async fn rival(repository: &Repository) -> Id {
    sleep(SETTLE / 2).await;
    LockFile::new(LockKind::Exclusive, &Identity::current()).save(repository).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn work_reads_before_the_lock_is_sure_and_writes_after() {
    let Workshop { repository, .. } = Workshop::new().await;
    let begun = Instant::now();
    let work = async |gate: Gate| {
        assert_eq!(locks(&repository).await, 1);
        assert!(begun.elapsed() < SETTLE);
        let behind = repository.behind(&gate);
        assert_eq!(locks(&behind).await, 1, "reading is free");
        LockFile::new(LockKind::Shared, &Identity::current()).save(&behind).await?;
        assert!(begun.elapsed() >= SETTLE, "writing waits");
        gate.pass().await?;
        Ok(5)
    };
    let done: Result<_> = Lock::work(&repository, LockKind::Shared, &options(), work).await;
    assert_eq!(done.unwrap(), 5);
    assert_eq!(locks(&repository).await, 1, "only what the work stored is left");
}

#[tokio::test(start_paused = true)]
async fn work_whose_lock_cannot_be_had_has_no_effect_and_begins_anew() {
    let Workshop { repository, .. } = Workshop::new().await;
    let written = std::cell::Cell::new(0);
    let tries = std::cell::Cell::new(0);
    let work = async |gate: Gate| {
        tries.set(tries.get() + 1);
        gate.pass().await?;
        written.set(written.get() + 1);
        Ok(())
    };
    let options = options();
    let refused = Lock::work(&repository, LockKind::Shared, &options, work);
    let (refused, id) = tokio::join!(refused, rival(&repository));
    let refused: Result<()> = refused;
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    assert_eq!((tries.get(), written.get()), (1, 0));
    assert_eq!(locks(&repository).await, 1, "ours is gone");
    repository.backend().remove(&crate::Handle::new(FileType::Lock, id)).await.unwrap();

    let patient = LockOptions { retry: Duration::from_secs(60), ..options.clone() };
    let waiting = Lock::work(&repository, LockKind::Shared, &patient, work);
    let passing = async {
        let id = rival(&repository).await;
        sleep(Duration::from_secs(2)).await;
        repository.backend().remove(&crate::Handle::new(FileType::Lock, id)).await.unwrap();
    };
    let (done, ()): (Result<()>, ()) = tokio::join!(waiting, passing);
    done.unwrap();
    assert_eq!((tries.get(), written.get()), (3, 1));
    assert_eq!(locks(&repository).await, 0);
}

#[tokio::test(start_paused = true)]
async fn work_that_fails_early_gives_its_lock_back() {
    let Workshop { repository, .. } = Workshop::new().await;
    let work = async |_: Gate| Err(Error::Cancelled);
    let failed: Result<()> = Lock::work(&repository, LockKind::Shared, &options(), work).await;
    assert!(matches!(failed, Err(Error::Cancelled)), "{failed:?}");
    assert_eq!(locks(&repository).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_lock_becomes_a_shared_one_without_a_gap() {
    let Workshop { repository, .. } = Workshop::new().await;
    let lock = Lock::acquire(&repository, LockKind::Exclusive, &options()).await.unwrap();
    let exclusive = lock.id();
    lock.share();
    while lock.id() == exclusive || locks(&repository).await > 1 {
        assert!(locks(&repository).await > 0);
        sleep(SETTLE / 20).await;
    }
    let guest = Lock::acquire(&repository, LockKind::Shared, &options()).await.unwrap();
    guest.release().await.unwrap();
    let refused = Lock::acquire(&repository, LockKind::Exclusive, &options()).await;
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    lock.release().await.unwrap();
    assert_eq!(locks(&repository).await, 0);
}

#[tokio::test(start_paused = true)]
async fn who_shares_may_take_the_exclusive_lock_as_well_if_nobody_else_is_there() {
    let Workshop { repository, .. } = Workshop::new().await;
    let options = options();
    let shared = Lock::acquire(&repository, LockKind::Shared, &options).await.unwrap();
    let guest = Lock::acquire(&repository, LockKind::Shared, &options).await.unwrap();
    let refused = shared.acquire_another(&repository, LockKind::Exclusive, &options).await;
    match refused {
        Err(Error::Locked { holders }) => assert_eq!(Some(holders[0].id), guest.id()),
        other => panic!("{other:?}"),
    }
    guest.release().await.unwrap();

    let alone = shared.acquire_another(&repository, LockKind::Exclusive, &options);
    let (refused, id) = tokio::join!(alone, rival(&repository));
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    assert_eq!(locks(&repository).await, 2, "what it stored for it is gone");
    repository.backend().remove(&crate::Handle::new(FileType::Lock, id)).await.unwrap();

    let alone = shared.acquire_another(&repository, LockKind::Exclusive, &options).await.unwrap();
    for release in [Some(shared), None] {
        let refused = Lock::acquire(&repository, LockKind::Shared, &options).await;
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        if let Some(shared) = release {
            shared.release().await.unwrap();
        }
    }
    alone.release().await.unwrap();
    assert_eq!(locks(&repository).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_become_shared_at_once_becomes_it_later() {
    let Workshop { repository, mem } = Workshop::new().await;
    let fault = Arc::new(Fault::new(mem));
    let weak = repository.with_backend(Arc::clone(&fault) as Arc<dyn Backend>);
    let lock = Lock::acquire(&weak, LockKind::Exclusive, &options()).await.unwrap();
    fault.inject(Rule::fail(BackendErrorKind::Transient).on(Operation::Save));
    lock.share();
    let patient = LockOptions { retry: Duration::from_secs(60), ..options() };
    let guest = Lock::acquire(&repository, LockKind::Shared, &patient).await.unwrap();
    guest.release().await.unwrap();
    lock.release().await.unwrap();
}

#[tokio::test]
async fn ones_own_dead_are_removed_and_nobody_elses() {
    let Workshop { repository, .. } = Workshop::new().await;
    let me = Identity::current();
    // A process that has ended, so its number is nobody's for now.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let dead = LockFile { pid: child.id(), ..LockFile::new(LockKind::Shared, &me) };
    let elsewhere = LockFile { hostname: "elsewhere".to_owned(), ..dead.clone() };
    let somebody = LockFile { username: "somebody".to_owned(), ..dead.clone() };
    let exclusive = LockFile { exclusive: true, ..dead.clone() };
    let alive = LockFile::new(LockKind::Shared, &me);
    let gone = dead.save(&repository).await.unwrap();
    for other in [elsewhere, somebody, exclusive, alive] {
        other.save(&repository).await.unwrap();
    }
    let removed = remove_dead(&repository, &me).await.unwrap();
    assert_eq!(removed.iter().map(|holder| holder.id).collect::<Vec<_>>(), [gone]);
    assert_eq!(locks(&repository).await, 4);
}
