use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::*;
use crate::backend::mem::Mem;
use crate::backend::suite::Subject;
use crate::id::Id;
use BackendErrorKind::*;

async fn subject() -> Subject {
    Subject::new(Arc::new(Fault::new(Mem::new())))
}

crate::backend_suite!(subject);

const DATA: Bytes = Bytes::from_static(b"whatever");

fn handle(file_type: FileType) -> Handle {
    Handle::new(file_type, Id::of(&DATA))
}

fn fault(rule: Rule) -> Fault<Mem> {
    let fault = Fault::new(Mem::new());
    fault.inject(rule);
    fault
}

#[tokio::test]
async fn a_rule_hits_the_calls_that_it_counts_and_no_others() {
    let rule = Rule::fail(NoSpace).on(Operation::Save).of(FileType::Pack).nth(2).times(2);
    let fault = fault(rule);
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        fault.save(&handle(FileType::Index), DATA).await.unwrap();
        fault.stat(&handle(FileType::Index)).await.unwrap();
        outcomes.push(fault.save(&handle(FileType::Pack), DATA).await.map_err(|e| e.kind));
    }
    assert_eq!(outcomes, [Ok(()), Err(NoSpace), Err(NoSpace), Ok(())]);
}

#[tokio::test]
async fn a_save_that_fails_stores_nothing_one_without_answer_all_and_a_torn_one_a_part() {
    let pack = handle(FileType::Pack);
    for (rule, stored) in [
        (Rule::fail(Transient), None),
        (Rule::lose_answer(Transient), Some(DATA)),
        (Rule::tear(3), Some(DATA.slice(..3))),
    ] {
        let fault = fault(rule);
        assert_eq!(fault.save(&pack, DATA).await.unwrap_err().kind, Transient);
        assert_eq!(fault.inner().files().get(&pack), stored.as_ref());
    }
}

#[tokio::test]
async fn loads_lie_as_told() {
    let fault = fault(Rule::shorten(3));
    fault.inject(Rule::flip(DATA.len() + 1).nth(2));
    let pack = handle(FileType::Pack);
    fault.save(&pack, DATA).await.unwrap();
    assert_eq!(fault.load(&pack, Extent::Whole).await.unwrap(), "wha");
    assert_eq!(fault.load(&pack, Extent::Whole).await.unwrap(), "wiatever");
    assert_eq!(fault.load(&pack, Extent::Whole).await.unwrap(), DATA);
}

#[tokio::test(start_paused = true)]
async fn delays_pass_and_hangs_do_not() {
    let minute = Duration::from_secs(60);
    let fault = fault(Rule::delay(minute));
    let began = Instant::now();
    fault.list(FileType::Key).await.unwrap();
    assert!(began.elapsed() >= minute);

    fault.inject(Rule::hang());
    timeout(minute, fault.save(&handle(FileType::Lock), DATA)).await.unwrap_err();
    assert_eq!(fault.calls().last().unwrap().outcome, None);
    assert!(fault.inner().files().is_empty());
}

#[tokio::test]
async fn a_killed_process_does_nothing_any_more() {
    let fault = Fault::new(Mem::new());
    fault.kill_at(3);
    fault.create().await.unwrap();
    fault.save(&handle(FileType::Pack), DATA).await.unwrap();
    fault.stat(&handle(FileType::Pack)).await.unwrap();
    assert!(!fault.is_dead());
    for file_type in [FileType::Index, FileType::Snapshot] {
        assert_eq!(fault.save(&handle(file_type), DATA).await.unwrap_err().kind, Permanent);
    }
    assert_eq!(fault.stat(&handle(FileType::Pack)).await.unwrap_err().kind, Permanent);
    assert!(fault.is_dead());
    assert_eq!(fault.inner().files().len(), 1);

    fault.reset();
    fault.save(&handle(FileType::Index), DATA).await.unwrap();
}

#[tokio::test]
async fn the_record_tells_order_and_amount() {
    let fault = Arc::new(Fault::new(Mem::new()));
    let save_pack = (Operation::Save, FileType::Pack);
    let save_index = (Operation::Save, FileType::Index);
    fault.save(&handle(FileType::Pack), DATA).await.unwrap();
    fault.save(&handle(FileType::Index), DATA).await.unwrap();
    let extent = Extent::Range { offset: 1, length: 2 };
    fault.load(&handle(FileType::Pack), extent).await.unwrap();

    assert!(fault.happened_before(save_pack, save_index));
    assert!(!fault.happened_before(save_index, save_pack));
    assert_eq!(fault.count(Operation::Save, None), 2);
    assert_eq!(fault.bytes(Operation::Save, None), 16);
    assert_eq!(fault.bytes(Operation::Load, Some(FileType::Pack)), 2);
    assert_eq!(fault.count(Operation::Load, Some(FileType::Index)), 0);
    assert_eq!(
        fault.calls()[2],
        Call {
            operation: Operation::Load,
            file_type: Some(FileType::Pack),
            handle: Some(handle(FileType::Pack)),
            extent: Some(extent),
            bytes: 2,
            outcome: Some(Ok(())),
            began: 5,
            ended: Some(6),
        }
    );
}

#[tokio::test(start_paused = true)]
async fn calls_that_overlap_did_not_happen_one_before_the_other() {
    let fault = fault(Rule::delay(Duration::from_secs(1)).of(FileType::Pack));
    let (pack, index) = (handle(FileType::Pack), handle(FileType::Index));
    let (first, second) = tokio::join!(fault.save(&pack, DATA), fault.save(&index, DATA));
    first.and(second).unwrap();
    let (save, pack, index) = (Operation::Save, FileType::Pack, FileType::Index);
    assert!(!fault.happened_before((save, pack), (save, index)));
    assert!(!fault.happened_before((save, index), (save, pack)));
}
