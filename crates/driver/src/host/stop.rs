//! Stopping a backup on its host: `datastore job-stop`. It is for one whose front-end's half is gone
//! without the host having noticed yet.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::action;
use crate::exit::{Failure, Result};
use crate::host::job;
use crate::host::message;
use crate::processes;

/// The action that this is.
pub const ACTION: &str = "job-stop";

/// Which backup is to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The folder that it backs up.
    pub folder: String,
}

/// Stops the backups of the folder that standard input names. That there is none is fine.
pub fn run(arguments: &[String]) -> Result {
    if !arguments.is_empty() {
        return Err(Failure::new("this command takes no arguments; the front-end starts it"));
    }
    let stop: Stop = message::read(message::input()?)?;
    for process in processes::mine() {
        let is_job =
            process.arguments().windows(2).any(|words| words == [action::COMMAND, job::ACTION]);
        // A job goes to its folder before it does anything else.
        if is_job && process.is_in(Path::new(&stop.folder)) {
            process.terminate();
        }
    }
    Ok(())
}
