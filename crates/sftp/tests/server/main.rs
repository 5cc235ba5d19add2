//! The backend against a real OpenSSH server.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]
#![allow(clippy::print_stdout, reason = "a test says why it cannot be run")]

#[path = "../testbed/testbed.rs"]
mod testbed;

mod broken;
mod commands;
mod permissions;
mod promises;
mod refused;
