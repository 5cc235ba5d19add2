//! `repair index`

use std::sync::Arc;

use clap::Args;
use restic_repo::repair::index::{self, Options, Outcome, Resized};

use crate::exit::Result;
use crate::report::counters::Counters;
use crate::report::terminal::Terminal;
use crate::session::{Intent, Session};

/// Builds a new index from the packs.
#[derive(Args, Debug)]
pub struct RepairIndex {
    /// Read all packs, instead of only those that the index does not list as they are
    #[arg(long)]
    read_all_packs: bool,
}

impl RepairIndex {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let repository = session.open().await?;
        let terminal = &session.terminal;
        let options = Options { read_all_packs: self.read_all_packs };
        let nothing = async || Ok(());
        let work = async |()| {
            terminal.note("loading indexes...");
            let counters = Arc::new(Counters::new(Arc::clone(terminal)));
            let _pulse = session.pulse(&counters, Counters::show);
            let progress = Arc::clone(&counters);
            let outcome = index::repair(&repository, options, progress).await?;
            terminal.clear_status();
            tell(terminal, &outcome);
            Ok(())
        };
        session.locked(&repository, Intent::Replace, nothing, work).await
    }
}

fn tell(terminal: &Terminal, outcome: &Outcome) {
    for (id, error) in &outcome.unreadable_indexes {
        terminal.error(format!("removing invalid index {id}: {error}"));
    }
    for pack in &outcome.added {
        terminal.error(format!("adding pack file to index {pack}"));
    }
    for Resized { pack, expected, found } in &outcome.resized {
        terminal.error(format!(
            "reindexing pack file {pack} with unexpected size {found} instead of {expected}"
        ));
    }
    for pack in &outcome.missing {
        terminal.error(format!("removing not found pack file {pack}"));
    }
    for (pack, error) in &outcome.skipped {
        terminal.error(format!("skipped pack file {pack}: {error}; it is in no index"));
    }
    for (pack, error) in &outcome.kept {
        terminal.error(format!(
            "kept what the index says of pack file {pack}: {error}; \
             `repair packs {pack}` brings what is sound in it into a new one"
        ));
    }
    let rewritten = &outcome.rewritten;
    terminal.note(format!(
        "stored {} and removed {} index files",
        rewritten.stored.len(),
        rewritten.removed.len()
    ));
    terminal.note("done");
}
