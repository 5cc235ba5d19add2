//! Messages that nobody should send.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::front_end::{FrontEnd, files};
use crate::oned::Oned;
use crate::recording;

const ACTIONS: [&str; 5] = ["ls", "stat", "monitor", "rm", "restore"];

/// A good message of each action.
fn good(front_end: &FrontEnd, action: &str) -> String {
    let wanted = match action {
        "ls" => "ls/tm_local_latest",
        "stat" => "stat/tm_local_chain2",
        "monitor" => "monitor/ok_later",
        "rm" => "rm/single_full",
        _ => "restore/tm_local_latest_of_unflattened_chain",
    };
    let cases = recording::of(action);
    front_end.adapt(&cases.iter().find(|case| case.name == wanted).unwrap().stdin)
}

/// Everything on the server, so that one sees whether anything has changed.
fn content(front_end: &FrontEnd) -> Vec<std::path::PathBuf> {
    let mut files = files(&front_end.base());
    files.sort();
    files
}

#[test]
fn what_makes_no_sense_is_refused_in_one_sentence() {
    let front_end = FrontEnd::new();
    let before = content(&front_end);
    for action in ACTIONS {
        let good = good(&front_end, action);
        let whole = BASE64_STANDARD.encode(&good);
        let change = |from: &str, to: &str| {
            assert!(good.contains(from), "{action} has no {from}");
            good.replace(from, to).into_bytes()
        };
        let mut messages = vec![
            Vec::new(),
            b"not xml".to_vec(),
            b"\xff\xfe\x00".to_vec(),
            b"<DS_DRIVER_ACTION_DATA/>".to_vec(),
            b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".to_vec(),
            good.as_bytes()[..good.len() / 2].to_vec(),
            whole.as_bytes()[..whole.len() / 2].to_vec(),
            change("<RESTIC_PASSWORD><![CDATA[opennebula]]></RESTIC_PASSWORD>", ""),
            change("<RESTIC_SFTP_SERVER>testbed", "<RESTIC_SFTP_SERVER>-oProxyCommand=touch owned"),
            change("<RESTIC_SFTP_SERVER>testbed", "<RESTIC_SFTP_SERVER>$(touch owned)"),
            change("<RESTIC_SFTP_SERVER>testbed", "<RESTIC_SFTP_SERVER>h'`\"; touch owned"),
            change("<RESTIC_SFTP_USER>", "<RESTIC_SFTP_USER>x'; touch owned; '"),
            change("/datastore]]>", "/datastore/../..]]>"),
            change("<BASE_PATH><![CDATA[/", "<BASE_PATH><![CDATA["),
        ];
        if action != "monitor" {
            messages.push(change("<IMAGE>", "<IMAGO>"));
        }
        if matches!(action, "ls" | "rm" | "restore") {
            messages.push(change("<VMS>", "<VMS><ID>../../etc</ID>"));
            messages.push(change("<VMS>", "<VMS><ID>$(touch owned)</ID>"));
            let snapshot = if action == "rm" { "<SOURCE><![CDATA[" } else { "<INCREMENT>" };
            messages
                .push(change(snapshot, &format!("{snapshot}<SOURCE>'; touch owned; '</SOURCE>")));
        }
        if action == "stat" {
            messages.push(change("<PATH>restic:", "<PATH>restic'`touch owned`:"));
            messages.push(change("/5/backup/", "/../backup/"));
            messages.push(change("restic://102/", "restic://103/"));
        }
        if action == "restore" {
            messages.push(change("<USERNAME><![CDATA[", "<USERNAME><![CDATA[x:1:"));
            messages.push(change("<DESTINATION_DS_ID>", "<DESTINATION_DS_ID>x"));
            messages.push(change("<USERNAME>", "<INCREMENT_ID>9</INCREMENT_ID><USERNAME>"));
            messages.push(change("<USERNAME>", "<DISK_ID>9</DISK_ID><USERNAME>"));
        }
        for message in messages {
            let oned = Oned::start(Vec::new());
            let ended =
                front_end.run(action, &["7"][..usize::from(action != "ls")], &message, Some(&oned));
            let error = ended.error();
            assert!(error.len() < 500, "{error}");
            assert_eq!(oned.asked().len(), 0, "{action}: {error}");
            println!("{action}: {error}");
        }
    }
    assert_eq!(content(&front_end), before);
    assert!(!front_end.scratch.path().join("owned").exists());
}
