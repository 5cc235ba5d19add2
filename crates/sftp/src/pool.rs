//! The sessions of a backend: as many as are worth while, replaced when they break.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::{Event, Options};
use crate::error::Error;
use crate::failure::Failure;
use crate::session::Session;

/// Another session is opened when all have more than this under way, in bytes: what one transfer of an
/// ordinary pack is. A connection costs both sides about 70 ms of work.
const BUSY: u64 = 12 << 20;

/// How long no further session is opened after one could not be. There is one that works.
const NOT_AGAIN_FOR: Duration = Duration::from_secs(60);

/// The pause before the second try to reconnect; it doubles before every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// It grows no further than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Opens a session, on a connection of its own.
pub(crate) type Opener = dyn Fn() -> BoxFuture<'static, Result<Arc<Session>, Error>> + Send + Sync;

/// The sessions of a backend. Clones share them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    open: Box<Opener>,
    options: Options,
    state: Mutex<State>,
    /// How many temporary files are about to be removed.
    tidying: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    sessions: Vec<Arc<Session>>,
    /// A new first session is on its way; all who need one wait for it.
    coming: Option<Coming>,
    /// A further session is on its way; nobody waits for it.
    growing: bool,
    /// Not before then is a further session tried.
    grow_after: Option<Instant>,
    /// Temporary files that a broken session left behind.
    strays: Vec<String>,
}

type Coming = Shared<BoxFuture<'static, Result<Arc<Session>, Failure>>>;

/// The most strays that are remembered.
const MOST_STRAYS: usize = 1000;

impl Pool {
    /// A pool with one session, opened now. Who cannot be reached at all is not waited for.
    pub(crate) async fn open(open: Box<Opener>, options: Options) -> Result<Self, Error> {
        let first = open().await?;
        let state = State { sessions: vec![first], ..State::default() };
        let (state, tidying) = (Mutex::new(state), watch::Sender::new(0));
        Ok(Self(Arc::new(Inner { open, options, state, tidying })))
    }

    /// The session with the least to do. If there is none any more, a new one, as soon as the server can
    /// be reached; if it cannot within the time agreed on, an error.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Failure> {
        let (lost, found) = self.0.pick();
        for reason in lost {
            (self.0.options.observer)(&Event::Lost { reason });
        }
        match found {
            Ok(session) => Ok(session),
            Err(coming) => coming.await,
        }
    }

    /// Remembers a temporary file that could not be removed, because its session is gone.
    pub(crate) fn leave(&self, path: String) {
        let mut state = self.0.state();
        if state.strays.len() < MOST_STRAYS {
            state.strays.push(path);
        }
    }

    /// Removes what broken sessions left behind.
    pub(crate) async fn sweep(&self, session: &Arc<Session>) {
        let strays = std::mem::take(&mut self.0.state().strays);
        for path in strays {
            if let Err(failure) = session.remove(&path).await
                && failure.is_lost()
            {
                self.leave(path);
            }
        }
    }

    /// Counts one who tidies up, until what this gives is dropped.
    pub(crate) fn tidy(&self) -> Tidying {
        self.0.tidying.send_modify(|count| *count += 1);
        Tidying(self.clone())
    }

    /// Waits until nobody tidies up any more.
    pub(crate) async fn tidied(&self) {
        let mut tidying = self.0.tidying.subscribe();
        // An error means that nobody can be tidying: we hold the other end.
        let _ = tidying.wait_for(|&count| count == 0).await;
    }

    pub(crate) fn has_strays(&self) -> bool {
        !self.0.state().strays.is_empty()
    }
}

/// Somebody tidies up.
pub(crate) struct Tidying(Pool);

impl Drop for Tidying {
    fn drop(&mut self) {
        self.0.0.tidying.send_modify(|count| *count -= 1);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the sessions that have ended, with why they did, and gives the one with the least to do;
    /// if there is none, the one that is on its way.
    fn pick(self: &Arc<Self>) -> (Vec<String>, Result<Arc<Session>, Coming>) {
        let mut state = self.state();
        let mut lost = Vec::new();
        state.sessions.retain(|session| match session.reason() {
            None => true,
            Some(reason) => {
                lost.push(reason);
                false
            }
        });
        let found = match state.sessions.iter().min_by_key(|session| session.load()) {
            Some(session) => {
                let session = Arc::clone(session);
                self.grow(&mut state, session.load());
                Ok(session)
            }
            None => Err(state.coming.get_or_insert_with(|| Arc::clone(self).reconnect()).clone()),
        };
        (lost, found)
    }

    /// Opens a further session in the background, if that is worth while.
    fn grow(self: &Arc<Self>, state: &mut State, least: u64) {
        let soon = state.grow_after.is_some_and(|after| Instant::now() < after);
        let enough = state.sessions.len() >= self.options.sessions.max(1);
        if least < BUSY || state.growing || soon || enough {
            return;
        }
        state.growing = true;
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let opened = (inner.open)().await;
            let mut state = inner.state();
            state.growing = false;
            match opened {
                Ok(session) => state.sessions.push(session),
                // The server may allow no more. What there is has to do.
                Err(_) => state.grow_after = Some(Instant::now() + NOT_AGAIN_FOR),
            }
        });
    }

    /// Connects again, however often it takes within the time agreed on. It goes on even if nobody waits
    /// any more.
    fn reconnect(self: Arc<Self>) -> Coming {
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let opened = self.try_to_open(began).await;
            let mut state = self.state();
            state.coming = None;
            if let Ok(session) = &opened {
                state.sessions.push(Arc::clone(session));
                drop(state);
                (self.options.observer)(&Event::Reconnected { after: began.elapsed() });
            }
            opened
        });
        let ending = |_| Err(Failure::Lost("the program is ending".to_owned()));
        task.map(move |outcome| outcome.unwrap_or_else(ending)).boxed().shared()
    }

    async fn try_to_open(&self, began: Instant) -> Result<Arc<Session>, Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            let left = self.options.patience.saturating_sub(began.elapsed());
            let error = match tokio::time::timeout(left, (self.open)()).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => error,
                Err(_) => Failure::Lost("the server does not answer".to_owned()).into(),
            };
            let pause_now = scatter(pause);
            let too_late = began.elapsed() + pause_now >= self.options.patience;
            if too_late || !error.kind().is_transient() {
                return Err(Failure::Unreachable(Arc::new(error)));
            }
            tokio::time::sleep(pause_now).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("sessions", &self.0.state().sessions).finish_non_exhaustive()
    }
}

/// Between half and one and a half times as long, so that those who were cut off together do not all
/// come back together.
fn scatter(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}
