//! Work that is done on the server itself, and what happens where that cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use restic_oracle::{Scratch, Sshd, SshdOptions};

use crate::flatten::{CHAIN, FOLDER, merge};
use crate::front_end::{Ended, FrontEnd, files};
use crate::removal::remove;

const PROGRAM: &str = env!("CARGO_BIN_EXE_one-restic");

/// What this program says first.
const HELLO: &str = concat!("{\"one_restic\":\"", env!("CARGO_PKG_VERSION"), "\"}");

/// A front-end whose server has a program in the `PATH` of its account.
struct Site {
    front_end: FrontEnd,
    bin: Scratch,
}

impl Site {
    /// One whose program is this script. `$PROGRAM` is this program.
    fn new(script: &str) -> Self {
        Self::with(SshdOptions::internal(""), script)
    }

    fn with(options: SshdOptions, script: &str) -> Self {
        let bin = Scratch::new();
        let (program, log) = (bin.path().join("one-restic"), bin.path().join("log"));
        let head = format!("#!/bin/sh\nPROGRAM={PROGRAM}\necho \"$@\" >>{}\n", log.display());
        fs::write(&program, format!("{head}{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = bin.path().display();
        let options = options.line(format!("SetEnv PATH={path}:/usr/bin:/bin"));
        Self { front_end: FrontEnd::with(Sshd::with(&options)), bin }
    }

    /// How often the program was started there.
    fn started(&self) -> usize {
        let log = fs::read_to_string(self.bin.path().join("log")).unwrap_or_default();
        assert!(log.lines().all(|line| line == "datastore near"), "{log}");
        log.lines().count()
    }
}

/// All of a repository, by what is named after nothing that is random: how many files there are of each kind.
fn shape(front_end: &FrontEnd) -> Vec<(&'static str, usize)> {
    let count = |folder| (folder, files(&front_end.folder(&format!("5/{folder}"))).len());
    ["data", "index", "snapshots", "locks", "keys"].map(count).to_vec()
}

/// The permissions of all files.
fn modes(front_end: &FrontEnd) -> Vec<u32> {
    let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode();
    let mut modes: Vec<_> = files(&front_end.folder("5")).iter().map(mode).collect();
    modes.sort_unstable();
    modes.dedup();
    modes
}

/// The merged disk, as the real restic reads it.
fn merged_disk(front_end: &FrontEnd, ended: &Ended) -> Vec<u8> {
    let (_, rest) = ended.success().split_once(':').unwrap();
    let (snapshot, _) = rest.split_once(',').unwrap();
    let dumped = front_end.restic("5", &["dump", snapshot, &format!("{FOLDER}/disk.0.1")]);
    assert!(dumped.status.success(), "{dumped:?}");
    dumped.stdout
}

/// What is printed, without the new snapshot's id.
fn answer(ended: &Ended) -> String {
    let (before, rest) = ended.success().split_once(':').unwrap();
    let (snapshot, behind) = rest.split_once(',').unwrap();
    assert_eq!(snapshot.len(), 8);
    format!("{before},{behind}")
}

/// The warnings.
fn warnings(ended: &Ended) -> Vec<&str> {
    ended.stderr.lines().filter(|line| line.starts_with("WARN: ")).collect()
}

/// What merging gives where the server has no program.
struct Expected {
    answer: String,
    disk: Vec<u8>,
    shape: Vec<(&'static str, usize)>,
    modes: Vec<u32>,
}

impl Expected {
    fn over_sftp() -> Self {
        let front_end = FrontEnd::new();
        let ended = merge(&front_end);
        assert_eq!(warnings(&ended), [""; 0], "{ended:?}");
        Self::of(&front_end, &ended)
    }

    fn of(front_end: &FrontEnd, ended: &Ended) -> Self {
        let disk = merged_disk(front_end, ended);
        let (shape, modes) = (shape(front_end), modes(front_end));
        Self { answer: answer(ended), disk, shape, modes }
    }

    #[track_caller]
    fn assert_same(&self, front_end: &FrontEnd, ended: &Ended) {
        let found = Self::of(front_end, ended);
        assert_eq!((&found.answer, &found.shape), (&self.answer, &self.shape), "{ended:?}");
        assert_eq!(found.modes, self.modes);
        assert!(found.disk == self.disk, "it is another disk");
    }
}

/// Removes the whole image, whose newest snapshot is the merged one.
#[track_caller]
fn remove_all(front_end: &FrontEnd) -> Ended {
    let ended = remove(front_end, 5, &CHAIN);
    assert_eq!(ended.success(), "");
    for (folder, count) in shape(front_end) {
        assert_eq!(count, usize::from(folder == "keys"), "{folder}: {ended:?}");
    }
    ended
}

#[test]
fn merging_and_removing_are_done_on_the_server_with_the_same_result() {
    let expected = Expected::over_sftp();
    for script in [
        "exec \"$PROGRAM\" \"$@\"",
        // A shell that has something to say.
        "echo welcome; echo; echo '{\"day\":1}'; echo motd >&2; exec \"$PROGRAM\" \"$@\"",
    ] {
        let site = Site::new(script);
        let ended = merge(&site.front_end);
        expected.assert_same(&site.front_end, &ended);
        let check = site.front_end.restic("5", &["check", "--read-data"]);
        assert!(check.status.success(), "{check:?}");
        assert_eq!(warnings(&ended), [""; 0], "{ended:?}");
        assert!(ended.stderr.contains("INFO: reclaimed"), "{ended:?}");
        assert_eq!(site.started(), 1);
        // Asked again, it says the same.
        assert_eq!(merge(&site.front_end).success(), ended.success());
        let removed = remove_all(&site.front_end);
        assert!(removed.stderr.contains("INFO: reclaimed"), "{removed:?}");
        assert_eq!(site.started(), 3);
    }
}

#[test]
fn where_the_program_is_not_there_or_may_not_run_the_work_is_done_over_sftp_without_a_word() {
    let expected = Expected::over_sftp();
    let works = "exec \"$PROGRAM\" \"$@\"";
    let external = SshdOptions::external("");
    let program = external.subsystem.clone().unwrap();
    let internal = || SshdOptions::internal("");
    let noise = format!("head -c 3000000 {PROGRAM}");
    for (what, options, script) in [
        ("nothing but SFTP, inside of sshd", internal().line("ForceCommand internal-sftp"), works),
        ("nothing but SFTP", external.line(format!("ForceCommand {program}")), works),
        ("another program", internal(), "echo 'usage: one-restic' >&2; exit 2"),
        ("silence", internal(), "cat >/dev/null"),
        ("an echo", internal(), "cat"),
        ("noise", internal(), &noise),
        ("endless greetings", internal(), "exec yes welcome"),
        ("a line without an end", internal(), "exec tr '\\0' x </dev/zero"),
        ("another message", internal(), "echo '{\"one_restic\":7}'"),
    ] {
        let site = Site::with(options, script);
        let ended = merge(&site.front_end);
        expected.assert_same(&site.front_end, &ended);
        assert_eq!(warnings(&ended), [""; 0], "{what}");
        assert!(!ended.stderr.contains("one-restic"), "{what}: {ended:?}");
    }
}

#[test]
fn another_version_on_the_server_is_told_and_left_alone() {
    let site = Site::new("echo '{\"one_restic\":\"0.0.1\"}'; cat >\"$0.said\"");
    let ended = merge(&site.front_end);
    let told = "has version 0.0.1 of one-restic and this is ";
    assert!(ended.stderr.lines().any(|line| line.starts_with("INFO: ") && line.contains(told)));
    Expected::over_sftp().assert_same(&site.front_end, &ended);
    let said = fs::read(site.bin.path().join("one-restic.said")).unwrap();
    assert_eq!(said.len(), 10, "a question, and no order");
}

#[test]
fn a_server_that_shows_another_folder_to_programs_works_over_sftp() {
    let expected = Expected::over_sftp();
    for (other, why) in [("nowhere", "does not exist"), ("1", "is another repository here")] {
        let script =
            format!("sed -u 's#/datastore/5\"#/datastore/{other}\"#' | \"$PROGRAM\" \"$@\"");
        let site = Site::new(&script);
        let before = files(&site.front_end.folder("1")).len();
        let ended = merge(&site.front_end);
        let warnings = warnings(&ended);
        assert_eq!(warnings.len(), 1, "{ended:?}");
        assert!(
            warnings[0].contains("cannot work there") && warnings[0].contains(why),
            "{ended:?}"
        );
        expected.assert_same(&site.front_end, &ended);
        assert_eq!(files(&site.front_end.folder("1")).len(), before);
        remove_all(&site.front_end);
    }
}

#[test]
fn what_a_hostile_server_answers_gives_one_error_and_changes_nothing() {
    let merged = format!(
        "{{\"merged\":{{\"snapshot\":\"{}\",\"size\":1,\"old\":[],\"reread\":0}}}}",
        "ab".repeat(32)
    );
    for (lies, expected) in [
        ("exit 3".to_owned(), "it ended with exit status 3"),
        ("echo 'panicked at `x`' >&2; exit 1".to_owned(), "panicked at x"),
        ("exec head -c 100000 /dev/urandom".to_owned(), "broke off"),
        ("exec tr '\\0' x </dev/zero".to_owned(), "broke off"),
        ("exec yes".to_owned(), "broke off"),
        ("echo '\"done\"'; exit 0".to_owned(), "broke off"),
        ("printf '%s\\n' '{\"failed\":\"it `s\\nbroken\"}'".to_owned(), "it s broken"),
        (format!("echo '{merged}'; cat >/dev/null"), "that is not in the repository"),
    ] {
        // It waits for the order, which comes after the question.
        let site = Site::new(&format!("echo '{HELLO}'; read question; read order; {lies}"));
        let before = shape(&site.front_end);
        let ended = merge(&site.front_end);
        assert!(ended.error().contains(expected), "{lies}: {ended:?}");
        assert!(ended.error().len() < 1000, "{lies}");
        assert_eq!(shape(&site.front_end), before, "{lies}");
        assert_eq!(site.started(), 1);
    }
}

#[test]
fn a_removal_is_one_even_if_the_server_breaks_off_while_it_reclaims_space() {
    let site = Site::new(&format!("echo '{HELLO}'; read question; read order; exit 4"));
    let ended = remove(&site.front_end, 5, &CHAIN);
    assert_eq!(ended.success(), "");
    assert!(ended.stderr.contains("WARN: the space cannot be reclaimed now"), "{ended:?}");
    assert!(ended.stderr.contains("exit status 4"), "{ended:?}");
    assert_eq!(files(&site.front_end.folder("5/snapshots")).len(), 0);
}

#[test]
fn a_wrong_repository_is_told_as_without_the_program() {
    let site = Site::new("exec \"$PROGRAM\" \"$@\"");
    let unknown = remove(&site.front_end, 77, &["deadbeef"]);
    assert!(unknown.stderr.starts_with("WARN: datastore 102 has no repository 77"), "{unknown:?}");
    assert_eq!(unknown.success(), "");
}

#[test]
fn by_hand_the_servers_half_says_what_it_is_and_takes_nothing_else() {
    let run = |input: &[u8]| {
        let mut command = Command::new(PROGRAM);
        Ended::of(command.args(["datastore", "near"]), input)
    };
    for input in [&b""[..], b"\n", b"\n{}\n", b"\n{\"password\":\"opennebula\"}\n", b"\n\n\n\n"] {
        let ended = run(input);
        assert_ne!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout.trim_end(), HELLO);
        assert!(ended.stderr.contains("it is the front-end of OpenNebula"), "{ended:?}");
    }
    let ended = run(&vec![b'x'; 3 << 20]);
    assert!(ended.stderr.contains("too long"), "{ended:?}");
}
