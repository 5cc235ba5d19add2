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
        let terminal = &session.terminal;
        let removed = match self.remove_all {
            true => {
                for (_, holder) in lock::list(&repository).await.unwrap_or_default() {
                    if let Ok(holder) = holder {
                        terminal.note(format!("was locked {holder}"));
                    }
                }
                lock::remove_all(&repository).await?
            }
            false => {
                let hostname = session.identity().hostname;
                let unlocked = lock::remove_stale(&repository, &hostname).await?;
                for holder in &unlocked.removed {
                    terminal.note(format!("was locked {holder}"));
                }
                for holder in &unlocked.left {
                    terminal.note(format!("is still locked {holder}, who may be at work"));
                }
                for (_, error) in &unlocked.unreadable {
                    terminal.error(format!("{error}; `unlock --remove-all` removes it"));
                }
                unlocked.removed.len()
            }
        };
        if removed > 0 {
            terminal.note(format!("successfully removed {removed} locks"));
        }
        Ok(())
    }
}
