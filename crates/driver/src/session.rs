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
        match access.stored_password(&self.environment)? {
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
