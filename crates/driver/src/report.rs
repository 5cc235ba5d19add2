//! What operators and scripts get to see: tables, lines, JSON and the status of long operations.
//!
//! The layouts are restic's, because people and programs read them; so are the names, the order and
//! the omissions of the fields in JSON.

pub mod activity;
pub mod affected;
pub mod backup;
pub mod caches;
pub mod check;
pub mod counters;
pub mod diff;
pub mod find;
pub mod forget;
pub mod json;
pub mod keys;
pub mod listing;
pub mod ncdu;
pub mod number;
pub mod pace;
pub mod prune;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod table;
pub mod terminal;
