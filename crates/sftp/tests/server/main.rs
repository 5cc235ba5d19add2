//! The backend against a real OpenSSH server.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail, and say why it does not run"
)]

#[path = "../testbed/testbed.rs"]
mod testbed;

mod broken;
mod permissions;
mod promises;
mod refused;
