//! Signals: an operator who wants the program to stop, and others.
//!
//! * SIGINT and SIGTERM end the work in good order: what runs is dropped, which cancels it, and locks
//!   are released. The second one ends the program at once.
//! * SIGHUP is ignored. restic sends it to find out whether a lock's process is still alive
//!   (`unlock` on the same host), so a program that dies of it can be killed by any restic.
//! * SIGPIPE is ignored by Rust; writing then fails, see [`crate::report::terminal`].

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::{ExitCode, Failure, Result};

/// Tells whoever listens that the operator wants to stop.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts to listen for signals, and says so when one comes. To be called once, inside the runtime.
    pub fn listen() -> io::Result<Self> {
        Self::listen_and(complain)
    }

    /// Starts to listen for signals without a word.
    pub fn listen_quietly() -> io::Result<Self> {
        Self::listen_and(|_| ())
    }

    fn listen_and(say: fn(&str)) -> io::Result<Self> {
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move { while hangup.recv().await.is_some() {} });

        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                }
            };
            let name = next().await;
            say(&format!("\r{name} received, cleaning up; once more to stop at once\n"));
            sender.send_replace(true);
            next().await;
            std::process::exit(ExitCode::Interrupted as i32);
        });
        Ok(Self(receiver))
    }

    /// Somebody to listen to who never calls.
    pub fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// Waits for the operator to interrupt.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|&interrupted| interrupted).await.is_err() {
            std::future::pending().await
        }
    }

    /// Does `work` unless the operator interrupts; then the work is dropped, which cancels it.
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.requested() => Err(Failure::interrupted()),
            result = work => result,
        }
    }
}

/// Writes to standard error, whose own failure nobody could be told of.
fn complain(text: &str) {
    use io::Write;
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_is_not_interrupted_comes_to_its_end() {
        assert_eq!(Interrupt::never().guard(async { Ok(7) }).await, Ok(7));
    }

    #[tokio::test]
    async fn an_interrupt_drops_the_work() {
        let (sender, receiver) = watch::channel(true);
        let interrupted = Interrupt(receiver);
        let result: Result<()> = interrupted.guard(std::future::pending()).await;
        assert_eq!(result.unwrap_err().code(), ExitCode::Interrupted);
        drop(sender);
    }
}
