//! `stats`

use clap::{Args, ValueEnum};

use crate::exit::Result;
use crate::selection::SelectionArgs;
use crate::session::Session;

/// Counts what is in the repository.
#[derive(Args, Debug)]
pub struct Stats {
    /// Only these snapshots, by the beginnings of their ids; or latest
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// What to count
    #[arg(long, value_name = "MODE", default_value = "restore-size")]
    mode: Mode,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The size of all files, as they would be restored.
    RestoreSize,
    /// The size of files that differ in content.
    FilesByContents,
    /// The size of the blobs of files that differ in content or path.
    BlobsPerFile,
    /// The size of what is stored.
    RawData,
}

impl Stats {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let _selection = self.selection.resolve(&session.environment);
        session.open().await
    }
}
