//! Which configuration there is. A stand-in.

use std::path::PathBuf;

/// Which configuration files are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConfigFiles {
    /// `~/.ssh/config`, then `/etc/ssh/ssh_config`.
    #[default]
    Usual,
    /// This one alone.
    Only(PathBuf),
}
