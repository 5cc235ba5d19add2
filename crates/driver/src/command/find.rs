//! `find`

use std::sync::Arc;

use clap::Args;
use restic_repo::filter::{Case, PatternList};
use restic_repo::find::{Found, Objects, Wanted, find_nodes, find_objects};
use restic_repo::index::Index;
use restic_repo::repository::Repository;
use restic_repo::snapshot::sort_newest_first;
use restic_repo::time::Timestamp;
use restic_repo::{Error, FileType};

use crate::command::snapshots::choose;
use crate::exit::{Failure, Result};
use crate::report::find::{Places, place_of};
use crate::report::listing::Detail;
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session};

/// Finds files and folders in snapshots, or the snapshots that hold a blob.
#[derive(Args, Debug)]
pub struct Find {
    /// Names or paths, with wildcards; or the beginnings of ids, see below
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Only this snapshot, by the beginning of its id, or latest; repeat for several
    #[arg(short, long, value_name = "SNAPSHOT")]
    snapshot: Vec<String>,

    /// Only what was modified at that time or later, as in "2026-11-23 10:00"
    #[arg(short = 'O', long, value_name = "TIME")]
    oldest: Option<String>,

    /// Only what was modified at that time or earlier
    #[arg(short = 'N', long, value_name = "TIME")]
    newest: Option<String>,

    /// Upper and lower case are alike
    #[arg(short, long)]
    ignore_case: bool,

    /// Begin with the oldest snapshot
    #[arg(short = 'R', long)]
    reverse: bool,

    /// Show mode, owner, size and time too
    #[arg(short, long)]
    long: bool,

    /// Show sizes with units
    #[arg(long)]
    human_readable: bool,

    /// The patterns are ids of data blobs
    #[arg(long, help_heading = "Ids")]
    blob: bool,

    /// The patterns are ids of trees
    #[arg(long, help_heading = "Ids")]
    tree: bool,

    /// The patterns are ids of packs
    #[arg(long, help_heading = "Ids")]
    pack: bool,

    /// Show which packs hold the blobs or trees
    #[arg(long, help_heading = "Ids")]
    show_pack_id: bool,
}

impl Find {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        if self.patterns.is_empty() {
            return Err(Failure::new("wrong number of arguments: name what is to be found"));
        }
        let wanted = self.wanted()?;
        if [self.blob, self.tree, self.pack].into_iter().filter(|&given| given).count() > 1 {
            return Err(Failure::new("cannot have several ID types: --blob, --tree, --pack"));
        }
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let find = async |contents| self.find(session, &repository, contents, &wanted).await;
        session.locked(&repository, Intent::Read, read, find).await
    }

    fn wanted(&self) -> Result<Wanted> {
        let case = if self.ignore_case { Case::Insensitive } else { Case::Sensitive };
        let looks_for_ids = self.blob || self.tree || self.pack;
        let patterns = if looks_for_ids { &[] } else { &self.patterns[..] };
        let time = |text: &Option<String>| text.as_deref().map(parse_time).transpose();
        let (oldest, newest) = (time(&self.oldest)?, time(&self.newest)?);
        if let (Some(oldest), Some(newest)) = (oldest, newest)
            && oldest > newest
        {
            return Err(Failure::new("--oldest must specify a time before --newest"));
        }
        let patterns = PatternList::parse(patterns, case).map_err(Failure::new)?;
        Ok(Wanted { patterns, oldest, newest })
    }

    async fn find(
        &self,
        session: &Session,
        repository: &Repository,
        Contents { snapshots, index }: Contents,
        wanted: &Wanted,
    ) -> Result {
        let terminal = &session.terminal;
        let filter = self.selection.clone().resolve(&session.environment);
        let mut objects = self.objects(&index)?;
        let index = Arc::new(index);
        let mut chosen = choose(terminal, &snapshots, &filter, &self.snapshot);
        sort_newest_first(&mut chosen);
        if self.reverse {
            chosen.reverse();
        }
        let detail = Detail { long: self.long, human_readable: self.human_readable };
        let mut places = Places::new(terminal, detail);
        for snapshot in &chosen {
            let mut found = |found: Found| places.found(snapshot, found);
            let tree = snapshot.1.tree;
            match &mut objects {
                Some(objects) => {
                    find_objects(repository, &index, tree, objects, &mut found).await;
                }
                None => find_nodes(repository, &index, tree, wanted, &mut found).await,
            }
        }
        places.end();
        if let Some(objects) = objects.filter(|_| self.show_pack_id && !terminal.is_json()) {
            for blob in objects.known() {
                terminal.print(place_of(&blob, index.lookup(&blob).next()));
            }
        }
        Ok(())
    }

    /// The ids that are looked for, if it is ids.
    fn objects(&self, index: &Index) -> Result<Option<Objects>> {
        let ids = self.patterns.iter().map(|id| id.to_ascii_lowercase());
        Ok(match (self.blob, self.tree, self.pack) {
            (true, ..) => Some(Objects::blobs(ids)),
            (_, true, _) => Some(Objects::trees(ids)),
            (.., true) => {
                let packs: Vec<String> = ids.collect();
                let found = Objects::of_packs(index, &packs).map_err(|error| match error {
                    Error::NoMatch { file_type: FileType::Pack, query } => {
                        Failure::new(format_args!("unable to find pack(s): [{query}]"))
                    }
                    error => error.into(),
                });
                Some(found?)
            }
            _ => None,
        })
    }
}

/// A time as restic's `find` takes it: a date, as 2026-11-23 or 23.11.2026, and maybe a time of day and
/// an offset after it.
fn parse_time(text: &str) -> Result<Timestamp> {
    let parsed = normalized(text).and_then(|text| Timestamp::parse_local(&text).ok());
    parsed.ok_or_else(|| Failure::new(format_args!("unable to parse time: {text:?}")))
}

/// The same time in a form that [`Timestamp::parse_local`] knows.
fn normalized(text: &str) -> Option<String> {
    let mut words = text.split(' ');
    let mut date = words.next()?.to_owned();
    if let [day, month, year] = date.split('.').collect::<Vec<_>>()[..] {
        date = format!("{year}-{month}-{day}");
    }
    let Some(clock) = words.next() else { return Some(date) };
    let clock = match clock.len() {
        5 => format!("{clock}:00"),
        _ => clock.to_owned(),
    };
    let normalized = match words.next() {
        None => format!("{date} {clock}"),
        Some("UTC" | "GMT") => format!("{date}T{clock}Z"),
        Some(offset) => {
            let (hours, minutes) = offset.split_at_checked(3)?;
            format!("{date}T{clock}{hours}:{minutes}")
        }
    };
    words.next().is_none().then_some(normalized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_restic_does() {
        for (text, same) in [
            ("2026-11-23 10:30", "2026-11-23 10:30:00"),
            ("23.11.2026", "2026-11-23"),
            ("23.11.2026 10:30:15", "2026-11-23 10:30:15"),
            ("2026-11-23 10:30:15 +0100", "2026-11-23T10:30:15+01:00"),
            ("2026-11-23 10:30:15 UTC", "2026-11-23T10:30:15Z"),
        ] {
            let same = Timestamp::parse_local(same).unwrap();
            assert!(parse_time(text).unwrap().is_identical(&same), "{text}");
        }
        for text in ["", "foo", "2026", "2026-11-23 10", "2026-11-23 10:30:15 x y", "1.2"] {
            let message = parse_time(text).unwrap_err().message().to_owned();
            assert_eq!(message, format!("Fatal: unable to parse time: {text:?}"));
        }
    }
}
