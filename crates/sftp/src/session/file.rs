//! A file or folder that is open in a session.

use std::sync::Arc;

use futures_util::FutureExt;
use russh_sftp::client::error::Error as Told;
use russh_sftp::protocol::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::{AHEAD_UNIT, Permit, Session, Stat, permissions};
use crate::failure::Failure;

/// A file or folder that is open in a session. Dropping it closes it.
pub(crate) struct File {
    session: Arc<Session>,
    handle: String,
    /// Given back once the server has closed it.
    held: Option<Held>,
}

/// What an open file takes up.
struct Held {
    _place: OwnedSemaphorePermit,
    _permit: Permit,
    /// For what is being read.
    turn: Option<Permit>,
}

impl File {
    pub(super) fn new(
        session: Arc<Session>,
        handle: String,
        place: OwnedSemaphorePermit,
        permit: Permit,
    ) -> Self {
        Self { session, handle, held: Some(Held { _place: place, _permit: permit, turn: None }) }
    }

    /// Takes up this turn as well, for what is going to be read.
    pub(crate) fn begin_turn(&mut self, turn: Permit) {
        if let Some(held) = &mut self.held {
            held.turn = Some(turn);
        }
    }

    /// Gives the turn back: what was to be read has come.
    pub(crate) fn end_turn(&mut self) {
        if let Some(held) = &mut self.held {
            held.turn = None;
        }
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Reads up to so many bytes. Nothing at the end of the file.
    pub(crate) async fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Failure> {
        let room = (length as usize).div_ceil(AHEAD_UNIT) as u32;
        let _room = self.session.ahead.acquire_many(room).await;
        let _waiting = self.session.pulse.wait();
        let request = self.session.raw.read(self.handle.clone(), offset, length);
        let data = match request.await {
            Err(Told::Status(status)) if status.status_code == StatusCode::Eof => {
                return Ok(Vec::new());
            }
            answer => answer.map_err(|told| self.session.failure(told))?.data,
        };
        match data.len() <= length as usize {
            true => Ok(data),
            false => Err(Failure::Nonsense("more bytes than were asked for".to_owned())),
        }
    }

    /// Writes a piece.
    pub(crate) async fn write(&self, offset: u64, piece: &[u8]) -> Result<(), Failure> {
        let _waiting = self.session.pulse.wait();
        let request = self.session.raw.write(self.handle.clone(), offset, piece.to_vec());
        request.await.map(drop).map_err(|told| self.session.failure(told))
    }

    /// The next names in a folder. None at its end.
    pub(crate) async fn names(&self) -> Result<Option<Vec<(String, Stat)>>, Failure> {
        let request = self.session.raw.readdir(self.handle.clone());
        let eof = |told: &Told| matches!(told, Told::Status(s) if s.status_code == StatusCode::Eof);
        let answer = self.session.ask(async {
            match request.await {
                Err(told) if eof(&told) => Ok(None),
                answer => answer.map(Some),
            }
        });
        let Some(answer) = answer.await? else { return Ok(None) };
        let named = answer.files.into_iter();
        Ok(Some(named.map(|file| (file.filename, Stat::of(&file.attrs))).collect()))
    }

    pub(crate) async fn stat(&self) -> Result<Stat, Failure> {
        let session = &self.session;
        Ok(Stat::of(&session.ask(session.raw.fstat(self.handle.clone())).await?.attrs))
    }

    pub(crate) async fn set_mode(&self, mode: u32) -> Result<(), Failure> {
        let request = self.session.raw.fsetstat(self.handle.clone(), permissions(mode));
        self.session.ask(request).await.map(drop)
    }

    /// Makes what was written durable, where the server can. Tells whether it has.
    pub(crate) async fn sync(&self) -> Result<bool, Failure> {
        if !self.session.offers.fsync {
            return Ok(false);
        }
        match self.session.ask(self.session.raw.fsync(self.handle.clone())).await {
            // Some file systems cannot.
            Err(Failure::Unsupported(_)) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// Waits until everything that is going on in the session is over, if that comes first.
    pub(crate) async fn unless_over<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            outcome = work => outcome,
            reason = self.session.pulse.ended() => Err(Failure::Lost(reason)),
        }
    }

    /// Closes it, and learns what only then comes to light. The request is sent at once: what is asked
    /// next comes behind it, also if it does not wait.
    pub(crate) fn close(mut self) -> impl Future<Output = Result<(), Failure>> + use<> {
        let closing = self.closing().map(|closing| {
            let mut closing = closing.boxed();
            let closed = (&mut closing).now_or_never();
            tokio::spawn(async move {
                match closed {
                    Some(closed) => closed,
                    None => closing.await,
                }
            })
        });
        async move {
            let Some(closing) = closing else { return Ok(()) };
            closing.await.map_err(|_| Failure::Lost("the program is ending".to_owned()))?
        }
    }

    /// Closes it, once.
    fn closing(&mut self) -> Option<impl Future<Output = Result<(), Failure>> + Send + 'static> {
        let held = self.held.take()?;
        let (session, handle) = (Arc::clone(&self.session), std::mem::take(&mut self.handle));
        Some(async move {
            let closed = session.ask(session.raw.close(handle)).await;
            drop(held);
            closed.map(drop)
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.session.is_over() {
            return;
        }
        if let (Ok(runtime), Some(closing)) =
            (tokio::runtime::Handle::try_current(), self.closing())
        {
            runtime.spawn(closing);
        }
    }
}
