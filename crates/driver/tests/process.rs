//! The program as a shell sees it: exit codes, what is on which output, and signals.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The program, without any variable that would change what it does.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_one-restic"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RESTIC_") {
            command.env_remove(name);
        }
    }
    // Not that of whoever tests.
    command.env("RESTIC_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_wrong_command_line_ends_with_exit_code_1() {
    for arguments in [&["frob"][..], &["snapshots", "--nonsense"], &["list", "nothing"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty() && text(&output.stderr).starts_with("Fatal: "));
    }
}

#[test]
fn errors_are_json_if_asked_for() {
    let output = run(&["snapshots", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["message_type"], "exit_error");
    assert_eq!(line["code"], 1);
}

#[test]
fn help_goes_to_standard_output() {
    let output = run(&["help", "backup"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("--exclude-if-present") && output.stderr.is_empty());
}

#[test]
fn it_can_be_called_restic() {
    let folder = tempfile::tempdir().unwrap();
    let restic = folder.path().join("restic");
    symlink(env!("CARGO_BIN_EXE_one-restic"), &restic).unwrap();
    let output = Command::new(&restic).arg("version").output().unwrap();
    assert!(text(&output.stdout).starts_with("restic 0."), "{output:?}");
    let output = Command::new(&restic).arg("help").output().unwrap();
    assert!(text(&output.stdout).contains("Usage: restic "), "{output:?}");
}

#[test]
fn a_reader_who_goes_away_is_no_error_message() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program().arg("help").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_full_disk_is_an_error_message() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = program().arg("version").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write the output"), "{output:?}");
}

/// A program that waits for its password on standard input, which never comes.
struct Waiting {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Waiting {
    fn begin() -> Self {
        // Its password command tells when the program is so far, and that it runs.
        let mut child = program()
            .args(["-r", "/nowhere", "--password-command", "sh -c 'echo ready >&2'", "snapshots"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child, stderr }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, and the rest of standard error.
    fn end(mut self) -> (Option<i32>, String) {
        // `wait` would close standard input, and so end what is to end by itself.
        let stdin = self.child.stdin.take();
        let status = self.child.wait().unwrap();
        drop(stdin);
        assert_eq!(status.signal(), None, "killed");
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

#[test]
fn sigint_and_sigterm_end_it_with_130() {
    for signal in [Signal::INT, Signal::TERM] {
        let waiting = Waiting::begin();
        waiting.send(signal);
        let (code, stderr) = waiting.end();
        assert_eq!(code, Some(130));
        assert!(stderr.contains("received, cleaning up"), "{stderr}");
    }
}

#[test]
fn sighup_is_ignored() {
    let mut waiting = Waiting::begin();
    waiting.send(Signal::HUP);
    let stdin = waiting.child.stdin.take().unwrap();
    (&stdin).write_all(b"geheim\n").unwrap();
    drop(stdin);
    let (code, stderr) = waiting.end();
    assert_ne!(code, Some(130), "{stderr}");
}
