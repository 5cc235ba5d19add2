//! Backups as OpenNebula has them made: started on a front-end, done on a host, stored on a server.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod api;
mod backup;
mod cancel;
mod cloud;
mod confine;
mod deploy;
mod lost;
mod recorded;
mod secrets;
mod site;
mod users;
mod wrong;
