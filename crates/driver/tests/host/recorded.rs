//! What a real OpenNebula called upstream's driver with, and what came of it.

use std::fs;

use serde::Deserialize;

use crate::api;
use crate::site::{Site, complaint, told};

/// A recorded call. Elements of the message that have no part in a backup are left out.
#[derive(Deserialize)]
struct Call {
    case: String,
    arguments: Vec<String>,
    message: String,
    printed: String,
    code: i32,
    files: Vec<String>,
}

/// Hexadecimal digits of an id, a number, a word.
fn grammar(printed: &str) -> Vec<String> {
    fn kind(word: &str) -> &str {
        match word {
            word if word.len() == 8 && word.chars().all(|c| c.is_ascii_hexdigit()) => "id",
            word if word.chars().all(|c| c.is_ascii_digit()) => "number",
            word => word,
        }
    }
    assert!(printed.is_empty() || printed.ends_with('\n'));
    printed.split_whitespace().map(|word| kind(word).to_owned()).collect()
}

#[test]
fn every_recorded_call_gives_what_upstream_gave() {
    let mut site = Site::new();
    // That of the recordings' first datastore.
    "opennebula".clone_into(&mut site.password);
    let calls: Vec<Call> = serde_json::from_str(include_str!("recorded/backups.json")).unwrap();
    fs::write(site.scratch.path().join("auth"), "oneadmin:secret").unwrap();
    let api = api::with_image("<IMAGE><ID>3</ID></IMAGE>");
    let datastores = site.scratch.path().join("datastores").display().to_string();
    let user = site.server.user();
    let mut calls: Vec<_> =
        calls.into_iter().filter(|call| !call.case.starts_with("cancelled_")).collect();
    // A password is wrong only where there is a repository.
    calls.sort_by_key(|call| call.code);
    assert!(calls.len() > 20);
    for call in &calls {
        let here = |text: &str| {
            text.replace("/var/lib/one//datastores", &datastores)
                .replace("localhost:", "node1:")
                .replace("<LAST_BRIDGE><![CDATA[127.0.0.1]]>", "<LAST_BRIDGE><![CDATA[node1]]>")
                .replace("<LAST_BRIDGE><![CDATA[localhost]]>", "<LAST_BRIDGE><![CDATA[node1]]>")
                .replace(
                    "<RESTIC_SFTP_SERVER><![CDATA[127.0.0.1]]>",
                    "<RESTIC_SFTP_SERVER><![CDATA[vault]]>",
                )
                .replace(
                    "<RESTIC_SFTP_SERVER><![CDATA[127.0.0.2]]>",
                    "<RESTIC_SFTP_SERVER><![CDATA[nowhere]]>",
                )
                .replace("<RESTIC_SFTP_USER><![CDATA[oneadmin]]></RESTIC_SFTP_USER>", "")
                .replace(
                    "<RESTRICTED_DIRS>",
                    &format!("<RESTIC_SFTP_USER>{user}</RESTIC_SFTP_USER><RESTRICTED_DIRS>"),
                )
        };
        let place = here(&call.arguments[0]);
        let folder = std::path::Path::new(place.strip_prefix("node1:").unwrap()).join("backup");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for file in &call.files {
            fs::write(folder.join(file), &call.case).unwrap();
        }
        fs::write(folder.join("vm.xml"), "PFZNPg==").unwrap();
        let arguments: Vec<_> = call.arguments.iter().map(|word| here(word)).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut backup = site.action("backup", &arguments);
        backup.env("ONE_XMLRPC", &api).env("ONE_AUTH", site.scratch.path().join("auth"));
        let outcome = told(&mut backup, &here(&call.message)).exits(call.code);
        let printed = String::from_utf8(outcome.stdout.clone()).unwrap();
        assert_eq!(grammar(&printed), grammar(&call.printed), "{}: {outcome}", call.case);
        assert_eq!(complaint(&outcome).lines().count(), usize::from(call.code != 0), "{outcome}");
    }
    // A backup job's backup of a VM that has increments of its own is one of them.
    assert!(!site.snapshots("1").is_empty() && site.snapshots("job_0").len() == 1);
}
