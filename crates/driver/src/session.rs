//! What a command works with: the settings, the terminal, and the repository it opens.

use std::sync::Arc;

use crate::access::Access;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::global::Settings;
use crate::password::{self, Password};
use crate::report::terminal::Terminal;
use crate::signals::Interrupt;

/// One run of a command.
#[derive(Debug)]
pub struct Session {
    /// The options that every command takes.
    pub settings: Settings,
    /// The environment variables.
    pub environment: Environment,
    /// Where output goes.
    pub terminal: Arc<Terminal>,
    /// The operator's wish to stop.
    pub interrupt: Interrupt,
}

impl Session {
    /// The password of a repository: from where the options say, else asked for.
    pub async fn password(&self, access: &Access, prompt: &str) -> Result<Password> {
        let (access, environment) = (access.clone(), self.environment.clone());
        // A password command may take its time, or wait for the operator.
        let found = tokio::task::spawn_blocking(move || access.stored_password(&environment));
        let found = found.await.map_err(|error| {
            Failure::new(format_args!("the password could not be looked for: {error}"))
        })?;
        match found? {
            Some(password) => Ok(password),
            None => password::ask(prompt).await,
        }
    }

    /// Opens the repository.
    pub async fn open(&self) -> Result {
        self.settings.access.location()?;
        self.password(&self.settings.access, "enter password for repository: ").await?;
        Err(Failure::new("this build cannot open repositories yet"))
    }
}
