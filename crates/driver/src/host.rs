//! What is done on another machine: the hypervisor that has the disks.
//!
//! OpenNebula's front-end knows what is to be backed up, and the hypervisor has it. So the front-end's
//! half ([`run`]) starts this same program there, through the system's `ssh` ([`ssh`]), and hands it a
//! [`message::Job`] over standard input: nothing that comes from outside is ever part of a command line,
//! and no secret is in one. The other half ([`job`]) makes the backup of the [`disks`].
//!
//! * Standard input stays open for as long as the backup is wanted, and is written to every few seconds.
//!   When it ends, or falls silent, whoever wanted the backup is gone: see [`lifeline`].
//! * The host's half takes no more of its machine than it may ([`confine`]).
//! * A host that lacks the program, or has another version of it, is given it: [`deploy`].
//!
//! [`link`], [`message`] and [`lifeline`] are how halves talk, those on a backup server too ([`crate::near`]).

pub mod confine;
pub mod deploy;
pub mod disks;
pub mod job;
pub mod lifeline;
pub mod link;
pub mod message;
pub mod reach;
pub mod run;
pub mod ssh;
pub mod stop;
