//! `dump`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::exit::{Failure, Result};
use crate::selection::SelectionArgs;
use crate::session::Session;

/// Writes a file, or a folder as an archive, to standard output.
#[derive(Args, Debug)]
pub struct Dump {
    /// The snapshot: the beginning of its id, or latest; a folder in it may follow, as in latest:srv
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,

    /// The file or folder; / for everything
    #[arg(value_name = "PATH")]
    file: Option<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// What to make of a folder
    #[arg(short, long, value_name = "FORMAT", default_value = "tar")]
    archive: Archive,

    /// Write to this file instead
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
}

/// A format for a folder with all that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Archive {
    /// tar, with extended attributes.
    Tar,
    /// zip.
    Zip,
}

impl Dump {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let (Some(_snapshot), Some(_path)) = (&self.snapshot, &self.file) else {
            return Err(Failure::new("a snapshot and a path in it are needed"));
        };
        session.open().await
    }
}
