//! Who connects: what the configuration's tokens, defaults and the agent depend on.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The local user. The library reads no environment by itself: the caller says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name, which is also the name on the server unless something else says otherwise.
    pub name: String,
    /// The user's number: whose configuration files and keys are to be trusted.
    pub uid: u32,
    /// The home folder, for `~`, `%d`, and the folder `.ssh` in it.
    pub home: PathBuf,
    /// The socket of the user's agent, as `SSH_AUTH_SOCK` names it. A forwarded agent is one too.
    pub agent: Option<PathBuf>,
}

impl User {
    /// The user this process runs as: the number's entry in the user database for the name, `HOME` or
    /// else that entry for the home folder, and `SSH_AUTH_SOCK` for the agent.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchUser`] if the number has no name.
    pub fn current() -> Result<Self, Error> {
        let uid = nix::unistd::getuid();
        let entry = nix::unistd::User::from_uid(uid).ok().flatten();
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let name = match &entry {
            Some(entry) => entry.name.clone(),
            None => env::var("USER").map_err(|_| Error::NoSuchUser { uid: uid.as_raw() })?,
        };
        let home = set("HOME").or_else(|| entry.map(|entry| entry.dir));
        Ok(Self {
            name,
            uid: uid.as_raw(),
            home: home.unwrap_or_else(|| PathBuf::from("/")),
            agent: set("SSH_AUTH_SOCK"),
        })
    }

    /// The folder of the user's keys, configuration and known hosts.
    pub(crate) fn ssh_folder(&self) -> PathBuf {
        self.home.join(".ssh")
    }

    /// `~/path` as the path it means; anything else as it is.
    pub(crate) fn expand_home(&self, path: &str) -> PathBuf {
        match path.strip_prefix('~') {
            Some("") => self.home.clone(),
            Some(rest) if rest.starts_with('/') => self.home.join(rest.trim_start_matches('/')),
            _ => Path::new(path).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_user_has_a_name_and_a_home() {
        let user = User::current().unwrap();
        assert!(!user.name.is_empty());
        assert!(user.home.is_absolute());
    }

    #[test]
    fn a_tilde_is_the_home_folder_only_where_a_shell_would_take_it_so() {
        let user = User { name: "ada".into(), uid: 7, home: "/home/ada".into(), agent: None };
        for (text, path) in [
            ("~", "/home/ada"),
            ("~/.ssh/id", "/home/ada/.ssh/id"),
            ("~//x", "/home/ada/x"),
            ("/a/~/b", "/a/~/b"),
            ("a~", "a~"),
        ] {
            assert_eq!(user.expand_home(text), Path::new(path), "{text}");
        }
    }
}
