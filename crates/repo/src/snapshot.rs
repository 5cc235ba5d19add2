//! Snapshots: one backup each, how they are found and grouped.
