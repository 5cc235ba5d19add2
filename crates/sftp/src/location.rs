//! Where a repository is: on which host, as whom, in which folder.

use std::fmt;

use thiserror::Error;

/// A folder on an SSH server.
///
/// Parsed from both forms that restic has, and as restic understands them:
///
/// * `sftp:user@host:path`: a relative path begins in the folder one logs in to;
/// * `sftp://user@host:port/path`: so it does here, and an absolute path has two slashes:
///   `sftp://host//srv/repo`.
///
/// An IPv6 address stands in brackets in both. What is left out (user, port) comes from `ssh_config`.
///
/// ```
/// use restic_sftp::Location;
///
/// let location = Location::parse("sftp://backup@[2001:db8::7]:2222//srv/repo").unwrap();
/// assert_eq!(location.host, "2001:db8::7");
/// assert_eq!(location.port, Some(2222));
/// assert_eq!(location.path, "/srv/repo");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Whom to log in as.
    pub user: Option<String>,
    /// The host, as written: a name for which `ssh_config` may have something to say, or an address.
    pub host: String,
    /// The port, never 0.
    pub port: Option<u16>,
    /// The folder, without `.`, `..` and doubled slashes where they mean nothing. `.` is the folder one
    /// logs in to.
    pub path: String,
}

/// Why a text is not a location. Never shows the text, for there may be a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LocationError {
    /// It does not begin with `sftp:`.
    #[error("the location does not begin with sftp:")]
    NotSftp,
    /// There is a password in it.
    #[error(
        "the location has a password in it, but passwords are not used for SSH: leave it out and log in \
         with a key from a file or an agent"
    )]
    Password,
    /// There is no host, or it is not one.
    #[error(
        "the location names no valid host: write sftp:user@host:path or sftp://user@host:port/path"
    )]
    Host,
    /// An address in brackets that does not end.
    #[error(
        "the location has an address whose brackets are not closed: write sftp:[2001:db8::7]:path"
    )]
    Brackets,
    /// The user's name is empty or has control characters.
    #[error("the location has an @ but no valid name of a user in front of it")]
    User,
    /// The port is not a number from 1 to 65535.
    #[error("the port in the location is not a number from 1 to 65535")]
    Port,
    /// There is no path.
    #[error(
        "the location names no folder: write sftp:user@host:path or sftp://user@host:port/path"
    )]
    Path,
    /// The path begins with a tilde.
    #[error(
        "the location's path begins with ~, which most SFTP servers do not know: leave it out, a \
         relative path begins in the folder one logs in to"
    )]
    Tilde,
    /// A character that has to be escaped in a URL.
    #[error("the location has an invalid % escape, or a ? or # that has to be written %3F or %23")]
    Escape,
    /// Control characters, or bytes that are not UTF-8 after unescaping.
    #[error("the location has control characters or is not valid UTF-8")]
    Characters,
}

impl Location {
    /// Parses a location, `sftp:` and all.
    ///
    /// # Errors
    ///
    /// A [`LocationError`], which does not repeat what was given.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let rest = text.strip_prefix("sftp:").ok_or(LocationError::NotSftp)?;
        let (user, host, port, path) = match rest.strip_prefix("//") {
            Some(url) => split_url(url)?,
            None => split_short(rest)?,
        };
        if let Some(user) = &user
            && (user.is_empty() || user.chars().any(char::is_control))
        {
            return Err(LocationError::User);
        }
        if !is_host(&host) {
            return Err(LocationError::Host);
        }
        if path.chars().any(char::is_control) {
            return Err(LocationError::Characters);
        }
        let path = clean(&path);
        if path.starts_with('~') {
            return Err(LocationError::Tilde);
        }
        Ok(Self { user, host, port, path })
    }
}

type Parts = (Option<String>, String, Option<u16>, String);

