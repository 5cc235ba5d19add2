//! Disks, streamed out of backups as OpenNebula's `downloader.sh` does it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::front_end::{Ended, FrontEnd};
use crate::oned::Oned;
use crate::recording::{self, Call};
use crate::replay::adapt_answer;

/// The folder of the VM whose backups are here in full.
const VM_FOLDER: &str = "/var/lib/one/datastores/0/5/backup";

/// A daemon that describes the datastore so many times.
fn oned(front_end: &FrontEnd, times: usize) -> Oned {
    let cases = recording::of("restic_downloader");
    let case = cases.iter().find(|case| case.name.ends_with("/tm_local_chain2")).unwrap();
    let Call { method, arguments, answer } = case.calls[0].clone();
    let answer = adapt_answer(front_end, &answer);
    Oned::start(vec![Call { method, arguments, answer }; times])
}

/// Streams a disk to a file.
fn stream(front_end: &FrontEnd, url: &str, name: &str) -> PathBuf {
    let oned = oned(front_end, 1);
    let path = front_end.scratch.path().join(name);
    let mut command = front_end.command("stream", &[url], Some(&oned));
    command.stdin(Stdio::null()).stdout(File::create(&path).unwrap()).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    path
}

/// A file of a snapshot, as the real restic gives it.
fn dumped(
    front_end: &FrontEnd,
    repository: &str,
    snapshot: &str,
    path: &str,
    name: &str,
) -> PathBuf {
    let target = front_end.scratch.path().join(name);
    let output = front_end.restic(repository, &["dump", snapshot, path]);
    assert!(output.status.success(), "{output:?}");
    fs::write(&target, output.stdout).unwrap();
    target
}

#[track_caller]
fn qemu_img(arguments: &[&str], paths: &[&Path]) {
    let output = Command::new("qemu-img").args(arguments).args(paths).output().unwrap();
    assert!(output.status.success(), "qemu-img {arguments:?} {paths:?}: {output:?}");
}

#[test]
fn a_full_backup_comes_byte_for_byte() {
    let front_end = FrontEnd::new();
    let url = format!("restic://102//0:b48eaab4{VM_FOLDER}/disk.0.0");
    let ours = stream(&front_end, &url, "ours");
    let theirs = dumped(&front_end, "5", "b48eaab4", &format!("{VM_FOLDER}/disk.0.0"), "theirs");
    assert!(fs::read(ours).unwrap() == fs::read(theirs).unwrap());
    assert!(crate::front_end::files(&front_end.folder("5/locks")).is_empty());
}

#[test]
fn increments_come_as_one_disk_which_is_that_of_qemu() {
    let front_end = FrontEnd::new();
    let url = format!("restic://102//0:b48eaab4,1:a88845e9{VM_FOLDER}/disk.0.0");
    let ours = stream(&front_end, &url, "ours");
    let base = dumped(&front_end, "5", "b48eaab4", &format!("{VM_FOLDER}/disk.0.0"), "disk.0.0");
    let change = dumped(&front_end, "5", "a88845e9", &format!("{VM_FOLDER}/disk.0.1"), "disk.0.1");
    let backing = base.to_str().unwrap();
    qemu_img(&["rebase", "-u", "-F", "qcow2", "-b", backing], &[&change]);
    qemu_img(&["check"], &[&ours]);
    qemu_img(&["compare", "-f", "qcow2", "-F", "qcow2"], &[&ours, &change]);
    let base_alone = Command::new("qemu-img").arg("compare").args([&ours, &base]).output().unwrap();
    assert!(!base_alone.status.success(), "the increment changes nothing");
    let info =
        Command::new("qemu-img").args(["info", "--output=json"]).arg(&ours).output().unwrap();
    assert!(!String::from_utf8_lossy(&info.stdout).contains("backing"), "{info:?}");
}

/// What `downloader.sh` does with the output of `restic_downloader.rb`: it evaluates the command once to
/// look at the beginning, and once for all of it.
#[test]
fn the_command_can_be_broken_off_and_run_again() {
    let front_end = FrontEnd::new();
    let url = format!("restic://102//0:b48eaab4,1:a88845e9{VM_FOLDER}/disk.0.0");
    let daemon = oned(&front_end, 3);
    let ended = front_end.run("restic_downloader", &[&url], b"", Some(&daemon));
    let script = r#"
        defs=$(printf '%s' "$1" | grep -e '^command=' -e '^clean_command=')
        eval "$defs"
        ( eval "$command" | head -c 4 >beginning; echo "${PIPESTATUS[0]}" >status )
        eval "$command" >all && eval "$clean_command"
    "#;
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "bash", ended.success()]);
    front_end.surround(&mut shell, Some(&daemon));
    let ended = Ended::of(&mut shell, b"");
    ended.success();
    assert_eq!(ended.stderr, "", "a closed pipe is nothing to talk about");
    let read = |name: &str| fs::read(front_end.scratch.path().join(name)).unwrap();
    assert_eq!(read("beginning"), b"QFI\xfb");
    assert!(matches!(&*String::from_utf8(read("status")).unwrap(), "141\n" | "0\n"));
    assert!(read("all").len() > 1 << 20);
    assert!(crate::front_end::files(&front_end.folder("5/locks")).is_empty());
}

