//! `key`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::exit::{Failure, Result};
use crate::password::{self, Password};
use crate::session::Session;

/// Shows, adds, changes and removes passwords.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List the keys; the one in use has a star
    List,
    /// Add a key with another password
    Add(NewKeyArgs),
    /// Change the password: adds a key and removes the one in use
    Passwd(NewKeyArgs),
    /// Remove a key
    Remove {
        /// The beginning of its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// A key to be made.
#[derive(Args, Debug)]
pub struct NewKeyArgs {
    /// File that holds the new password
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,

    /// The new password is empty
    #[arg(long)]
    new_insecure_no_password: bool,

    /// The user that the key says it is of
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// The host that the key says it is of
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

impl Key {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        if let Self::Add(new) | Self::Passwd(new) = &self {
            new.check()?;
        }
        session.open().await
    }
}

impl NewKeyArgs {
    fn check(&self) -> Result {
        if self.new_insecure_no_password && self.new_password_file.is_some() {
            return Err(Failure::new(
                "--new-password-file and --new-insecure-no-password exclude each other",
            ));
        }
        Ok(())
    }

    /// The new password: from a file, else asked for twice.
    pub async fn password(&self) -> Result<Password> {
        self.check()?;
        if self.new_insecure_no_password {
            return Ok(password::from_bytes(Vec::new().into()));
        }
        let Some(file) = &self.new_password_file else {
            return password::ask_twice("enter new password: ").await;
        };
        let password = password::from_file(file)?;
        if password.is_empty() {
            return Err(Failure::new(format_args!(
                "the new password in {} is empty; if that is meant, say so with \
                 --new-insecure-no-password",
                file.display()
            )));
        }
        Ok(password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(file: Option<&str>, empty: bool) -> NewKeyArgs {
        NewKeyArgs {
            new_password_file: file.map(PathBuf::from),
            new_insecure_no_password: empty,
            user: None,
            host: None,
        }
    }

    #[tokio::test]
    async fn an_empty_password_must_be_meant() {
        assert!(new(Some("/dev/null"), false).password().await.is_err());
        assert!(new(Some("/dev/null"), true).password().await.is_err());
        assert!(new(None, true).password().await.unwrap().is_empty());
        assert!(new(Some("/no/such/file"), false).password().await.is_err());
    }
}
