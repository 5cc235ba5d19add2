//! The command line of `one-restic`.
//!
//! * [`exit`] how a command ends: exit codes and the sentence an operator reads.
//! * [`report`] what is printed: tables, JSON, progress.

pub mod duration;
pub mod exit;
pub mod report;
pub mod size;
pub mod text_file;
pub mod words;
