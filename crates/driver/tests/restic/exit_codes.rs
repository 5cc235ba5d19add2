//! How the program ends, as a shell sees it: restic's exit codes, and one sentence that names no secret.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use restic_oracle::damaged::{F0, OLDEST, Variant};
use restic_oracle::{Outcome, Program, Repo, Scratch, Version, data};
use rustix::process::{Pid, Signal, kill_process};

use crate::{files, init_cheaply, locks, one_restic};

/// What it says on standard error: one sentence, that begins like restic's, without the password.
#[track_caller]
pub fn one_sentence<'a>(outcome: &'a Outcome, repo: &Repo) -> &'a str {
    let said = outcome.complaint();
    assert!(said.starts_with("Fatal: ") && said.lines().count() == 1, "{outcome}");
    for output in [outcome.text(), said] {
        assert!(!output.contains(&repo.password), "the password is in the output\n{outcome}");
    }
    said
}

/// What needs a repository.
const COMMANDS: [&[&str]; 6] = [
    &["snapshots"],
    &["check"],
    &["ls", "latest"],
    &["dump", OLDEST, F0],
    &["stats"],
    &["backup", "--host=test", "tmp"],
];

#[test]
fn a_wrong_password_ends_with_12() {
    let scratch = Scratch::new();
    init_cheaply(&scratch.repo("repo"));
    let repo = scratch.repo_at(scratch.path().join("repo"), "another-secret");
    for command in COMMANDS {
        let outcome = one_restic().run(&repo, command).exits(12);
        let said = one_sentence(&outcome, &repo);
        assert!(said.contains("wrong password or no key found"), "{said}");
        assert!(outcome.stdout.is_empty(), "{outcome}");
    }
    Program::restic(Version::V0_19).run(&repo, ["snapshots"]).exits(12);
}

/// What is typed at the terminal, one password after each question; and all that was shown there.
fn at_a_terminal(repo: &Repo, typed: &[&str]) -> Outcome {
    let command = format!("{} snapshots", env!("CARGO_BIN_EXE_one-restic"));
    // `script` gives the program a terminal, passes on what it is given, and ends as the program does.
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
        .env("RESTIC_REPOSITORY", &repo.location)
        .env("RESTIC_CACHE_DIR", repo.home.join("cache"))
        .env_remove("RESTIC_PASSWORD")
        .env_remove("RESTIC_PASSWORD_FILE")
        .env_remove("RESTIC_PASSWORD_COMMAND")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    for password in typed {
        // What is typed before the question is thrown away.
        let mut byte = [0];
        while !shown.ends_with(b"enter password for repository: ") {
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
            shown.push(byte[0]);
        }
        shown.push(b'\n');
        writeln!(stdin, "{password}").unwrap();
    }
    stdout.read_to_end(&mut shown).unwrap();
    let code = child.wait().unwrap().code();
    Outcome { command, code, stdout: shown, stderr: Vec::new() }
}

#[test]
fn at_a_terminal_the_password_is_asked_for_three_times() {
    let scratch = Scratch::new();
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    let outcome = at_a_terminal(&repo, &["mistyped", "mistyped", &repo.password]).exits(0);
    assert_eq!(outcome.text().matches("try again").count(), 2, "{outcome}");
    let outcome = at_a_terminal(&repo, &["mistyped"; 3]).exits(12);
    assert!(outcome.text().contains("Fatal: wrong password or no key found"), "{outcome}");
    assert!(!outcome.text().contains("mistyped"), "what was typed is shown\n{outcome}");
}

#[test]
fn a_missing_repository_ends_with_10() {
    let scratch = Scratch::new();
    let repo = scratch.repo_at(scratch.path().join("missing"), "another-secret");
    for command in COMMANDS {
        let outcome = one_restic().run(&repo, command).exits(10);
        let said = one_sentence(&outcome, &repo);
        assert!(said.contains("repository does not exist"), "{said}");
        assert!(said.contains(repo.location.to_str().unwrap()), "it does not say where: {said}");
        assert!(!repo.location.exists(), "{command:?} made something");
    }
    Program::restic(Version::V0_19).run(&repo, ["snapshots"]).exits(10);
}

#[test]
fn a_lock_of_another_host_ends_with_11() {
    let scratch = Scratch::new();
    let repo = Variant::named("active-foreign-lock-exclusive").unpack(&scratch);
    let before = files(&repo.location);
    for command in COMMANDS {
        let outcome = one_restic().run(&repo, command).exits(11);
        let said = one_sentence(&outcome, &repo);
        for told in ["already locked exclusively by PID 4711 on otherhost by u", "--retry-lock"] {
            assert!(said.contains(told), "{said}");
        }
    }
    let outcome = one_restic().run(&repo, ["check", "--retry-lock=1s"]).exits(11);
    one_sentence(&outcome, &repo);
    assert!(outcome.text().contains("trying again in"), "{outcome}");
    assert_eq!(files(&repo.location), before, "something was left behind");
    Program::restic(Version::V0_19).run(&repo, ["check"]).exits(11);
}

#[test]
fn who_waits_for_a_lock_goes_on_when_it_is_gone() {
    let scratch = Scratch::new();
    let repo = Variant::named("active-foreign-lock-exclusive").unpack(&scratch);
    let mut child = one_restic()
        .command(&repo)
        .args(["check", "--retry-lock=5m"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("trying again in"), "{line}");
    for lock in locks(&repo) {
        fs::remove_file(lock).unwrap();
    }
    stdout.read_to_string(&mut line).unwrap();
    assert!(child.wait().unwrap().success(), "{line}");
}

/// A backup in the midst of its work is told to stop.
fn stopped_by(signal: Signal) {
    let scratch = Scratch::new();
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    let before = files(&repo.location).len();
    let mut child = one_restic()
        .command(&repo)
        .args(["backup", "--stdin", "--pack-size=4", "--compression=off"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More comes never: it is at work until it is stopped.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&data::ctr(b"stop", 16 << 20)).unwrap();
    while files(&repo.location).len() < before + 2 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(locks(&repo).len(), 1);
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);

    let outcome = Outcome {
        command: "backup --stdin".to_owned(),
        code: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
    };
    let outcome = outcome.exits(130);
    assert!(outcome.complaint().ends_with("once more to stop at once\ninterrupted\n"), "{outcome}");
    assert!(locks(&repo).is_empty());
    let listed = one_restic().run(&repo, ["snapshots", "--json"]).success().json();
    assert_eq!(listed, serde_json::json!([]), "half a file was stored as a snapshot");
    for program in [one_restic(), Program::restic(Version::V0_19)] {
        program.run(&repo, ["check", "--read-data"]).success();
    }
}

#[test]
fn sigint_ends_a_backup_with_130_and_without_a_lock() {
    stopped_by(Signal::INT);
}

#[test]
fn sigterm_ends_a_backup_with_130_and_without_a_lock() {
    stopped_by(Signal::TERM);
}
