//! one-restic's command line against the real restics: what they wrote we read, what we wrote they read.

#![allow(clippy::unwrap_used)]

mod damaged;
mod golden;
mod interop;
mod sftp;

use restic_oracle::Program;

/// The program under test.
fn one_restic() -> Program {
    Program::at("one-restic", env!("CARGO_BIN_EXE_one-restic"))
}
