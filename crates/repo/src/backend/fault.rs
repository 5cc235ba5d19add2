//! A storage that fails as it is told and remembers what was asked of it. For tests.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, BackendError, BackendErrorKind, Extent, FileInfo, Properties};
use crate::handle::{FileType, Handle};

/// Wraps a backend, makes it fail by rules, and records every call.
///
/// It is shared in an `Arc`, so that the test keeps one end while the code under test holds the other.
#[derive(Debug)]
pub struct Fault<B> {
    backend: B,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    calls: Vec<Call>,
    /// Counts beginnings and ends of calls.
    clock: u64,
    /// How many more changing operations happen before the process dies.
    life: Option<u64>,
    dead: bool,
}

/// The methods of [`Backend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Backend::create`].
    Create,
    /// [`Backend::load`].
    Load,
    /// [`Backend::save`].
    Save,
    /// [`Backend::stat`].
    Stat,
    /// [`Backend::list`].
    List,
    /// [`Backend::remove`].
    Remove,
    /// [`Backend::free_space`].
    FreeSpace,
}

impl Operation {
    /// Whether it changes what is stored.
    pub const fn is_mutating(self) -> bool {
        matches!(self, Self::Create | Self::Save | Self::Remove)
    }

    /// As [`BackendError::operation`] has it.
    const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::Save => "save",
            Self::Stat => "stat",
            Self::List => "list",
            Self::Remove => "remove",
            Self::FreeSpace => "free space",
        }
    }
}

/// One call, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// On which type of file, if on one.
    pub file_type: Option<FileType>,
    /// On which file, if on one.
    pub handle: Option<Handle>,
    /// Which part of it was to be loaded.
    pub extent: Option<Extent>,
    /// How many bytes were handed over to be saved, or came back from a load that has ended.
    pub bytes: u64,
    /// How it ended. Nothing while it lasts, and for ever if it was dropped.
    pub outcome: Option<Result<(), BackendErrorKind>>,
    /// When it began, by a clock that counts beginnings and ends of all calls.
    pub began: u64,
    /// When it ended, by the same clock.
    pub ended: Option<u64>,
}

impl Call {
    fn is(&self, operation: Operation, file_type: Option<FileType>) -> bool {
        self.operation == operation && (file_type.is_none() || self.file_type == file_type)
    }
}

/// What is to go wrong, and when. Without more ado, it is the next call of any kind, once.
#[derive(Clone, Debug)]
pub struct Rule {
    effect: Effect,
    operation: Option<Operation>,
    file_type: Option<FileType>,
    /// How many matching calls go well before.
    spare: u64,
    /// How many after those are hit.
    hits: u64,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    Fail(BackendErrorKind),
    LoseAnswer(BackendErrorKind),
    Delay(Duration),
    Hang,
    Tear(usize),
    Shorten(usize),
    Flip(usize),
}

impl Rule {
    /// It fails, and nothing has happened: a save that crashed leaves nothing.
    pub fn fail(kind: BackendErrorKind) -> Self {
        Self::new(Effect::Fail(kind))
    }

    /// It is done, and then fails: a connection broke before the answer came.
    pub fn lose_answer(kind: BackendErrorKind) -> Self {
        Self::new(Effect::LoseAnswer(kind))
    }

    /// It begins only after this long (tokio's time).
    pub fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// It never ends, and nothing has happened. The caller can only be dropped.
    pub fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// A save leaves only so many bytes under the final name, and fails with
    /// [`BackendErrorKind::Transient`]. Backends that keep the contract never do; other programs, and
    /// servers that lose power, do.
    pub fn tear(keep: usize) -> Self {
        Self::new(Effect::Tear(keep)).on(Operation::Save)
    }

    /// A load gives only the first so many bytes of what it should, and does not say so: storage lies.
    pub fn shorten(keep: usize) -> Self {
        Self::new(Effect::Shorten(keep)).on(Operation::Load)
    }

    /// A load gives one wrong bit in the byte at this place of what it gives, counted round and round.
    pub fn flip(at: usize) -> Self {
        Self::new(Effect::Flip(at)).on(Operation::Load)
    }

    fn new(effect: Effect) -> Self {
        Self { effect, operation: None, file_type: None, spare: 0, hits: 1 }
    }

