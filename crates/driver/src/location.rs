//! Where a repository is, as operators write it.

use std::path::PathBuf;

use crate::exit::{Failure, Result};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a folder of this machine.
    Local(PathBuf),
    /// On a server, reached over SFTP.
    Sftp(restic_sftp::Location),
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
            "sftp" => restic_sftp::Location::parse(text).map(Self::Sftp).map_err(Failure::new),
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
    fn servers_are_named_as_restic_names_them() {
        let location = Location::parse("sftp:user@host:/srv/repo").unwrap();
        let Location::Sftp(location) = location else { panic!("{location:?}") };
        assert_eq!((location.user.as_deref(), &*location.host), (Some("user"), "host"));
        assert_eq!(location.path, "/srv/repo");
        assert!(Location::parse("sftp:host").is_err());
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
