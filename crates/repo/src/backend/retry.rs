//! Trying again what failed for a passing reason.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{Backend, BackendError, BackendErrorKind, Extent, FileInfo, Properties};
use crate::handle::{FileType, Handle};

/// Tries operations again that fail with a kind that [`BackendErrorKind::is_transient`], and no others.
#[derive(Clone)]
pub struct Retry<B> {
    backend: B,
    backoff: Backoff,
    hook: Arc<Hook>,
}

type Hook = dyn Fn(&Retrying<'_>) + Send + Sync;

/// How long to wait between tries, and for how long to go on. The default is restic's: 1 s, doubled up
/// to 60 s, each between half and one and a half times that, for 15 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The mean delay before the second try; it doubles before every further one.
    pub first: Duration,
    /// The mean delay grows no further than this.
    pub longest: Duration,
    /// No try begins later than this after the first one began. The second try is the exception: a
    /// single try may take that long.
    pub give_up_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            give_up_after: Duration::from_secs(15 * 60),
        }
    }
}

/// What failed and is about to be tried again.
#[derive(Debug)]
pub struct Retrying<'a> {
    /// What failed: the operation, the file and why.
    pub error: &'a BackendError,
    /// How many tries have failed so far.
    pub tries: u32,
    /// How long it is until the next.
    pub delay: Duration,
}

impl<B: Backend> Retry<B> {
    /// Tries again as restic does, and tells nobody.
    pub fn new(backend: B) -> Self {
        Self { backend, backoff: Backoff::default(), hook: Arc::new(|_| {}) }
    }

