//! `check`

use std::sync::Arc;

use clap::Args;
use restic_repo::Id;
use restic_repo::checker::{self, InvalidSubset, ReadData, Subset};
use restic_repo::lock::Gate;
use restic_repo::progress::Silent;
use restic_repo::repository::Repository;

use crate::command::snapshots::choose;
use crate::exit::{Failure, Result};
use crate::report::affected::{self, Loss};
use crate::report::check::Summary;
use crate::report::counters::Counters;
use crate::report::terminal::Verbosity;
use crate::selection::SelectionArgs;
use crate::session::{Intent, Session};

/// Looks for damage in the repository.
#[derive(Args, Debug)]
pub struct Check {
    /// Only what these snapshots need
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Read all data, too
    #[arg(long)]
    read_data: bool,

    /// Read the header of every pack, too, and compare it with the index
    #[arg(long)]
    read_headers: bool,

    /// Read a part of the data: n/t for the nth of t parts; x% or a size, as in 2G, for a random part
    #[arg(long, value_name = "SUBSET", value_parser = subset)]
    read_data_subset: Option<Subset>,

    /// Trust local copies of metadata
    #[arg(long)]
    with_cache: bool,

    /// Without effect
    #[arg(long, hide = true)]
    check_unused: bool,
}

impl Check {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        self.check_options()?;
        let filter = self.selection.clone().resolve(&session.environment);
        let read_data = match self.read_data_subset {
            Some(subset) => ReadData::Subset(subset),
            None if self.read_data => ReadData::All,
            None => ReadData::Nothing,
        };
        let repository = match self.with_cache {
            true => session.open().await?,
            false => session.open_uncached().await?,
        };
        let work = async |_: Gate| {
            let is_partial = !self.ids.is_empty() || !filter.is_empty();
            let snapshots = match is_partial {
                true => {
                    let all = repository.readable_snapshots(&Silent).await?;
                    let chosen = choose(&session.terminal, &all, &filter, &self.ids);
                    Some(chosen.into_iter().map(|(id, _)| id).collect())
                }
                false => None,
            };
            let options = checker::Options {
                read_data,
                read_headers: self.read_headers,
                snapshots,
                find_unused: self.check_unused,
            };
            self.report(session, &repository, &options).await
        };
        // Unlike restic's, which keeps everybody out, it may run beside backups.
        session.gated(&repository, Intent::Read, work).await
    }

    async fn report(
        &self,
        session: &Session,
        repository: &Repository,
        options: &checker::Options,
    ) -> Result {
        let terminal = &session.terminal;
        let counters = Arc::new(Counters::new(Arc::clone(terminal)));
        let pulse = session.pulse(&counters, Counters::show);
        terminal.note("check indexes, packs, snapshots, trees and blobs");
        let progress = Arc::clone(&counters);
        let found = checker::check(repository, options, progress).await?;
        drop(pulse);
        terminal.clear_status();
        for hint in &found.hints {
            terminal.say(Verbosity::Verbose, hint.to_string());
        }
        for blob in &found.unused {
            terminal.print(format!("unused {blob}"));
        }
        let affected = &found.affected;
        match terminal.is_json() {
            true => affected.snapshots.iter().for_each(|one| terminal.print_json(&Loss::new(one))),
            false => affected::lines(affected).iter().for_each(|line| terminal.print(line)),
        }
        if terminal.is_json() {
            terminal.print_json(&Summary {
                num_errors: found.errors,
                broken_packs: found.broken_packs.iter().copied().collect(),
                suggest_repair_index: found.suggest_repair_index,
                suggest_prune: found.suggest_prune,
                ..Summary::default()
            });
        }
        if found.is_sound() {
            terminal.note("no errors were found");
            return Ok(());
        }
        let mut advice = String::new();
        if !found.broken_packs.is_empty() {
            let packs: Vec<String> = found.broken_packs.iter().map(Id::to_string).collect();
            advice.push_str(&format!("; damaged or missing packs: {}", packs.join(" ")));
        }
        if found.suggest_repair_index {
            advice.push_str("; `restic repair index` rebuilds the index from the packs");
        }
        let errors = found.errors;
        Err(Failure::new(format_args!("repository contains errors: {errors} found{advice}")))
    }

    fn check_options(&self) -> Result {
        if self.read_data && self.read_data_subset.is_some() {
            return Err(Failure::new("--read-data and --read-data-subset exclude each other"));
        }
        Ok(())
    }
}

fn subset(text: &str) -> Result<Subset, String> {
    text.parse().map_err(|error: InvalidSubset| error.to_string())
}
