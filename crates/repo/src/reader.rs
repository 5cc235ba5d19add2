//! Random access to a file in a snapshot.
