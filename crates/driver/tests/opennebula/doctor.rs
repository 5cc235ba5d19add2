//! What an operator learns from `doctor` about a front-end, its datastores and its hosts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use restic_oracle::{Scratch, Sshd, SshdOptions};

use crate::front_end::{Ended, FrontEnd};
use crate::oned::{Oned, success};
use crate::recording::Call;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");
const PROGRAM: &str = env!("CARGO_BIN_EXE_one-restic");
const ACTIONS: &str = "backup backup_cancel clone cp increment_flatten ls mkfs monitor restore rm \
                       snap_delete snap_flatten snap_revert stat";

/// No word that could be in a sentence, as that of the recordings is. No repository is opened with it.
const PASSWORD: &str = "geheim-4711";

fn datastore(front_end: &FrontEnd, attributes: &str) -> String {
    format!(
        "<DATASTORE><ID>102</ID><DS_MAD>restic</DS_MAD><BASE_PATH>{}</BASE_PATH><TEMPLATE>\
         <RESTIC_PASSWORD>{PASSWORD}</RESTIC_PASSWORD><RESTIC_SFTP_SERVER>testbed</RESTIC_SFTP_SERVER>\
         <RESTIC_SFTP_USER>{}</RESTIC_SFTP_USER>{attributes}</TEMPLATE></DATASTORE>",
        front_end.base().display(),
        front_end.server.user()
    )
}

/// A daemon with this datastore, another driver's, and these hosts.
fn oned(datastore: &str, hosts: &[&str]) -> Oned {
    let hosts: String = hosts
        .iter()
        .map(|name| format!("<HOST><NAME>{name}</NAME><STATE>2</STATE></HOST>"))
        .collect();
    let off = "<HOST><NAME>off.invalid</NAME><STATE>8</STATE></HOST>";
    let other = "<DATASTORE><ID>1</ID><DS_MAD>fs</DS_MAD></DATASTORE>";
    let call = |method: &str, answer: &str| Call {
        method: method.to_owned(),
        arguments: Vec::new(),
        answer: success(&format!(
            "<string>{}</string>",
            answer.replace('<', "&lt;").replace('>', "&gt;")
        )),
    };
    Oned::start(vec![
        call(
            "one.datastorepool.info",
            &format!("<DATASTORE_POOL>{other}{datastore}</DATASTORE_POOL>"),
        ),
        call("one.datastore.info", datastore),
        call("one.hostpool.info", &format!("<HOST_POOL>{hosts}{off}</HOST_POOL>")),
    ])
}

fn examine(front_end: &FrontEnd, oned: Option<&Oned>) -> Ended {
    let mut command = Command::new(PROGRAM);
    command.arg("doctor");
    front_end.surround(&mut command, oned);
    command.env("SCRIPTS_REMOTE_DIR", front_end.scratch.path().join("remote"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ended = Ended {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        code: output.status.code(),
    };
    assert!(!format!("{ended:?}").contains(PASSWORD), "{ended:#?}");
    ended
}

/// Puts the drivers where OpenNebula looks for them, and the program where hosts have it.
fn install(front_end: &FrontEnd) {
    let driver = front_end.scratch.folder("one/var/remotes/datastore/restic");
    for action in ACTIONS.split_whitespace() {
        fs::copy(format!("{PACKAGING}/action"), driver.join(action)).unwrap();
    }
    let downloader = driver.with_file_name("restic_downloader.rb");
    fs::copy(format!("{PACKAGING}/restic_downloader.rb"), downloader).unwrap();
    symlink(PROGRAM, driver.join("restic")).unwrap();
    symlink(PROGRAM, front_end.scratch.folder("remote/datastore/restic").join("restic")).unwrap();
}

#[track_caller]
fn tells(ended: &Ended, line: &str) {
    assert!(ended.stdout.lines().any(|told| told.contains(line)), "{line:?} in {ended:#?}");
}

#[test]
fn what_is_in_place_is_told_and_the_server_is_reached_from_here_and_from_the_host() {
    let front_end = FrontEnd::new();
    install(&front_end);
    let oned = oned(&datastore(&front_end, ""), &["testbed"]);
    let ended = examine(&front_end, Some(&oned));
    for line in [
        "ok    the drivers in ",
        "ok    restores can be made in the name of users",
        "it has one datastore with DS_MAD=restic",
        "ok    datastore 102: its attributes make sense",
        "@testbed lets the front-end in by ",
        "ok    datastore 102: increments are merged and space is reclaimed over SFTP, since ",
        "ok    there is one host that works",
        "ok    host testbed: the server of datastore 102 lets it in by ",
        // Tests have none.
        "WRONG there is no SSH agent",
    ] {
        tells(&ended, line);
    }
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("one thing is not as it should be"), "{ended:#?}");
}

#[test]
fn where_increments_are_merged_is_told_and_is_no_fault_either_way() {
    let bin = Scratch::new();
    let line = format!("SetEnv PATH={}:/usr/bin:/bin", bin.path().display());
    let server = Sshd::with(&SshdOptions::internal("").line(line));
    let front_end = FrontEnd::with(server);
    install(&front_end);
    let program = bin.path().join("one-restic");
    symlink(PROGRAM, &program).unwrap();
    let told = |attributes: &str, line: &str| {
        let ended = examine(&front_end, Some(&oned(&datastore(&front_end, attributes), &[])));
        tells(&ended, line);
        assert!(ended.stderr.contains("one thing is not"), "{ended:#?}");
    };
    told(
        "",
        "ok    datastore 102: testbed merges increments and reclaims space by itself, with one-restic ",
    );
    told("<RESTIC_NEAR>no</RESTIC_NEAR>", "over SFTP, as RESTIC_NEAR says");
    fs::remove_file(&program).unwrap();
    fs::write(&program, "#!/bin/sh\necho '{\"one_restic\":\"0.0.1\"}'; cat >/dev/null\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    told("", "?     datastore 102: testbed has version 0.0.1 of one-restic instead of ");
}

#[test]
fn what_is_not_in_place_is_told_with_what_to_do() {
    let front_end = FrontEnd::new();
    let wrong = datastore(&front_end, "<RESTIC_NICE>very</RESTIC_NICE>");
    let ended = examine(&front_end, Some(&oned(&wrong, &[])));
    tells(&ended, "install one-restic on this front-end");
    tells(&ended, "WRONG datastore 102: Invalid value for RESTIC_NICE");

    let fine = datastore(&front_end, "");
    let ended = examine(&front_end, Some(&oned(&fine, &["testbed", "nobody.invalid"])));
    tells(&ended, "WRONG host testbed: one-restic does not run there");
    tells(&ended, "onehost sync -f");
    tells(&ended, "WRONG host nobody.invalid: ssh does not get there");

    let ended = examine(&front_end, None);
    tells(&ended, "check that oned runs");
    assert_eq!(ended.code, Some(1));
}
