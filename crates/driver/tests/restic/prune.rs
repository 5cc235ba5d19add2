//! `prune`: what we leave, every restic finds in order, and the other way round; and nobody has to wait.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use restic_oracle::{Outcome, Program, Repo, Scratch, Tree, Version, data};

use crate::{copy_folder, files, init_cheaply, locks, one_restic};

/// A folder whose files change a little with each generation.
fn write(folder: &Path, generation: u32) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..24u32 {
        // A third of the files is another one in each generation.
        let state = if number % 3 == 0 { generation } else { 0 };
        let content = data::ctr(&(number * 100 + state).to_le_bytes(), 700_000);
        fs::write(folder.join(format!("file {number}")), content).unwrap();
    }
    fs::write(folder.join("generation"), generation.to_string()).unwrap();
}

fn backup(program: &Program, repo: &Repo, folder: &Path) {
    let mut command = program.command(repo);
    // Packs that are soon full, so that there are some.
    command.args(["backup", "--host=test", "--pack-size=4"]).arg(folder.file_name().unwrap());
    command.current_dir(folder.parent().unwrap());
    Outcome::of(&mut command).success();
}

/// Makes a repository, backs up so many generations by one program, and forgets all but the newest by one
/// that prunes nothing.
fn lived_in(writer: &Program, repo: &Repo, folder: &Path, generations: u32) {
    init_cheaply(repo);
    for generation in 1..=generations {
        write(folder, generation);
        backup(writer, repo, folder);
    }
    let restic = Program::restic(Version::V0_18);
    restic.run(repo, ["forget", "--keep-last=1", "--group-by="]).success();
}

/// The ids of the snapshots, the oldest first.
fn snapshots(repo: &Repo) -> Vec<String> {
    let listed = one_restic().run(repo, ["snapshots", "--json"]).success().json();
    let listed = listed.as_array().unwrap().iter();
    listed.map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
}

fn restored(program: &Program, repo: &Repo, scratch: &Scratch, snapshot: &str) -> Tree {
    let target = scratch.folder(&format!("{snapshot} by {}", program.name));
    program.run(repo, ["restore", snapshot, "--target", target.to_str().unwrap()]).success();
    Tree::of(&target.join("source"))
}

fn stored(repo: &Repo) -> u64 {
    let packs = files(&repo.location.join("data"));
    packs.iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

/// What a prune says that it is going to do.
fn planned(outcome: &Outcome, noun: &str) -> u64 {
    let text = outcome.text();
    let line = text.lines().find(|line| line.starts_with(noun));
    let line = line.unwrap_or_else(|| panic!("nothing about {noun:?}\n{outcome}"));
    line[noun.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

/// This prune finds nothing to remove, and nothing to copy.
#[track_caller]
fn assert_nothing_to_do(outcome: &Outcome) {
    for noun in ["to repack:", "to delete:"] {
        assert_eq!(planned(outcome, noun), 0, "{outcome}");
    }
}

#[test]
fn every_restic_finds_in_order_what_we_pruned() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("source");
    for writer in [Program::restic(Version::V0_14), one_restic()] {
        let repo = scratch.repo(&writer.name);
        lived_in(&writer, &repo, &folder, 4);
        let before = stored(&repo);
        let outcome = one_restic().run(&repo, ["prune", "--max-unused=0"]).success();
        assert!(planned(&outcome, "to repack:") > 0, "{outcome}");
        assert!(stored(&repo) < before * 3 / 4, "{outcome}");
        let newest = snapshots(&repo).pop().unwrap();
        for restic in Program::restics() {
            restic.run(&repo, ["check", "--read-data"]).success();
            let again = restic.run(&repo, ["prune", "--max-unused=0", "--dry-run"]).success();
            assert_nothing_to_do(&again);
            Tree::of(&folder).assert_same(&restored(&restic, &repo, &scratch, &newest));
        }
        assert_nothing_to_do(&one_restic().run(&repo, ["prune", "--max-unused=0"]).success());
        one_restic().run(&repo, ["check", "--read-data"]).success();
        assert!(locks(&repo).is_empty());
    }
}

#[test]
fn we_find_in_order_what_restic_pruned() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("source");
    for restic in Program::restics() {
        let repo = scratch.repo(&restic.name);
        lived_in(&one_restic(), &repo, &folder, 3);
        restic.run(&repo, ["prune", "--max-unused=0"]).success();
        let outcome = one_restic().run(&repo, ["prune", "--max-unused=0"]).success();
        assert_nothing_to_do(&outcome);
        one_restic().run(&repo, ["check", "--read-data"]).success();
    }
}

#[test]
fn we_need_no_more_room_than_restic_and_plan_the_same() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("source");
    let ours = scratch.repo("ours");
    lived_in(&one_restic(), &ours, &folder, 5);
    let restic = Program::restic(Version::V0_19);
    for limits in [
        &["--max-unused=0"][..],
        &["--max-unused=20%"],
        &["--max-unused=unlimited"],
        &["--max-repack-size=6M", "--max-unused=0"],
        &["--repack-cacheable-only"],
        &["--repack-smaller-than=4M"],
        &["--repack-uncompressed"],
    ] {
        let arguments = || [&["prune", "--dry-run", "-v", "--pack-size=4"], limits].concat();
        let (we, they) = (one_restic().run(&ours, arguments()), restic.run(&ours, arguments()));
        let numbers = |outcome: Outcome| -> Vec<String> {
            let outcome = outcome.success();
            let lines = outcome.text().lines().map(str::to_owned).collect::<Vec<_>>();
            let about = |line: &String| {
                ["used:", "unused:", "total", "to ", "this ", "remaining:", "unused size", "partly"]
                    .iter()
                    .any(|noun| line.starts_with(noun))
            };
            lines.into_iter().filter(about).collect()
        };
        assert_eq!(numbers(we), numbers(they), "{limits:?}");
    }
    let theirs = scratch.repo("theirs");
    copy_folder(&ours.location, &theirs.location);
    one_restic().run(&ours, ["prune", "--max-unused=0"]).success();
    restic.run(&theirs, ["prune", "--max-unused=0"]).success();
    let (we, they) = (stored(&ours) as f64, stored(&theirs) as f64);
    assert!((we / they - 1.0).abs() < 0.02, "{we} and {they} bytes");
}

