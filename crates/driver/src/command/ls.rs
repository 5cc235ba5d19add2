//! `ls`

use clap::Args;

use crate::exit::{Failure, Result};
use crate::report::listing::SortBy;
use crate::selection::SelectionArgs;
use crate::session::Session;

/// Lists the files in a snapshot.
#[derive(Args, Debug)]
pub struct Ls {
    /// The snapshot: the beginning of its id, or latest; a folder in it may follow, as in latest:srv
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,

    /// Only what is in these folders
    #[arg(value_name = "FOLDER")]
    folders: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Show mode, owner, size and time too
    #[arg(short, long)]
    long: bool,

    /// Show what is in folders of these folders too
    #[arg(long)]
    recursive: bool,

    /// Show sizes with units
    #[arg(long)]
    human_readable: bool,

    /// Write the export format of ncdu, for `ncdu -f -`
    #[arg(long)]
    ncdu: bool,

    /// Sort by name, size, time (or mtime), atime, ctime, extension
    #[arg(short, long, value_name = "BY", default_value = "name", value_parser = SortBy::parse)]
    sort: SortBy,

    /// The other way round
    #[arg(long)]
    reverse: bool,
}

impl Ls {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        self.check(session.terminal.is_json())?;
        session.open().await
    }

    fn check(&self, as_json: bool) -> Result {
        if self.snapshot.is_none() {
            return Err(Failure::new("no snapshot is given; name one by its id, or say latest"));
        }
        if self.ncdu && (as_json || self.reverse || self.sort != SortBy::Name) {
            return Err(Failure::new("--ncdu excludes --json, --sort and --reverse"));
        }
        if let Some(folder) = self.folders.iter().find(|folder| !folder.starts_with('/')) {
            return Err(Failure::new(format_args!(
                "{folder:?} is no absolute path; write the path in the snapshot, from / on"
            )));
        }
        Ok(())
    }

    /// Whether a path is shown: it is one of the folders, or in one.
    pub fn shows(&self, path: &str) -> bool {
        self.folders.is_empty() || self.folders.iter().any(|folder| is_within(folder, path))
    }

    /// Whether to look into a folder: what is shown may be deeper.
    pub fn enters(&self, path: &str) -> bool {
        self.folders.is_empty()
            || self.recursive && self.shows(path)
            || self.folders.iter().any(|folder| is_within(path, folder))
    }
}

/// Whether a path is this folder or in it.
fn is_within(folder: &str, path: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ls(folders: &[&str], recursive: bool) -> Ls {
        Ls {
            snapshot: Some("latest".into()),
            folders: folders.iter().map(|&folder| folder.to_owned()).collect(),
            selection: SelectionArgs::default(),
            long: false,
            recursive,
            human_readable: false,
            ncdu: false,
            sort: SortBy::Name,
            reverse: false,
        }
    }

    #[test]
    fn a_folder_shows_itself_and_what_is_in_it() {
        let flat = ls(&["/srv/one"], false);
        assert!(!flat.shows("/srv") && flat.enters("/srv"));
        assert!(flat.shows("/srv/one") && flat.enters("/srv/one"));
        assert!(flat.shows("/srv/one/a") && !flat.enters("/srv/one/a"));
        assert!(!flat.shows("/srv/onetwo") && !flat.enters("/srv/onetwo"));
        assert!(ls(&["/srv/one"], true).enters("/srv/one/a"));
        let all = ls(&[], false);
        assert!(all.shows("/srv") && all.enters("/srv/a/b"));
        let root = ls(&["/"], false);
        assert!(root.shows("/srv") && !root.enters("/srv"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(ls(&["srv"], false).check(false).is_err());
        assert!(Ls { snapshot: None, ..ls(&[], false) }.check(false).is_err());
        assert!(Ls { ncdu: true, ..ls(&[], false) }.check(true).is_err());
        assert!(Ls { ncdu: true, reverse: true, ..ls(&[], false) }.check(false).is_err());
        assert_eq!(Ls { ncdu: true, ..ls(&["/srv"], false) }.check(false), Ok(()));
    }
}
