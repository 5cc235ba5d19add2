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

/// Why a text is not a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the location is not sftp:user@host:path")]
pub struct LocationError;

impl Location {
    /// Parses `sftp:user@host:path`.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let rest = text.strip_prefix("sftp:").ok_or(LocationError)?;
        let (host, path) = rest.split_once(':').ok_or(LocationError)?;
        let (user, host) = match host.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, host),
        };
        Ok(Self { user, host: host.to_owned(), port: None, path: path.to_owned() })
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sftp:{}:{}", self.host, self.path)
    }
}
