//! `forget`

use std::sync::Arc;

use clap::Args;
use restic_repo::Id;
use restic_repo::forget::{Count, GroupPlan, Policy, Removed, Span, plan, remove};
use restic_repo::repository::Repository;
use restic_repo::snapshot::{Filter, GroupBy, Snapshot, TagList, group};
use restic_repo::time::{Timestamp, Zone};

use crate::command::prune::{Limits, forecast, prune};
use crate::command::snapshots::choose;
use crate::exit::{ExitCode, Failure, Result};
use crate::report::counters::Counters;
use crate::report::forget::{JsonGroup, tables};
use crate::report::snapshots::{header, zone_name};
use crate::report::terminal::Verbosity;
use crate::selection::{SelectionArgs, parse_group_by};
use crate::session::{Intent, Session};

/// Removes snapshots, by a policy or by their ids. What they referred to stays until a prune.
#[derive(Args, Debug)]
#[command(mut_arg("host", |host| host.short(None).alias("hostname")))]
pub struct Forget {
    /// Forget these snapshots, by the beginnings of their ids; or latest. Without any, the policy decides
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Without a policy: forget all snapshots that --host, --tag and --path mean
    #[arg(long)]
    unsafe_allow_remove_all: bool,

    /// Shorter tables
    #[arg(short, long)]
    compact: bool,

    /// The policy counts in each group on its own: of host, paths, tags
    #[arg(short, long, value_name = "GROUP", default_value = "host,paths",
          value_parser = parse_group_by)]
    group_by: GroupBy,

    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Prune afterwards, if any snapshot was removed
    #[arg(long)]
    prune: bool,

    #[command(flatten, next_help_heading = "How to prune")]
    limits: Limits,
}

/// What to keep. N is a number, or unlimited; DURATION is as 1y5m7d2h, counted from the newest snapshot.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What to keep")]
struct PolicyArgs {
    /// Keep the last N snapshots
    #[arg(short = 'l', long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_last: Count,

    /// Keep the last snapshot of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_hourly: Count,

    /// Keep the last snapshot of each of the last N days that have one
    #[arg(short = 'd', long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_daily: Count,

    /// Keep the last snapshot of each of the last N weeks that have one
    #[arg(short = 'w', long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_weekly: Count,

    /// Keep the last snapshot of each of the last N months that have one
    #[arg(short = 'm', long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_monthly: Count,

    /// Keep the last snapshot of each of the last N years that have one
    #[arg(short = 'y', long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_yearly: Count,

    /// Keep all snapshots that are newer than this
    #[arg(long, value_name = "DURATION", default_value = "", hide_default_value = true)]
    keep_within: Span,

    /// Keep the last snapshot of each hour within this
    #[arg(long, value_name = "DURATION", default_value = "", hide_default_value = true)]
    keep_within_hourly: Span,

    /// Keep the last snapshot of each day within this
    #[arg(long, value_name = "DURATION", default_value = "", hide_default_value = true)]
    keep_within_daily: Span,

    /// Keep the last snapshot of each week within this
    #[arg(long, value_name = "DURATION", default_value = "", hide_default_value = true)]
    keep_within_weekly: Span,

    /// Keep the last snapshot of each month within this
    #[arg(long, value_name = "DURATION", default_value = "", hide_default_value = true)]
    keep_within_monthly: Span,

    /// Keep the last snapshot of each year within this
    #[arg(long, value_name = "DURATION", default_value = "", hide_default_value = true)]
    keep_within_yearly: Span,

    /// Keep all snapshots with all of these tags; repeat for those with either
    #[arg(long, value_name = "TAG[,TAG...]")]
    keep_tag: Vec<String>,
}

