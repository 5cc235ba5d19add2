//! Increments that are merged inside of a repository: the disk is the one that QEMU makes, and restic reads it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use restic_oracle::{Outcome, Program, Proxy, Repo, Scratch, Sshd, SshdOptions, Version, data};

use crate::{init_cheaply, one_restic};

/// A name for a backing file that is not there any more, as in a backup of a running VM.
const DANGLING: &str = "nbd+unix:///vda?socket=/var/lib/one/datastores/100/7/backup.socket";

/// The backup server, with the backup of VM 7 in datastore 102, and the VM's disks beside it.
pub struct Backup {
    pub server: Sshd,
    scratch: Scratch,
    pub repo: Repo,
    /// The ids of the snapshots, as OpenNebula has them.
    snapshots: Vec<String>,
}

impl Backup {
    fn new() -> Self {
        Self::on(Sshd::with(&SshdOptions::internal("")), "geheim")
    }

    /// One on this server, with this password.
    fn on(server: Sshd, password: &str) -> Self {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path().join("102")).unwrap();
        fs::create_dir_all(scratch.path().join("vm/7/backup/running")).unwrap();
        let repo = scratch.repo_at(scratch.path().join("102/7"), password);
        init_cheaply(&repo);
        Self { server, scratch, repo, snapshots: Vec::new() }
    }

    /// A file of the backup. The disks of the running VM, each on the one before, are in `running`.
    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join("vm/7/backup").join(name)
    }

    /// A full disk with some noise at its beginning.
    fn full(&self, disk: u8, size: &str, noise: usize) {
        let raw = self.file("raw");
        fs::write(&raw, data::ctr(&[disk], noise)).unwrap();
        self.qemu("qemu-img", &["resize", "-q", "-f", "raw", "raw", size]);
        let name = format!("running/disk.{disk}.0");
        self.qemu("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "raw", &name]);
        fs::remove_file(raw).unwrap();
    }

    /// A change to the newest file of a disk: commands for `qemu-io`.
    fn increment(&self, disk: u8, number: usize, writes: &[String]) {
        let (before, name) =
            (format!("disk.{disk}.{}", number - 1), format!("running/disk.{disk}.{number}"));
        self.qemu(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-b", &before, "-F", "qcow2", &name],
        );
        let mut arguments = vec!["-f", "qcow2"];
        for write in writes {
            arguments.extend(["-c", write]);
        }
        arguments.push(&name);
        self.qemu("qemu-io", &arguments);
    }

    /// Backs these files up as OpenNebula does, with backing files that are gone.
    fn store(&mut self, names: &[String]) {
        for name in names.iter().filter(|name| !name.contains("tpm")) {
            fs::copy(self.file("running").join(name), self.file(name)).unwrap();
            if name.ends_with(".0") {
                continue;
            }
            let rebase = ["rebase", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", DANGLING, name];
            self.qemu("qemu-img", &rebase);
        }
        fs::write(self.file("vm.xml"), format!("description {}", self.snapshots.len())).unwrap();
        let mut arguments = vec!["--force".into(), "--json".into(), "--tag=one-7".into()];
        arguments.push("backup".to_owned());
        let names = names.iter().map(String::as_str).chain(["vm.xml"]);
        arguments.extend(names.map(|name| self.file(name).to_str().unwrap().to_owned()));
        let stored = Program::restic(Version::V0_18).run(&self.repo, arguments).success();
        let lines = stored.json_lines();
        let id = lines.last().unwrap()["snapshot_id"].as_str().unwrap();
        self.snapshots.push(id[..8].to_owned());
    }

    /// A backup of one disk with three increments.
    fn of_one_disk(noise: usize) -> Self {
        Self::new().filled(noise)
    }

    /// The same on this server, with this password.
    pub fn of_one_disk_on(server: Sshd, password: &str, noise: usize) -> Self {
        Self::on(server, password).filled(noise)
    }

    fn filled(self, noise: usize) -> Self {
        let mut backup = self;
        backup.full(0, "256M", noise);
        backup.store(&["disk.0.0".to_owned()]);
        for number in 1..4 {
            let noise = backup.file("noise");
            fs::write(&noise, data::ctr(b"changed", 300_000 * number)).unwrap();
            let at = number * 1_500_000;
            let writes = [
                format!("write -q -s {} {at} {}", noise.display(), 200_000 * number),
                format!("write -q -P {number} 100M {number}M"),
                format!("write -q -z {}M 128k", 2 * number),
            ];
            backup.increment(0, number, &writes);
            backup.store(&[format!("disk.0.{number}")]);
        }
        backup
    }

    fn qemu(&self, program: &str, arguments: &[&str]) -> String {
        let output =
            Command::new(program).args(arguments).current_dir(self.file("")).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        said
    }

    /// What `qemu-img commit` makes of the first files of a disk.
    pub fn committed(&self, disk: u8, last: usize) -> PathBuf {
        let name = |number: usize| format!("merged.{disk}.{number}");
        for number in 0..=last {
            fs::copy(self.file(&format!("disk.{disk}.{number}")), self.file(&name(number)))
                .unwrap();
        }
        for number in 1..=last {
            let (below, above) = (name(number - 1), name(number));
            self.qemu(
                "qemu-img",
                &["rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", &below, &above],
            );
        }
        self.qemu("qemu-img", &["commit", "-q", "-f", "qcow2", "-b", &name(0), &name(last)]);
        self.file(&name(0))
    }

    /// What OpenNebula says when so many increments are to be kept.
    pub fn message(&self, keep: usize, attributes: &str) -> String {
        self.message_of_job("", keep, attributes)
    }

    /// The same for a backup that a job made.
    fn message_of_job(&self, job: &str, keep: usize, attributes: &str) -> String {
        let increment = |(number, snapshot): (usize, &String)| {
            format!("<INCREMENT><ID>{number}</ID><SOURCE>{snapshot}</SOURCE></INCREMENT>")
        };
        let increments: String = self.snapshots.iter().enumerate().map(increment).collect();
        let (base, user) = (self.scratch.path().join("102"), self.server.user());
        let xml = format!(
            "<DS_DRIVER_ACTION_DATA><IMAGE><ID>3</ID><SOURCE>{}</SOURCE><FORMAT>raw</FORMAT><VMS><ID>7</ID></VMS>\
             {job}<BACKUP_INCREMENTS>{increments}</BACKUP_INCREMENTS></IMAGE><DATASTORE><ID>102</ID>\
             <BASE_PATH>{}</BASE_PATH><TEMPLATE><RESTIC_PASSWORD>{}</RESTIC_PASSWORD>\
             <RESTIC_SFTP_SERVER>testbed</RESTIC_SFTP_SERVER><RESTIC_SFTP_USER>{user}</RESTIC_SFTP_USER>\
             {attributes}</TEMPLATE></DATASTORE><EXTRA_DATA><KEEP_LAST>{keep}</KEEP_LAST></EXTRA_DATA>\
             </DS_DRIVER_ACTION_DATA>",
            self.snapshots[0],
            base.display(),
            self.repo.password,
        );
        base64::prelude::BASE64_STANDARD.encode(xml)
    }

    pub fn command(&self, port: u16, message: &str) -> Command {
        let stdin = self.scratch.path().join("stdin");
        fs::File::create(&stdin).unwrap().write_all(message.as_bytes()).unwrap();
        let mut command = one_restic().command(&self.repo);
        command
            .env_remove("RESTIC_PASSWORD")
            .env_remove("RESTIC_REPOSITORY")
            .env("ONE_RESTIC_SSH_CONFIG", self.server.client_config_through(port))
            .args(["datastore", "increment_flatten", "3"])
            .stdin(fs::File::open(stdin).unwrap());
        command
    }

    fn flatten(&self, keep: usize) -> Outcome {
        Outcome::of(&mut self.command(self.server.port(), &self.message(keep, "")))
    }

    fn listed(&self) -> Vec<serde_json::Value> {
        let listed = Program::restic(Version::V0_18).run(&self.repo, ["snapshots", "--json"]);
        listed.success().json().as_array().unwrap().clone()
    }

    /// Writes a file of a snapshot, as restic reads it.
    fn dump(&self, repo: &Repo, snapshot: &str, name: &str, target: &str) {
        let path = self.file(name);
        let arguments = ["dump", snapshot, path.to_str().unwrap()];
        let dumped = Program::restic(Version::V0_18).run(repo, arguments).success();
        fs::write(self.file(target), dumped.stdout).unwrap();
    }

    /// Puts the last files of a disk together as upstream does, and compares.
    pub fn assert_restored(&self, repo: &Repo, chain: &[(String, String)], expected: &Path) {
        let mut below: Option<String> = None;
        for (number, (snapshot, name)) in chain.iter().enumerate() {
            let target = format!("restored.{number}");
            self.dump(repo, snapshot, name, &target);
            if let Some(below) = &below {
                let rebase =
                    ["rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, &target];
                self.qemu("qemu-img", &rebase);
            }
            below = Some(target);
        }
        let last = below.unwrap();
        self.qemu("qemu-img", &["convert", "-O", "qcow2", &last, "restored"]);
        self.qemu("qemu-img", &["compare", "restored", expected.to_str().unwrap()]);
    }
}

/// `<MiB> <id>:<snapshot>,...`
pub fn parse(outcome: &Outcome) -> (u64, Vec<(u64, String)>) {
    let (size, chain) = outcome.text().trim_end().split_once(' ').unwrap();
    let increment = |part: &str| {
        let (id, snapshot) = part.split_once(':').unwrap();
        (id.parse().unwrap(), snapshot.to_owned())
    };
    (size.parse().unwrap(), chain.split(',').map(increment).collect())
}

#[test]
fn merged_increments_are_the_disk_that_qemu_makes_and_restic_reads_it() {
    let mut backup = Backup::new();
    fs::write(backup.file("disk.tpm.0"), "state 0").unwrap();
    let mut files = vec!["disk.0.0".to_owned(), "disk.1.0".to_owned(), "disk.tpm.0".to_owned()];
    backup.full(0, "64M", 9_000_000);
    backup.full(1, "16M", 3_000_000);
    backup.store(&files);
    for number in 1..4 {
        let writes = |shift: usize| {
            [
                format!("write -q -P {} {}k {}k", number + shift, 700 * number, 130 * number),
                format!("write -q -P 9 {}M 1M", 9 + number),
                format!("write -q -z {}M 64k", 2 * number),
            ]
        };
        backup.increment(0, number, &writes(1));
        backup.increment(1, number, &writes(50));
        files =
            vec![format!("disk.0.{number}"), format!("disk.1.{number}"), "disk.tpm.0".to_owned()];
        fs::write(backup.file("disk.tpm.0"), format!("state {number}")).unwrap();
        backup.store(&files);
    }
    let before = backup.listed();
    let message = backup.message(2, "");
    let outcome = backup.flatten(2).success();
    let (size, chain) = parse(&outcome);
    assert_eq!(chain.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(chain[1].1, backup.snapshots[3]);
    assert!((11..20).contains(&size), "{size}");

    Program::restic(Version::V0_18).run(&backup.repo, ["check", "--read-data"]).success();
    let after = backup.listed();
    assert_eq!(after.len(), 2);
    let merged = after.iter().find(|one| one["short_id"] == chain[0].1.as_str()).unwrap();
    let last = before.iter().find(|one| one["short_id"] == backup.snapshots[2].as_str()).unwrap();
    for field in ["paths", "time", "tags", "hostname", "username"] {
        assert_eq!(merged[field], last[field], "{field}");
    }
    assert!(merged["program_version"].as_str().unwrap().starts_with("one-restic "));

    let (repo, snapshot) = (&backup.repo, &chain[0].1);
    for disk in [0, 1] {
        let name = format!("disk.{disk}.2");
        backup.dump(repo, snapshot, &name, "dumped");
        backup.qemu("qemu-img", &["check", "-f", "qcow2", "dumped"]);
        let committed = backup.committed(disk, 2);
        backup.qemu("qemu-img", &["compare", "dumped", committed.to_str().unwrap()]);
        let newest = backup.committed(disk, 3);
        let rest = [(snapshot.clone(), name), (chain[1].1.clone(), format!("disk.{disk}.3"))];
        backup.assert_restored(repo, &rest, &newest);
    }
    for (name, content) in [("vm.xml", "description 2"), ("disk.tpm.0", "state 2")] {
        backup.dump(repo, snapshot, name, "dumped");
        assert_eq!(fs::read_to_string(backup.file("dumped")).unwrap(), content);
    }

    // The daemon did not hear of it and asks again.
    let again = Outcome::of(&mut backup.command(backup.server.port(), &message)).success();
    assert_eq!(again.stdout, outcome.stdout);
    assert_eq!(backup.listed().len(), 2);
}

#[test]
fn nothing_is_done_where_there_are_no_more_increments_than_to_be_kept() {
    let backup = Backup::of_one_disk(1_000_000);
    for keep in [4, 5] {
        let outcome = backup.flatten(keep).success();
        assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{outcome}");
    }
    assert_eq!(backup.listed().len(), 4);
}

#[test]
fn what_cannot_be_merged_stays_as_it_is() {
    let mut backup = Backup::of_one_disk(1_000_000);
    let refused = |backup: &Backup, expected: &str| {
        let outcome = backup.flatten(2).exits(255);
        let complaint = outcome.complaint();
        let lines: Vec<_> = complaint.lines().filter(|line| !line.starts_with("WARN: ")).collect();
        assert_eq!(lines.len(), 1, "{outcome}");
        assert!(lines[0].contains(expected), "{outcome}");
        assert!(!lines[0].contains(['"', '\'', '`']), "{outcome}");
        assert!(outcome.stdout.is_empty());
        assert_eq!(backup.listed().len(), 4);
    };
    // A file of the chain that is no disk; then a snapshot that is not there.
    fs::write(backup.file("disk.0.3"), "no disk").unwrap();
    let newest = backup.snapshots.pop().unwrap();
    Program::restic(Version::V0_18).run(&backup.repo, ["forget", &newest]).success();
    let names = [backup.file("disk.0.3"), backup.file("vm.xml")];
    let mut arguments = vec!["--json".to_owned(), "backup".to_owned()];
    arguments.extend(names.map(|name| name.to_str().unwrap().to_owned()));
    let stored = Program::restic(Version::V0_18).run(&backup.repo, arguments).success();
    let id = stored.json_lines().last().unwrap()["snapshot_id"].as_str().unwrap()[..8].to_owned();
    backup.snapshots.insert(2, id);
    refused(&backup, "file 2 of the chain is not a qcow2 file");
    backup.snapshots[2] = "00000000".to_owned();
    refused(&backup, "No such snapshot: 00000000");
}

#[test]
fn merging_costs_what_the_increments_cost() {
    let backup = Backup::of_one_disk(96 << 20);
    let proxy = Proxy::to(backup.server.port());
    let attributes = "<RESTIC_PRUNE_MAX_UNUSED>unlimited</RESTIC_PRUNE_MAX_UNUSED>";
    let mut command = backup.command(proxy.port(), &backup.message(2, attributes));
    let (_, chain) = parse(&Outcome::of(&mut command).success());
    assert!(proxy.bytes() < 24 << 20, "{}", proxy.bytes());
    let rest = [(chain[0].1.clone(), "disk.0.2".to_owned())];
    backup.assert_restored(&backup.repo, &rest, &backup.committed(0, 2));
}

#[test]
fn whenever_it_is_killed_a_backup_can_be_restored_and_merging_done_again() {
    let backup = Backup::of_one_disk(20 << 20);
    let (expected, newest) = (backup.committed(0, 2), backup.file("newest"));
    fs::copy(expected, &newest).unwrap();
    let message = backup.message_of_job("<BACKUP_JOB_ID>1</BACKUP_JOB_ID>", 2, "");
    let command = || backup.command(backup.server.port(), &message);
    for step in [0, 2, 3, 5usize] {
        let repo = crate::copy(&backup.repo, "job_1");
        let mut child = command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let files = || crate::files(&repo.location).len();
        let before = files();
        // Once so much has changed in the repository.
        while child.try_wait().unwrap().is_none() && files().abs_diff(before) < step {}
        child.kill().unwrap();
        child.wait().unwrap();
        // It may have been in the moment in which nobody else may even read.
        Program::restic(Version::V0_18).run(&repo, ["unlock"]).success();
        let listed = Program::restic(Version::V0_18).run(&repo, ["snapshots", "--json"]);
        let listed = listed.success().json();
        let has = |id: &String| {
            listed.as_array().unwrap().iter().any(|one| one["short_id"] == id.as_str())
        };
        if backup.snapshots.iter().all(has) {
            let old: Vec<_> = (0..3)
                .map(|number| (backup.snapshots[number].clone(), format!("disk.0.{number}")))
                .collect();
            backup.assert_restored(&repo, &old, &newest);
        }
        let again = Outcome::of(&mut command()).success();
        let (_, chain) = parse(&again);
        let rest = [(chain[0].1.clone(), "disk.0.2".to_owned())];
        backup.assert_restored(&repo, &rest, &newest);
        Program::restic(Version::V0_18).run(&repo, ["check", "--read-data"]).success();
        fs::remove_dir_all(&repo.location).unwrap();
    }
}
