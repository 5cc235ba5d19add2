//! Where a repository is, as operators write it.

use std::path::PathBuf;

use crate::exit::{Failure, Result};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a folder of this machine.
    Local(PathBuf),
    /// On a server, reached over SFTP: everything behind `sftp:`, not taken apart yet.
    Sftp(String),
}

/// Storage that restic knows and this program does not.
const FOREIGN: [&str; 7] = ["rest", "s3", "b2", "azure", "gs", "swift", "rclone"];

impl Location {
    /// Parses a location: `/path`, `relative/path`, `local:path`, `sftp:user@host:path`,
    /// `sftp://user@host:port/path`.
    ///
    /// The text may hold a password, so no error shows more of it than the name of the storage.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Ok(Self::Local(text.into()));
        };
        match scheme {
            "local" => Ok(Self::Local(rest.into())),
            "sftp" => Ok(Self::Sftp(rest.to_owned())),
            scheme if FOREIGN.contains(&scheme) => Err(Failure::new(format_args!(
                "{scheme}: is a kind of storage that this program does not know; it knows local \
                 folders and sftp:"
            ))),
            _ if text.starts_with('/') || text.starts_with("../") => Ok(Self::Local(text.into())),
            _ => Err(Failure::new(
                "the repository's location has a colon but no known kind of storage in front of it; \
                 if it is a local folder, write local: in front",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_local() {
        for (text, path) in [
            ("/srv/repo", "/srv/repo"),
            ("repo", "repo"),
            ("./a b", "./a b"),
            ("local:repo", "repo"),
            ("local:/a:b", "/a:b"),
            ("/a:b", "/a:b"),
            ("../a:b", "../a:b"),
        ] {
            assert_eq!(Location::parse(text), Ok(Location::Local(path.into())), "{text}");
        }
    }

    #[test]
    fn sftp_comes_in_two_forms() {
        for rest in ["user@host:/srv/repo", "//user@host:2222//srv/repo"] {
            let location = Location::parse(&format!("sftp:{rest}"));
            assert_eq!(location, Ok(Location::Sftp(rest.to_owned())));
        }
    }

    #[test]
    fn refusals_do_not_show_passwords() {
        for text in ["rest:https://user:geheim@host/", "s3:geheim", "foo:geheim", "c:geheim"] {
            let failure = Location::parse(text).unwrap_err();
            assert!(!failure.message().contains("geheim"), "{failure}");
        }
        assert!(Location::parse("rest:x").unwrap_err().message().contains("rest: is a kind"));
        assert!(Location::parse("a:b").unwrap_err().message().contains("write local: in front"));
    }
}
