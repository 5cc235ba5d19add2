//! `backup`

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use restic_repo::Id;
use restic_repo::archiver;
use restic_repo::filter::PatternList;
use restic_repo::lock::Gate;
use restic_repo::node::Ignored;
use restic_repo::repository::Repository;
use restic_repo::snapshot::{Filter, GroupBy, Snapshot, TagList, parent_of, resolve};
use restic_repo::time::Timestamp;

use crate::command::version;
use crate::command_output::CommandOutput;
use crate::environment::Environment;
use crate::exclusions::{Devices, Exclusions, Mark, TagFile};
use crate::exit::{Failure, Result};
use crate::patterns::ExcludeArgs;
use crate::report::backup::{BackupReport, Summary};
use crate::report::terminal::Verbosity;
use crate::selection::parse_group_by;
use crate::session::{Contents, Intent, Session};
use crate::size;
use crate::targets::{self, TargetArgs, Targets};

/// Backs up files and folders.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 all is backed up; 1 failed, no snapshot was made; 3 a snapshot was made, but something \
could not be read; 10 there is no repository; 11 it is locked; 12 wrong password; 130 interrupted.")]
pub struct Backup {
    #[command(flatten)]
    targets: TargetArgs,

    #[command(flatten)]
    exclude: ExcludeArgs,

    /// Leave out what is larger, as in 10M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    exclude_larger_than: Option<u64>,

    /// Leave out what is in folders with such a file, if that begins with HEADER
    #[arg(long, value_name = "FILENAME[:HEADER]", value_parser = TagFile::parse)]
    exclude_if_present: Vec<TagFile>,

    /// Leave out what is in folders with a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,

    /// Stay within the file systems of the given paths
    #[arg(short = 'x', long)]
    one_file_system: bool,

    /// Back up standard input as one file
    #[arg(long, help_heading = "Standard input")]
    stdin: bool,

    /// The name of that file
    #[arg(long, value_name = "FILENAME", default_value = "stdin", help_heading = "Standard input")]
    stdin_filename: String,

    /// Run the arguments as a command, and back up its output as one file
    #[arg(long, help_heading = "Standard input")]
    stdin_from_command: bool,

    /// Tags for the snapshot; may be repeated
    #[arg(long, value_name = "TAG[,TAG...]", help_heading = "The snapshot")]
    tag: Vec<String>,

    /// The host that the snapshot says it is of [env: RESTIC_HOST]
    #[arg(
        short = 'H',
        long,
        alias = "hostname",
        value_name = "HOST",
        help_heading = "The snapshot"
    )]
    host: Option<String>,

    /// When the snapshot says it was made, in local time, as in '2026-11-22 20:21:31'
    #[arg(long, value_name = "TIME", help_heading = "The snapshot")]
    time: Option<String>,

    /// Make no snapshot if it would be the same as its parent
    #[arg(long, help_heading = "The snapshot")]
    skip_if_unchanged: bool,

    /// Store access times too
    #[arg(long, help_heading = "The snapshot")]
    with_atime: bool,

    /// Do everything but store
    #[arg(short = 'n', long, help_heading = "The snapshot")]
    dry_run: bool,

    /// The snapshot to compare with; else the latest one of the group
    #[arg(long, value_name = "SNAPSHOT", help_heading = "What is read")]
    parent: Option<String>,

    /// Where to look for the parent: among snapshots of the same host, paths, tags
    #[arg(short, long, value_name = "GROUP", default_value = "host,paths",
          value_parser = parse_group_by, help_heading = "What is read")]
    group_by: GroupBy,

    /// Read everything again
    #[arg(short, long, help_heading = "What is read")]
    force: bool,

    /// Ignore inode numbers and times of change when comparing with the parent
    #[arg(long, help_heading = "What is read")]
    ignore_inode: bool,

    /// Ignore times of change when comparing with the parent
    #[arg(long, help_heading = "What is read")]
    ignore_ctime: bool,

    /// How many files to read at a time [env: RESTIC_READ_CONCURRENCY]
    #[arg(long, value_name = "N", help_heading = "What is read")]
    read_concurrency: Option<u32>,

    /// Do not look through all files first to tell how much there is
    #[arg(long, help_heading = "What is read")]
    no_scan: bool,
}

