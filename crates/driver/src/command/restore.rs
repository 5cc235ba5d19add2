//! `restore`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use restic_repo::filter::Filter;
use restic_repo::lock::Gate;
use restic_repo::restorer::{self, Ownership};
use restic_repo::walk;

use crate::exit::{Failure, Result};
use crate::patterns::{self, ExcludeArgs, IncludeArgs};
use crate::report::restore::RestoreReport;
use crate::report::snapshots::describe;
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session, find_snapshot};

/// Brings back the files of a snapshot.
#[derive(Args, Debug)]
pub struct Restore {
    /// The snapshot: the beginning of its id, or latest; a folder in it may follow, as in latest:srv
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,

    /// The folder to write to
    #[arg(short, long, value_name = "FOLDER")]
    target: Option<PathBuf>,

    #[command(flatten)]
    selection: SelectionArgs,

    #[command(flatten)]
    exclude: ExcludeArgs,

    #[command(flatten)]
    include: IncludeArgs,

    /// Leave out extended attributes whose name this pattern matches
    #[arg(long, value_name = "PATTERN", help_heading = "What to leave out")]
    exclude_xattr: Vec<String>,

    /// Take only extended attributes whose name this pattern matches
    #[arg(long, value_name = "PATTERN", help_heading = "What to take")]
    include_xattr: Vec<String>,

    /// What to do with files that are there already
    #[arg(long, value_name = "WHEN", default_value = "always")]
    overwrite: Overwrite,

    /// Remove what is in the target but not in the snapshot; see first with --dry-run -vv
    #[arg(long)]
    delete: bool,

    /// Write nothing, only show what would be done
    #[arg(long)]
    dry_run: bool,

    /// Read what was restored again, and compare
    #[arg(long)]
    verify: bool,

    /// Leave holes where files have zeros
    #[arg(long)]
    sparse: bool,

    /// Give files to the users and groups of the same names, not numbers
    #[arg(long)]
    ownership_by_name: bool,
}

/// When a file that is there already is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Overwrite {
    /// Whenever its content differs.
    Always,
    /// If its size or time differs, without a look at its content otherwise.
    IfChanged,
    /// If the one in the snapshot is newer.
    IfNewer,
    /// Never.
    Never,
}

impl From<Overwrite> for restorer::Overwrite {
    fn from(when: Overwrite) -> Self {
        match when {
            Overwrite::Always => Self::Always,
            Overwrite::IfChanged => Self::IfChanged,
            Overwrite::IfNewer => Self::IfNewer,
            Overwrite::Never => Self::Never,
        }
    }
}

impl Restore {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let filter = patterns::filter(&self.exclude, &self.include, &session.environment)?;
        let (query, target) = self.check(&filter)?;
        let snapshots = self.selection.clone().resolve(&session.environment);
        let filter: Arc<dyn restorer::Filter> = Arc::new(filter);
        let repository = session.open().await?;
        let restore = async |gate: Gate| {
            let Contents { snapshots: all, index } = session.contents(&repository).await?;
            let (entry, folder) = find_snapshot(&all, &snapshots, query)?;
            let path = Path::new("/").join(folder);
            let index = Arc::new(index);
            let node = walk::find_path(&repository, &index, entry.1.tree, &path).await?;
            let tree = walk::subtree(&node, &path)?;
            let terminal = &session.terminal;
            terminal.note(format!("restoring {} to {}", describe(entry), target.display()));
            let report = Arc::new(RestoreReport::new(Arc::clone(terminal)));
            let pulse = session.pulse(&report, RestoreReport::show);
            let progress = Arc::clone(&report);
            let plan = self.plan(target, Arc::clone(&filter), gate);
            let outcome = plan.run(&repository, index, tree, progress).await?;
            drop(pulse);
            report.finish();
            match outcome.errors {
                0 => Ok(()),
                errors => Err(Failure::new(format_args!("There were {errors} errors"))),
            }
        };
        session.gated(&repository, Intent::Read, restore).await
    }

    /// What is to be done.
    fn plan(
        &self,
        target: &Path,
        filter: Arc<dyn restorer::Filter>,
        gate: Gate,
    ) -> restorer::Restore {
        restorer::Restore {
            filter,
            overwrite: self.overwrite.into(),
            delete: self.delete,
            sparse: self.sparse,
            verify: self.verify,
            dry_run: self.dry_run,
            ownership: match self.ownership_by_name {
                true => Ownership::ByName,
                false => Ownership::ByNumber,
            },
            gate,
            ..restorer::Restore::new(target.to_owned())
        }
    }

    /// Refuses what cannot be meant; else gives the snapshot and the target.
    fn check(&self, filter: &Filter) -> Result<(&str, &Path)> {
        let snapshot = match &self.snapshots[..] {
            [snapshot] => snapshot,
            [] => {
                return Err(Failure::new(
                    "no snapshot is given; name one by its id, or say latest",
                ));
            }
            _ => return Err(Failure::new("several snapshots are given; one can be restored")),
        };
        let Some(target) = self.target.as_deref() else {
            return Err(Failure::new("no folder to restore to is given; name one with --target"));
        };
        if self.dry_run && self.verify {
            return Err(Failure::new("--dry-run writes nothing that --verify could look at"));
        }
        if !self.exclude_xattr.is_empty() && !self.include_xattr.is_empty() {
            return Err(Failure::new("--exclude-xattr and --include-xattr exclude each other"));
        }
        let is_root = target.components().all(|part| part.as_os_str() == "/");
        if self.delete && is_root && matches!(filter, Filter::Everything) {
            return Err(Failure::new(
                "--delete with --target / would remove the whole system but for the snapshot; add \
                 patterns that say what it is about (--include, --exclude)",
            ));
        }
        Ok((snapshot, target))
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        restore: Restore,
    }

    fn restore(arguments: &[&str]) -> Restore {
        let matches = <Line as clap::CommandFactory>::command()
            .get_matches_from(std::iter::once(&"restore").chain(arguments));
        Line::from_arg_matches(&matches).unwrap().restore
    }

    #[test]
    fn a_snapshot_and_a_target_are_needed() {
        let good = restore(&["latest", "-t", "/srv/x", "--overwrite", "if-newer"]);
        assert_eq!(good.check(&Filter::Everything), Ok(("latest", Path::new("/srv/x"))));
        assert_eq!(good.overwrite, Overwrite::IfNewer);
        for arguments in [
            &["latest"][..],
            &["-t", "/x"],
            &["a", "b", "-t", "/x"],
            &["a", "-t", "/x", "--dry-run", "--verify"],
            &["a", "-t", "/x", "--include-xattr", "a", "--exclude-xattr", "b"],
        ] {
            assert!(restore(arguments).check(&Filter::Everything).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn the_whole_system_is_not_deleted_by_accident() {
        let root = restore(&["latest", "-t", "//", "--delete"]);
        assert!(root.check(&Filter::Everything).is_err());
        assert!(root.check(&Filter::Only(Vec::new())).is_ok());
    }
}
