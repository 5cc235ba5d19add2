//! Repositories on a server, reached by us directly and by the real restics through `ssh`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use restic_oracle::{
    Outcome, Program, Proxy, Repo, Scratch, Sshd, SshdOptions, Tree, Version, data, source,
};

use crate::one_restic;

/// A server, and a repository's place on it.
struct Vault {
    server: Sshd,
    repo: Repo,
    scratch: Scratch,
}

impl Vault {
    fn new(options: &SshdOptions) -> Self {
        let (server, scratch) = (Sshd::with(options), Scratch::new());
        let repo = scratch.repo_at(server.location(scratch.path().join("repo")), "geheim");
        Self { server, repo, scratch }
    }

    fn with_ours(&self, arguments: &[&str]) -> Outcome {
        self.through(self.server.port(), arguments)
    }

    /// Runs our program, which reaches the server on this port.
    fn through(&self, port: u16, arguments: &[&str]) -> Outcome {
        let config = self.server.client_config_through(port);
        let mut command = one_restic().command(&self.repo);
        command.arg("-o").arg(format!("sftp.config={}", config.display())).args(arguments);
        Outcome::of(&mut command)
    }

    fn with_restic(&self, version: Version, arguments: &[&str]) -> Outcome {
        let mut command = Program::restic(version).command(&self.repo);
        Outcome::of(command.args(self.server.restic_arguments()).args(arguments))
    }

    /// A folder with one of everything, by its name in the snapshot.
    fn source(&self) -> std::path::PathBuf {
        let folder = self.scratch.folder("source");
        source::write(&folder);
        folder
    }

    fn target(&self, name: &str) -> String {
        self.scratch.folder(name).to_str().unwrap().to_owned()
    }
}

fn assert_restored(source: &Path, target: &str, version: Option<Version>) {
    let restored = Path::new(target).join(source.strip_prefix("/").unwrap());
    let seen = |mut tree: Tree| {
        // restic 0.14 loses the bytes of a link's target that is no UTF-8.
        if version == Some(Version::V0_14) {
            tree.entries.remove(Path::new("links/no-utf8"));
        }
        tree
    };
    seen(Tree::of(source)).assert_same(&seen(Tree::of(&restored)));
}

#[test]
fn every_restic_reads_what_we_stored_on_a_server_and_we_what_it_stored() {
    let vault = Vault::new(&SshdOptions::external(""));
    let source = vault.source();
    let path = source.to_str().unwrap();
    vault.with_ours(&["init"]).success();
    vault.with_ours(&["backup", path]).success();
    for version in Version::ALL {
        let target = vault.target(&format!("restored by {}", version.name()));
        vault.with_restic(version, &["check", "--read-data"]).success();
        vault.with_restic(version, &["restore", "latest", "--target", &target]).success();
        assert_restored(&source, &target, Some(version));
        // Not 0.14's own reading of links that are no UTF-8.
        if version != Version::V0_14 {
            vault.with_restic(version, &["backup", "--force", path]).success();
            let target = vault.target(&format!("restored after {}", version.name()));
            vault.with_ours(&["check", "--read-data"]).success();
            vault.with_ours(&["restore", "latest", "--target", &target]).success();
            assert_restored(&source, &target, None);
        }
    }
    let listed = vault.with_ours(&["snapshots", "--json"]).success().json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert!(vault.with_ours(&["list", "locks"]).success().stdout.is_empty());
}

#[test]
fn we_read_what_a_restic_stored_on_a_server() {
    for version in Version::ALL {
        let vault = Vault::new(&SshdOptions::internal(""));
        let source = vault.source();
        vault.with_restic(version, &["init"]).success();
        vault.with_restic(version, &["backup", source.to_str().unwrap()]).success();
        vault.with_ours(&["check", "--read-data"]).success();
        let target = vault.target("restored");
        vault.with_ours(&["restore", "latest", "--target", &target]).success();
        assert_restored(&source, &target, Some(version));
    }
}

#[test]
fn a_backup_goes_on_when_the_connection_breaks_and_says_so() {
    let vault = Vault::new(&SshdOptions::internal(""));
    let source = vault.scratch.folder("noise");
    fs::write(source.join("noise"), data::ctr(b"noise", 40 << 20)).unwrap();
    vault.with_ours(&["init"]).success();
    let proxy = Proxy::to(vault.server.port());
    proxy.cut_next([5 << 20, 5 << 20, 7 << 20]);
    let outcome = vault.through(proxy.port(), &["backup", source.to_str().unwrap()]).success();
    assert!(outcome.complaint().contains("a connection to the server broke"), "{outcome}");
    vault.with_restic(Version::V0_19, &["check", "--read-data"]).success();
    let repo = vault.scratch.path().join("repo");
    assert!(!names(&repo).iter().any(|name| name.contains("-restic-temp-")));
}

