//! Output that begins once a lock is sure to be held.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use restic_repo::Error;
use restic_repo::lock::Gate;
use tokio::runtime::Handle;

use crate::exit::{Failure, Result};

/// Where the content of files goes, once the lock is sure to be held: what was written cannot be taken back.
#[derive(Debug)]
pub struct GatedOutput {
    file: File,
    /// Still to be passed.
    gate: Option<Gate>,
    runtime: Handle,
}

impl GatedOutput {
    /// Standard output as a bare file: there is no search for line ends. To be called inside the runtime.
    pub fn stdout(gate: Gate) -> Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        Self::to(file, gate)
    }

    /// A file that was opened.
    pub fn to(opened: io::Result<File>, gate: Gate) -> Result<Self> {
        let file = opened
            .map_err(|error| Failure::new(format_args!("cannot open the output: {error}")))?;
        Ok(Self { file, gate: Some(gate), runtime: Handle::current() })
    }

    /// What becomes of an error while something was written out.
    pub fn failure(error: Error) -> Failure {
        match error {
            Error::Io { operation: "write", source, .. } => Failure::output(&source),
            error => error.into(),
        }
    }
}

impl Write for GatedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = self.gate.take() {
            self.runtime.block_on(gate.pass()).map_err(io::Error::other)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
