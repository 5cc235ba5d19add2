//! `doctor`

use clap::Args;

use crate::doctor;
use crate::exit::Result;
use crate::session::Session;

/// Finds out whether everything is in place for OpenNebula's backups.
#[derive(Args, Debug)]
pub struct Doctor {}

impl Doctor {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        doctor::Doctor::examine(session).await
    }
}
