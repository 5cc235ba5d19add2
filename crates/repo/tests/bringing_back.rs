//! What comes back: walking through snapshots, dumping and restoring them.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "bringing_back/dump.rs"]
mod dump;
#[path = "bringing_back/golden.rs"]
mod golden;
#[path = "bringing_back/hostile.rs"]
mod hostile;
#[path = "bringing_back/overwrite.rs"]
mod overwrite;
#[path = "bringing_back/restore.rs"]
mod restore;
#[path = "bringing_back/scratch.rs"]
mod scratch;
#[path = "bringing_back/walk.rs"]
mod walk;
