//! The actions of OpenNebula's backup datastore, as the daemon calls them: with recorded messages, a real SSH
//! server, real repositories, and a daemon that says what it said when they were recorded.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod disks;
mod doctor;
mod flatten;
mod front_end;
mod malformed;
mod near;
mod oned;
mod recording;
mod removal;
mod replay;
mod restoring;
