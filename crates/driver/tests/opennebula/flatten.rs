//! `increment_flatten`: recorded calls once more, on a chain that upstream wrote.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::front_end::{Ended, FrontEnd, files};
use crate::recording::{self, Recording};

/// A full backup of VM 5 and an increment that were not merged when the repositories were saved, and so stand in
/// for those that were.
pub const CHAIN: [&str; 2] = ["b48eaab4", "a88845e9"];

/// The same of VM 1, whose disks were not saved.
const INCOMPLETE: [&str; 2] = ["712770e0", "ca6964ef"];

/// The folder of VM 5.
pub const FOLDER: &str = "/var/lib/one/datastores/0/5/backup";

/// The snapshots of the increments in a message.
fn snapshots(case: &Recording) -> Vec<String> {
    let Some((_, increments)) = case.stdin.split_once("<BACKUP_INCREMENTS>") else {
        return Vec::new();
    };
    let sources = increments.split("<SOURCE><![CDATA[").skip(1);
    sources.map(|source| source[..8].to_owned()).collect()
}

fn play(front_end: &FrontEnd, case: &Recording) -> Ended {
    play_for(front_end, case, 5, CHAIN)
}

/// Merges the two.
pub fn merge(front_end: &FrontEnd) -> Ended {
    let cases = recording::of("increment_flatten");
    play(front_end, cases.iter().find(|case| case.name.ends_with("cbt_keep3")).unwrap())
}

fn play_for(front_end: &FrontEnd, case: &Recording, vm: u64, chain: [&str; 2]) -> Ended {
    let mut stdin = front_end.adapt(&case.stdin);
    stdin = stdin.replace("<VMS><ID>1</ID>", &format!("<VMS><ID>{vm}</ID>"));
    for (recorded, here) in snapshots(case).iter().zip(chain) {
        stdin = stdin.replace(recorded, here);
    }
    let arguments: Vec<_> = case.arguments.iter().map(String::as_str).collect();
    front_end.run(&case.action, &arguments, BASE64_STANDARD.encode(stdin).as_bytes(), None)
}

