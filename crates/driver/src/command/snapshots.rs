//! `snapshots`

use std::sync::Arc;

use clap::Args;
use restic_repo::Id;
use restic_repo::snapshot::{Filter, GroupBy, Snapshot, group, resolve, sort_newest_first};
use restic_repo::time::Zone;

use crate::exit::Result;
use crate::report::counters::Counters;
use crate::report::snapshots::{JsonGroup, Row, WithId, header, table, zone_name};
use crate::report::terminal::Terminal;
use crate::selection::{SelectionArgs, parse_group_by};
use crate::session::{Intent, Session};

/// Lists the snapshots.
#[derive(Args, Debug)]
pub struct Snapshots {
    /// Only these snapshots, by the beginnings of their ids; or latest
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// A shorter table
    #[arg(short, long)]
    compact: bool,

    /// Only the last N of each host and paths
    #[arg(long, value_name = "N")]
    latest: Option<u32>,

    /// Only the last one of each host and paths
    #[arg(long, hide = true)]
    last: bool,

    /// Group by host, paths, tags
    #[arg(short, long, value_name = "GROUP", default_value = "", value_parser = parse_group_by)]
    group_by: GroupBy,
}

impl Snapshots {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let filter = self.selection.clone().resolve(&session.environment);
        let repository = session.open().await?;
        let read = async || {
            let counters = Counters::new(Arc::clone(&session.terminal));
            repository.readable_snapshots(&counters).await
        };
        let list = async |snapshots| self.list(session, snapshots, &filter);
        session.locked(&repository, Intent::Read, read, list).await
    }

    fn list(&self, session: &Session, all: Vec<(Id, Snapshot)>, filter: &Filter) -> Result {
        let mut chosen = choose(&session.terminal, &all, filter, &self.ids);
        let last = if self.last { Some(1) } else { self.latest };
        if let Some(last) = last {
            chosen = newest_of_each(&chosen, last as usize);
        }
        chosen.sort_by_key(|(_, snapshot)| snapshot.time);
        for (_, snapshot) in &mut chosen {
            snapshot.paths.sort(); // as restic shows them
        }
        let grouped = self.group_by.host || self.group_by.paths || self.group_by.tags;
        let groups = group(&chosen, self.group_by);
        let terminal = &session.terminal;
        if terminal.is_json() {
            if grouped {
                terminal.print_json(&groups.iter().map(JsonGroup::from).collect::<Vec<_>>());
            } else {
                terminal.print_json(&chosen.iter().map(WithId::from).collect::<Vec<_>>());
            }
            return Ok(());
        }
        let zone = zone_name(&session.environment);
        for group in &groups {
            if let Some(header) = grouped.then(|| header(&group.key)).flatten() {
                terminal.print(header);
            }
            let rows: Vec<Row> =
                group.snapshots.iter().map(|entry| Row::new(entry, Zone::local())).collect();
            terminal.print(table(&rows, self.compact, &zone));
        }
        Ok(())
    }
}

/// The snapshots that are asked for: by id or `latest`, or all that the filter means. What is not there
/// is told, and passed over.
pub fn choose(
    terminal: &Terminal,
    all: &[(Id, Snapshot)],
    filter: &Filter,
    queries: &[String],
) -> Vec<(Id, Snapshot)> {
    if queries.is_empty() {
        return all.iter().filter(|(_, snapshot)| filter.matches(snapshot)).cloned().collect();
    }
    let mut chosen: Vec<(Id, Snapshot)> = Vec::new();
    for query in queries {
        match resolve(all, filter, query) {
            Ok(found) if chosen.iter().any(|(id, _)| *id == found.0) => {}
            Ok(found) => chosen.push(found.clone()),
            Err(error) => terminal.error(format!("Ignoring {query:?}: {error}")),
        }
    }
    chosen
}

/// The newest `count` of each host and paths.
fn newest_of_each(snapshots: &[(Id, Snapshot)], count: usize) -> Vec<(Id, Snapshot)> {
    let by = GroupBy { host: true, paths: true, tags: false };
    let mut newest = Vec::new();
    for group in group(snapshots, by) {
        let mut members: Vec<(Id, Snapshot)> = group.snapshots.into_iter().cloned().collect();
        sort_newest_first(&mut members);
        newest.extend(members.into_iter().take(count));
    }
    newest
}