/// `user@host:port/path`, escaped.
fn split_url(url: &str) -> Result<Parts, LocationError> {
    let (authority, path) = url.split_once('/').unwrap_or((url, ""));
    let has_path = authority.len() < url.len();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err(LocationError::Password),
        Some((user, host)) => (Some(unescape(user)?), host),
        None => (None, authority),
    };
    let (host, after) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(LocationError::Brackets)?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = match after.strip_prefix(':') {
        Some("") => None,
        Some(port) => Some(parse_port(port)?),
        None if after.is_empty() => None,
        None => return Err(LocationError::Host),
    };
    if !has_path {
        return Err(LocationError::Path);
    }
    Ok((user, unescape(host)?, port, unescape(path)?))
}

/// `user@host:path`, nothing escaped.
fn split_short(text: &str) -> Result<Parts, LocationError> {
    // A user's name may have an @ itself, and an address in brackets has colons.
    let bracket = text.find('[').filter(|&at| text[..at].is_empty() || text[..at].ends_with('@'));
    let (before, host, path) = match bracket {
        Some(at) if !text[..at].contains(':') => {
            let (host, rest) = text[at + 1..].split_once(']').ok_or(LocationError::Brackets)?;
            (&text[..at], host, rest.strip_prefix(':').ok_or(LocationError::Path)?)
        }
        _ => {
            let (login, path) = text.split_once(':').ok_or(LocationError::Path)?;
            let at = login.rfind('@').map_or(0, |at| at + 1);
            (&login[..at], &login[at..], path)
        }
    };
    // `user:password@host:path` would be the host `user` to restic.
    let first = path.split('/').next().unwrap_or_default();
    if before.is_empty()
        && bracket.is_none()
        && first.split_once('@').is_some_and(|(_, host)| host.contains(':'))
    {
        return Err(LocationError::Password);
    }
    let user = before.strip_suffix('@').map(str::to_owned);
    Ok((user, host.to_owned(), None, path.to_owned()))
}

fn parse_port(text: &str) -> Result<u16, LocationError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0).ok_or(LocationError::Port)
}

/// What OpenSSH takes for a host's name: nothing that a shell or an option parser would stumble over.
pub(crate) fn is_host(host: &str) -> bool {
    let forbidden =
        |c: char| c.is_whitespace() || c.is_control() || "'`\"$\\;&<>|(){}@/[]".contains(c);
    !host.is_empty() && !host.starts_with('-') && !host.chars().any(forbidden)
}

fn unescape(text: &str) -> Result<String, LocationError> {
    if text.contains(['?', '#']) {
        return Err(LocationError::Escape);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = rest.get(..2).and_then(|two| str::from_utf8(two).ok());
            let digits = digits.filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let value = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
            bytes.push(value.ok_or(LocationError::Escape)?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| LocationError::Characters)
}

fn escape(text: &str, kept: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The shortest path that means the same, as Go's `path.Clean` has it, which restic calls.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match kept.last() {
                Some(&last) if last != ".." => {
                    kept.pop();
                }
                _ if rooted => {}
                _ => kept.push(".."),
            },
            part => kept.push(part),
        }
    }
    match (rooted, kept.is_empty()) {
        (true, _) => format!("/{}", kept.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => kept.join("/"),
    }
}

/// Shows a location in a form that [`Location::parse`] takes. There is no secret in it.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "._-+".contains(c));
        let simple_user = self.user.as_deref().is_none_or(plain);
        let simple = self.port.is_none()
            && simple_user
            && !self.host.contains([':', '%'])
            && !self.path.contains('@');
        if simple {
            write!(f, "sftp:")?;
            if let Some(user) = &self.user {
                write!(f, "{user}@")?;
            }
            return write!(f, "{}:{}", self.host, self.path);
        }
        write!(f, "sftp://")?;
        if let Some(user) = &self.user {
            write!(f, "{}@", escape(user, "._-+"))?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", escape(&self.host, ":._-"))?;
        } else {
            write!(f, "{}", escape(&self.host, "._-"))?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", escape(&self.path, "/._-+:@~,= "))
    }
}

#[cfg(test)]
mod tests;
