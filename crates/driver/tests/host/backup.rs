//! Backups that go well.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use restic_oracle::data;

use crate::api;
use crate::site::{Site, deploy_id, ended, start, told, wait_for};

#[test]
fn a_backup_is_made_on_the_host_and_restic_finds_it_where_and_as_upstream_puts_it() {
    let site = Site::new();
    let disk = data::ctr(b"disk", (3 << 20) + 5);
    let folder = site.lay_out(5, &disk);
    let outcome = site.back_up(5).success();
    let printed = String::from_utf8(outcome.stdout.clone()).unwrap();
    let [snapshot] = &site.snapshots("5")[..] else { panic!("one snapshot is there") };
    let short = &snapshot["id"].as_str().unwrap()[..8];
    assert_eq!(printed, format!("{short} 3 raw\n"));
    let path = |name: &str| folder.join(name).display().to_string();
    assert_eq!(snapshot["paths"], serde_json::json!([path("disk.0.0"), path("vm.xml")]));
    assert_eq!(snapshot["tags"], serde_json::json!(["one-5"]));
    assert!(snapshot["parent"].is_null());
    assert_eq!(site.restic("5", &["dump", short, &path("disk.0.0")]).success().stdout, disk);
    site.restic("5", &["check", "--read-data"]).success();
    assert!(site.locks("5").is_empty());
    // What was said is for the log of the VM, by whose number OpenNebula finds it.
    for line in outcome.complaint().lines() {
        assert!(line.starts_with("INFO: 5 "), "{line}");
    }
    assert!(outcome.complaint().contains(&format!("snapshot {short}")), "{outcome}");
}

#[test]
fn a_folder_may_have_any_name_and_its_disks_any_format() {
    let site = Site::new();
    let name = "it's \"$(touch pwned)\" `id`\n\\ & ;é";
    let folder = site.scratch.folder(&format!("{name}/5/backup"));
    for (file, content) in
        [("disk.0.rbd2", "full"), ("disk.1.1.rbdiff", "part"), ("vm.xml", "PFZNPg==")]
    {
        fs::write(folder.join(file), content).unwrap();
    }
    fs::write(folder.join("backup.log"), "not a disk").unwrap();
    let place = format!("node1:{}", folder.parent().unwrap().display());
    let mut backup = site.action("backup", &[&place, "0:1:", "x", "-", "5", "100"]);
    let outcome = told(&mut backup, &site.message(5, "", "")).success();
    assert!(outcome.stdout.ends_with(b" 0 rbd\n"), "{outcome}");
    let paths = site.snapshots("5")[0]["paths"].clone();
    let expected = ["disk.0.rbd2", "disk.1.1.rbdiff", "vm.xml"].map(|file| folder.join(file));
    assert_eq!(paths, serde_json::json!(expected));
    assert!(!site.scratch.path().join("home/pwned").exists());
}

#[test]
fn vms_of_a_job_that_is_new_make_one_repository_between_them() {
    let site = Site::new();
    let begun = [5, 6, 7].map(|vm: u64| {
        site.lay_out(vm, &data::ctr(&vm.to_le_bytes(), 1 << 20));
        let (place, number) = (site.place(vm), vm.to_string());
        let arguments = [&place, "0", &deploy_id(&number), "3", &number, "100"];
        start(&mut site.action("backup", &arguments), &site.message(vm, "", ""))
    });
    for child in begun {
        ended("backup".to_owned(), child).success();
    }
    assert_eq!(site.snapshots("job_3").len(), 3);
    site.restic("job_3", &["check", "--read-data"]).success();
    assert!(!site.base_path().join("5").exists());
}

/// A VM with an increment, as OpenNebula describes it.
const INCREMENT: &str = "<BACKUPS><BACKUP_CONFIG><INCREMENTAL_BACKUP_ID>3</INCREMENTAL_BACKUP_ID>\
     <LAST_INCREMENT_ID>4</LAST_INCREMENT_ID><MODE>INCREMENT</MODE></BACKUP_CONFIG></BACKUPS>";

#[test]
fn an_increment_goes_where_its_backup_is_whoever_orders_it() {
    let site = Site::new();
    site.lay_out(5, b"increment");
    fs::write(site.scratch.path().join("auth"), "oneadmin:secret").unwrap();
    let place = site.place(5);
    for (job, image, repository) in [
        ("0", "<IMAGE><ID>3</ID></IMAGE>", "5"),
        ("0", "<IMAGE><ID>3</ID><BACKUP_JOB_ID>0</BACKUP_JOB_ID></IMAGE>", "job_0"),
        ("-", "<IMAGE><ID>3</ID><BACKUP_JOB_ID>1</BACKUP_JOB_ID></IMAGE>", "job_1"),
    ] {
        let mut backup = site.action("backup", &[&place, "0", "x", job, "5", "100"]);
        backup.env("ONE_XMLRPC", api::with_image(image));
        backup.env("ONE_AUTH", site.scratch.path().join("auth"));
        told(&mut backup, &site.message(5, "", INCREMENT)).success();
        assert_eq!(site.snapshots(repository).len(), 1, "{repository}");
    }
    // Where it cannot be asked, a backup job's increment is not put anywhere.
    let mut backup = site.action("backup", &[&place, "0", "x", "0", "5", "100"]);
    backup.env("ONE_XMLRPC", "http://127.0.0.1:1/RPC2");
    backup.env("ONE_AUTH", site.scratch.path().join("auth"));
    let outcome = told(&mut backup, &site.message(5, "", INCREMENT)).exits(255);
    assert!(outcome.complaint().contains("in which repository image 3 is"), "{outcome}");
}

#[test]
fn a_backup_waits_for_who_has_the_repository_for_himself_and_names_him() {
    let site = Site::new();
    site.lay_out(5, b"disk");
    site.back_up(5).success();
    // A restic that holds the lock while it waits for its input.
    let mut rewriter = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let lock = lock_exclusively(&site, rewriter.id());
    let child = start(&mut site.backup(5), &site.message(5, "", ""));
    std::thread::sleep(Duration::from_secs(3));
    fs::remove_file(lock).unwrap();
    rewriter.kill().unwrap();
    rewriter.wait().unwrap();
    let outcome = ended("backup".to_owned(), child).success();
    assert!(outcome.complaint().contains("locked exclusively by PID"), "{outcome}");
    assert_eq!(site.snapshots("5").len(), 2);
    wait_for("the lock is released", || site.locks("5").is_empty());
}

/// Puts an exclusive lock of a process into the repository of VM 5.
fn lock_exclusively(site: &Site, pid: u32) -> std::path::PathBuf {
    use restic_repo::backend::local::Local;
    use restic_repo::identity::Identity;
    use restic_repo::key::Password;
    use restic_repo::lock::LockFile;
    use restic_repo::progress::Silent;
    use restic_repo::repository::{Options, Repository};
    use restic_repo::time::Timestamp;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let backend = std::sync::Arc::new(Local::new(site.base_path().join("5")));
        let password = Password::new(site.password.as_str());
        let options = Options::default();
        let repository =
            Repository::open(backend, &password, None, options, &Silent).await.unwrap();
        let me = Identity::current();
        let lock = LockFile {
            time: Timestamp::now(),
            exclusive: true,
            hostname: me.hostname,
            username: me.username,
            pid,
            uid: 0,
            gid: 0,
        };
        let json = serde_json::to_vec(&lock).unwrap();
        repository.save_unpacked(restic_repo::FileType::Lock, &json).await.unwrap();
    });
    site.locks("5").pop().unwrap()
}