    /// The same, with other delays.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// The same, calling this before each delay, so that people learn why nothing goes on.
    #[must_use]
    pub fn on_retry(self, hook: impl Fn(&Retrying<'_>) + Send + Sync + 'static) -> Self {
        Self { hook: Arc::new(hook), ..self }
    }

    /// Tries until it succeeds, fails for good or takes too long. An attempt is told how many went before.
    async fn run<T, F>(&self, mut attempt: impl FnMut(u32) -> F + Send) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>> + Send,
    {
        let began = Instant::now();
        let mut mean = self.backoff.first;
        let mut tries = 0;
        loop {
            let error = match attempt(tries).await {
                Err(error) if error.kind.is_transient() => error,
                outcome => return outcome,
            };
            tries += 1;
            let delay = scatter(mean.min(self.backoff.longest));
            if tries > 1 && began.elapsed().saturating_add(delay) > self.backoff.give_up_after {
                return Err(error);
            }
            (self.hook)(&Retrying { error: &error, tries, delay });
            sleep(delay).await;
            mean = mean.saturating_mul(2);
        }
    }
}

/// Between half and one and a half times the mean, so that those who failed together do not all come
/// back together.
fn scatter(mean: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    mean.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

impl<B: fmt::Debug> fmt::Debug for Retry<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("backend", &self.backend)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<B: Backend> Backend for Retry<B> {
    fn properties(&self) -> Properties {
        self.backend.properties()
    }

    async fn create(&self) -> Result<(), BackendError> {
        self.run(|_| self.backend.create()).await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        self.run(|_| self.backend.load(handle, extent)).await
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        self.run(|_| self.backend.save(handle, data.clone())).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        self.run(|_| self.backend.stat(handle)).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        self.run(|_| self.backend.list(file_type)).await
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        self.run(|tries| async move {
            match self.backend.remove(handle).await {
                // An earlier try removed it, and its answer was lost.
                Err(error) if tries > 0 && error.kind == BackendErrorKind::NotFound => Ok(()),
                outcome => outcome,
            }
        })
        .await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        self.run(|_| self.backend.free_space()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::backend::fault::{Fault, Operation, Rule};
    use crate::backend::mem::Mem;
    use crate::backend::suite::Subject;
    use crate::id::Id;
    use BackendErrorKind::*;

    async fn subject() -> Subject {
        Subject::new(Arc::new(Retry::new(Mem::new())))
    }

    crate::backend_suite!(subject);

    const DATA: Bytes = Bytes::from_static(b"a snapshot");

    fn handle() -> Handle {
        Handle::new(FileType::Snapshot, Id::of(&DATA))
    }

    /// A storage that does as the rule says, and what retries from it.
    fn failing(rule: Rule) -> (Arc<Fault<Mem>>, Retry<Arc<Fault<Mem>>>) {
        let fault = Arc::new(Fault::new(Mem::new()));
        fault.inject(rule);
        (fault.clone(), Retry::new(fault))
    }

    #[tokio::test(start_paused = true)]
    async fn a_storage_that_fails_for_a_while_is_survived_and_every_retry_is_told() {
        let (fault, retry) = failing(Rule::fail(Transient).on(Operation::Save).times(4));
        let told = Arc::new(Mutex::new(Vec::new()));
        let told_by_hook = told.clone();
        let retry = retry.on_retry(move |retrying| {
            assert_eq!(retrying.error.operation, "save");
            assert_eq!(retrying.error.handle, Some(handle()));
            told_by_hook.lock().unwrap().push((retrying.tries, retrying.delay));
        });
        let began = Instant::now();
        retry.save(&handle(), DATA).await.unwrap();
        assert_eq!(fault.count(Operation::Save, None), 5);

        let told = told.lock().unwrap();
        assert_eq!(told.iter().map(|(tries, _)| *tries).collect::<Vec<_>>(), [1, 2, 3, 4]);
        for ((_, delay), mean) in told.iter().zip([1, 2, 4, 8]) {
            let mean = Duration::from_secs(mean);
            assert!((mean / 2..=mean * 3 / 2).contains(delay), "{delay:?} is not about {mean:?}");
        }
        assert!(began.elapsed() >= told.iter().map(|(_, delay)| *delay).sum());
    }

    #[tokio::test(start_paused = true)]
    async fn a_storage_that_stays_broken_is_given_up_after_the_agreed_time() {
        let (_, retry) = failing(Rule::fail(Transient).always());
        let retry = retry.with_backoff(Backoff {
            give_up_after: Duration::from_secs(100),
            ..Default::default()
        });
        let began = Instant::now();
        assert_eq!(retry.stat(&handle()).await.unwrap_err().kind, Transient);
        // The next delay would have been 96 s at most.
        assert!((4..=100).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_stops_growing() {
        let (_, retry) = failing(Rule::fail(Transient).times(12));
        let retry = retry.on_retry(|retrying| assert!(retrying.delay <= Duration::from_secs(90)));
        assert_eq!(retry.stat(&handle()).await.unwrap_err().kind, NotFound);
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_takes_longer_than_the_agreed_time_has_a_second_chance() {
        let (fault, retry) = failing(Rule::delay(Duration::from_secs(3600)).on(Operation::Save));
        fault.inject(Rule::fail(Transient).on(Operation::Save));
        retry.save(&handle(), DATA).await.unwrap();
        assert_eq!(fault.count(Operation::Save, None), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_get_better_is_not_tried_again() {
        for kind in [
            NotFound,
            PermissionDenied,
            NoSpace,
            TooShort,
            TooLarge,
            ReadOnly,
            Authentication,
            Permanent,
        ] {
            let (fault, retry) = failing(Rule::fail(kind));
            assert_eq!(retry.load(&handle(), Extent::Whole).await.unwrap_err().kind, kind);
            assert_eq!(fault.calls().len(), 1, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_save_whose_answer_was_lost_succeeds() {
        let (fault, retry) = failing(Rule::lose_answer(Transient).on(Operation::Save));
        retry.save(&handle(), DATA).await.unwrap();
        assert_eq!(fault.count(Operation::Save, None), 2);
        assert_eq!(retry.load(&handle(), Extent::Whole).await.unwrap(), DATA);
    }

    #[tokio::test(start_paused = true)]
    async fn a_torn_save_is_made_good() {
        let (_, retry) = failing(Rule::tear(3));
        retry.save(&handle(), DATA).await.unwrap();
        assert_eq!(retry.load(&handle(), Extent::Whole).await.unwrap(), DATA);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removal_whose_answer_was_lost_succeeds_but_a_first_one_of_nothing_does_not() {
        let (_, retry) = failing(Rule::lose_answer(Transient).on(Operation::Remove));
        retry.save(&handle(), DATA).await.unwrap();
        retry.remove(&handle()).await.unwrap();
        assert_eq!(retry.remove(&handle()).await.unwrap_err().kind, NotFound);
    }
}
