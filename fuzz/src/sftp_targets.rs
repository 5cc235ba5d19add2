//! What is fuzzed of `restic-sftp`: as in `targets.rs`, a function a parser.

#![allow(dead_code, reason = "a fuzz target uses one of these, the test on stable Rust all")]

use std::path::Path;

use restic_sftp::config::{Asked, HostConfig};
use restic_sftp::{Location, User, known_hosts};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder in the corpus.
pub const ALL: &[(&str, Target)] =
    &[("sftp_location", sftp_location), ("known_hosts", known_hosts), ("ssh_config", ssh_config)];

/// A location that can be read is shown in a form that says the same, and a refusal does not repeat it.
pub fn sftp_location(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(location) = Location::parse(text) {
        let shown = location.to_string();
        assert_eq!(Location::parse(&shown), Ok(location), "{shown} says something else");
    }
}

/// Every record is of a line that there is, and what makes up one line stands on its own.
pub fn known_hosts(bytes: &[u8]) {
    let lines = bytes.split(|&byte| byte == b'\n').count();
    for name in ["host", "[host]:2222", "2001:db8::7"] {
        let records = known_hosts::parse(bytes, Path::new("known_hosts"), name);
        assert!(records.iter().all(|record| (1..=lines).contains(&record.line)));
        let alone = bytes.split(|&byte| byte == b'\n');
        let alone = alone.flat_map(|line| known_hosts::parse(line, Path::new("known_hosts"), name));
        assert_eq!(alone.count(), records.len(), "a line changed the meaning of another");
    }
}

/// The same text says the same twice, and what the location says goes before it.
pub fn ssh_config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let me = User { name: "ada".into(), uid: 7, home: "/home/ada".into(), agent: None };
    for host in ["host", "store.example.org"] {
        let asked = Asked { host, user: None, port: None };
        let once = HostConfig::from_text(&text, &asked, &me);
        assert_eq!(HostConfig::from_text(&text, &asked, &me), once);
        let asked = Asked { host, user: Some("me"), port: Some(9) };
        if let Ok(config) = HostConfig::from_text(&text, &asked, &me) {
            assert_eq!((config.user.as_str(), config.port), ("me", 9));
        }
    }
}
