//! How much a repository holds.
