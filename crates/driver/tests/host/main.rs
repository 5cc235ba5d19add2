//! Backups as OpenNebula has them made: started on a front-end, done on a host, stored on a server.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod backup;
mod site;
