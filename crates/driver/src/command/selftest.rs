//! `selftest`

use std::path::PathBuf;

use clap::Args;

use crate::exit::Result;
use crate::selftest::Trial;
use crate::session::Session;

/// Finds out whether this machine and its storage can be relied upon.
#[derive(Args, Debug)]
pub struct Selftest {
    /// Disk images to back up and bring back; without any, one is made
    #[arg(value_name = "DISK")]
    disks: Vec<PathBuf>,
}

impl Selftest {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        Trial::prepare(session, self.disks).await?.run().await
    }
}
