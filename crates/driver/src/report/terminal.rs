//! Standard output and standard error: lines by importance, and a status below them on a terminal.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::sync::watch;

use crate::exit::{Failure, Result};
use crate::report::json;

/// How often a daemon's log is told how far something is: a VM's log is read afterwards, by people.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How much an operator wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `--quiet`: results and errors.
    Quiet,
    /// What is being done, in a few lines.
    Normal,
    /// `-v`: the steps too.
    Verbose,
    /// `-vv`: every file.
    Debug,
}

/// Who reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// An operator.
    People,
    /// A script that reads JSON.
    Json,
    /// OpenNebula's daemon: standard output has results and nothing else; lines of standard error that
    /// begin with `INFO:` or `WARN:` go to its log, and any other counts as an error.
    Daemon,
}

/// Where all output goes. Lines from several threads do not mix.
///
/// Errors of standard output are kept and told at the end, or by [`Self::closed`]: what reports
/// progress has nobody to hand them to.
#[derive(Debug)]
pub struct Terminal {
    verbosity: Verbosity,
    style: Style,
    output: Mutex<BufWriter<Stdout>>,
    is_terminal: bool,
    status: Option<ProgressBar>,
    failure: watch::Sender<Option<Failure>>,
}

impl Terminal {
    /// The terminal of this process. With `as_json`, lines for people are left out.
    pub fn new(verbosity: Verbosity, as_json: bool) -> Self {
        Self::of_style(verbosity, if as_json { Style::Json } else { Style::People })
    }

    /// The same for one of OpenNebula's actions: what is said goes to the daemon's log.
    pub fn of_daemon() -> Self {
        Self::of_style(Verbosity::Normal, Style::Daemon)
    }