impl Backup {
    /// Does it.
    pub async fn run(mut self, session: &Session) -> Result {
        let has_password = session.settings.access.stored_password(&session.environment)?.is_some();
        self.check(has_password)?;
        if self.exclude_caches {
            self.exclude_if_present.push(TagFile::cache());
        }
        let patterns = self.exclude.lists(&session.environment)?;
        let concurrency = self.concurrency(&session.environment)?;
        let mut sources = Targets::default();
        if !self.reads_stream() {
            let found = self.targets.collect()?;
            for warning in &found.warnings {
                session.terminal.error(warning);
            }
            if found.paths.is_empty() {
                return Err(targets::nothing_exists());
            }
            sources = found;
        }
        let missing = sources.is_missing_any;
        let exclusions = self.exclusions(session, patterns, &sources.paths)?;
        let plan = || self.plan(session, sources.paths.clone(), exclusions.clone(), concurrency);
        let first = plan()?;
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let unreadable = if self.dry_run {
            self.back_up(session, &repository, first, read().await?).await?
        } else if self.reads_stream() {
            // A stream cannot be begun anew.
            let work = async |contents| self.back_up(session, &repository, first, contents).await;
            session.locked(&repository, Intent::Add, read, work).await?
        } else {
            let work = async |gate: Gate| {
                let repository = repository.behind(&gate);
                self.back_up(session, &repository, plan()?, read().await?).await
            };
            session.gated(&repository, Intent::Add, work).await?
        };
        if unreadable > 0 || missing { Err(Failure::incomplete()) } else { Ok(()) }
    }

    /// The filter that all the options for leaving things out amount to.
    fn exclusions(
        &self,
        session: &Session,
        patterns: Vec<PatternList>,
        paths: &[PathBuf],
    ) -> Result<Arc<Exclusions>> {
        let absolute = |path: &PathBuf| targets::absolute(path);
        let devices = match self.one_file_system {
            true => Some(Devices::of(&paths.iter().map(absolute).collect::<Vec<_>>())?),
            false => None,
        };
        let terminal = Arc::clone(&session.terminal);
        Ok(Arc::new(Exclusions {
            patterns,
            larger_than: self.exclude_larger_than,
            marks: self.exclude_if_present.iter().cloned().map(Mark::from).collect(),
            devices,
            warn: Some(Box::new(move |warning| terminal.error(warning))),
        }))
    }

    fn plan(
        &self,
        session: &Session,
        paths: Vec<PathBuf>,
        exclusions: Arc<Exclusions>,
        concurrency: Option<u32>,
    ) -> Result<archiver::Backup> {
        let mut identity = session.identity();
        let host = self.host.clone().or_else(|| session.environment.text("RESTIC_HOST"));
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            identity.hostname = host;
        }
        let mut plan = match self.reads_stream() {
            true => {
                let content = self.stream()?;
                archiver::Backup::of_stream((&self.stdin_filename).into(), content, identity)
            }
            false => archiver::Backup::of_paths(paths, identity),
        };
        if let Some(time) = &self.time {
            plan.time = Some(
                Timestamp::parse_local(time)
                    .map_err(|error| Failure::new(format_args!("--time: {error}")))?,
            );
        }
        plan.filter = exclusions;
        plan.excludes = self.exclude.remembered();
        plan.tags = self.tags();
        plan.ignored =
            Ignored { ctime: self.ignore_ctime || self.ignore_inode, inode: self.ignore_inode };
        plan.with_atime = self.with_atime;
        if let Some(files) = concurrency.filter(|&files| files > 0) {
            plan.read_concurrency = files as usize;
        }
        plan.skip_if_unchanged = self.skip_if_unchanged;
        plan.dry_run = self.dry_run;
        plan.program_version = version::NAME_AND_VERSION.to_owned();
        Ok(plan)
    }

    /// Standard input, or what a command prints.
    fn stream(&self) -> Result<Box<dyn Read + Send>> {
        if !self.stdin_from_command {
            return Ok(Box::new(std::io::stdin()));
        }
        let [program, arguments @ ..] = &self.targets.paths[..] else {
            return Err(Failure::new("--stdin-from-command needs a command to run"));
        };
        CommandOutput::start(program, arguments)
            .map(|output| Box::new(output) as Box<dyn Read + Send>)
            .map_err(|error| Failure::new(format_args!("cannot run the command: {error}")))
    }

    /// The snapshot to compare with, if there is one.
    fn find_parent(
        &self,
        plan: &archiver::Backup,
        snapshots: &[(Id, Snapshot)],
    ) -> Result<Option<(Id, Snapshot)>> {
        if self.force || self.reads_stream() {
            return Ok(None);
        }
        if let Some(parent) = &self.parent {
            return Ok(Some(resolve(snapshots, &Filter::default(), parent)?.clone()));
        }
        let time = plan.time.unwrap_or_else(Timestamp::now);
        let mut new = Snapshot::new(time, Id::default(), plan.source.recorded_paths()?);
        new.hostname.clone_from(&plan.identity.hostname);
        new.tags.clone_from(&plan.tags);
        Ok(parent_of(&new, snapshots, self.group_by).cloned())
    }

    /// Makes the backup, and gives how many files and folders could not be read.
    async fn back_up(
        &self,
        session: &Session,
        repository: &Repository,
        mut plan: archiver::Backup,
        contents: Contents,
    ) -> Result<u64> {
        let terminal = &session.terminal;
        plan.parent = self.find_parent(&plan, &contents.snapshots)?;
        match &plan.parent {
            Some((id, _)) => terminal.note(format!("using parent snapshot {}", id.short())),
            None if !self.reads_stream() => {
                terminal.note("no parent snapshot found, will read all files");
            }
            None => {}
        }
        let report = Arc::new(BackupReport::new(Arc::clone(terminal)));
        let pulse = session.pulse(&report, BackupReport::show);
        let wants_scan = !self.no_scan && terminal.verbosity() != Verbosity::Quiet;
        let scan = match &plan.source {
            archiver::Source::Paths(paths) if wants_scan => {
                Some(Scan::start(paths.clone(), Arc::clone(&plan.filter), Arc::clone(&report)))
            }
            _ => None,
        };
        let started = Instant::now();
        let progress = Arc::clone(&report);
        let outcome = plan.run(repository, contents.index, progress).await?;
        drop((scan, pulse));
        report.finish(&Summary::new(&outcome, started.elapsed(), self.dry_run));
        Ok(outcome.unreadable)
    }

    fn reads_stream(&self) -> bool {
        self.stdin || self.stdin_from_command
    }

    /// Refuses what cannot be meant.
    fn check(&self, has_password: bool) -> Result {
        if !has_password && (self.stdin || self.targets.reads_standard_input()) {
            return Err(Failure::new(
                "standard input cannot give the password and the data; give the password with \
                 --password-file, --password-command or RESTIC_PASSWORD",
            ));
        }
        if !self.reads_stream() {
            return Ok(());
        }
        if let Some(option) = self.targets.list_option() {
            return Err(Failure::new(format_args!("--stdin and {option} exclude each other")));
        }
        match (self.stdin_from_command, self.targets.paths.is_empty()) {
            (true, true) => Err(Failure::new("--stdin-from-command needs a command to run")),
            (false, false) => Err(Failure::new(
                "--stdin backs up standard input alone; take the files and folders away",
            )),
            _ => Ok(()),
        }
    }

    /// How many files to read at a time, if that is given.
    fn concurrency(&self, environment: &Environment) -> Result<Option<u32>> {
        match (self.read_concurrency, environment.text("RESTIC_READ_CONCURRENCY")) {
            (Some(given), _) => Ok(Some(given)),
            (None, None) => Ok(None),
            (None, Some(text)) => text.parse().map(Some).map_err(|_| {
                Failure::new(format_args!(
                    "RESTIC_READ_CONCURRENCY is {text:?}; a number is needed"
                ))
            }),
        }
    }

    /// All tags, in the order in which they are given.
    pub fn tags(&self) -> Vec<String> {
        TagList::flatten(&self.tag.iter().map(|list| TagList::parse(list)).collect::<Vec<_>>())
    }
}

