//! Repair: what can be made good of a damaged repository, without the source.
//!
//! * [`index`] makes the index right again, from the packs.
//! * [`packs`] brings what is sound in damaged packs into new ones, and removes the damaged ones.
//!
//! The caller holds an exclusive lock. Whatever replaces something is stored before that is removed: new
//! packs, then new index files, then old index files go, and packs last of all. If a repair ends in
//! between, blobs or index entries are there twice, which harms nobody, and it can be done again.
//!
//! Nothing is given up that can still be had: what one source of truth has lost, another may know. See
//! [`index`] for where that goes beyond restic.

pub mod index;
pub mod packs;

mod rewrite;
#[cfg(test)]
mod tests;

pub use rewrite::Rewritten;
