//! Key files: a password's way to the master key.
