//! Runs restic, or what has its command line.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::scratch::Repo;

/// Longer than anything a test runs takes on a slow and busy machine: what still runs then hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// The releases of restic that one-restic is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The first with compression; Debian 12 has it.
    V0_14,
    /// Debian 13 has it.
    V0_18,
    /// The newest.
    V0_19,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V0_14, Self::V0_18, Self::V0_19];

    /// As in a folder's name and in `restic version`: `0.18`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0_14 => "0.14",
            Self::V0_18 => "0.18",
            Self::V0_19 => "0.19",
        }
    }
}

/// A program with restic's command line.
#[derive(Clone, Debug)]
pub struct Program {
    /// For messages: `restic 0.18`.
    pub name: String,
    path: PathBuf,
}

impl Program {
    /// A real restic: the one that `RESTIC_0_14`, `RESTIC_0_18` or `RESTIC_0_19` names, or the one that
    /// `dev/oracles` fetched. Panics where there is none.
    pub fn restic(version: Version) -> Self {
        let number = version.name();
        let variable = format!("RESTIC_{}", number.replace('.', "_"));
        let path = match env::var_os(&variable) {
            Some(path) => PathBuf::from(path),
            None => oracles().join(number).join("restic"),
        };
        assert!(
            path.is_file(),
            "restic {number} is needed for this test and is not at {}. `dev/oracles` fetches it; \
             or say in {variable} where there is one.",
            path.display()
        );
        Self::at(format!("restic {number}"), path)
    }

    /// All the real restics, oldest first.
    pub fn restics() -> [Self; 3] {
        Version::ALL.map(Self::restic)
    }

    /// Another program: the one under test.
    pub fn at(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into() }
    }

    /// The program with the repository and password set, and nothing else of this process's
    /// environment but `PATH`; the time zone is UTC. Add arguments, then give it to [`Outcome::of`].
    pub fn command(&self, repo: &Repo) -> Command {
        let temporary = repo.home.join("tmp");
        fs::create_dir_all(&temporary)
            .unwrap_or_else(|error| panic!("{}: {error}", temporary.display()));
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", &repo.home)
            .env("TMPDIR", temporary)
            .env("RESTIC_CACHE_DIR", repo.home.join("cache"))
            .env("RESTIC_REPOSITORY", &repo.location)
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&repo.home)
            .stdin(Stdio::null());
        if repo.password.is_empty() {
            command.arg("--insecure-no-password");
        } else {
            command.env("RESTIC_PASSWORD", &repo.password);
        }
        command
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        repo: &Repo,
        arguments: impl IntoIterator<Item = S>,
    ) -> Outcome {
        Outcome::of(self.command(repo).args(arguments))
    }
}

fn oracles() -> PathBuf {
    let base = |variable: &str| env::var_os(variable).filter(|path| !path.is_empty());
    if let Some(folder) = base("ONE_RESTIC_ORACLES") {
        return folder.into();
    }
    let cache = match (base("XDG_CACHE_HOME"), base("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => {
            panic!("neither HOME nor ONE_RESTIC_ORACLES is set: where are the restics?")
        }
    };
    cache.join("one-restic/oracles")
}

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run, for messages.
    pub command: String,
    /// The exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// Runs a command to its end. Panics if it cannot be started or does not end.
    pub fn of(command: &mut Command) -> Self {
        let said = format!("{} {}", command.get_program().display(), arguments(command));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {said}: {error}"));
        let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{said} still ran after {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        };
        Self {
            command: said,
            code: status.code(),
            stdout: stdout.join().expect("reading a pipe does not panic"),
            stderr: stderr.join().expect("reading a pipe does not panic"),
        }
    }

    /// Asserts that it ended well.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// Asserts that it ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Its standard output as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("the output is no text\n{self}"))
    }

    /// Its standard error as text.
    #[track_caller]
    pub fn complaint(&self) -> &str {
        str::from_utf8(&self.stderr).unwrap_or_else(|_| panic!("the complaint is no text\n{self}"))
    }

    /// Its standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Its standard output as a JSON document a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}\n{self}"))
        };
        self.text().lines().map(parse).collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
        write!(
            f,
            "{}\nexit: {:?}\nstdout: {}\nstderr: {}",
            self.command,
            self.code,
            shown(&self.stdout),
            shown(&self.stderr)
        )
    }
}

fn arguments(command: &Command) -> String {
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    arguments.join(" ")
}

/// Reads a pipe to its end on a thread of its own, so that a full pipe stops nobody.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[test]
    fn every_restic_is_the_version_it_is_called() {
        let scratch = Scratch::new();
        for version in Version::ALL {
            let restic = Program::restic(version);
            let outcome = restic.run(&scratch.repo("none"), ["version"]).success();
            assert!(outcome.text().starts_with(&format!("{}.", restic.name)), "{outcome}");
        }
    }

    #[test]
    fn a_repository_made_here_is_cut_off_from_the_home_of_whoever_tests() {
        let scratch = Scratch::new();
        let repo = scratch.repo("repo");
        let restic = Program::restic(Version::V0_18);
        restic.run(&repo, ["init"]).success();
        restic.run(&repo, ["snapshots"]).success();
        assert!(repo.home.join("cache/CACHEDIR.TAG").is_file());
    }

    #[test]
    fn a_wrong_password_is_seen_in_the_exit_code() {
        let scratch = Scratch::new();
        let repo = scratch.repo("repo");
        let restic = Program::restic(Version::V0_18);
        restic.run(&repo, ["init"]).success();
        let other = scratch.repo_at(&repo.location, "wrong");
        restic.run(&other, ["snapshots"]).exits(12);
    }
}
