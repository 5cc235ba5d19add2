//! `backup`

use std::sync::Arc;

use clap::Args;
use restic_repo::snapshot::{GroupBy, TagList};

use crate::environment::Environment;
use crate::exclusions::TagFile;
use crate::exit::{Failure, Result};
use crate::patterns::ExcludeArgs;
use crate::report::backup::BackupReport;
use crate::selection::parse_group_by;
use crate::session::Session;
use crate::size;
use crate::targets::{self, TargetArgs};

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
        self.exclude.lists(&session.environment)?;
        self.concurrency(&session.environment)?;
        if !self.reads_stream() {
            let found = self.targets.collect()?;
            for warning in &found.warnings {
                session.terminal.error(warning);
            }
            if found.paths.is_empty() {
                return Err(targets::nothing_exists());
            }
        }
        let _report = BackupReport::new(Arc::clone(&session.terminal));
        session.open().await
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