#[test]
fn ceph_disks_come_as_an_archive_and_a_tpm_as_it_is() {
    let front_end = FrontEnd::new();
    let source = front_end.scratch.folder("vms/7/backup");
    let write = |name: &str, content: &[u8]| fs::write(source.join(name), content).unwrap();
    let backup = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| source.join(name)).collect();
        let mut arguments = vec!["backup", "--json", "--tag", "one-7"];
        arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
        let output = front_end.restic("7", &arguments);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let at = text.find("\"snapshot_id\":\"").unwrap() + 15;
        text[at..at + 8].to_owned()
    };
    assert!(front_end.restic("7", &["init"]).status.success());
    let large = restic_oracle::data::ctr(b"ceph", 3 << 20);
    write("disk.0.rbd2", &large);
    write("disk.tpm.0", b"old state");
    write("vm.xml", b"");
    let full = backup(&["disk.0.rbd2", "disk.tpm.0", "vm.xml"]);
    write("disk.0.1.rbdiff", b"a difference");
    write("disk.tpm.0", b"new state");
    let increment = backup(&["disk.0.1.rbdiff", "disk.tpm.0", "vm.xml"]);

    let chain = format!("restic+rbd://102//0:{full},1:{increment}{}", source.display());
    let archive = stream(&front_end, &format!("{chain}/disk.0.1.rbdiff"), "archive.tar.gz");
    let target = front_end.scratch.folder("unpacked");
    let unpacked = Command::new("tar").arg("xzvf").arg(&archive).arg("-C").arg(&target).output();
    let names = String::from_utf8(unpacked.unwrap().stdout).unwrap();
    assert_eq!(names, "disk.0.rbd2\ndisk.0.1.rbdiff\n");
    assert!(fs::read(target.join("disk.0.rbd2")).unwrap() == large);
    assert_eq!(fs::read(target.join("disk.0.1.rbdiff")).unwrap(), b"a difference");

    let chain = chain.replace("restic+rbd", "restic");
    let tpm = stream(&front_end, &format!("{chain}/disk.tpm.0"), "tpm");
    assert_eq!(fs::read(tpm).unwrap(), b"new state");
}

#[test]
fn what_is_not_there_is_said_before_a_command_is_printed() {
    let front_end = FrontEnd::new();
    for (url, expected) in [
        (format!("restic://102//0:deadbeef{VM_FOLDER}/disk.0.0"), "deadbeef"),
        (format!("restic://102//0:b48eaab4{VM_FOLDER}/disk.1.0"), "no disk 1"),
        (format!("restic://102/9/0:b48eaab4{VM_FOLDER}/disk.0.0"), "no repository job_9"),
        ("restic://102//0:b48eaab4/x/../5/backup/disk.0.0".to_owned(), "no URL of a backup"),
        ("restic://102//0:$(id)/x/5/backup/disk.0.0".to_owned(), "which is no id"),
        ("http://host/file".to_owned(), "no URL of a backup"),
        (format!("restic://102//0:b48eaab4{VM_FOLDER}/vm.xml"), "no disk"),
        ("restic://102//0:b48eaab4/x/disk.0.0".to_owned(), "which VM"),
    ] {
        for action in ["restic_downloader", "stream"] {
            let daemon = oned(&front_end, 1);
            let ended = front_end.run(action, &[&url], b"", Some(&daemon));
            assert!(ended.error().contains(expected), "{action} {url}: {ended:?}");
        }
    }
    let url = format!("restic://102//0:b48eaab4{VM_FOLDER}/disk.0.0");
    let nobody = front_end.run("restic_downloader", &[&url], b"", None);
    assert!(nobody.error().contains("OpenNebula cannot be asked"), "{nobody:?}");
    let silent = Oned::start(Vec::new());
    let refused = front_end.run("stream", &[&url], b"", Some(&silent));
    assert!(refused.error().contains("datastore 102 is not known"), "{refused:?}");
    assert!(front_end.run("stream", &[], b"", None).error().contains("URL of a disk"));
}

#[test]
fn no_password_is_in_what_others_can_see_of_the_process() {
    let front_end = FrontEnd::new();
    let daemon = oned(&front_end, 1);
    let url = format!("restic://102//0:b48eaab4{VM_FOLDER}/disk.0.0");
    let mut command = front_end.command("stream", &[&url], Some(&daemon));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut beginning = [0; 1];
    output.read_exact(&mut beginning).unwrap(); // it is at work now, and waits for us
    for file in ["cmdline", "environ"] {
        let content = fs::read(format!("/proc/{}/{file}", child.id())).unwrap();
        let text = String::from_utf8_lossy(&content).replace("/opennebula", "");
        for secret in [crate::front_end::PASSWORD, crate::front_end::ADMIN_PASSWORD, "very-secret"]
        {
            assert!(!text.contains(secret), "{file} has {secret}");
        }
    }
    drop(output);
    assert_eq!(child.wait().unwrap().code(), Some(141));
}
