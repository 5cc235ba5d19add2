//! `ls`

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use restic_repo::Id;
use restic_repo::node::NodeType;
use restic_repo::repository::Repository;
use restic_repo::snapshot::Snapshot;
use restic_repo::time::Zone;
use restic_repo::walk::{self, Step, Walk};

use crate::exit::{Failure, Result};
use crate::report::json;
use crate::report::listing::{Detail, Entry, JsonHeader, JsonNode, SortBy, line};
use crate::report::ncdu::Export;
use crate::report::snapshots::{WithId, describe};
use crate::report::terminal::Terminal;
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session, find_snapshot};

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
        let repository = session.open().await?;
        let read = async || session.contents(&repository).await;
        let list = async |contents| self.list(session, &repository, contents).await;
        session.locked(&repository, Intent::Read, read, list).await
    }

    async fn list(
        &self,
        session: &Session,
        repository: &Repository,
        Contents { snapshots, index }: Contents,
    ) -> Result {
        let filter = self.selection.clone().resolve(&session.environment);
        let query = self.snapshot.as_deref().unwrap_or_default();
        let (snapshot, folder) = find_snapshot(&snapshots, &filter, query)?;
        let top = Path::new("/").join(folder);
        let index = Arc::new(index);
        let node = walk::find_path(repository, &index, snapshot.1.tree, &top).await?;
        let tree = walk::subtree(&node, &top)?;
        let folders = Folders { list: self.folders.clone(), recursive: self.recursive };
        let entered = folders.clone();
        let mut walk = Walk::new(repository, index, tree, Path::new("/"))
            .descend_if(move |path, _| entered.enters(&path.to_string_lossy()));

        let terminal = &session.terminal;
        let mut output = Output::new(self, terminal, snapshot);
        let mut failed = false;
        while let Some(step) = walk.next().await {
            match step {
                Step::Entry { path, node, is_entered } => {
                    let shown = folders.shows(&path.to_string_lossy());
                    let entry = Entry { path: path.into_os_string().into_vec(), node: *node };
                    output.entry(entry, shown, is_entered);
                }
                Step::Unreadable { path, error } => {
                    failed = true;
                    terminal.error(format!("cannot list {}: {error}", path.display()));
                }
                Step::Leave { path } => output.leave(&path),
            }
        }
        output.end();
        match failed {
            true => Err(Failure::new("some folders could not be listed; see the messages above")),
            false => Ok(()),
        }
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
}

/// The folders whose content is asked for; all, if none is named.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    list: Vec<String>,
    recursive: bool,
}

impl Folders {
    /// Whether a path is shown: it is one of the folders, or in one.
    pub fn shows(&self, path: &str) -> bool {
        self.list.is_empty() || self.list.iter().any(|folder| is_within(folder, path))
    }

    /// Whether to look into a folder: what is shown may be deeper.
    pub fn enters(&self, path: &str) -> bool {
        self.list.is_empty()
            || self.recursive && self.shows(path)
            || self.list.iter().any(|folder| is_within(path, folder))
    }
}

/// Prints what is found, or keeps it until it can be sorted.
struct Output<'a> {
    terminal: &'a Terminal,
    detail: Detail,
    sort: SortBy,
    reverse: bool,
    /// Where the order is not that of the walk.
    kept: Option<Vec<Entry>>,
    export: Option<Export>,
}

impl<'a> Output<'a> {
    fn new(ls: &Ls, terminal: &'a Terminal, snapshot: &(Id, Snapshot)) -> Self {
        let is_sorted = ls.sort != SortBy::Name || ls.reverse;
        let mut export = ls.ncdu.then(Export::default);
        if let Some(export) = &mut export {
            let header = json::line(&WithId::from(snapshot));
            terminal.print_one_of_many(export.begin(&header));
        } else if terminal.is_json() {
            terminal.print_json(&JsonHeader::from(snapshot));
        } else {
            let suffix = match ls.folders.is_empty() {
                true => String::new(),
                false => format!(" filtered by [{}]", ls.folders.join(" ")),
            };
            terminal.note(format!("{}{suffix}:", describe(snapshot)));
        }
        Self {
            terminal,
            detail: Detail { long: ls.long, human_readable: ls.human_readable },
            sort: ls.sort,
            reverse: ls.reverse,
            kept: is_sorted.then(Vec::new),
            export,
        }
    }

    fn entry(&mut self, entry: Entry, shown: bool, is_entered: bool) {
        if let Some(export) = &mut self.export {
            // A list that was opened must be closed, so folders count if they are gone into.
            if shown || is_entered {
                self.terminal.print_one_of_many(export.entry(&entry));
                if entry.node.node_type == NodeType::Dir && !is_entered {
                    self.terminal.print_one_of_many(export.leave());
                }
            }
        } else if !shown {
        } else if let Some(kept) = &mut self.kept {
            kept.push(entry);
        } else {
            self.print(&entry);
        }
    }

    fn leave(&mut self, path: &Path) {
        if let Some(export) = &mut self.export
            && path != Path::new("/")
        {
            self.terminal.print_one_of_many(export.leave());
        }
    }

    fn end(mut self) {
        if let Some(export) = &self.export {
            self.terminal.print_one_of_many(export.end());
        }
        let Some(mut kept) = self.kept.take() else { return };
        self.sort.sort(&mut kept);
        if self.reverse {
            kept.reverse();
        }
        for entry in &kept {
            self.print(entry);
        }
    }

    fn print(&self, entry: &Entry) {
        match self.terminal.is_json() {
            true => self.terminal.print_one_of_many(json::line(&JsonNode::from(entry))),
            false => self.terminal.print_one_of_many(line(entry, self.detail, Zone::local())),
        }
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

    fn folders(list: &[&str], recursive: bool) -> Folders {
        Folders { list: list.iter().map(|&folder| folder.to_owned()).collect(), recursive }
    }

    #[test]
    fn a_folder_shows_itself_and_what_is_in_it() {
        let flat = folders(&["/srv/one"], false);
        assert!(!flat.shows("/srv") && flat.enters("/srv"));
        assert!(flat.shows("/srv/one") && flat.enters("/srv/one"));
        assert!(flat.shows("/srv/one/a") && !flat.enters("/srv/one/a"));
        assert!(!flat.shows("/srv/onetwo") && !flat.enters("/srv/onetwo"));
        assert!(folders(&["/srv/one"], true).enters("/srv/one/a"));
        let all = folders(&[], false);
        assert!(all.shows("/srv") && all.enters("/srv/a/b"));
        let root = folders(&["/"], false);
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