    fn of_style(verbosity: Verbosity, style: Style) -> Self {
        let is_terminal = io::stdout().is_terminal() && style != Style::Daemon;
        let shows_status = is_terminal && style == Style::People && verbosity > Verbosity::Quiet;
        let status = shows_status.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout_with_hz(20));
            bar.with_style(ProgressStyle::with_template("{msg}").expect("one known placeholder"))
        });
        let output = Mutex::new(BufWriter::with_capacity(1 << 16, io::stdout()));
        let failure = watch::Sender::new(None);
        Self { verbosity, style, output, is_terminal, status, failure }
    }

    /// Whether output is JSON for scripts.
    pub fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// Whether standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// How much is to be shown. In JSON mode this is what the flags say, though no lines are printed.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Prints a line that is a result: always.
    pub fn print(&self, line: impl AsRef<[u8]>) {
        self.write(line.as_ref(), true);
    }

    /// Prints one line of many, which may wait for others before it is shown.
    pub fn print_one_of_many(&self, line: impl AsRef<[u8]>) {
        self.write(line.as_ref(), false);
    }

    /// Prints a line for people at this verbosity and above; never in JSON mode.
    pub fn say(&self, from: Verbosity, line: impl AsRef<[u8]>) {
        if self.verbosity < from {
            return;
        }
        match self.style {
            Style::People => self.print(line),
            Style::Json => {}
            Style::Daemon => self.log("INFO", line.as_ref()),
        }
    }

    /// Prints what is being done, but for `--quiet`.
    pub fn note(&self, line: impl AsRef<[u8]>) {
        self.say(Verbosity::Normal, line);
    }

    /// Prints what only a person at a terminal wants to know.
    pub fn hint(&self, line: impl AsRef<[u8]>) {
        if self.is_terminal {
            self.note(line);
        }
    }

    /// Prints a value as a line of JSON.
    pub fn print_json<T: Serialize + ?Sized>(&self, value: &T) {
        self.print(json::line(value));
    }

    /// Prints a line to standard error.
    pub fn error(&self, line: impl AsRef<[u8]>) {
        match self.style {
            Style::Daemon => self.log("WARN", line.as_ref()),
            Style::People | Style::Json => self.write_error(line.as_ref()),
        }
    }

    /// Writes to the daemon's log. A line that has several becomes as many.
    fn log(&self, severity: &str, text: &[u8]) {
        for line in String::from_utf8_lossy(text).lines().filter(|line| !line.trim().is_empty()) {
            self.write_error(format!("{severity}: {line}").as_bytes());
        }
    }

    fn write_error(&self, line: &[u8]) {
        let line = terminated(line);
        // Nothing can be said about an error of standard error.
        self.around_status(|| drop(io::stderr().lock().write_all(&line)));
    }

    /// Prints a value as a line of JSON to standard error.
    pub fn error_json<T: Serialize + ?Sized>(&self, value: &T) {
        self.error(json::line(value));
    }

    /// Shows how far an operation is, in place of what was shown last. Without a terminal it is printed.
    pub fn show_status(&self, text: &str) {
        match &self.status {
            Some(bar) => bar.set_message(text.to_owned()),
            None => {
                let line = text.lines().next().unwrap_or_default();
                match self.style {
                    Style::Daemon => self.log("INFO", line.as_bytes()),
                    Style::People | Style::Json => self.print(line),
                }
            }
        }
    }

    /// Takes the status away.
    pub fn clear_status(&self) {
        if let Some(bar) = &self.status {
            bar.set_message(String::new());
            bar.reset();
        }
    }

    /// How often a status is to be shown; never by itself if there is no interval.
    ///
    /// `RESTIC_PROGRESS_FPS` says how often, at most 60 times a second. Without it: ten times, if there
    /// is a terminal to show it on or a script that reads JSON, and nobody asked for quiet.
    pub fn status_interval(&self, frames: Option<&str>) -> Option<Duration> {
        let frames = frames.and_then(|text| text.parse::<f64>().ok()).filter(|&rate| rate > 0.0);
        match frames {
            Some(rate) => Some(Duration::from_secs_f64(1.0 / rate.clamp(1e-6, 60.0))),
            None if self.verbosity == Verbosity::Quiet => None,
            None if self.style == Style::Daemon => Some(LOG_INTERVAL),
            None if self.is_json() || self.status.is_some() => Some(Duration::from_millis(100)),
            None => None,
        }
    }

    /// Lends standard output to somebody who writes bytes, a file's content for example.
    pub fn lend<R>(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<R>) -> Result<R> {
        write(&mut *self.lock()).map_err(|error| {
            let failure = Failure::output(&error);
            self.failure.send_replace(Some(failure.clone()));
            failure
        })
    }

    /// Waits until standard output cannot be written to, and tells why.
    pub async fn closed(&self) -> Failure {
        let mut failure = self.failure.subscribe();
        let found = failure.wait_for(Option::is_some).await;
        found.ok().and_then(|failure| failure.clone()).unwrap_or_else(Failure::interrupted)
    }

    /// Writes what is still waiting, and tells what went wrong with standard output, if anything.
    pub fn finish(&self) -> Result {
        if let Some(bar) = &self.status {
            bar.finish_and_clear();
        }
        self.keep_error(self.lock().flush());
        match self.failure.borrow().clone() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn write(&self, line: &[u8], at_once: bool) {
        let line = terminated(line);
        self.around_status(|| {
            let mut output = self.lock();
            let written = output.write_all(&line);
            let flushed = if at_once || self.is_terminal { output.flush() } else { Ok(()) };
            self.keep_error(written.and(flushed));
        });
    }

    fn around_status(&self, write: impl FnOnce()) {
        match &self.status {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn keep_error(&self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failure.send_if_modified(|failure| {
                let is_first = failure.is_none();
                failure.get_or_insert_with(|| Failure::output(&error));
                is_first
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        // A panic while a line was written leaves at worst half a line behind.
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line with exactly one newline at its end, written in one go.
fn terminated(line: &[u8]) -> Vec<u8> {
    let mut line = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
    line.push(b'\n');
    line
}

/// A text that does no harm on a terminal: in quotes and escaped if it has anything unprintable in it.
pub fn printable(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() && c != char::REPLACEMENT_CHARACTER;
    if text.chars().all(is_harmless) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_once() {
        assert_eq!(terminated(b"a"), b"a\n");
        assert_eq!(terminated(b"a\n"), b"a\n");
        assert_eq!(terminated(b""), b"\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("/home/föó bar"), "/home/föó bar");
        assert_eq!(printable("a\x1b[31mb"), "\"a\\u{1b}[31mb\"");
        assert_eq!(printable("a\nb"), "\"a\\nb\"");
    }

    #[test]
    fn the_status_comes_as_often_as_asked_for() {
        let json = Terminal::new(Verbosity::Normal, true);
        assert_eq!(json.status_interval(None), Some(Duration::from_millis(100)));
        assert_eq!(json.status_interval(Some("4")), Some(Duration::from_millis(250)));
        assert_eq!(json.status_interval(Some("1000")), json.status_interval(Some("60")));
        assert_eq!(json.status_interval(Some("0")), Some(Duration::from_millis(100)));
        assert_eq!(json.status_interval(Some("often")), Some(Duration::from_millis(100)));
        let quiet = Terminal::new(Verbosity::Quiet, true);
        assert_eq!(quiet.status_interval(None), None);
        assert_eq!(quiet.status_interval(Some("2")), Some(Duration::from_millis(500)));
    }
}
