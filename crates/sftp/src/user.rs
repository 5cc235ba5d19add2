//! Who connects. A stand-in.

use std::path::PathBuf;

use crate::error::Error;

/// The local user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The home folder.
    pub home: PathBuf,
    /// The socket of the user's agent.
    pub agent: Option<PathBuf>,
}

impl User {
    /// The user this process runs as.
    pub fn current() -> Result<Self, Error> {
        let set = |name| std::env::var_os(name).map(PathBuf::from);
        let home = set("HOME").unwrap_or_default();
        Ok(Self { name: "root".to_owned(), uid: 0, home, agent: set("SSH_AUTH_SOCK") })
    }
}
