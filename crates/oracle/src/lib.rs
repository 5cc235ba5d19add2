//! What tests hold one-restic against. No part of the program: nothing but tests depends on this crate.
//!
//! * [`Program`] runs the real restic 0.14, 0.18 and 0.19, or anything with restic's command line, on a
//!   [`Repo`] in a [`Scratch`] folder, cut off from the home, cache and environment of whoever tests.
//! * [`golden`] holds repositories written by the real restics, and a list of all that is in them.
//! * [`damaged`] holds one small repository in some thirty states of damage, with restic's verdicts.
//! * [`Tree`] is what is in a folder, down to nanoseconds, hard links and extended attributes.
//! * [`Sshd`] is a real SSH server on this machine, and [`Proxy`] a bad network on the way to it.
//! * [`SmallDisk`] is a file system that is soon full.
//! * [`Machine`] is a machine within this one, with its own users, files and name.
//! * [`corpus`] is what fuzzing ever found.
//! * [`source`], [`data`] and [`disk`] make the same bytes on every machine.
//!
//! Everything here panics where it cannot do what it should, with a sentence that says what to do: a
//! test without its oracle fails; it is never skipped.

mod corpus;
pub mod damaged;
pub mod data;
pub mod disk;
pub mod golden;
mod machine;
mod program;
mod proxy;
mod scratch;
mod small_disk;
pub mod source;
mod sshd;
mod tree;

pub use corpus::corpus;
pub use golden::Golden;
pub use machine::Machine;
pub use program::{Outcome, Program, Version};
pub use proxy::Proxy;
pub use scratch::{Repo, Scratch};
pub use small_disk::SmallDisk;
pub use sshd::{Sshd, SshdOptions};
pub use tree::{Entry, Kind, Powers, Tree};
