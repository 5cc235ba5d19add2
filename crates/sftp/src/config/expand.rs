//! Tokens with `%` in values, `${VARIABLE}` and `~`.

use std::path::PathBuf;

use crate::user::User;

/// What the tokens stand for. What is not there is not allowed in this value.
#[derive(Default)]
pub(super) struct Tokens<'a> {
    /// `%h`: the name to connect to.
    pub host: Option<&'a str>,
    /// `%n`: the name that was asked for.
    pub original: Option<&'a str>,
    /// `%k`: the name under which the host is known.
    pub alias: Option<&'a str>,
    /// `%p`: the port.
    pub port: Option<u16>,
    /// `%r`: whom to log in as.
    pub remote_user: Option<&'a str>,
    /// `%u`, `%i`, `%d` and variables: who runs this program.
    pub me: Option<&'a User>,
}

impl Tokens<'_> {
    /// Replaces the tokens.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            expanded.push_str(&rest[..at]);
            let token = rest[at + 1..].chars().next().ok_or("a % at the end means nothing")?;
            rest = &rest[at + 1 + token.len_utf8()..];
            let value = match token {
                '%' => Some("%".to_owned()),
                'h' => self.host.map(str::to_owned),
                'n' => self.original.map(str::to_owned),
                'k' => self.alias.map(str::to_owned),
                'p' => self.port.map(|port| port.to_string()),
                'r' => self.remote_user.map(str::to_owned),
                'u' => self.me.map(|me| me.name.clone()),
                'i' => self.me.map(|me| me.uid.to_string()),
                'd' => self.me.map(|me| me.home.to_string_lossy().into_owned()),
                _ => None,
            };
            expanded.push_str(
                &value.ok_or_else(|| format!("%{token} is not known to this program here"))?,
            );
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// Replaces `~`, tokens and variables in a path.
    pub(super) fn expand_path(&self, text: &str) -> Result<PathBuf, String> {
        let text = self.expand(&self.variables(text)?)?;
        if text.starts_with('~') && text.len() > 1 && !text.starts_with("~/") {
            return Err(
                "the home folder of another user is not looked up: write the whole path".to_owned()
            );
        }
        Ok(match self.me {
            Some(me) => me.expand_home(&text),
            None => text.into(),
        })
    }

    /// Replaces the few variables that are known: the library reads no environment.
    fn variables(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or("${ without a }")?;
            expanded.push_str(before);
            let value = match (name, self.me) {
                ("HOME", Some(me)) => Some(me.home.to_string_lossy().into_owned()),
                ("USER" | "LOGNAME", Some(me)) => Some(me.name.clone()),
                ("SSH_AUTH_SOCK", Some(me)) => {
                    me.agent.as_ref().map(|agent| agent.to_string_lossy().into_owned())
                }
                _ => None,
            };
            expanded.push_str(
                &value
                    .ok_or_else(|| format!("the variable {name} is not known to this program"))?,
            );
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_variables_and_tildes_are_replaced() {
        let me = User { name: "ada".into(), uid: 7, home: "/home/ada".into(), agent: None };
        let tokens = Tokens {
            host: Some("h.example"),
            original: Some("h"),
            port: Some(2222),
            remote_user: Some("backup"),
            me: Some(&me),
            ..Tokens::default()
        };
        for (text, path) in [
            ("~/.ssh/%r@%h:%p", Ok("/home/ada/.ssh/backup@h.example:2222")),
            ("%d/%n-%u-%i-100%%", Ok("/home/ada/h-ada-7-100%")),
            ("${HOME}/x", Ok("/home/ada/x")),
            ("%k", Err(())),
            ("%é", Err(())),
            ("x%", Err(())),
            ("${NO}", Err(())),
            ("${HOME", Err(())),
            ("~root/x", Err(())),
        ] {
            let expected = path.map(PathBuf::from);
            assert_eq!(tokens.expand_path(text).map_err(|_| ()), expected, "{text}");
        }
    }
}
