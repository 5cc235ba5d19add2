//! `unlock`

use clap::Args;
use restic_repo::lock;

use crate::exit::Result;
use crate::session::Session;

/// Removes locks that others have left behind.
#[derive(Args, Debug)]
pub struct Unlock {
    /// Remove all locks, also those of processes at work
    #[arg(long)]
    remove_all: bool,
}

impl Unlock {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let repository = session.open().await?;
        let removed = match self.remove_all {
            true => lock::remove_all(&repository).await?,
            false => lock::remove_stale(&repository, &session.identity().hostname).await?,
        };
        if removed > 0 {
            session.terminal.note(format!("successfully removed {removed} locks"));
        }
        Ok(())
    }
}
