//! What is fuzzed: a function a decoder. It is given any bytes, and panics where a promise is broken.
//!
//! The fuzz targets call these, and so does a test on stable Rust, with every file of the corpus.

#![allow(dead_code, reason = "a fuzz target uses one of these, the test on stable Rust all")]

use restic_repo::tree::Tree;

/// All of them, by the name of their folder in the corpus.
pub const ALL: &[(&str, fn(&[u8]))] = &[("tree", tree)];

/// A tree that can be read can be written, and what was written says the same.
pub fn tree(bytes: &[u8]) {
    if let Ok(tree) = Tree::decode(bytes) {
        let written = tree.encode();
        let again = Tree::decode(&written).expect("what we wrote, we read");
        assert_eq!(again.encode(), written, "a second round changed the bytes");
    }
}
