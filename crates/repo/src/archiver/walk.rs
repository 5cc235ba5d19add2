//! The way through everything that is to be backed up, one entry at a time.

use std::collections::btree_map;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archiver::Surroundings;
use crate::archiver::folder::Folder;
use crate::archiver::targets::{Target, Targets, list};
use crate::error::{Error, Result};
use crate::node::{Name, Node};
use crate::tree::Tree;

/// Where the backup has got to. Workers take the next step under a mutex, so only what finds the way is
/// done here: folders are listed and looked at; everything else is left to whoever took the step.
pub(super) struct Walk {
    stack: Vec<Frame>,
}

/// A folder that is being walked through.
struct Frame {
    folder: Arc<Folder>,
    entries: Entries,
}

enum Entries {
    /// Everything in a folder of the file system.
    Listed { path: PathBuf, names: std::vec::IntoIter<OsString> },
    /// A folder put together from targets.
    Targets(btree_map::IntoIter<OsString, Target>),
}

/// What there is to do next.
pub(super) enum Step {
    /// Back up an entry that is no folder.
    Leaf(Leaf),
    /// Finish a folder: everything in it is there.
    Close(Arc<Folder>),
}

/// An entry that is no folder, as far as the walk knows.
pub(super) struct Leaf {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the snapshot.
    pub name: OsString,
    /// Where it goes. It is awaited there.
    pub folder: Arc<Folder>,
}

impl Leaf {
    /// The path in the snapshot.
    pub fn snapshot_path(&self) -> PathBuf {
        self.folder.path.join(&self.name)
    }
}

impl Walk {
    /// A walk that begins at the top. `before` is the top of the parent snapshot.
    pub fn new(targets: Targets, before: Option<Tree>) -> (Self, Arc<Folder>) {
        let top = Arc::new(Folder::new(PathBuf::from("/"), None, None, None, before));
        let entries = Entries::Targets(targets.entries.into_iter());
        (Self { stack: vec![Frame { folder: Arc::clone(&top), entries }] }, top)
    }

    /// The next step, or nothing at the end.
    ///
    /// # Errors
    /// Only what ends the backup: the parent snapshot's trees are not to be had.
    pub fn next(&mut self, surroundings: &Surroundings) -> Result<Option<Step>> {
        loop {
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            let folder = Arc::clone(&frame.folder);
            let entry = match &mut frame.entries {
                Entries::Listed { path, names } => {
                    names.next().map(|name| (Target::Whole(path.join(&name)), name))
                }
                Entries::Targets(targets) => targets.next().map(|(name, target)| (target, name)),
            };
            let Some((target, name)) = entry else {
                self.stack.pop();
                if folder.arrive(None) {
                    return Ok(Some(Step::Close(folder)));
                }
                continue;
            };
            match target {
                Target::Parent(path, below) => {
                    let below = Entries::Targets(below.entries.into_iter());
                    match surroundings.nodes.read_following(&path) {
                        // As in restic, what such a folder does not tell of itself is no fault.
                        Ok(Some(reading)) => {
                            let node = Node { name: Name::from(&*name), ..reading.node };
                            self.enter(surroundings, folder, name, node, below)?;
                        }
                        Ok(None) => {}
                        Err(error) => surroundings.unreadable(&path, error),
                    }
                }
                Target::Whole(path) => {
                    if !surroundings.filter.by_name(&path) {
                        continue;
                    }
                    let is_target = matches!(
                        self.stack.last(),
                        Some(Frame { entries: Entries::Targets(_), .. })
                    );
                    if let Some(leaf) = self.look_at(surroundings, folder, path, name, is_target)? {
                        return Ok(Some(Step::Leaf(leaf)));
                    }
                }
            }
        }
    }

    /// Enters a folder; hands out anything else.
    fn look_at(
        &mut self,
        surroundings: &Surroundings,
        folder: Arc<Folder>,
        path: PathBuf,
        name: OsString,
        is_target: bool,
    ) -> Result<Option<Leaf>> {
        match is_folder(&path) {
            Ok(true) => {}
            Ok(false) => {
                folder.expect_one();
                return Ok(Some(Leaf { path, name, folder }));
            }
            // It was listed, and has gone since: that is no error.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_target => return Ok(None),
            Err(error) => {
                surroundings.unreadable(&path, Error::io("look at", &path, error));
                return Ok(None);
            }
        }
        let reading = match surroundings.nodes.read(&path) {
            Ok(Some(reading)) => reading,
            Ok(None) => return Ok(None),
            Err(error) => {
                surroundings.unreadable(&path, error);
                return Ok(None);
            }
        };
        if !surroundings.filter.by_node(&path, &reading.node) {
            return Ok(None);
        }
        match list(&path) {
            Ok(names) => {
                let node = surroundings.node(reading, &name);
                let entries = Entries::Listed { path, names: names.into_iter() };
                self.enter(surroundings, folder, name, node, entries)?;
            }
            Err(error) => surroundings.unreadable(&path, error),
        }
        Ok(None)
    }

    fn enter(
        &mut self,
        surroundings: &Surroundings,
        parent: Arc<Folder>,
        name: OsString,
        node: Node,
        entries: Entries,
    ) -> Result<()> {
        let before = parent.entry_before(name.as_bytes()).cloned();
        let tree_before = match before.as_ref().and_then(|node| node.subtree) {
            Some(id) => surroundings.load_tree(id)?,
            None => None,
        };
        parent.expect_one();
        let path = parent.path.join(&name);
        let folder = Folder::new(path, Some(node), Some(parent), before, tree_before);
        self.stack.push(Frame { folder: Arc::new(folder), entries });
        Ok(())
    }
}

fn is_folder(path: &Path) -> io::Result<bool> {
    Ok(path.symlink_metadata()?.is_dir())
}
