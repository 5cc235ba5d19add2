//! Increments that are merged on the server itself: what goes over the line, and what is left when the front-end
//! goes away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use restic_oracle::{Outcome, Program, Proxy, Scratch, Sshd, SshdOptions, Version};

use crate::flatten::{Backup, parse};
use crate::{files, locks};

/// No other test has this one.
const UNIQUE: &str = "geheim-5b0d77e2-only-near";

/// A server with this program in the `PATH` of its account, and what runs there under a name of its own.
struct Site {
    bin: Scratch,
    backup: Backup,
}

impl Site {
    fn new(noise: usize) -> Self {
        Self::with("geheim", noise)
    }

    fn with(password: &str, noise: usize) -> Self {
        let bin = Scratch::new();
        let path = bin.path().display();
        let script = format!("#!/bin/sh\nexec {path}/program \"$@\"\n");
        fs::write(bin.path().join("one-restic"), script).unwrap();
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.path().join("one-restic"), all).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_one-restic"), bin.path().join("program"))
            .unwrap();
        let line = format!("SetEnv PATH={path}:/usr/bin:/bin");
        let server = Sshd::with(&SshdOptions::internal("").line(line));
        Self { bin, backup: Backup::of_one_disk_on(server, password, noise) }
    }

    fn flatten(&self, port: u16, attributes: &str) -> Command {
        self.backup.command(port, &self.backup.message(2, attributes))
    }

    /// The processes of the server's half.
    fn halves(&self) -> Vec<u32> {
        let program = self.bin.path().join("program").display().to_string();
        let is_half = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(program.as_bytes())
        };
        processes().into_iter().filter(is_half).collect()
    }

    /// Waits until the server's half is at work, and has a lock.
    fn wait_until_at_work(&self, child: &mut Child) -> bool {
        while child.try_wait().unwrap().is_none() {
            if !self.halves().is_empty() && !locks(&self.backup.repo).is_empty() {
                return true;
            }
        }
        false
    }
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// How nice a process is.
fn nice_of(pid: u32) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

fn contains(path: &str) -> bool {
    let content = fs::read(path).unwrap_or_default();
    content.windows(UNIQUE.len()).any(|part| part == UNIQUE.as_bytes())
}

#[test]
fn little_goes_over_the_line_and_the_disk_is_the_same() {
    let site = Site::new(48 << 20);
    let proxy = Proxy::to(site.backup.server.port());
    let mut command = site.flatten(proxy.port(), "");
    let (_, chain) = parse(&Outcome::of(&mut command).success());
    // What both ways of logging in take, and a look at the repository.
    assert!(proxy.bytes() < 200_000, "{}", proxy.bytes());
    let rest = [(chain[0].1.clone(), "disk.0.2".to_owned())];
    site.backup.assert_restored(&site.backup.repo, &rest, &site.backup.committed(0, 2));
    Program::restic(Version::V0_18).run(&site.backup.repo, ["check", "--read-data"]).success();

    // The same where it may not.
    let proxy = Proxy::to(site.backup.server.port());
    let mut no = site.flatten(proxy.port(), "<RESTIC_NEAR>no</RESTIC_NEAR>");
    let again = Outcome::of(&mut no).success();
    assert_eq!(parse(&again).1, chain);
}

#[test]
fn when_the_front_end_goes_away_the_servers_half_ends_and_releases_its_lock() {
    let site = Site::new(24 << 20);
    let listed = |repo: &restic_oracle::Repo| files(&repo.location.join("snapshots"));
    let old = listed(&site.backup.repo);
    for signal in ["KILL", "TERM"] {
        let attributes = "<RESTIC_NICE>5</RESTIC_NICE><RESTIC_IONICE>7</RESTIC_IONICE>";
        let mut command = site.flatten(site.backup.server.port(), attributes);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(site.wait_until_at_work(&mut child), "it ended before that");
        let expected = (nice_of(child.id()) + 5).min(19);
        assert!(site.halves().into_iter().all(|pid| nice_of(pid) == expected));
        send(signal, child.id());
        child.wait().unwrap();
        let began = Instant::now();
        while !site.halves().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(locks(&site.backup.repo).is_empty(), "{signal}");
        // It was before anything was stored, or after it.
        let left = listed(&site.backup.repo);
        assert!(old.iter().all(|path| left.contains(path)) || left.len() == 2, "{left:?}");
    }
    let (_, chain) =
        parse(&Outcome::of(&mut site.flatten(site.backup.server.port(), "")).success());
    let rest = [(chain[0].1.clone(), "disk.0.2".to_owned())];
    site.backup.assert_restored(&site.backup.repo, &rest, &site.backup.committed(0, 2));
    Program::restic(Version::V0_18).run(&site.backup.repo, ["check", "--read-data"]).success();
}

#[test]
fn when_the_connection_breaks_the_front_end_says_so_and_the_server_tidies_up() {
    let site = Site::new(24 << 20);
    let proxy = Proxy::to(site.backup.server.port());
    let mut command = site.flatten(proxy.port(), "");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(site.wait_until_at_work(&mut child), "it ended before that");
    proxy.refuse(true);
    proxy.cut();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(255), "{said}");
    assert!(said.lines().last().unwrap().starts_with("merging on the server broke off"), "{said}");
    let began = Instant::now();
    while !site.halves().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(locks(&site.backup.repo).is_empty());
    let mut again = site.flatten(site.backup.server.port(), "");
    let (_, chain) = parse(&Outcome::of(&mut again).success());
    let rest = [(chain[0].1.clone(), "disk.0.2".to_owned())];
    site.backup.assert_restored(&site.backup.repo, &rest, &site.backup.committed(0, 2));
}

#[test]
fn a_servers_half_that_is_killed_leaves_a_lock_which_the_next_one_removes() {
    let site = Site::new(24 << 20);
    let mut command = site.flatten(site.backup.server.port(), "");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(site.wait_until_at_work(&mut child), "it ended before that");
    send("KILL", site.halves()[0]);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().last().unwrap().starts_with("merging on the server broke off"), "{said}");
    assert_eq!(locks(&site.backup.repo).len(), 1);
    let outcome = Outcome::of(&mut site.flatten(site.backup.server.port(), "")).success();
    assert!(outcome.complaint().contains("INFO: removed a lock held"), "{outcome}");
    assert!(locks(&site.backup.repo).is_empty());
}

#[test]
fn the_password_is_in_no_argument_no_environment_no_file_and_no_output() {
    let site = Site::with(UNIQUE, 24 << 20);
    let mut command = site.flatten(site.backup.server.port(), "");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = 0;
    while child.try_wait().unwrap().is_none() {
        for pid in processes() {
            for what in ["cmdline", "environ"] {
                assert!(!contains(&format!("/proc/{pid}/{what}")), "it is in {what} of {pid}");
            }
        }
        seen += usize::from(!site.halves().is_empty());
    }
    assert!(seen > 0, "the server's half was not looked at");
    for file in [site.backup.repo.location.as_path(), site.bin.path()].map(files).concat() {
        assert!(!contains(file.to_str().unwrap()), "it is in {}", file.display());
    }
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // Nor is the key, of which that is a part.
    assert!(!said.contains(UNIQUE) && !said.contains("encrypt"), "{said}");
    assert!(output.status.success());
    assert!(!site.backup.server.log().contains(UNIQUE));
}
