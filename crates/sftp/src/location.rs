//! Where a repository is.

/// A folder on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Who to log in as, if the location says so.
    pub user: Option<String>,
    /// The server's name or address, or an alias of the SSH configuration.
    pub host: String,
    /// The port, if the location says so.
    pub port: Option<u16>,
    /// The repository's folder: absolute, or relative to the folder that one finds oneself in.
    pub path: String,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sftp:{}:{}", self.host, self.path)
    }
}