    /// Counts and hits only this operation.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Counts and hits only operations on this type of file.
    #[must_use]
    pub fn of(self, file_type: FileType) -> Self {
        Self { file_type: Some(file_type), ..self }
    }

    /// Hits the n-th matching call from now, counted from 1, and not those before.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { spare: n.saturating_sub(1), ..self }
    }

    /// Hits so many matching calls in a row.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { hits: times, ..self }
    }

    /// Hits every matching call from the first on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Counts a call, and gives the effect if it is hit.
    fn hit(&mut self, call: &Call) -> Option<Effect> {
        let matches = self.operation.is_none_or(|operation| operation == call.operation)
            && (self.file_type.is_none() || self.file_type == call.file_type);
        if !matches || self.hits == 0 {
            return None;
        }
        if self.spare > 0 {
            self.spare -= 1;
            return None;
        }
        self.hits -= 1;
        Some(self.effect)
    }
}

impl<B> Fault<B> {
    /// Wraps a backend; everything goes well until a rule is injected.
    pub fn new(backend: B) -> Self {
        Self { backend, state: Mutex::default() }
    }

    /// What is wrapped: the storage as it is.
    pub fn inner(&self) -> &B {
        &self.backend
    }

    /// Adds a rule. All rules count a call; delays add up, and of the rest the oldest that hits applies.
    pub fn inject(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Lets the process die at the n-th changing operation (create, save, remove) from now, counted
    /// from 1. That one does nothing, and it and every operation of any kind after it fails for good.
    ///
    /// A process that dies between the change and its answer is the same as one that dies at the next.
    pub fn kill_at(&self, n: u64) {
        let mut state = self.lock();
        state.life = Some(n.saturating_sub(1));
        state.dead = false;
    }

    /// Whether the process has died.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Takes back all rules and [`Self::kill_at`], and forgets the calls.
    pub fn reset(&self) {
        let mut state = self.lock();
        *state = State { clock: state.clock, ..State::default() };
    }

    /// All calls so far, in the order in which they began.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How many calls there were of this operation, on this type of file or on any.
    pub fn count(&self, operation: Operation, file_type: Option<FileType>) -> usize {
        self.lock().calls.iter().filter(|call| call.is(operation, file_type)).count()
    }

    /// How many bytes such calls handed over or gave.
    pub fn bytes(&self, operation: Operation, file_type: Option<FileType>) -> u64 {
        let state = self.lock();
        state.calls.iter().filter(|call| call.is(operation, file_type)).map(|call| call.bytes).sum()
    }

    /// Whether every call of the first kind ended well before any of the second kind began. That holds
    /// also where there are none: count them too.
    pub fn happened_before(
        &self,
        first: (Operation, FileType),
        second: (Operation, FileType),
    ) -> bool {
        let state = self.lock();
        let calls = |(operation, file_type)| {
            state.calls.iter().filter(move |call| call.is(operation, Some(file_type)))
        };
        let begin = calls(second).map(|call| call.began).min().unwrap_or(u64::MAX);
        calls(first).all(|call| call.outcome == Some(Ok(())) && call.ended < Some(begin))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a call begins, and lets happen to it what happens before it is passed on.
    async fn begin(&self, asked: Asked) -> Result<Begun, BackendError> {
        let (begun, delay) = self.lock().begin(asked);
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        if self.is_dead() {
            let error = begun.error(BackendErrorKind::Permanent).because("the process was killed");
            return self.end(&begun, 0, Err(error));
        }
        match begun.effect {
            Some(Effect::Fail(kind)) => self.end(&begun, 0, Err(begun.error(kind))),
            Some(Effect::Hang) => std::future::pending().await,
            _ => Ok(begun),
        }
    }

    /// Records how a call ended, and gives the answer that the caller is to see.
    fn end<T>(
        &self,
        begun: &Begun,
        bytes: u64,
        outcome: Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let outcome = match begun.effect {
            Some(Effect::LoseAnswer(kind)) => outcome.and_then(|_| Err(begun.error(kind))),
            _ => outcome,
        };
        let mut state = self.lock();
        let now = state.tick();
        // The calls may have been forgotten in between.
        let call = state.calls.iter_mut().find(|call| call.began == begun.began);
        if let Some(call) = call {
            call.ended = Some(now);
            call.bytes = bytes;
            call.outcome = Some(outcome.as_ref().map(|_| ()).map_err(|error| error.kind));
        }
        outcome
    }

    /// A call that is only recorded, failed or delayed.
    async fn pass<T>(
        &self,
        asked: Asked,
        call: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        let begun = self.begin(asked).await?;
        self.end(&begun, 0, call.await)
    }
}

/// A call as it comes in.
struct Asked {
    operation: Operation,
    file_type: Option<FileType>,
    handle: Option<Handle>,
    extent: Option<Extent>,
    bytes: u64,
}

impl Asked {
    fn to(operation: Operation) -> Self {
        Self { operation, file_type: None, handle: None, extent: None, bytes: 0 }
    }

    fn on(self, handle: &Handle) -> Self {
        Self { file_type: Some(handle.file_type), handle: Some(*handle), ..self }
    }
}

/// A call that is under way.
struct Begun {
    operation: Operation,
    handle: Option<Handle>,
    began: u64,
    /// What happens to it, but for delays.
    effect: Option<Effect>,
}

impl Begun {
    fn error(&self, kind: BackendErrorKind) -> BackendError {
        let error = BackendError::new(kind, self.operation.verb()).because("injected by a test");
        BackendError { handle: self.handle, ..error }
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Records a call, and gives what happens to it and how long it is delayed.
    fn begin(&mut self, asked: Asked) -> (Begun, Duration) {
        let Asked { operation, file_type, handle, extent, bytes } = asked;
        let began = self.tick();
        let call =
            Call { operation, file_type, handle, extent, bytes, outcome: None, began, ended: None };
        let mut effect = None;
        let mut delay = Duration::ZERO;
        for hit in self.rules.iter_mut().filter_map(|rule| rule.hit(&call)) {
            match hit {
                Effect::Delay(by) => delay = delay.saturating_add(by),
                other => effect = effect.or(Some(other)),
            }
        }
        if operation.is_mutating() {
            match &mut self.life {
                Some(0) => self.dead = true,
                Some(life) => *life -= 1,
                None => {}
            }
        }
        self.calls.push(call);
        (Begun { operation, handle, began, effect }, delay)
    }
}

#[async_trait]
impl<B: Backend> Backend for Fault<B> {
    fn properties(&self) -> Properties {
        self.backend.properties()
    }

    async fn create(&self) -> Result<(), BackendError> {
        self.pass(Asked::to(Operation::Create), self.backend.create()).await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let asked = Asked { extent: Some(extent), ..Asked::to(Operation::Load).on(handle) };
        let begun = self.begin(asked).await?;
        let outcome = self.backend.load(handle, extent).await.map(|data| match begun.effect {
            Some(Effect::Shorten(keep)) => data.slice(..keep.min(data.len())),
            Some(Effect::Flip(at)) if !data.is_empty() => {
                let mut data = data.to_vec();
                let at = at % data.len();
                data[at] ^= 1;
                data.into()
            }
            _ => data,
        });
        let bytes = outcome.as_ref().map_or(0, Bytes::len);
        self.end(&begun, bytes as u64, outcome)
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        let bytes = data.len() as u64;
        let asked = Asked { bytes, ..Asked::to(Operation::Save).on(handle) };
        let begun = self.begin(asked).await?;
        let outcome = match begun.effect {
            Some(Effect::Tear(keep)) => {
                let torn = self.backend.save(handle, data.slice(..keep.min(data.len()))).await;
                torn.and_then(|()| Err(begun.error(BackendErrorKind::Transient)))
            }
            _ => self.backend.save(handle, data).await,
        };
        self.end(&begun, bytes, outcome)
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        self.pass(Asked::to(Operation::Stat).on(handle), self.backend.stat(handle)).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        let asked = Asked { file_type: Some(file_type), ..Asked::to(Operation::List) };
        self.pass(asked, self.backend.list(file_type)).await
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        self.pass(Asked::to(Operation::Remove).on(handle), self.backend.remove(handle)).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        self.pass(Asked::to(Operation::FreeSpace), self.backend.free_space()).await
    }
}

#[cfg(test)]
mod tests {
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
}
