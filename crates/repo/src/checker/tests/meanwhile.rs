//! A check beside others who store.

use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_backup_that_ends_while_it_is_checked_is_no_problem_at_any_moment() {
    for slow in [FileType::Snapshot, FileType::Index, FileType::Pack] {
        for operation in [Operation::List, Operation::Load] {
            let sound = Sound::new().await;
            let (fault, repository) = faulty(&sound);
            let pause = Duration::from_secs(10);
            fault.inject(Rule::delay(pause).on(operation).of(slow));
            let backup = async {
                tokio::time::sleep(pause / 2).await;
                let blob = data("new");
                let node = file("new", &[&blob]);
                sound.shop.index([sound.shop.pack([blob])]).await;
                sound.shop.snapshot_of(vec![node]).await;
                // And one that is still at work.
                sound.shop.pack([data("not indexed yet")]);
            };
            let options = reading();
            let (report, ()) = tokio::join!(check(&repository, &options, Arc::new(Silent)), backup);
            let report = report.unwrap();
            assert!(report.is_sound(), "{slow} {operation:?}: {:?}", report.problems);
            let orphaned = |hint: &Hint| matches!(hint, Hint::OrphanedPack { .. });
            assert!(report.hints.iter().all(orphaned), "{:?}", report.hints);
        }
    }
}
