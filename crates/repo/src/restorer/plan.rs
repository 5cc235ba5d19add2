//! What is to be restored, batch by batch.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::node::{Name, Node, NodeType};
use crate::repository::Repository;
use crate::restorer::{RestoredFile, Site, State, Step, check_reachable};
use crate::walk::{self, Walk};

/// How many steps a batch has.
const BATCH_STEPS: usize = 8192;
/// How many blobs its files have, unless it is a single file.
const BATCH_BLOBS: usize = 256 << 10;

/// Walks through the snapshot, and picks what the filter selects. It does not look at the target.
pub(super) struct Planner {
    site: Arc<Site>,
    repository: Repository,
    walk: Walk,
    /// The folders that the walk is inside of, outermost first.
    inside: Vec<Frame>,
    /// The first name of each file that has several.
    first_names: HashMap<FileKey, PathBuf>,
}

struct Frame {
    path: PathBuf,
    node: Option<Box<Node>>,
    /// Whether it will be there: because it is selected, or something in it.
    is_made: bool,
    /// Whether it is passed over, with all that is in it.
    is_refused: bool,
    /// What the snapshot has in it, if that must be known.
    names: Option<HashSet<Name>>,
    /// The last name in it.
    last: Option<Name>,
}

/// What makes two nodes the same file: inode, device, and content. The content must be asked for: where
/// a program stored no device, two files may have the same inode.
#[derive(PartialEq, Eq, Hash)]
struct FileKey(u64, u64, Id);

impl Frame {
    /// Refuses names that would lead elsewhere, and the second of two equal ones: two things at the same
    /// place would be mixed up.
    fn check_name(&mut self, path: &Path, name: &Name) -> Result<(), Option<Error>> {
        if !name.is_safe() {
            return Err(Some(Error::UnsafeName { name: name.as_os_str().into() }));
        }
        if self.last.as_ref() == Some(name) {
            return Err(Some(Error::mismatch(path, "the name comes twice in its folder")));
        }
        self.last = Some(name.clone());
        if let Some(names) = &mut self.names {
            names.insert(name.clone());
        }
        Ok(())
    }
}

impl Planner {
    pub fn new(site: &Arc<Site>, repository: &Repository, index: Arc<Index>, tree: Id) -> Self {
        let filter = Arc::clone(&site.options.filter);
        let walk = Walk::new(repository, index, tree, Path::new("/"))
            .descend_if(move |path, node| node.name.is_safe() && filter.choose(path, true).descend);
        let mut planner = Self {
            site: Arc::clone(site),
            repository: repository.clone(),
            walk,
            inside: Vec::new(),
            first_names: HashMap::new(),
        };
        planner.go_inside(PathBuf::from("/"), None, true);
        planner
    }

    /// What is to be done next; nothing at the end.
    ///
    /// # Errors
    /// Only that the repository cannot be reached any more.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Step>>> {
        let mut steps = Vec::new();
        let mut blobs = 0;
        while steps.len() < BATCH_STEPS && blobs < BATCH_BLOBS {
            let Some(step) = self.walk.next().await else { break };
            match step {
                walk::Step::Entry { path, node, is_entered } => {
                    let before = steps.len();
                    self.entry(&mut steps, path, node, is_entered);
                    if let Some(Step::File(file)) = steps[before..].last() {
                        blobs += file.content.len();
                    }
                }
                walk::Step::Unreadable { path, error } => {
                    let error = check_reachable(&self.repository, error).await?;
                    self.site.not_restored(&path, &error);
                    // What should be in it is not known, so nothing in it is to be removed.
                    if let Some(frame) = self.inside.last_mut() {
                        frame.names = None;
                    }
                }
                walk::Step::Leave { path } => {
                    if let Some(Frame { node, names, is_made: true, .. }) = self.inside.pop() {
                        steps.push(Step::Leave { path, node, names });
                    }
                }
            }
        }
        Ok(if steps.is_empty() { None } else { Some(steps) })
    }

    fn go_inside(&mut self, path: PathBuf, node: Option<Box<Node>>, is_made: bool) {
        let names = self.site.options.delete.then(HashSet::new);
        self.inside.push(Frame { path, node, is_made, is_refused: false, names, last: None });
    }

    fn entry(&mut self, steps: &mut Vec<Step>, path: PathBuf, node: Box<Node>, is_entered: bool) {
        let is_folder = node.node_type == NodeType::Dir;
        let choice = self.site.options.filter.choose(&path, is_folder);
        let checked = match self.inside.last_mut() {
            Some(frame) if !frame.is_refused => frame.check_name(&path, &node.name),
            _ => Err(None),
        };
        if let Err(error) = checked {
            if let Some(error) = error
                && choice.selected
            {
                self.site.not_restored(&path, &error);
            }
            if is_entered {
                let (node, names, last) = (None, None, None);
                let frame = Frame { path, node, is_made: false, is_refused: true, names, last };
                self.inside.push(frame);
            }
            return;
        }
        if is_folder {
            self.go_inside(path.clone(), Some(node), false);
            if choice.selected {
                self.make_folders(steps);
            }
            if !is_entered && let Some(Frame { node, is_made: true, .. }) = self.inside.pop() {
                steps.push(Step::Leave { path, node, names: None });
            }
        } else if choice.selected {
            match self.plan(path.clone(), node) {
                Ok(Some(step)) => {
                    self.make_folders(steps);
                    steps.push(step);
                }
                Ok(None) => {}
                Err(error) => self.site.not_restored(&path, &error),
            }
        }
    }

    /// The folders that the walk is inside of are needed.
    fn make_folders(&mut self, steps: &mut Vec<Step>) {
        for frame in self.inside.iter_mut().filter(|frame| !frame.is_made) {
            frame.is_made = true;
            steps.push(Step::Enter { path: frame.path.clone() });
        }
    }

    fn plan(&mut self, path: PathBuf, mut node: Box<Node>) -> Result<Option<Step>> {
        match node.node_type {
            NodeType::File => {}
            NodeType::Socket => return Ok(None),
            _ => return Ok(Some(Step::Other { path, node })),
        }
        let missing = || Error::mismatch(&path, "it is a file without a list of its content");
        let content = node.content.take().ok_or_else(missing)?;
        if node.links > 1 {
            let ids: Vec<u8> = content.iter().flat_map(|id| *id.as_bytes()).collect();
            let key = FileKey(node.inode, node.device_id, Id::of(&ids));
            if let Some(first) = self.first_names.get(&key) {
                return Ok(Some(Step::Link { path, node, first: first.clone() }));
            }
            self.first_names.insert(key, path.clone());
        }
        Ok(Some(Step::File(RestoredFile { path, node, content, state: State::Planned })))
    }
}
