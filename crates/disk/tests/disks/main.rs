//! Disks that qemu-img and qemu-io made, and what they say of ours.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod committing;
mod qemu;
mod random;
mod reading;
mod streaming;
