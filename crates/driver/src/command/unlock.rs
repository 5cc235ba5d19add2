//! `unlock`

use clap::Args;

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
        session.open().await
    }
}
