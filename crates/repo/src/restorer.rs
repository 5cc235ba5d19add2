//! Restore: a snapshot's files and folders back onto a file system.
