//! Backups that cannot be: one sentence says why, and nothing else happens.

use std::fs;
use std::time::{Duration, Instant};

use restic_oracle::Outcome;

use crate::site::{PASSWORD, Site, complaint, told};

/// The one line that OpenNebula shows to users.
fn sentence(outcome: Outcome) -> String {
    let outcome = outcome.exits(255);
    assert!(outcome.stdout.is_empty(), "{outcome}");
    let said = complaint(&outcome);
    assert_eq!(said.lines().count(), 1, "{outcome}");
    assert!(!said.contains(['\'', '"', '`']), "{outcome}");
    assert!(!outcome.to_string().contains(PASSWORD), "{outcome}");
    println!("{said}");
    said
}

#[test]
fn a_wrong_password_is_told_and_makes_no_second_repository() {
    let mut site = Site::new();
    site.lay_out(5, b"disk");
    site.back_up(5).success();
    let right = std::mem::replace(&mut site.password, "wrong".to_owned());
    assert!(sentence(site.back_up(5)).contains("wrong password"));
    site.password = right;
    assert_eq!(site.snapshots("5").len(), 1);
    assert_eq!(fs::read_dir(site.base_path().join("5/keys")).unwrap().count(), 1);
    assert!(site.locks("5").is_empty());
}

#[test]
fn who_cannot_be_reached_is_named() {
    let site = Site::new();
    site.lay_out(5, b"disk");
    let mut message = site.message(5, "", "");
    message = message.replace("[vault]", "[nowhere]");
    let began = Instant::now();
    let said = sentence(told(&mut site.backup(5), &message));
    assert!(said.contains("on node1: 127.0.0.1:1 refuses connections"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(60));
    let nowhere = site.place(5).replace("node1", "nowhere");
    let mut backup = site.action("backup", &[&nowhere, "0", "x", "-", "5", "100"]);
    let said = sentence(told(&mut backup, &site.message(5, "", "")));
    assert!(said.contains("cannot work on host nowhere") && said.contains("refused"), "{said}");
}

#[test]
fn a_key_that_is_missing_is_asked_for() {
    let site = Site::new();
    site.lay_out(5, b"disk");
    // The server knows nobody any more.
    fs::write(site.server.folder().join("user_key.pub"), "").unwrap();
    let said = sentence(site.back_up(5));
    assert!(said.contains("authorized_keys"), "{said}");
    fs::write(site.host.folder().join("user_key.pub"), "").unwrap();
    let said = sentence(site.back_up(5));
    assert!(
        said.contains("cannot work on host node1") && said.contains("Permission denied"),
        "{said}"
    );
}

#[test]
fn a_folder_without_disks_or_description_is_no_backup() {
    let site = Site::new();
    let folder = site.lay_out(5, b"disk");
    site.back_up(5).success();
    fs::remove_file(folder.join("vm.xml")).unwrap();
    assert!(sentence(site.back_up(5)).contains("there is no vm.xml in"));
    fs::remove_file(folder.join("disk.0.0")).unwrap();
    assert!(sentence(site.back_up(5)).contains("there is no disk in"));
    fs::remove_dir(&folder).unwrap();
    assert!(sentence(site.back_up(5)).contains("cannot read"));
    assert_eq!(site.snapshots("5").len(), 1);
}

#[test]
fn what_opennebula_never_says_is_refused_in_one_sentence() {
    let site = Site::new();
    site.lay_out(5, b"disk");
    for message in
        ["", "no xml", "<DATASTORE>", "<VM><ID>5</ID></VM>", "<DATASTORE><ID>1</ID></DATASTORE>"]
    {
        sentence(told(&mut site.backup(5), message));
    }
    let message = |from: &str, to: &str| site.message(5, "", "").replace(from, to);
    for (from, to, what) in [
        ("[vault]", "[$(touch pwned)]", "RESTIC_SFTP_SERVER"),
        ("[vault]", "[-oProxyCommand=touch pwned]", "RESTIC_SFTP_SERVER"),
        ("/datastores/102]", "/datastores/../102]", "BASE_PATH"),
        ("</TEMPLATE>", "<RESTIC_NICE>a'b</RESTIC_NICE></TEMPLATE>", "RESTIC_NICE"),
        ("<ID>5</ID>", "<ID>$(id)</ID>", "VM/ID"),
    ] {
        let said = sentence(told(&mut site.backup(5), &message(from, to)));
        assert!(said.contains(what), "{said}");
    }
    let bridge = "<BACKUPS><BACKUP_CONFIG><LAST_BRIDGE>-oProxyCommand=touch pwned</LAST_BRIDGE>\
                  </BACKUP_CONFIG></BACKUPS>";
    let said = sentence(told(&mut site.backup(5), &site.message(5, "", bridge)));
    assert!(said.contains("not the name of a host"), "{said}");
    for place in
        ["-oProxyCommand=touch pwned:/a", "$(touch pwned):/a", "node1:relative", "node1:/a/../b"]
    {
        sentence(told(
            &mut site.action("backup", &[place, "0", "x", "-", "5", "100"]),
            &message("", ""),
        ));
        let mut cancel = site.action("backup_cancel", &[place, "x"]);
        sentence(told(&mut cancel, "<VM><ID>5</ID></VM>"));
    }
    sentence(told(&mut site.action("backup_cancel", &[&site.place(5), "x"]), "no xml"));
    sentence(told(&mut site.action("backup", &["one"]), &message("", "")));
    assert!(!site.base_path().exists(), "nothing was begun");
    assert!(!site.scratch.path().join("home/pwned").exists());
}