/// Counts what there is to back up, on a thread of its own, until it is dropped.
struct Scan(Arc<AtomicBool>);

impl Scan {
    fn start(
        paths: Vec<PathBuf>,
        filter: Arc<dyn archiver::Filter>,
        report: Arc<BackupReport>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        tokio::task::spawn_blocking(move || {
            // What cannot be listed is told by the backup itself.
            let _ = archiver::scan(&paths, &*filter, &*report, &stopped);
        });
        Self(stop)
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        backup: Backup,
    }

    fn backup(arguments: &[&str]) -> Backup {
        let matches = <Line as clap::CommandFactory>::command()
            .get_matches_from(std::iter::once(&"backup").chain(arguments));
        Line::from_arg_matches(&matches).unwrap().backup
    }

    #[test]
    fn tags_are_taken_together() {
        assert_eq!(backup(&["--tag", "b, a", "--tag", "c,", "/x"]).tags(), ["b", "a", "c"]);
    }

    #[test]
    fn standard_input_gives_one_thing_only() {
        for (arguments, has_password, message) in [
            (&["--stdin"][..], false, "cannot give the password and the data"),
            (&["--files-from", "-"], false, "cannot give the password and the data"),
            (&["--stdin", "/x"], true, "standard input alone"),
            (&["--stdin", "--files-from-raw", "f"], true, "--files-from-raw exclude each other"),
            (&["--stdin-from-command"], true, "needs a command"),
        ] {
            let failure = backup(arguments).check(has_password).unwrap_err();
            assert!(failure.message().contains(message), "{arguments:?}: {failure}");
        }
        assert_eq!(backup(&["--stdin"]).check(true), Ok(()));
        assert_eq!(backup(&["--stdin-from-command", "date"]).check(true), Ok(()));
        assert_eq!(backup(&["/x"]).check(false), Ok(()));
    }

    #[test]
    fn the_concurrency_may_come_from_the_environment() {
        let four = Environment::of(&[("RESTIC_READ_CONCURRENCY", "4")]);
        assert_eq!(backup(&["/x"]).concurrency(&four), Ok(Some(4)));
        assert_eq!(backup(&["/x", "--read-concurrency", "8"]).concurrency(&four), Ok(Some(8)));
        let many = Environment::of(&[("RESTIC_READ_CONCURRENCY", "many")]);
        assert!(backup(&["/x"]).concurrency(&many).is_err());
    }
}
