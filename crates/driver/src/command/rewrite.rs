//! `rewrite`

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use restic_repo::filter::Filter;
use restic_repo::node::{Node, NodeType};
use restic_repo::repository::Repository;
use restic_repo::rewrite::{Changes, Rewriter, Select};
use restic_repo::time::Timestamp;

use crate::command::snapshots::choose;
use crate::exit::{Failure, Result};
use crate::patterns::{self, ExcludeArgs, IncludeArgs};
use crate::replacement::{ReplacementArgs, quoted};
use crate::report::snapshots::describe;
use crate::report::terminal::{Terminal, Verbosity};
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session};

/// Makes new snapshots of old ones, without some files, or of another host or time.
#[derive(Args, Debug)]
pub struct Rewrite {
    /// Only these snapshots, by the beginnings of their ids; or latest
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    replacement: ReplacementArgs,

    /// The host that the new snapshots are of
    #[arg(long, value_name = "HOST")]
    new_host: Option<String>,

    /// The time of the new snapshots, as 2006-01-02 15:04:05
    #[arg(long, value_name = "TIME")]
    new_time: Option<String>,

    /// Count files and bytes, for snapshots that do not say how many they have
    #[arg(short, long)]
    snapshot_summary: bool,

    #[command(flatten)]
    selection: SelectionArgs,

    #[command(flatten)]
    exclude: ExcludeArgs,

    #[command(flatten)]
    include: IncludeArgs,
}

impl Rewrite {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let changes = self.changes()?;
        let filter = patterns::filter(&self.exclude, &self.include, &session.environment)?;
        let looks_at_trees = self.snapshot_summary || !matches!(filter, Filter::Everything);
        if !looks_at_trees && changes.hostname.is_none() && changes.time.is_none() {
            return Err(Failure::new(
                "Nothing to do: no excludes/includes provided and no new metadata provided",
            ));
        }
        let intent = match &self.replacement {
            replacement if replacement.dry_run => Intent::Read,
            replacement if replacement.forget => Intent::Replace,
            _ => Intent::Add,
        };
        if intent == Intent::Replace {
            session.terminal.note("create exclusive lock for repository");
        }
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let filter = looks_at_trees.then_some(filter);
        let rewrite =
            async |contents| self.rewrite(session, &repository, contents, &changes, filter).await;
        session.locked(&repository, intent, read, rewrite).await
    }

    /// What is new in all of the snapshots.
    fn changes(&self) -> Result<Changes> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let time = given(&self.new_time).map(|text| Timestamp::parse_local(&text)).transpose();
        let time =
            time.map_err(|error| Failure::new(format_args!("error in time option: {error}")))?;
        let (hostname, tag) = (given(&self.new_host), self.replacement.tag("rewrite"));
        Ok(Changes { time, hostname, tag, ..Changes::default() })
    }

    async fn rewrite(
        &self,
        session: &Session,
        repository: &Repository,
        Contents { snapshots, index }: Contents,
        changes: &Changes,
        filter: Option<Filter>,
    ) -> Result {
        let terminal = &session.terminal;
        let selection = self.selection.clone().resolve(&session.environment);
        let index = Arc::new(index);
        let rewriter = filter.map(|filter| {
            let select = select(filter, Arc::clone(terminal));
            Rewriter::new(repository, index, select, self.replacement.dry_run)
        });
        let mut changed = 0;
        for old in choose(terminal, &snapshots, &selection, &self.ids) {
            terminal.note(format!("\n{}", describe(&old)));
            let changes = match &rewriter {
                None => changes.clone(),
                Some(rewriter) => {
                    let rewritten = rewriter.rewrite(old.1.tree).await.map_err(|error| {
                        let what = format!("unable to rewrite snapshot ID \"{}\"", old.0.short());
                        Failure::from(error).while_doing(what)
                    })?;
                    if rewritten.tree.is_none() {
                        continue; // where nothing is to be taken, nothing is done
                    }
                    changes.clone().with_tree(&rewritten, true)
                }
            };
            if self.replacement.replace(terminal, repository, &old, &changes).await? {
                changed += 1;
            }
        }
        self.replacement.sum_up(terminal, changed);
        Ok(())
    }
}

/// A visitor that tells what it leaves out or takes, to those who want to know that much.
fn select(
    filter: Filter,
    terminal: Arc<Terminal>,
) -> Select<impl Fn(&Path, &Node, bool) + Send + Sync + 'static> {
    let takes = matches!(filter, Filter::Only(_));
    let tell = move |path: &Path, node: &Node, stays: bool| {
        let text = match (takes, stays) {
            (true, true) if node.node_type != NodeType::Dir => {
                format!("including {}", quoted(path))
            }
            (false, false) => format!("excluding {}", quoted(path)),
            _ => return,
        };
        terminal.say(Verbosity::Debug, text);
    };
    Select { filter, tell }
}