/// A prune that has begun to copy, and goes on when it is told to.
fn halted_prune(repo: &Repo) -> Child {
    let mut command = one_restic().command(repo);
    // Three packs and more to write, of which each takes a second.
    command.args(["prune", "--max-unused=0", "--pack-size=4", "--limit-upload=4096"]);
    let mut prune = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let before = files(&repo.location.join("data")).len();
    // It copies, once the first new pack is there.
    while files(&repo.location.join("data")).len() == before {
        assert!(prune.try_wait().unwrap().is_none(), "it has ended already");
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&prune, Signal::STOP);
    prune
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_backup_during_the_first_phase_does_not_wait_and_loses_nothing() {
    for other in [Program::restic(Version::V0_18), one_restic()] {
        let scratch = Scratch::new();
        let folder = scratch.path().join("source");
        let repo = scratch.repo("repo");
        lived_in(&one_restic(), &repo, &folder, 3);
        let prune = halted_prune(&repo);
        // The first generation is forgotten, and what it alone had is about to be removed. This backup
        // finds it in the index and stores it no more.
        write(&folder, 1);
        backup(&other, &repo, &folder);
        signal(&prune, Signal::CONT);
        let outcome = prune.wait_with_output().unwrap();
        assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
        let said = String::from_utf8(outcome.stdout).unwrap();
        assert!(said.contains("that new snapshots have come to need"), "{said}");
        let newest = snapshots(&repo).pop().unwrap();
        Tree::of(&folder).assert_same(&restored(&one_restic(), &repo, &scratch, &newest));
        for restic in Program::restics() {
            restic.run(&repo, ["check", "--read-data"]).success();
        }
        assert!(locks(&repo).is_empty());
    }
}

#[test]
fn while_others_are_at_work_nothing_is_removed_and_the_next_prune_goes_on() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("source");
    let repo = scratch.repo("repo");
    lived_in(&one_restic(), &repo, &folder, 3);
    let mut command = Program::restic(Version::V0_18).command(&repo);
    command.args(["backup", "--stdin", "--host=test"]).stdin(Stdio::piped());
    let mut backup = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while locks(&repo).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = files(&repo.location.join("data"));
    let outcome = one_restic().run(&repo, ["prune", "--max-unused=0"]).exits(11);
    assert!(outcome.complaint().contains("the next prune goes on"), "{outcome}");
    assert!(planned(&outcome, "to repack:") > 0, "{outcome}");
    assert!(before.iter().all(|pack| pack.exists()), "something was removed");
    backup.stdin.take().unwrap().write_all(b"data").unwrap();
    let ended = backup.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let outcome = one_restic().run(&repo, ["prune", "--max-unused=0"]).success();
    assert_eq!(planned(&outcome, "to repack:"), 0, "{outcome}");
    assert!(planned(&outcome, "to delete:") > 0, "{outcome}");
    for restic in Program::restics() {
        restic.run(&repo, ["check", "--read-data"]).success();
        let again = restic.run(&repo, ["prune", "--max-unused=0", "--dry-run"]).success();
        assert_nothing_to_do(&again);
    }
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let scratch = Scratch::new();
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    for (arguments, message) in [
        (&["prune", "--no-lock"][..], "--no-lock needs --dry-run"),
        (&["prune", "--repack-uncompressed", "--compression=off"], "exclude each other"),
        (&["prune", "--repack-smaller-than=200M"], "larger than the pack size"),
    ] {
        let outcome = one_restic().run(&repo, arguments).exits(1);
        assert!(outcome.complaint().contains(message), "{outcome}");
    }
    for limit in ["100%", "-1%", "x", ""] {
        one_restic().run(&repo, ["prune", &format!("--max-unused={limit}")]).exits(1);
    }
}
