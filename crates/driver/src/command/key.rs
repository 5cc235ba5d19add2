//! `key`

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use restic_repo::FileType;
use restic_repo::identity::Identity;
use restic_repo::key::Password;
use restic_repo::repository::{KeyInfo, Repository};
use restic_repo::time::Zone;

use crate::exit::{Failure, Result};
use crate::password;
use crate::report::counters::Counters;
use crate::report::keys::{Row, table};
use crate::session::{Intent, Session};

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
        let repository = session.open().await?;
        let intent = match &self {
            Self::List => Intent::Read,
            Self::Add(_) => Intent::Add,
            Self::Passwd(_) | Self::Remove { .. } => Intent::Replace,
        };
        let nothing = async || Ok(());
        let work = async |()| match &self {
            Self::List => list(session, &repository).await,
            Self::Add(new) => {
                let password = new.password().await?;
                let id = repository.add_key(&password, &new.identity(session), None).await?;
                session.terminal.note(format!("saved new key with ID {id}"));
                Ok(())
            }
            Self::Passwd(new) => {
                let password = new.password().await?;
                let identity = new.identity(session);
                let id = repository.change_password(&password, &identity, None).await?;
                session.terminal.note(format!("saved new key as {id}"));
                Ok(())
            }
            Self::Remove { id } => {
                let id = repository.find(FileType::Key, id).await?;
                repository.remove_key(id).await?;
                session.terminal.note(format!("removed key {id}"));
                Ok(())
            }
        };
        session.locked(&repository, intent, nothing, work).await
    }
}

async fn list(session: &Session, repository: &Repository) -> Result {
    let counters = Counters::new(Arc::clone(&session.terminal));
    let keys = repository.keys(&counters).await?;
    let row = |key: KeyInfo| Row {
        current: key.current,
        id: key.id,
        user_name: key.username,
        host_name: key.hostname,
        created: key.created.in_zone(Zone::local()).date_time(),
    };
    let rows: Vec<Row> = keys.into_iter().map(row).collect();
    match session.terminal.is_json() {
        true => session.terminal.print_json(&rows),
        false => session.terminal.print(table(&rows)),
    }
    Ok(())
}

impl NewKeyArgs {
    /// Whom the key says it is of.
    fn identity(&self, session: &Session) -> Identity {
        let me = session.identity();
        Identity {
            username: self.user.clone().unwrap_or(me.username),
            hostname: self.host.clone().unwrap_or(me.hostname),
            ..me
        }
    }

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
            return Ok(Password::new(Vec::new()));
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
        Ok(password::from_bytes(password))
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