fn qemu_img(folder: &Path, arguments: &[&str]) {
    let output = Command::new("qemu-img").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Writes a disk of a snapshot into a file.
fn dump(front_end: &FrontEnd, snapshot: &str, name: &str, target: &Path) {
    let dumped = front_end.restic("5", &["dump", snapshot, &format!("{FOLDER}/{name}")]);
    assert!(dumped.status.success(), "{dumped:?}");
    fs::write(target, dumped.stdout).unwrap();
}

#[test]
fn recorded_merges_give_the_same_answers_and_the_disk_that_qemu_makes() {
    for name in ["cbt_keep3", "cbt_poweroff_keep3"] {
        let front_end = FrontEnd::new();
        let cases = recording::of("increment_flatten");
        let case = cases.iter().find(|case| case.name.ends_with(name)).unwrap();
        let folder = front_end.scratch.folder("disks");
        dump(&front_end, CHAIN[0], "disk.0.0", &folder.join("full"));
        dump(&front_end, CHAIN[1], "disk.0.1", &folder.join("increment"));
        qemu_img(&folder, &["rebase", "-u", "-F", "qcow2", "-b", "full", "increment"]);
        qemu_img(&folder, &["commit", "-q", "-f", "qcow2", "-b", "full", "increment"]);

        let ended = play(&front_end, case);
        // The size, and all of the chain but the new snapshot, are those of the recording.
        let (before, rest) = ended.success().split_once(':').unwrap();
        let (merged, behind) = rest.split_once(',').unwrap();
        let (recorded_before, rest) = case.stdout.split_once(':').unwrap();
        let (_, recorded_behind) = rest.split_once(',').unwrap();
        let kept = snapshots(case)[2..].join(" ");
        assert_eq!((before, behind), (recorded_before, recorded_behind), "{kept}");

        dump(&front_end, merged, "disk.0.1", &folder.join("merged"));
        qemu_img(&folder, &["compare", "full", "merged"]);
        qemu_img(&folder, &["check", "-q", "merged"]);
        let check = front_end.restic("5", &["check", "--read-data"]);
        assert!(check.status.success(), "{check:?}");
        for id in CHAIN {
            let gone = front_end.restic("5", &["cat", "snapshot", id]);
            assert!(!gone.status.success(), "{gone:?}");
        }
        // Asked again, it says the same.
        assert_eq!(play(&front_end, case).success(), ended.success());
    }
}

#[test]
fn what_cannot_be_merged_is_left_as_it_is() {
    let front_end = FrontEnd::new();
    for case in recording::of("increment_flatten") {
        let before = files(&front_end.base()).len();
        let name = case.name.rsplit('/').next().unwrap();
        let ended = match name {
            // Nothing is to be done.
            "noop_snapshots_le_keep_last" => {
                let ended = play(&front_end, &case);
                assert_eq!(ended.success(), "");
                ended
            }
            "error_malformed_stdin" => {
                let ended = play(&front_end, &case);
                ended.error();
                ended
            }
            // The third of the increments is not there any more.
            "keep2_three_snapshots_merged" => {
                let ended = play(&front_end, &case);
                assert!(ended.error().starts_with("No such snapshot: 21dbf4ff"), "{ended:?}");
                ended
            }
            _ => continue,
        };
        let locks = files(&front_end.folder("5/locks"));
        assert!(locks.is_empty(), "{name}: {locks:?}, {ended:?}");
        assert_eq!(files(&front_end.base()).len(), before, "{name}");
    }
}

#[test]
fn a_backup_of_which_something_is_lost_is_left_as_it_is() {
    let front_end = FrontEnd::new();
    let cases = recording::of("increment_flatten");
    let case = cases.iter().find(|case| case.name.ends_with("cbt_keep3")).unwrap();
    let before = files(&front_end.base()).len();
    let ended = play_for(&front_end, case, 1, INCOMPLETE);
    assert!(ended.error().contains("is not in the index"), "{ended:?}");
    assert_eq!(files(&front_end.base()).len(), before);
}

#[test]
fn a_merge_that_opennebula_never_heard_of_hurts_nobody() {
    let front_end = FrontEnd::new();
    let cases = recording::of("increment_flatten");
    let case = cases.iter().find(|case| case.name.ends_with("cbt_keep3")).unwrap();
    play(&front_end, case).success();

    // The front-end died before it could say so: OpenNebula still names the old snapshots.
    let chain = format!("0:{},1:{}", CHAIN[0], CHAIN[1]);
    let url = |chain: &str| format!("restic://102//{chain}{FOLDER}/disk.0.0");
    let stat = |chain: &str| {
        let cases = recording::of("stat");
        let case = cases.iter().find(|case| case.name.ends_with("tm_local_chain2")).unwrap();
        let (before, rest) = case.stdin.split_once("<PATH>").unwrap();
        let (_, after) = rest.split_once("</PATH>").unwrap();
        let message = front_end.adapt(&format!("{before}<PATH>{}</PATH>{after}", url(chain)));
        let message = BASE64_STANDARD.encode(message);
        front_end.run("stat", &["2"], message.as_bytes(), None)
    };
    assert_eq!(stat(&chain).success(), "64\n");
    let ended = stat(&format!("0:{}", CHAIN[0]));
    assert!(ended.error().contains("restore a later increment"), "{ended:?}");

    // And an image that is removed goes with all of it.
    let removed = crate::removal::remove(&front_end, 5, &CHAIN);
    assert_eq!(removed.success(), "");
    assert_eq!(files(&front_end.folder("5/snapshots")).len(), 0, "{removed:?}");
    assert_eq!(files(&front_end.folder("5/data")).len(), 0, "{removed:?}");
}
