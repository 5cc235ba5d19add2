//! Several programs at work on one repository on a server, ours and restic's, while some are killed.
//!
//! Two rounds by default. `SIEGE=600` goes on for that many seconds, `SEED=7` goes another way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use restic_oracle::{Outcome, Program, Repo, Scratch, Sshd, SshdOptions, Tree, Version, data};

use crate::{init_cheaply, locks, one_restic};

/// How long a killed program may have worked, in milliseconds.
const LONGEST_LIFE: u64 = 2500;

/// A repository on a server, and what is known to be in it.
struct Siege {
    scratch: Scratch,
    server: Sshd,
    /// As it is reached from here without a server.
    local: Repo,
    /// As it is reached over the server.
    remote: Repo,
    chance: Chance,
    /// Every snapshot that a program said it had stored, and that nobody forgot.
    known: BTreeMap<String, Tree>,
    generation: u32,
    log: String,
}

/// Numbers that look random, and come again with the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A program at work.
struct Worker {
    what: String,
    child: Child,
    started: Instant,
    dies_after: Option<Duration>,
    /// What it backs up.
    source: Option<Tree>,
}

impl Siege {
    fn new(seed: u64) -> Self {
        let (server, scratch) = (Sshd::with(&SshdOptions::internal("")), Scratch::new());
        let local = scratch.repo("repo");
        init_cheaply(&local);
        let remote = scratch.repo_at(server.location(&local.location), &local.password);
        Self {
            scratch,
            server,
            local,
            remote,
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            known: BTreeMap::new(),
            generation: 0,
            log: String::new(),
        }
    }

    /// One of the programs, with what it takes to reach the server.
    fn program(&mut self) -> (String, Command) {
        let restic = match self.chance.below(4) {
            0 => Program::restic(Version::V0_18),
            1 => Program::restic(Version::V0_19),
            _ => {
                let ours = one_restic();
                let mut command = ours.command(&self.remote);
                let config = self.server.client_config();
                command.arg("-o").arg(format!("sftp.config={}", config.display()));
                return (ours.name, command);
            }
        };
        let mut command = restic.command(&self.remote);
        command.args(self.server.restic_arguments());
        (restic.name, command)
    }

    /// Starts something; one of three is going to be killed.
    fn start(&mut self, arguments: &[&str], folder: Option<&Path>) -> Worker {
        let (name, mut command) = self.program();
        command.arg("--retry-lock=8s").args(arguments);
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        let doomed = self.chance.below(3) == 0;
        let dies_after = doomed.then(|| Duration::from_millis(self.chance.below(LONGEST_LIFE)));
        let what = format!("{name} {}", arguments.join(" "));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Worker { what, child, started: Instant::now(), dies_after, source: None }
    }

    fn start_backup(&mut self) -> Worker {
        self.generation += 1;
        let folder = self.scratch.path().join(format!("generation {}", self.generation));
        self.write(&folder.join("vm"));
        let mut worker = self.start(&["backup", "--json", "--host=test", "vm"], Some(&folder));
        worker.source = Some(Tree::of(&folder.join("vm")));
        worker
    }

    /// Files of which most were there in an earlier backup, some of them in one that is forgotten.
    fn write(&mut self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for number in 0..10u64 {
            let state = self.chance.below(4);
            let content = data::ctr(&(number * 10 + state).to_le_bytes(), 400_000);
            fs::write(folder.join(number.to_string()), content).unwrap();
        }
        fs::write(folder.join("generation"), self.generation.to_string()).unwrap();
    }

    /// Two backups and a prune at the same time.
    fn round(&mut self) {
        let mut workers = vec![self.start_backup(), self.start_backup()];
        workers.push(self.start(&["prune", "--max-unused=0"], None));
        for worker in workers {
            self.wait(worker);
        }
        // Those who were killed left their locks behind. Nobody else is at work.
        one_restic().run(&self.local, ["unlock"]).success();
        assert!(locks(&self.local).is_empty(), "a lock is left\n{}", self.log);
        self.assert_nothing_lost();
        self.forget_some();
    }

    fn wait(&mut self, mut worker: Worker) {
        let is_killed = match worker.dies_after {
            Some(life) => {
                std::thread::sleep(life.saturating_sub(worker.started.elapsed()));
                let is_alive = worker.child.try_wait().unwrap().is_none();
                worker.child.kill().unwrap();
                is_alive
            }
            None => false,
        };
        let outcome = worker.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&outcome.stdout);
        let fate = if is_killed { "killed".to_owned() } else { outcome.status.to_string() };
        writeln!(self.log, "{}: {fate}", worker.what).unwrap();
        let complaint = String::from_utf8_lossy(&outcome.stderr);
        // A lock of somebody who was killed keeps others out until it is removed.
        let is_kept_out = outcome.status.code() == Some(11);
        assert!(
            is_killed || is_kept_out || outcome.status.success(),
            "{}: {}\n{said}\n{complaint}\n{}",
            worker.what,
            outcome.status,
            self.log
        );
        let summary = said.lines().rev().find(|line| line.contains("\"summary\""));
        if let (Some(summary), Some(source)) = (summary, worker.source) {
            let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
            let snapshot = summary["snapshot_id"].as_str().unwrap().to_owned();
            self.known.insert(snapshot, source);
        }
    }

    fn assert_nothing_lost(&self) {
        let check = one_restic().run(&self.local, ["check", "--read-data"]);
        assert_eq!(check.code, Some(0), "{check}\n{}", self.log);
        let listed = one_restic().run(&self.local, ["list", "snapshots"]).success();
        for (snapshot, source) in &self.known {
            assert!(listed.text().contains(snapshot), "{snapshot} is lost\n{}", self.log);
            let target = self.scratch.path().join("restored");
            let arguments = ["restore", snapshot, "--target", target.to_str().unwrap()];
            one_restic().run(&self.local, arguments).success();
            let differences = source.differences(&Tree::of(&target.join("vm")));
            assert!(differences.is_empty(), "{snapshot}: {differences:?}\n{}", self.log);
            fs::remove_dir_all(target).unwrap();
        }
    }

    /// Forgets down to two snapshots.
    fn forget_some(&mut self) {
        while self.known.len() > 2 {
            let number = self.chance.below(self.known.len() as u64) as usize;
            let snapshot = self.known.keys().nth(number).unwrap().clone();
            fs::remove_file(self.snapshot_file(&snapshot)).unwrap();
            self.known.remove(&snapshot);
        }
    }

    fn snapshot_file(&self, snapshot: &str) -> PathBuf {
        self.local.location.join("snapshots").join(snapshot)
    }
}

#[test]
fn nothing_is_lost_while_several_programs_work_and_some_are_killed() {
    let number = |variable| std::env::var(variable).ok()?.parse::<u64>().ok();
    let mut siege = Siege::new(number("SEED").unwrap_or(1));
    let end = number("SIEGE").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut rounds = 0;
    while rounds < 2 || end.is_some_and(|end| Instant::now() < end) {
        siege.round();
        rounds += 1;
    }
    for restic in Program::restics() {
        restic.run(&siege.local, ["check", "--read-data"]).success();
    }
    one_restic().run(&siege.local, ["prune", "--max-unused=0"]).success();
    let restic = Program::restic(Version::V0_19);
    restic.run(&siege.local, ["check", "--read-data"]).success();
    siege.assert_nothing_lost();
    let outcome: Outcome = restic.run(&siege.local, ["prune", "--max-unused=0", "--dry-run"]);
    assert!(outcome.success().text().contains("total prune:           0 blobs / 0 B"));
    println!("{rounds} rounds\n{}", siege.log);
}
