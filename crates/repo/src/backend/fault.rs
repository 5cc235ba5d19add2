//! A storage that fails as it is told and remembers what was asked of it. For tests.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, BackendError, BackendErrorKind, Extent, FileInfo, Properties};
use crate::handle::{FileType, Handle};

pub use call::{Call, Operation};
pub use rule::Rule;

use rule::Effect;

mod call;
mod rule;

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
mod tests;
