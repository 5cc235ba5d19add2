//! Locks: who is at work in a repository.

use crate::id::Id;
use crate::time::Timestamp;

/// What a lock file says of the one who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The lock file's name.
    pub id: Id,
    /// Whether it shuts everybody else out.
    pub exclusive: bool,
    /// The host it was made on.
    pub hostname: String,
    /// The user who made it.
    pub username: String,
    /// The process that made it.
    pub pid: u32,
    /// When it was made or last refreshed.
    pub since: Timestamp,
}

impl std::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.exclusive { "exclusively " } else { "" };
        write!(
            f,
            "{kind}by process {} of {} on {} since {} (lock {})",
            self.pid,
            self.username,
            self.hostname,
            self.since,
            self.id.short()
        )
    }
}
