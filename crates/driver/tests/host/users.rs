//! Everything once, where each machine has users of its own and nobody is root.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use restic_oracle::{Outcome, Program, Version, data};

use crate::cloud::{Cloud, DATASTORES, LOGIN, PASSWORD};
use crate::site::{complaint, ended, start, told, wait_for};

fn qemu(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// A VM's disk as it was at each of its backups: `now.0`, `now.1` and so on are whole, and `disk.0.0`,
/// `disk.0.1` and so on are what a backup gets, each but the first with changes only.
fn write_disks(folder: &Path, increments: usize) {
    fs::write(folder.join("raw"), data::ctr(b"disk", 6 << 20)).unwrap();
    qemu("qemu-img", &["resize", "-q", "-f", "raw", "raw", "64M"], folder);
    qemu("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "raw", "disk.0.0"], folder);
    for number in 1..=increments {
        let (below, name) = (format!("disk.0.{}", number - 1), format!("disk.0.{number}"));
        let create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &below, &name];
        qemu("qemu-img", &create, folder);
        let write = format!("write -q -P {number} {number}M 300k");
        qemu("qemu-io", &["-f", "qcow2", "-c", &write, &name], folder);
    }
    for number in 0..=increments {
        let (name, whole) = (format!("disk.0.{number}"), format!("now.{number}"));
        qemu("qemu-img", &["convert", "-O", "raw", &name, &whole], folder);
    }
}

/// Somebody on the front-end who sees what all can see of the processes.
struct Guest(Child);

impl Guest {
    fn watch(cloud: &Cloud) -> Self {
        let script = "while :; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; sleep 0.05; done";
        let mut command = cloud.front_end.command("guest", "sh");
        command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Collects what there is to be seen, on a thread.
    fn listen(&mut self) -> std::thread::JoinHandle<Vec<u8>> {
        let mut output = self.0.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut seen = Vec::new();
            output.read_to_end(&mut seen).unwrap();
            seen
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What OpenNebula says of a VM whose backup is an increment.
const INCREMENTAL: &str = "<BACKUPS><BACKUP_CONFIG><INCREMENTAL_BACKUP_ID>3</INCREMENTAL_BACKUP_ID>\
     <MODE>INCREMENT</MODE></BACKUP_CONFIG></BACKUPS>";

/// The description of a VM with one disk.
const DESCRIPTION: &str =
    "<VM><ID>5</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID><SIZE>64</SIZE></DISK></TEMPLATE></VM>";

/// Lays the VM out on its host, and backs it up.
fn back_up(cloud: &Cloud, disks: &Path, number: u64) -> (u64, String) {
    let disk = format!("disk.0.{number}");
    cloud.host.sh("oneadmin", "rm -rf datastores/100/*").success();
    fs::write(disks.join("vm.xml"), BASE64_STANDARD.encode(DESCRIPTION)).unwrap();
    for name in [&disk, "vm.xml"] {
        cloud.put(name, &disks.join(name));
    }
    let mode = if number == 0 { "" } else { INCREMENTAL };
    let message = cloud.message("", &format!("<VM><ID>{}</ID>{mode}</VM>", cloud.vm));
    let outcome = told(&mut cloud.backup(), &message).success();
    let [snapshot, _, "raw"] = outcome.text().split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{outcome}")
    };
    (number, snapshot.to_owned())
}

/// Restores the disk of an image, in two steps as OpenNebula does it, and compares it.
fn assert_restored(cloud: &Cloud, increments: &[(u64, String)], expected: &Path) {
    let last = increments.last().unwrap().0.to_string();
    let image = cloud.image(increments);
    let listed = cloud.run("ls", &["-i", &last], &image).success().json();
    let url = listed["0"].as_str().unwrap();

    let size = cloud.run("stat", &["3"], &format!("<IMAGE><ID>9</ID><PATH>{url}</PATH></IMAGE>"));
    assert_eq!(size.success().text(), "64\n");

    let downloader = "/var/lib/one/remotes/datastore/restic_downloader.rb";
    let commands = Outcome::of(cloud.command(downloader).arg(url)).success();
    let script = format!("{}\neval \"$command\" > disk; eval \"$clean_command\"", commands.text());
    cloud.front_end.sh("oneadmin", &script).success();
    let restored = cloud.front_end.at("/var/lib/one/disk");
    let paths = [restored.to_str().unwrap(), expected.to_str().unwrap()];
    qemu(
        "qemu-img",
        &["compare", "-q", "-f", "qcow2", "-F", "raw", paths[0], paths[1]],
        "/".as_ref(),
    );
}

/// What is on the server beside the datastores.
fn beside_the_datastores(cloud: &Cloud) -> String {
    let print = r"-prune -o -printf '%p %m %U %s %T@\n'";
    let script = format!("find /etc /home /srv /var/lib /var/tmp -path {DATASTORES} {print}");
    cloud.server.sh("root", &script).success().text().to_owned()
}

/// All in a repository belongs to the account on the server, and is for nobody else.
fn assert_private(cloud: &Cloud) {
    let owner = cloud.server.uid("backups");
    let mut folders = vec![cloud.server.at(DATASTORES).join("102")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let mode = found.mode() & 0o7777;
            let is_right = if found.is_dir() { mode == 0o700 } else { mode == 0o400 };
            assert!(found.uid() == owner && is_right, "{} {mode:o}", path.display());
            match found.is_dir() {
                true => folders.push(path),
                false => files += 1,
            }
        }
    }
    assert!(files > 5, "{files}");
}

#[test]
fn a_vm_is_backed_up_restored_merged_and_removed_by_users_who_are_not_root() {
    let Some(cloud) = Cloud::new() else { return };
    let disks = cloud.folder("disks");
    write_disks(&disks, 2);
    let before = beside_the_datastores(&cloud);
    let mut guest = Guest::watch(&cloud);
    let seen = guest.listen();

    let space = cloud.run("monitor", &["102"], "").success();
    assert!(space.text().starts_with("USED_MB="), "{space}");
    let mut increments: Vec<_> = (0..=2).map(|number| back_up(&cloud, &disks, number)).collect();
    for number in [0, 2] {
        assert_restored(&cloud, &increments[..=number], &disks.join(format!("now.{number}")));
    }
    assert_private(&cloud);

    let image = cloud.image(&increments);
    let message = format!("{image}<EXTRA_DATA><KEEP_LAST>2</KEEP_LAST></EXTRA_DATA>");
    let merged = cloud.run("increment_flatten", &["3"], &message).success();
    let kept = merged.text().trim().split_once(" 1:").unwrap().1.split_once(",2:").unwrap();
    assert_eq!(kept.1, increments[2].1);
    increments = vec![(1, kept.0.to_owned()), (2, kept.1.to_owned())];
    assert_restored(&cloud, &increments, &disks.join("now.2"));
    assert_private(&cloud);
    let restic = Program::restic(Version::V0_18);
    restic.run(&cloud.repo(), ["--no-lock", "check", "--read-data"]).success();

    cloud.run("rm", &["3"], &cloud.image(&increments)).success();
    for folder in ["snapshots", "data", "locks"] {
        let find = format!("find {DATASTORES}/102/*/{folder} -type f");
        assert_eq!(cloud.server.sh("backups", &find).success().text(), "");
    }

    // Nothing else was put on the server, and nobody saw a password.
    assert_eq!(beside_the_datastores(&cloud), before);
    drop(guest);
    let seen = seen.join().unwrap();
    let has_seen = |text: &str| seen.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has_seen("restic\0datastore\0job\0") && has_seen("increment_flatten"));
    assert!(!has_seen(PASSWORD) && !has_seen(LOGIN));
    for machine in [&cloud.front_end, &cloud.host] {
        let copies = machine.sh("root", "find /var/lib/one/.cache/restic -type f").success();
        assert!(!copies.text().is_empty());
        let copies = machine.sh("guest", "find /var/lib/one/.cache/restic -type f || true");
        assert_eq!(copies.text(), "");
    }
    for machine in [&cloud.front_end, &cloud.host, &cloud.server] {
        for (user, secrets) in [("guest", vec![PASSWORD, LOGIN]), ("root", vec![PASSWORD])] {
            for secret in secrets {
                let script =
                    format!("grep -rsl {secret} /etc /home /srv /var/lib /var/log /var/tmp");
                assert_eq!(machine.sh(user, &format!("{script} || true")).text(), "");
            }
        }
    }
}

#[test]
fn a_backup_is_cancelled_by_the_user_who_made_it_and_leaves_no_lock() {
    let Some(cloud) = Cloud::new() else { return };
    let disks = cloud.folder("disks");
    fs::write(disks.join("disk.0.0"), data::ctr(b"disk", 8 << 20)).unwrap();
    back_up(&cloud, &disks, 0);
    fs::write(disks.join("disk.0.0"), data::ctr(b"other", 8 << 20)).unwrap();
    cloud.put("disk.0.0", &disks.join("disk.0.0"));
    let message = cloud.message(
        "<RESTIC_BWLIMIT>100</RESTIC_BWLIMIT>",
        &format!("<VM><ID>{}</ID></VM>", cloud.vm),
    );
    let child = start(&mut cloud.backup(), &message);
    wait_for("the host is at work", || !cloud.locks().is_empty());
    cloud.cancel().success();
    let outcome = ended("backup".to_owned(), child).exits(255);
    assert_eq!(complaint(&outcome), "Backup cancelled");
    wait_for("the lock is released", || cloud.locks().is_empty());
    assert_private(&cloud);
    back_up(&cloud, &disks, 0);
    let check = Program::restic(Version::V0_18).run(&cloud.repo(), ["--no-lock", "check"]);
    check.success();
}

#[test]
fn the_account_on_the_server_gives_files_and_nothing_else() {
    let Some(cloud) = Cloud::new() else { return };
    let disks = cloud.folder("disks");
    fs::write(disks.join("disk.0.0"), "disk").unwrap();
    back_up(&cloud, &disks, 0);
    let as_oneadmin = |script: &str| cloud.front_end.sh("oneadmin", script);
    let sftp = |commands: &str| {
        as_oneadmin(&format!("printf '{commands}' | sftp -q -b - backups@vault 2>&1 || true"))
    };
    // What is in the chroot is all there is.
    let listed = sftp("ls -1 /\\nls -1 /var/lib/one/datastores/102/*/config\\n").success();
    assert!(listed.text().contains("/var\n") && listed.text().contains("/config\n"), "{listed}");
    assert!(sftp("ls /etc\\n").text().contains("not found"));
    assert!(sftp("put .ssh/known_hosts /planted\\n").text().contains("Permission denied"));
    // There is no shell, and no way on from there.
    for words in ["id", "/bin/sh -c id", "-s netconf", ""] {
        let outcome =
            as_oneadmin(&format!("ssh -T backups@vault {words} </dev/null 2>/dev/null || true"));
        assert!(!outcome.text().contains("uid="), "{words}: {outcome}");
    }
    let forwarded = as_oneadmin("ssh -W 127.0.0.1:1 backups@vault 2>&1 || true");
    assert!(forwarded.text().contains("administratively prohibited"), "{forwarded}");
    // Another user of the server reads nothing, whatever his number.
    for place in ["", "/102", "/102/*/config"] {
        let outcome =
            cloud.server.sh("guest", &format!("cat {DATASTORES}{place} || ls {DATASTORES}/102"));
        assert_ne!(outcome.code, Some(0), "{outcome}");
        assert!(outcome.text().is_empty(), "{outcome}");
    }
}

#[test]
fn doctor_finds_nothing_wrong_with_a_cloud_that_is_set_up_as_the_guide_says() {
    let Some(cloud) = Cloud::new() else { return };
    let disks = cloud.folder("disks");
    fs::write(disks.join("disk.0.0"), "disk").unwrap();
    // The first backup brings the program to the host.
    back_up(&cloud, &disks, 0);
    let datastore = cloud.datastore("");
    cloud.answer(&[
        ("one.datastorepool.info", &format!("<DATASTORE_POOL>{datastore}</DATASTORE_POOL>")),
        ("one.datastore.info", &datastore),
        (
            "one.hostpool.info",
            "<HOST_POOL><HOST><NAME>node1</NAME><STATE>2</STATE></HOST></HOST_POOL>",
        ),
    ]);
    let program = "/var/lib/one/remotes/datastore/restic/restic";
    let outcome = Outcome::of(cloud.command(program).arg("doctor")).success();
    assert!(
        outcome.text().contains("host node1: the server of datastore 102 lets it in"),
        "{outcome}"
    );
}
