//! Giving back the space of snapshots that were removed.

use std::sync::Arc;
use std::time::Duration;

use restic_repo::lock::{Lock, LockOptions};
use restic_repo::progress::Progress;
use restic_repo::prune::{End, Options, Prune};
use restic_repo::repository::Repository;

use crate::exit::Failure;
use crate::report::counters::Counters;
use crate::report::number;
use crate::report::terminal::Terminal;
use crate::session::Session;

/// How long to wait for a lock. Who cannot get one leaves the work to the next.
const PATIENCE: Duration = Duration::from_secs(60);

/// When it is tried again.
const LATER: &str = "the space is reclaimed the next time that something is removed here";

/// Prunes a repository, within the limits of its datastore. The snapshots are gone already, so what goes
/// wrong here is a warning: the next prune goes on where this one stopped. `held` is a shared lock to go on with.
pub async fn reclaim(
    session: &Session,
    repository: &Repository,
    options: &Options,
    held: Option<Lock>,
) {
    let terminal = &session.terminal;
    let counters = Arc::new(Counters::new(Arc::clone(terminal)));
    let pulse = session.pulse(&counters, Counters::show);
    let progress: Arc<dyn Progress> = counters;
    let locks = LockOptions { retry: PATIENCE, ..session.lock_options() };
    let prune = Prune { options: options.clone(), locks: &locks, progress };
    let outcome = match held {
        Some(shared) => prune.run_under(repository, shared, |_| true).await,
        None => prune.run(repository, |_| true).await,
    };
    drop(pulse);
    match outcome {
        Ok(outcome) => match outcome.end {
            End::Nothing => {}
            End::Swept(swept) => {
                let statistics = &outcome.statistics;
                let bytes = statistics.removed.bytes
                    + statistics.repack_removed.bytes
                    + statistics.unreferenced_bytes;
                terminal.note(format!(
                    "reclaimed {} in {} packs; others were shut out for {:.1} seconds",
                    number::bytes(bytes),
                    swept.packs,
                    outcome.exclusive.as_secs_f64()
                ));
            }
            End::Postponed(holders) => {
                let holder =
                    holders.first().map_or_else(String::new, |holder| format!(" {holder}"));
                terminal.error(format!("the repository is locked{holder}; {LATER}"));
            }
            End::Overtaken => terminal.error(format!("another prune came first; {LATER}")),
        },
        Err(error) => {
            postponed(terminal, Failure::from(error).cause());
        }
    }
}

/// Tells that it is left to the next time, for this reason.
pub fn postponed(terminal: &Terminal, why: &str) {
    terminal.error(format!("the space cannot be reclaimed now: {why}; {LATER}"));
}
