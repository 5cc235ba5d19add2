//! `version`

use clap::Args;
use serde::Serialize;

use crate::exit::Result;
use crate::session::Session;

/// The release of restic whose commands, output and exit codes these are. Scripts ask for it.
pub const RESTIC_VERSION: &str = "0.19.1";

/// The version of this program.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What snapshots say they were made by.
pub const NAME_AND_VERSION: &str = concat!("one-restic ", env!("CARGO_PKG_VERSION"));

/// Shows the version of this program.
#[derive(Args, Debug)]
pub struct Version {}

#[derive(Serialize)]
struct Line {
    message_type: &'static str,
    version: &'static str,
    go_version: &'static str,
    go_os: &'static str,
    go_arch: &'static str,
    one_restic_version: &'static str,
}

impl Version {
    /// Does it.
    pub fn run(self, session: &Session) -> Result {
        let (os, arch) = (std::env::consts::OS, go_name(std::env::consts::ARCH));
        if session.terminal.is_json() {
            session.terminal.print_json(&Line {
                message_type: "version",
                version: RESTIC_VERSION,
                go_version: "none",
                go_os: os,
                go_arch: arch,
                one_restic_version: OWN_VERSION,
            });
        } else {
            session.terminal.print(format!(
                "restic {RESTIC_VERSION} as understood by one-restic {OWN_VERSION} on {os}/{arch}"
            ));
        }
        Ok(())
    }
}

/// Go's name for a processor.
fn go_name(arch: &'static str) -> &'static str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
