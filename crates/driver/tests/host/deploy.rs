//! Hosts that lack the program.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::site::{Site, complaint};

/// Puts a program onto the host.
fn put(site: &Site, script: &str) {
    let program = site.remote_program();
    fs::remove_file(&program).unwrap();
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
}

fn is_ours(site: &Site) -> bool {
    fs::read(site.remote_program()).unwrap() == fs::read(env!("CARGO_BIN_EXE_one-restic")).unwrap()
}

#[test]
fn a_host_that_lacks_the_program_is_given_it() {
    let site = Site::new();
    site.lay_out(5, b"disk");
    fs::remove_dir_all(site.scratch.path().join("remote")).unwrap();
    let outcome = site.back_up(5).success();
    assert!(outcome.complaint().contains("copying this program to node1:"), "{outcome}");
    assert!(is_ours(&site));
    let outcome = site.back_up(5).success();
    assert!(!outcome.complaint().contains("copying"), "{outcome}");
}

#[test]
fn another_version_or_another_program_is_replaced() {
    let site = Site::new();
    site.lay_out(5, b"disk");
    for (script, what) in [
        ("#!/bin/sh\necho '{\"one_restic\":\"0.0.1\"}'; cat >/dev/null", "version 0.0.1 is there"),
        (
            "#!/bin/sh\necho 'unknown command \"datastore\" for \"restic\"' >&2; exit 1",
            "unknown command",
        ),
        ("\x7fELF of another machine", "annot execute"),
    ] {
        put(&site, script);
        let outcome = site.back_up(5).success();
        assert!(outcome.complaint().contains(what), "{outcome}");
        assert!(is_ours(&site));
    }
}

#[test]
fn a_host_that_cannot_take_the_program_says_why() {
    let site = Site::new();
    site.lay_out(5, b"disk");
    let remote = site.scratch.path().join("remote");
    fs::remove_dir_all(&remote).unwrap();
    fs::write(&remote, "no folder").unwrap();
    let outcome = site.back_up(5).exits(255);
    let said = complaint(&outcome);
    assert!(said.contains("cannot copy this program to node1:"), "{outcome}");
    assert!(said.contains("onehost sync") && said.lines().count() == 1, "{outcome}");
}