/// How many points of each command a connection is cut at: `CUTS`, or a few.
fn cuts() -> u64 {
    std::env::var("CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[test]
fn wherever_connections_are_cut_backup_restore_and_check_come_to_the_right_end() {
    let vault = Vault::new(&SshdOptions::internal(""));
    let source = vault.scratch.folder("disk");
    fs::write(source.join("disk"), data::ctr(b"disk", 24 << 20)).unwrap();
    let seen = Tree::of(&source);
    let path = source.to_str().unwrap();
    vault.with_ours(&["init"]).success();
    let mut broken = 0;
    for seed in 0..cuts() {
        // Two connections break: the second is one that the first break made necessary, or one more.
        let random = data::ctr(&seed.to_le_bytes(), 64);
        let points = random.as_chunks::<8>().0;
        let mut points = points.iter().map(|bytes| u64::from_le_bytes(*bytes) % (24 << 20));
        let mut through = |arguments: &[&str]| {
            let proxy = Proxy::to(vault.server.port());
            // Later than the greeting: who cannot be reached at the start is not waited for.
            proxy.cut_next(points.by_ref().take(2).map(|point| point + (16 << 10)));
            let outcome = vault.through(proxy.port(), arguments).success();
            broken += u32::from(outcome.complaint().contains("a connection to the server broke"));
        };
        through(&["backup", "--force", path]);
        let target = vault.target(&format!("restored {seed}"));
        through(&["restore", "latest", "--target", &target]);
        Tree::of(&Path::new(&target).join(source.strip_prefix("/").unwrap())).assert_same(&seen);
        through(&["check", "--read-data"]);
    }
    assert!(broken > 0, "no connection was cut");
    vault.with_restic(Version::V0_19, &["check", "--read-data"]).success();
    assert!(vault.with_ours(&["list", "locks"]).success().stdout.is_empty());
    let repo = vault.scratch.path().join("repo");
    assert!(!names(&repo).iter().any(|name| name.contains("-restic-temp-")));
}

#[test]
fn selftest_tells_of_the_server_and_leaves_nothing_there() {
    let vault = Vault::new(&SshdOptions::internal(""));
    let disk = vault.scratch.path().join("disk.raw");
    fs::write(&disk, data::ctr(b"disk", 3 << 20)).unwrap();
    let before = names(vault.scratch.path());
    let outcome = vault.with_ours(&["selftest", disk.to_str().unwrap()]).success();
    for word in ["host key", "cipher", "posix-rename", "round trip", "free", "upload", "passed"] {
        assert!(outcome.to_string().contains(word), "{word:?} is not in\n{outcome}");
    }
    assert_eq!(names(vault.scratch.path()), before);
    let folders = fs::read_dir(vault.scratch.path()).unwrap();
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.contains("selftest")));
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => names(&path),
            false => vec![path.display().to_string()],
        })
        .collect()
}

#[test]
fn what_goes_wrong_with_a_server_is_one_sentence_that_helps() {
    let vault = Vault::new(&SshdOptions::internal(""));
    let says = |outcome: Outcome, code: i32, words: &[&str]| {
        let outcome = outcome.exits(code);
        for word in words {
            assert!(outcome.complaint().contains(word), "{word:?} is not in\n{outcome}");
        }
        assert_eq!(outcome.complaint().lines().count(), 1, "{outcome}");
    };
    // There is a server but no repository.
    says(vault.with_ours(&["snapshots"]), 10, &["Fatal: "]);
    vault.with_ours(&["init"]).success();
    // Options that name programs.
    let arguments = vault.server.restic_arguments();
    says(
        one_restic().run(&vault.repo, arguments.iter().chain([&"snapshots".to_owned()])),
        1,
        &["sftp.command", "sftp.config"],
    );
    let zero = ["-o", "sftp.connections=0", "snapshots"];
    says(vault.with_ours(&zero), 1, &["sftp.connections"]);
    says(vault.with_ours(&["-o", "sftp.conections=2", "snapshots"]), 1, &["sftp.conections"]);
    // Nobody listens there, and it does not take a quarter of an hour to say so.
    let proxy = Proxy::to(vault.server.port());
    proxy.refuse(true);
    let began = std::time::Instant::now();
    says(vault.through(proxy.port(), &["snapshots"]), 1, &["refuses connections"]);
    assert!(began.elapsed() < Duration::from_secs(60));
    // A server that is not who it was.
    let other = Sshd::start();
    let proxy = Proxy::to(other.port());
    says(vault.through(proxy.port(), &["snapshots"]), 1, &["host key", "changed", "ssh-keygen -R"]);
    // A server that does not know us.
    fs::write(vault.server.folder().join("user_key.pub"), "").unwrap();
    says(vault.with_ours(&["snapshots"]), 1, &["accepts no key", "authorized_keys"]);
}

#[test]
fn snapshots_are_copied_to_a_server_and_back() {
    let vault = Vault::new(&SshdOptions::external(""));
    let (here, back) = (vault.scratch.repo("here"), vault.scratch.repo("back"));
    let source = vault.source();
    for repo in [&here, &back] {
        crate::init_cheaply(repo);
    }
    one_restic().run(&here, ["backup", source.to_str().unwrap()]).success();
    vault.with_ours(&["init"]).success();
    let copy = |from: &Repo, to: &Repo| {
        let config = vault.server.client_config_through(vault.server.port());
        let mut command = one_restic().command(to);
        command.env("RESTIC_FROM_REPOSITORY", &from.location);
        command.env("RESTIC_FROM_PASSWORD", &from.password);
        command.arg("-o").arg(format!("sftp.config={}", config.display())).arg("copy");
        Outcome::of(&mut command).success()
    };
    copy(&here, &vault.repo);
    vault.with_restic(Version::V0_19, &["check", "--read-data"]).success();
    copy(&vault.repo, &back);
    let target = vault.target("restored");
    one_restic().run(&back, ["restore", "latest", "--target", &target]).success();
    assert_restored(&source, &target, None);
}
