//! Who we are and who the server is, against the real OpenSSH: `sshd` on the loopback, `ssh-agent`,
//! `ssh-keygen`, and `ssh` to compare with.

#![allow(clippy::unwrap_used, reason = "in a test, it is the assertion that nothing fails")]

#[path = "identity/agent.rs"]
mod agent;
#[path = "identity/config.rs"]
mod config;
#[path = "identity/host_keys.rs"]
mod host_keys;
#[path = "identity/jumps.rs"]
mod jumps;
#[path = "identity/key_files.rs"]
mod key_files;
#[path = "identity/network.rs"]
mod network;
#[path = "identity/refusals.rs"]
mod refusals;
#[path = "identity/sshd.rs"]
mod sshd;
