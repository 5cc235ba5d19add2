//! `repair packs`

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use restic_repo::backend::{BackendError, BackendErrorKind, Extent};
use restic_repo::repair::packs::{self, Outcome};
use restic_repo::repository::Repository;
use restic_repo::{Error, FileType, Handle, Id};

use crate::exit::{Failure, Result};
use crate::report::counters::Counters;
use crate::report::terminal::Terminal;
use crate::session::{Intent, Session};

/// How much of a pack is copied at once, in bytes.
const PIECE: u64 = 8 << 20;

/// Brings what is sound in damaged packs into new ones, and removes the damaged ones.
#[derive(Args, Debug)]
pub struct RepairPacks {
    /// The packs that `check` calls damaged or missing: whole ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

impl RepairPacks {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        if self.ids.is_empty() {
            return Err(Failure::new("no ids specified; `check` says which packs are damaged"));
        }
        let parse = |text: &String| text.parse().map_err(Failure::new);
        let ids: HashSet<Id> = self.ids.iter().map(parse).collect::<Result<_>>()?;
        let repository = session.open().await?;
        let terminal = &session.terminal;
        let nothing = async || Ok(());
        let work = async |()| {
            terminal.note("saving backup copies of pack files to current folder");
            for &id in &ids {
                save_copy(&repository, id).await?;
            }
            terminal.note("salvaging intact data from specified pack files");
            let counters = Arc::new(Counters::new(Arc::clone(terminal)));
            let _pulse = session.pulse(&counters, Counters::show);
            let outcome = packs::repair(&repository, &ids, Arc::clone(&counters) as _).await?;
            terminal.clear_status();
            tell(terminal, &outcome);
            Ok(())
        };
        session.locked(&repository, Intent::Replace, nothing, work).await
    }
}

/// Copies the pack as it is, in case there is more to be had from it than we know how to.
async fn save_copy(repository: &Repository, id: Id) -> Result {
    let handle = Handle::new(FileType::Pack, id);
    let size = match repository.backend().stat(&handle).await {
        Ok(size) => size,
        Err(BackendError { kind: BackendErrorKind::NotFound, .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let path = PathBuf::from(format!("pack-{id}"));
    let failed = |error: io::Error| Failure::from(Error::io("write", &path, error));
    let mut copy = File::create_new(&path).map_err(failed)?;
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(PIECE) as usize;
        let piece = repository.backend().load(&handle, Extent::Range { offset, length }).await?;
        copy.write_all(&piece).map_err(failed)?;
        offset += length as u64;
    }
    copy.sync_all().map_err(failed)
}

fn tell(terminal: &Terminal, outcome: &Outcome) {
    for salvaged in &outcome.packs {
        let pack = salvaged.pack;
        if !salvaged.is_there {
            terminal.error(format!("pack {pack} is missing; nothing can be had from it"));
        } else if salvaged.saved == 0 && salvaged.lost.is_empty() {
            terminal.error(format!("no blobs found for pack {pack}"));
        }
        for blob in &salvaged.lost {
            terminal.error(format!("failed to load {} blob {}", blob.blob_type, blob.id));
        }
    }
    for (pack, error) in &outcome.left {
        terminal.error(format!("pack {pack} could not be removed, prune will do it: {error}"));
    }
    let saved: u64 = outcome.packs.iter().map(|salvaged| salvaged.saved).sum();
    let lost: usize = outcome.packs.iter().map(|salvaged| salvaged.lost.len()).sum();
    terminal.note(format!("salvaged {saved} blobs, {lost} are lost"));
    terminal.note(
        "\nUse `repair snapshots --forget` to remove the corrupted data blobs from all snapshots",
    );
}
