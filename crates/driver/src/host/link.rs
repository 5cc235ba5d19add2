//! The front-end's end of a connection to another half of this program: what that says, and what is said to it.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Lines, Take,
    copy, sink,
};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::exit::{Failure, Result};
use crate::host::lifeline::HEARTBEAT;
use crate::host::message::Hello;
use crate::report::terminal::Terminal;

/// More than the other half has to say.
const MAX_OUTPUT: u64 = 16 << 20;
/// How long the last words may take, once the connection has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How many lines are kept of what was said without being for the log.
const KEPT_LINES: usize = 8;
/// How many lines a shell may print by itself before the program begins.
const MAX_GREETINGS: usize = 100;

/// What `ssh` ends with when it cannot connect, or the connection breaks.
const SSH_FAILED: i32 = 255;

/// Where the lines of another half go.
#[derive(Clone, Debug)]
pub struct Log {
    /// The daemon's log.
    pub terminal: Arc<Terminal>,
    /// The VM whose log they are for: a line then begins with its number, by which OpenNebula tells.
    pub vm: Option<u64>,
}

impl Log {
    /// What is being done.
    pub fn note(&self, text: impl fmt::Display) {
        self.terminal.note(self.line(text));
    }

    /// What is wrong, and stops nothing.
    pub fn warn(&self, text: impl fmt::Display) {
        self.terminal.error(self.line(text));
    }

    fn line(&self, text: impl fmt::Display) -> String {
        self.vm.map_or_else(|| text.to_string(), |vm| format!("{vm} {text}"))
    }
}

type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A connection to another machine, on which a command runs. Dropped, it is cut.
pub struct Link {
    input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    lines: Lines<BufReader<Take<Output>>>,
    listener: JoinHandle<()>,
    said: Arc<Mutex<VecDeque<String>>>,
    end: BoxFuture<'static, End>,
}

/// How a command ended, or its connection.
struct End {
    code: Option<i32>,
    is_lost: bool,
    how: String,
}

impl Link {
    /// Starts a command, which is `ssh`.
    pub fn open(mut command: Command, log: &Log) -> Result<Self> {
        let cannot = |error| {
            Failure::new(format_args!("cannot run ssh: {error}; is the OpenSSH client installed?"))
        };
        let mut child = command.spawn().map_err(cannot)?;
        let lost = || cannot(std::io::Error::other("its output is not connected"));
        let input = child.stdin.take().ok_or_else(lost)?;
        let output = child.stdout.take().ok_or_else(lost)?;
        let errors = child.stderr.take().ok_or_else(lost)?;
        let end = async move {
            let status = child.wait().await.ok();
            let code = status.and_then(|status| status.code());
            let how = status.map_or_else(
                || "ssh ended".to_owned(),
                |status| format!("ssh ended with {status}"),
            );
            // Without a code, a signal has ended ssh.
            End { code, is_lost: code.is_none_or(|code| code == SSH_FAILED), how }
        };
        Ok(Self::new(Box::new(input), Box::new(output), Box::new(errors), end.boxed(), log))
    }

    /// The link to a command that runs on a server.
    pub fn over(command: restic_sftp::Command, log: &Log) -> Self {
        let restic_sftp::Command { input, output, errors, end } = command;
        let end = async move {
            let code = end.wait().await.and_then(|code| i32::try_from(code).ok());
            let how = code.map_or_else(
                || "the connection broke".to_owned(),
                |code| format!("it ended with exit status {code}"),
            );
            End { code, is_lost: code.is_none(), how }
        };
        Self::new(Box::new(input), Box::new(output), Box::new(errors), end.boxed(), log)
    }

    fn new(
        input: Box<dyn AsyncWrite + Send + Unpin>,
        output: Output,
        errors: Output,
        end: BoxFuture<'static, End>,
        log: &Log,
    ) -> Self {
        let said = Arc::default();
        Self {
            input: Some(input),
            lines: BufReader::new(output.take(MAX_OUTPUT)).lines(),
            listener: tokio::spawn(listen(errors, log.clone(), Arc::clone(&said))),
            said,
            end,
        }
    }

    /// Sends something. Where nobody takes it, that shows in what comes back.
    pub async fn send(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input
            && (input.write_all(bytes).await.is_err() || input.flush().await.is_err())
        {
            self.input = None;
        }
    }

    /// Ends what is sent, which the other end takes for a wish to stop.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// The next byte that the command prints, which stays where it is; nothing once it has ended.
    pub async fn next_byte(&mut self) -> Option<u8> {
        self.lines.get_mut().fill_buf().await.ok()?.first().copied()
    }

    /// The next line that the command prints; nothing once it has ended.
    pub async fn next_line(&mut self) -> Option<String> {
        self.lines.next_line().await.ok().flatten()
    }

    /// What the program says first, whatever a shell says before it.
    pub async fn hello(&mut self) -> Option<Hello> {
        for _ in 0..MAX_GREETINGS {
            if let Ok(hello) = serde_json::from_str(&self.next_line().await?) {
                return Some(hello);
            }
        }
        None
    }

    /// Waits for the next message of this kind, and gives a sign of life now and then. Nothing once the command
    /// has ended.
    pub async fn message<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                line = self.lines.next_line() => {
                    if let Ok(message) = serde_json::from_str(&line.ok().flatten()?) {
                        return Some(message);
                    }
                }
                _ = beat.tick() => self.send(b"\n").await,
            }
        }
    }

    /// Leaves the connection to the command, which ends it: our keys can be used there until then, even if this
    /// program is gone. Nobody hears what is said.
    pub fn leave(self) {
        // Dropped, it would be killed.
        std::mem::forget(self.end);
    }

    /// Waits for the end, and tells what was said that is not for the log, the last of it.
    pub async fn end(self) -> Ending {
        let Self { input, lines, mut listener, said, end } = self;
        drop(input);
        // What it still prints is not wanted, and must not keep it from ending.
        let mut rest = lines.into_inner().into_inner().into_inner();
        let drain = async {
            let _ = copy(&mut rest, &mut sink()).await;
            pending().await
        };
        let end = tokio::select! {
            end = end => end,
            never = drain => never,
        };
        let _ = timeout(LAST_WORDS, &mut listener).await;
        listener.abort();
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ending { end, said: said.into() }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_open", &self.input.is_some()).finish_non_exhaustive()
    }
}

/// How a connection ended.
pub struct Ending {
    end: End,
    said: Vec<String>,
}

impl Ending {
    /// Whether it was the connection that failed, and not what was to run.
    pub fn is_lost(&self) -> bool {
        self.end.is_lost
    }

    /// Whether the command ended well.
    pub fn is_success(&self) -> bool {
        self.end.code == Some(0)
    }

    /// Why it ended, as far as anybody said.
    pub fn reason(&self) -> String {
        match self.said.is_empty() {
            false => self.said.join("; "),
            true => self.end.how.clone(),
        }
    }
}

/// Passes on what the other half says to the log, and keeps the rest.
async fn listen(errors: Output, log: Log, said: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(errors.take(MAX_OUTPUT)).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        if let Some(text) = line.strip_prefix("INFO: ") {
            log.note(text);
        } else if let Some(text) = line.strip_prefix("WARN: ") {
            log.warn(text);
        } else if !line.trim().is_empty() {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_back(line.trim().to_owned());
            if said.len() > KEPT_LINES {
                said.pop_front();
            }
        }
    }
}