impl Forget {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let filter = self.selection.clone().resolve(&session.environment);
        self.check(session, &filter)?;
        self.limits.check(session)?;
        let repository = session.open().await?;
        let read = async || {
            let counters = Counters::new(Arc::clone(&session.terminal));
            repository.readable_snapshots(&counters).await
        };
        let forget = async |snapshots: Vec<(Id, Snapshot)>| {
            self.forget(
                session,
                &repository,
                choose(&session.terminal, &snapshots, &filter, &self.ids),
            )
            .await
        };
        // Only snapshots are removed, so backups need not wait. A prune, whose lock is exclusive, keeps
        // us out and is kept out.
        let intent = if self.dry_run { Intent::Read } else { Intent::Add };
        let forgotten = session.locked(&repository, intent, read, forget).await?;
        if !self.prune || forgotten.is_empty() {
            return Ok(());
        }
        let count = forgotten.len();
        session.terminal.note(match self.dry_run {
            true => format!("{count} snapshots would be removed, running prune dry run"),
            false => format!("{count} snapshots have been removed, running prune"),
        });
        match self.dry_run {
            true => {
                forecast(session, &repository, &self.limits, &forgotten.into_iter().collect()).await
            }
            false => prune(session, &repository, &self.limits).await,
        }
    }

    fn check(&self, session: &Session, filter: &Filter) -> Result {
        if session.settings.no_lock && !self.dry_run {
            return Err(Failure::new(
                "--no-lock is only applicable in combination with --dry-run for forget command",
            ));
        }
        let removes_all = self.ids.is_empty() && self.policy().is_empty();
        if removes_all && self.unsafe_allow_remove_all && filter.is_empty() {
            return Err(Failure::new(
                "--unsafe-allow-remove-all is not allowed unless a snapshot filter option is \
                 specified",
            ));
        }
        Ok(())
    }

    /// Forgets, and gives what was forgotten, or would be.
    async fn forget(
        &self,
        session: &Session,
        repository: &Repository,
        mut chosen: Vec<(Id, Snapshot)>,
    ) -> Result<Vec<Id>> {
        let terminal = &session.terminal;
        for (_, snapshot) in &mut chosen {
            snapshot.paths.sort(); // as restic shows them
            if self.group_by.tags {
                snapshot.tags.sort();
            }
        }
        let mut groups = Vec::new();
        let mut ids: Vec<Id> = chosen.iter().map(|(id, _)| *id).collect();
        if self.ids.is_empty() {
            groups = self.plan(session, &chosen)?;
            let removed = groups.iter().flat_map(|group| &group.verdict.remove);
            ids = removed.map(|(id, _)| *id).collect();
        }
        let failed = match (ids.is_empty(), self.dry_run) {
            (true, _) => 0,
            (false, true) => {
                ids.sort();
                let short: Vec<String> = ids.iter().map(Id::short).collect();
                let short = short.join(" ");
                terminal
                    .note(format!("Would have removed the following snapshots:\n{{{short}}}\n\n"));
                0
            }
            (false, false) => {
                let counters = Arc::new(Counters::new(Arc::clone(terminal)));
                let _pulse = session.pulse(&counters, Counters::show);
                let Removed { removed, failed } = remove(repository, &ids, &*counters).await;
                for id in removed {
                    terminal.say(Verbosity::Debug, format!("removed snapshot/{id}"));
                }
                for (id, error) in &failed {
                    terminal.error(format!(
                        "unable to remove snapshot/{id} from the repository: {error}"
                    ));
                }
                failed.len()
            }
        };
        if terminal.is_json() && !groups.is_empty() {
            terminal.print_json(&groups.iter().map(JsonGroup::from).collect::<Vec<_>>());
        }
        match failed {
            0 => Ok(ids),
            _ => Err(Failure::with_code(
                ExitCode::Incomplete,
                "failed to remove one or more snapshots",
            )),
        }
    }

    /// Lets the policy decide, and shows what it decided.
    fn plan<'a>(
        &self,
        session: &Session,
        chosen: &'a [(Id, Snapshot)],
    ) -> Result<Vec<GroupPlan<'a>>> {
        let (terminal, policy) = (&session.terminal, self.policy());
        let groups = group(chosen, self.group_by);
        let (now, zone) = (Timestamp::now(), Zone::local());
        let groups = plan(groups, &policy, self.unsafe_allow_remove_all, now, zone)?;
        terminal.note(format!("Applying Policy: {policy}"));
        let zone = zone_name(&session.environment);
        for group in &groups {
            if let Some(header) = header(&group.key) {
                terminal.say(Verbosity::Verbose, header);
            }
            for table in tables(group, self.compact, &zone) {
                terminal.note(table);
            }
        }
        Ok(groups)
    }

    fn policy(&self) -> Policy {
        let args = self.policy.clone();
        Policy {
            last: args.keep_last,
            hourly: args.keep_hourly,
            daily: args.keep_daily,
            weekly: args.keep_weekly,
            monthly: args.keep_monthly,
            yearly: args.keep_yearly,
            within: args.keep_within,
            within_hourly: args.keep_within_hourly,
            within_daily: args.keep_within_daily,
            within_weekly: args.keep_within_weekly,
            within_monthly: args.keep_within_monthly,
            within_yearly: args.keep_within_yearly,
            tags: args.keep_tag.iter().map(|list| TagList::parse(list)).collect(),
        }
    }
}
