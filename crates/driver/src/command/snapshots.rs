//! `snapshots`

use clap::Args;
use restic_repo::snapshot::GroupBy;

use crate::exit::Result;
use crate::selection::{SelectionArgs, parse_group_by};
use crate::session::Session;

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
        let _selection = self.selection.resolve(&session.environment);
        session.open().await
    }
}
