//! `stats`

use std::sync::Arc;

use clap::{Args, ValueEnum};
use restic_repo::stats;

use crate::command::snapshots::choose;
use crate::exit::Result;
use crate::report::counters::Counters;
use crate::report::stats::lines;
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session};

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

impl From<Mode> for stats::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::RestoreSize => Self::RestoreSize,
            Mode::FilesByContents => Self::FilesByContents,
            Mode::BlobsPerFile => Self::BlobsPerFile,
            Mode::RawData => Self::RawData,
        }
    }
}

impl Stats {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let filter = self.selection.clone().resolve(&session.environment);
        let mode = stats::Mode::from(self.mode);
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let count = async |Contents { snapshots, index }| {
            let terminal = &session.terminal;
            let chosen = choose(terminal, &snapshots, &filter, &self.ids);
            let trees: Vec<_> = chosen.iter().map(|(_, snapshot)| snapshot.tree).collect();
            let counters = Counters::new(Arc::clone(terminal));
            let found =
                stats::stats(&repository, &Arc::new(index), &trees, mode, &counters).await?;
            terminal.clear_status();
            match terminal.is_json() {
                true => terminal.print_json(&found),
                false => terminal.print(lines(&found, mode.as_str())),
            }
            Ok(())
        };
        session.locked(&repository, Intent::Read, read, count).await
    }
}
