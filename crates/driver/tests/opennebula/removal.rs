//! `rm`: what is gone, and what stays.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::key::Password;
use restic_repo::lock::{Lock, LockKind, LockOptions};
use restic_repo::progress::Silent;
use restic_repo::repository::{Options, Repository};

use crate::front_end::{Ended, FrontEnd, PASSWORD, files};
use crate::recording;

/// Removes an image of VM 5 with these snapshots, encoded as OpenNebula does.
fn message(front_end: &FrontEnd, vm: u64, snapshots: &[&str]) -> Vec<u8> {
    let cases = recording::of("rm");
    let case =
        cases.iter().find(|case| case.name.ends_with("incremental_three_snapshots")).unwrap();
    let (before, rest) = case.stdin.split_once("<BACKUP_INCREMENTS>").unwrap();
    let (_, after) = rest.split_once("</BACKUP_INCREMENTS>").unwrap();
    let before = before.replace("<VMS><ID>2<", &format!("<VMS><ID>{vm}<"));
    assert!(before.contains(&format!("<VMS><ID>{vm}<")), "{before}");
    let increments = snapshots.iter().enumerate().map(|(id, snapshot)| {
        format!("<INCREMENT><ID>{id}</ID><SOURCE>{snapshot}</SOURCE></INCREMENT>")
    });
    let increments: String = increments.collect();
    let message = format!("{before}<BACKUP_INCREMENTS>{increments}</BACKUP_INCREMENTS>{after}");
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(front_end.adapt(&message)).into_bytes()
}

pub fn remove(front_end: &FrontEnd, vm: u64, snapshots: &[&str]) -> Ended {
    front_end.run("rm", &["4"], &message(front_end, vm, snapshots), None)
}

fn count(front_end: &FrontEnd, folder: &str) -> usize {
    files(&front_end.folder(folder)).len()
}

#[test]
fn an_image_is_removed_with_all_that_nobody_else_needs() {
    let front_end = FrontEnd::new();
    assert_eq!(remove(&front_end, 5, &["a88845e9"]).success(), "");
    assert_eq!(count(&front_end, "5/snapshots"), 1);
    let check = front_end.restic("5", &["check", "--read-data"]);
    assert!(check.status.success(), "{check:?}");

    let ended = remove(&front_end, 5, &["b48eaab4", "a88845e9"]);
    assert_eq!(ended.success(), "");
    assert!(ended.stderr.contains("WARN: snapshot a88845e9 of increment 1 is not in"), "{ended:?}");
    assert!(ended.stderr.contains("INFO: reclaimed"), "{ended:?}");
    for folder in ["5/snapshots", "5/data", "5/index", "5/locks"] {
        assert_eq!(count(&front_end, folder), 0, "{folder}");
    }
}

#[test]
fn what_is_gone_already_can_be_removed() {
    let front_end = FrontEnd::new();
    let snapshots = count(&front_end, "5/snapshots");
    let unknown = remove(&front_end, 5, &["deadbeef"]);
    assert_eq!(unknown.success(), "");
    assert_eq!(count(&front_end, "5/snapshots"), snapshots);
    let no_repository = remove(&front_end, 77, &["deadbeef"]);
    assert_eq!(no_repository.success(), "");
    assert!(no_repository.stderr.starts_with("WARN: datastore 102 has no repository 77"));
    // A file system that is not there is another matter.
    fs::rename(front_end.base(), front_end.scratch.path().join("unmounted")).unwrap();
    remove(&front_end, 77, &["deadbeef"]).error();
}

#[test]
fn recorded_removals_succeed_again() {
    let front_end = FrontEnd::new();
    for case in recording::of("rm") {
        println!("{}", case.name);
        use base64::Engine;
        let stdin = base64::prelude::BASE64_STANDARD.encode(front_end.adapt(&case.stdin));
        let arguments: Vec<_> = case.arguments.iter().map(String::as_str).collect();
        let ended = front_end.run("rm", &arguments, stdin.as_bytes(), None);
        match case.code {
            0 if !case.name.contains("s3_") => assert_eq!(ended.success(), case.stdout),
            _ => drop(ended.error().to_owned()),
        }
    }
}

#[test]
fn rm_waits_for_a_lock_and_names_its_holder() {
    let front_end = FrontEnd::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lock = runtime.block_on(async {
        let backend = Arc::new(Local::new(front_end.folder("5")));
        let (password, options) = (Password::new(PASSWORD), Options::default());
        let repository =
            Repository::open(backend, &password, None, options, &Silent).await.unwrap();
        let options = LockOptions::new(Identity::current());
        Lock::acquire(&repository, LockKind::Exclusive, &options).await.unwrap()
    });
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| remove(&front_end, 5, &["a88845e9"]));
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(count(&front_end, "5/snapshots"), 2);
        runtime.block_on(lock.release()).unwrap();
        let ended = removing.join().unwrap();
        assert_eq!(ended.success(), "");
        let holder =
            format!("INFO: the repository is locked exclusively by PID {}", std::process::id());
        assert!(ended.stderr.contains(&holder), "{ended:?}");
    });
    assert_eq!(count(&front_end, "5/snapshots"), 1);
}
