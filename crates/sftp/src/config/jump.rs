//! `ProxyJump`: hosts on the way.

use std::fmt;

use crate::location::is_host;

/// A host on the way to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Whom to log in as there, if it is said.
    pub user: Option<String>,
    /// The host, for which the configuration has its own things to say.
    pub host: String,
    /// Its port, if it is said.
    pub port: Option<u16>,
}

/// Reads `user@host:port,ssh://user@host:port,...`; `none` is no hosts.
pub(super) fn parse(text: &str) -> Result<Vec<Jump>, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    text.split(',').map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<Jump, String> {
    let bad = || "ProxyJump is not of the form user@host:port".to_owned();
    let text = text.trim();
    let (text, url) = match text.strip_prefix("ssh://") {
        Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), true),
        None => (text, false),
    };
    let (user, host) = match text.rsplit_once('@') {
        Some((user, _)) if user.is_empty() || (url && user.contains(':')) => return Err(bad()),
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, text),
    };
    let (host, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(bad()),
            }
        }
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|&port| port != 0).ok_or_else(bad)?),
        None => None,
    };
    if !is_host(host) {
        return Err(bad());
    }
    Ok(Jump { user, host: host.to_owned(), port })
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => write!(f, "{}", self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_on_the_way_are_read_in_both_forms() {
        for (text, shown) in [
            ("a", Some("a")),
            ("ada@a:2222,b", Some("ada@a:2222 b")),
            ("ssh://ada@a:2222,ssh://[::1]:22/", Some("ada@a:2222 [::1]:22")),
            ("ada@dom@a", Some("ada@dom@a")),
            ("none", Some("")),
            ("", None),
            ("a,,b", None),
            ("@a", None),
            ("a:0", None),
            ("a:x", None),
            ("[::1", None),
            ("-oProxyCommand=x", None),
        ] {
            let jumps = parse(text).ok();
            let jumps = jumps
                .map(|jumps| jumps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(jumps.as_deref(), shown, "{text}");
        }
    }
}
