//! The front-end's end of a connection: `ssh`, what it says, and what is said to it.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines, Take};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::exit::{Failure, Result};
use crate::report::terminal::Terminal;

/// More than a host has to say.
const MAX_OUTPUT: u64 = 16 << 20;
/// How long the last words may take, once the connection has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How many lines are kept of what was said without being for the log.
const KEPT_LINES: usize = 8;

/// What `ssh` ends with when it cannot connect, or the connection breaks.
const SSH_FAILED: i32 = 255;

/// Where a host's lines go: to the log of a VM.
#[derive(Clone, Debug)]
pub struct Log {
    /// The daemon's log.
    pub terminal: Arc<Terminal>,
    /// The VM. A line of the log begins with its number, by which OpenNebula tells whose log it is for.
    pub vm: u64,
}

impl Log {
    /// What is being done.
    pub fn note(&self, text: impl std::fmt::Display) {
        self.terminal.note(format!("{} {text}", self.vm));
    }

    /// What is wrong, and stops nothing.
    pub fn warn(&self, text: impl std::fmt::Display) {
        self.terminal.error(format!("{} {text}", self.vm));
    }
}

/// A connection to a host on which a command runs. Dropped, it is cut.
#[derive(Debug)]
pub struct Link {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<Take<ChildStdout>>>,
    listener: JoinHandle<()>,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Link {
    /// Starts a command, which is `ssh`.
    pub fn open(mut command: Command, log: &Log) -> Result<Self> {
        let cannot = |error| {
            Failure::new(format_args!("cannot run ssh: {error}; is the OpenSSH client installed?"))
        };
        let mut child = command.spawn().map_err(cannot)?;
        let lost = || cannot(std::io::Error::other("its output is not connected"));
        let output = child.stdout.take().ok_or_else(lost)?;
        let errors = child.stderr.take().ok_or_else(lost)?;
        let said = Arc::default();
        Ok(Self {
            input: child.stdin.take(),
            lines: BufReader::new(output.take(MAX_OUTPUT)).lines(),
            listener: tokio::spawn(listen(errors, log.clone(), Arc::clone(&said))),
            said,
            child,
        })
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

    /// The next line that the command prints; nothing once it has ended.
    pub async fn next_line(&mut self) -> Option<String> {
        self.lines.next_line().await.ok().flatten()
    }

    /// Waits for the end, and tells what was said that is not for the log, the last of it.
    pub async fn end(mut self) -> Ending {
        self.input = None;
        let status = self.child.wait().await.ok();
        let _ = timeout(LAST_WORDS, &mut self.listener).await;
        self.listener.abort();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ending { status, said: said.into() }
    }
}

/// How a connection ended.
#[derive(Debug)]
pub struct Ending {
    status: Option<ExitStatus>,
    said: Vec<String>,
}

impl Ending {
    /// Whether it was `ssh` that failed, and not what it was to run.
    pub fn is_lost(&self) -> bool {
        // Without a code, a signal has ended ssh.
        self.status.is_none_or(|status| status.code().is_none_or(|code| code == SSH_FAILED))
    }

    /// Whether the command ended well.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Why it ended, as far as anybody said.
    pub fn reason(&self) -> String {
        match (self.said.is_empty(), self.status) {
            (false, _) => self.said.join("; "),
            (true, Some(status)) => format!("ssh ended with {status}"),
            (true, None) => "ssh ended".to_owned(),
        }
    }
}

/// Passes on what a host says to the log, and keeps the rest.
async fn listen(errors: ChildStderr, log: Log, said: Arc<Mutex<VecDeque<String>>>) {
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
