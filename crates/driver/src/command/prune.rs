//! `prune`

use std::collections::HashSet;
use std::sync::Arc;

use clap::Args;
use restic_repo::progress::Progress;
use restic_repo::prune::{self, End, MaxUnused, Plan, Prune as Operation};
use restic_repo::repository::Repository;
use restic_repo::{Compression, Id};

use crate::exit::{Failure, Result};
use crate::report;
use crate::report::counters::Counters;
use crate::session::{Intent, Session};
use crate::size;

/// Removes what no snapshot needs.
#[derive(Args, Debug)]
pub struct Prune {
    #[command(flatten)]
    limits: Limits,

    /// Change nothing, only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What to remove, and at what expense.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// How much may stay that nobody needs: a size, a percentage, or `unlimited`
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = max_unused)]
    max_unused: MaxUnused,

    /// Stop after copying out of packs of this size together
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_repack_size: Option<u64>,

    /// Leave packs of data alone, unless nobody needs any of it
    #[arg(long)]
    repack_cacheable_only: bool,

    /// Without effect: small packs are always put together
    #[arg(long, hide = true)]
    repack_small: bool,

    /// Put packs together that are smaller than this
    #[arg(long, value_name = "SIZE", value_parser = not_zero)]
    repack_smaller_than: Option<u64>,

    /// Compress everything that is not compressed yet
    #[arg(long)]
    repack_uncompressed: bool,
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    match text.parse() {
        Ok(limit) => Ok(limit),
        Err(_) if !text.contains('%') => size::parse(text).map(MaxUnused::Bytes),
        Err(error) => Err(error.to_string()),
    }
}

fn not_zero(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        0 => Err("it must be larger than zero".to_owned()),
        size => Ok(size),
    }
}

impl Limits {
    /// For the library.
    fn options(&self) -> prune::Options {
        prune::Options {
            max_unused: self.max_unused,
            max_repack: self.max_repack_size,
            small_pack: self.repack_smaller_than,
            cacheable_only: self.repack_cacheable_only,
            uncompressed: self.repack_uncompressed,
        }
    }

    /// Refuses what cannot be meant.
    pub fn check(&self, session: &Session) -> Result {
        match self.repack_uncompressed && session.settings.compression == Compression::Off {
            true => {
                Err(Failure::new("--compression off and --repack-uncompressed exclude each other"))
            }
            false => Ok(()),
        }
    }
}

impl Prune {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        if session.settings.no_lock && !self.dry_run {
            return Err(Failure::new("prune cannot do without locks; --no-lock needs --dry-run"));
        }
        self.limits.check(session)?;
        let repository = session.open().await?;
        match self.dry_run {
            true => forecast(session, &repository, &self.limits, &HashSet::new()).await,
            false => prune(session, &repository, &self.limits).await,
        }
    }
}

/// Says what a prune would do, if these snapshots were forgotten.
pub async fn forecast(
    session: &Session,
    repository: &Repository,
    limits: &Limits,
    forgotten: &HashSet<Id>,
) -> Result {
    let terminal = &session.terminal;
    let counters = Arc::new(Counters::new(Arc::clone(terminal)));
    let pulse = session.pulse(&counters, Counters::show);
    let (options, progress): (_, Arc<dyn Progress>) = (limits.options(), counters);
    let look = async |_| Ok(Plan::forecast(repository, forgotten, &options, &progress).await?);
    let statistics = session.gated(repository, Intent::Read, look).await?;
    drop(pulse);
    terminal.clear_status();
    report::prune::plan(terminal, &statistics, true);
    Ok(())
}

/// Prunes, and takes the locks for it.
pub async fn prune(session: &Session, repository: &Repository, limits: &Limits) -> Result {
    let terminal = &session.terminal;
    let counters = Arc::new(Counters::new(Arc::clone(terminal)));
    let pulse = session.pulse(&counters, Counters::show);
    let progress: Arc<dyn Progress> = counters;
    let locks = session.lock_options();
    let operation = Operation { options: limits.options(), locks: &locks, progress };
    let outcome = operation.run(repository, |statistics| {
        terminal.clear_status();
        report::prune::plan(terminal, statistics, false);
        true
    });
    let outcome = outcome.await?;
    drop(pulse);
    terminal.clear_status();
    report::prune::end(terminal, &outcome);
    match outcome.end {
        End::Postponed(holders) => {
            let failure = Failure::from(restic_repo::Error::Locked { holders });
            Err(failure.while_doing(
                "nothing was removed yet; what was copied is stored, and the next prune goes on from \
                 there",
            ))
        }
        End::Overtaken => Err(Failure::new(
            "another prune or repair came first and nothing more was removed; run prune again",
        )),
        End::Nothing | End::Swept(_) => Ok(()),
    }
}
