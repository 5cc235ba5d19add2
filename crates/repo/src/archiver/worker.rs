//! What each worker thread of a backup does.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::archiver::file::{Cut, OpenFile, Rest, Room};
use crate::archiver::folder::Folder;
use crate::archiver::jobs::{Job, Jobs};
use crate::archiver::walk::Leaf;
use crate::archiver::{Surroundings, lock};
use crate::blob::{BlobHandle, BlobType};
use crate::chunker::{self, Chunker, Cutter, FileSource, Source};
use crate::codec::Encoder;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::node::{Node, NodeType};
use crate::packer::{Packer, Saved};
use crate::progress::{Item, ItemAction, Phase};
use crate::sha256;
use crate::snapshot::Summary;
use crate::tree::Tree;

/// A backup under way, as its workers see it.
pub(super) struct Work {
    surroundings: Surroundings,
    chunker: Arc<Chunker>,
    packer: Arc<Packer>,
    jobs: Jobs,
    counts: Mutex<Summary>,
    tree: Mutex<Option<Id>>,
    failure: Mutex<Option<Error>>,
    /// Set when it is over before its time.
    pub stop: Arc<AtomicBool>,
}

/// What a worker uses again and again.
struct Tools {
    encoder: Encoder,
    room: Room,
    sealed: Vec<u8>,
}

/// What the workers achieved.
pub(super) struct Achieved {
    /// The top of the snapshot, unless there is nothing in it.
    pub tree: Option<Id>,
    /// Counts of files and folders; the rest is left at zero.
    pub counts: Summary,
    /// How many files and folders could not be read.
    pub unreadable: u64,
}

impl Work {
    pub fn new(
        surroundings: Surroundings,
        chunker: Arc<Chunker>,
        packer: Arc<Packer>,
        jobs: Jobs,
    ) -> Self {
        Self {
            surroundings,
            chunker,
            packer,
            jobs,
            counts: Mutex::default(),
            tree: Mutex::default(),
            failure: Mutex::default(),
            stop: Arc::default(),
        }
    }

    /// What was achieved, and what ended it if that was before its time.
    pub fn into_result(self) -> (Option<Error>, Achieved) {
        let achieved = Achieved {
            tree: *lock(&self.tree),
            counts: std::mem::take(&mut *lock(&self.counts)),
            unreadable: self.surroundings.unreadable.load(Ordering::Relaxed),
        };
        (lock(&self.failure).take(), achieved)
    }

    /// Works until there is nothing left to do.
    pub fn run(&self) {
        let worked = self.surroundings.repository.encoder().and_then(|encoder| {
            self.work(&mut Tools { encoder, room: Room::default(), sealed: Vec::new() })
        });
        if let Err(error) = worked {
            self.stop.store(true, Ordering::Relaxed);
            // The first is the cause; others follow from it.
            lock(&self.failure).get_or_insert(error);
        }
    }

    fn work(&self, tools: &mut Tools) -> Result<()> {
        while !self.stopped() {
            match self.jobs.next(&self.surroundings)? {
                Some(Job::Read(file)) => self.read(&file, tools)?,
                Some(Job::Begin(leaf)) => {
                    // Answered in any case: others wait for it.
                    let begun = self.begin(leaf, tools);
                    self.jobs.began(begun.as_ref().ok().cloned().flatten());
                    if let Some(file) = begun? {
                        self.read(&file, tools)?;
                    }
                }
                Some(Job::Close(folder)) => self.close(folder, tools)?,
                None => break,
            }
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Stores chunks of a file until there is none left.
    fn read(&self, file: &Arc<OpenFile>, tools: &mut Tools) -> Result<()> {
        while !self.stopped() && self.store_some(file, tools)? {}
        Ok(())
    }

    /// Begins with an entry that is no folder. A file that has to be read is given back.
    fn begin(&self, leaf: Leaf, tools: &mut Tools) -> Result<Option<Arc<OpenFile>>> {
        match self.look_at(&leaf) {
            Ok(Some((node, Some(file)))) => self.open_file_at(leaf, node, file, tools),
            Ok(Some((node, None))) => {
                self.arrive(&leaf.folder, Some(node), tools)?;
                Ok(None)
            }
            Ok(None) => {
                self.arrive(&leaf.folder, None, tools)?;
                Ok(None)
            }
            Err(error) => {
                if !has_vanished(&error) {
                    self.surroundings.unreadable(&leaf.path, error);
                }
                self.arrive(&leaf.folder, None, tools)?;
                Ok(None)
            }
        }
    }

    /// The node, and for a regular file the file. Nothing for what is left out.
    fn look_at(&self, leaf: &Leaf) -> Result<Option<(Node, Option<File>)>> {
        let path = &leaf.path;
        let surroundings = &self.surroundings;
        let Some(reading) = surroundings.nodes.read(path)? else { return Ok(None) };
        if !surroundings.filter.by_node(path, &reading.node) {
            return Ok(None);
        }
        if reading.node.node_type != NodeType::File {
            return Ok(Some((surroundings.node(reading, &leaf.name), None)));
        }
        let file = open_for_reading(path)?;
        // What was opened counts, should it have been replaced since.
        match surroundings.nodes.read_open(&file, path)? {
            Some(reading) if reading.node.node_type == NodeType::File => {
                Ok(Some((surroundings.node(reading, &leaf.name), Some(file))))
            }
            _ => Err(Error::io("open", path, std::io::Error::other("it is no longer a file"))),
        }
    }

    fn open_file_at(
        &self,
        leaf: Leaf,
        mut node: Node,
        file: File,
        tools: &mut Tools,
    ) -> Result<Option<Arc<OpenFile>>> {
        let before = leaf.folder.entry_before(leaf.name.as_bytes()).cloned();
        if let Some(before) = &before
            && node.unchanged_since(before, self.surroundings.ignored)
            && self.has_all(before.content.as_deref())
        {
            node.content.clone_from(&before.content);
            node.size = before.size;
            self.surroundings.progress.advance(Phase::BackupBytes, node.size);
            self.report(&leaf, &node, ItemAction::Unmodified, 0, 0);
            self.count(|counts| counts.files_unmodified += 1, node.size);
            self.arrive(&leaf.folder, Some(node), tools)?;
            return Ok(None);
        }
        self.report(&leaf, &node, ItemAction::Started, 0, 0);
        let source: Box<dyn Source + Send> = Box::new(FileSource::new(file));
        let cutter = Cutter::new(source, Arc::clone(&self.chunker));
        Ok(Some(Arc::new(OpenFile::new(leaf, node, before, cutter))))
    }

    fn has_all(&self, content: Option<&[Id]>) -> bool {
        let index = self.packer.index();
        content.is_some_and(|ids| ids.iter().all(|id| index.contains(&BlobHandle::data(*id))))
    }

    /// Cuts off and stores the next chunks of a file. False once there are none.
    fn store_some(&self, file: &Arc<OpenFile>, tools: &mut Tools) -> Result<bool> {
        let Tools { encoder, room, sealed } = tools;
        let Cut { chunks, zeros, rest } = file.cut(room);
        let contents: Vec<&[u8]> =
            chunks.iter().zip(room).map(|((_, length), buffer)| &buffer[..*length]).collect();
        let ids = sha256::ids_of(&contents);
        for (((at, _), chunk), id) in chunks.into_iter().zip(contents).zip(ids) {
            let saved = self.packer.save(encoder, BlobHandle::data(id), chunk, sealed)?;
            let (added, stored) = match saved {
                Saved::Known => (0, 0),
                Saved::New { stored } => (chunk.len() as u64, stored),
            };
            file.stored(at, id, added, stored);
            self.surroundings.progress.advance(Phase::BackupBytes, chunk.len() as u64);
        }
        if zeros > 0 {
            let handle = BlobHandle::data(chunker::ZERO_CHUNK_ID);
            self.packer.save(encoder, handle, &chunker::zero_chunk(), sealed)?;
            let length = zeros.saturating_mul(chunker::MIN_SIZE as u64);
            self.surroundings.progress.advance(Phase::BackupBytes, length);
        }
        let is_over = !matches!(rest, Rest::More);
        if is_over {
            self.jobs.ended(file);
        }
        if let Rest::Unreadable(error) = rest {
            self.surroundings.unreadable(&file.leaf.path, error);
        }
        self.finish(file, tools)?;
        Ok(!is_over)
    }

    /// Brings a file into its folder, if all of it is stored.
    fn finish(&self, file: &OpenFile, tools: &mut Tools) -> Result<()> {
        let Some(finished) = file.finish() else { return Ok(()) };
        let node = finished.map(|finished| {
            let action = match &file.before {
                None => ItemAction::New,
                Some(_) => ItemAction::Changed,
            };
            let node = finished.node;
            self.report(&file.leaf, &node, action, finished.added, finished.stored);
            self.count(
                |counts| match action {
                    ItemAction::New => counts.files_new += 1,
                    _ => counts.files_changed += 1,
                },
                node.size,
            );
            node
        });
        self.arrive(&file.leaf.folder, node, tools)
    }

    fn arrive(&self, folder: &Arc<Folder>, node: Option<Node>, tools: &mut Tools) -> Result<()> {
        match folder.arrive(node) {
            true => self.close(Arc::clone(folder), tools),
            false => Ok(()),
        }
    }

    /// Stores a folder that is complete, and all above it that are complete with it.
    fn close(&self, mut folder: Arc<Folder>, tools: &mut Tools) -> Result<()> {
        loop {
            let nodes = folder.take_nodes();
            let Some(parent) = folder.parent.clone() else {
                if !nodes.is_empty() {
                    *lock(&self.tree) = Some(self.store_tree(nodes, tools)?.0);
                }
                return Ok(());
            };
            let (id, added, stored) = self.store_tree(nodes, tools)?;
            let node = folder.node.clone().map(|node| Node { subtree: Some(id), ..node });
            let action = match &folder.before {
                None => ItemAction::New,
                Some(before) if Some(before) == node.as_ref() => ItemAction::Unmodified,
                Some(_) => ItemAction::Changed,
            };
            {
                let mut counts = lock(&self.counts);
                match action {
                    ItemAction::New => counts.dirs_new += 1,
                    ItemAction::Unmodified => counts.dirs_unmodified += 1,
                    _ => counts.dirs_changed += 1,
                }
            }
            self.surroundings.progress.item(&Item {
                path: &folder.path,
                action,
                is_folder: true,
                size: 0,
                data_added: added,
                data_stored: stored,
            });
            if !parent.arrive(node) {
                return Ok(());
            }
            folder = parent;
        }
    }

    fn store_tree(&self, nodes: Vec<Node>, tools: &mut Tools) -> Result<(Id, u64, u64)> {
        let tree = Tree::from_nodes(nodes).map_err(|error| Error::Refused(error.to_string()))?;
        let json = tree.encode();
        let handle = BlobHandle { blob_type: BlobType::Tree, id: Id::of(&json) };
        let saved = self.packer.save(&mut tools.encoder, handle, &json, &mut tools.sealed)?;
        Ok(match saved {
            Saved::Known => (handle.id, 0, 0),
            Saved::New { stored } => (handle.id, json.len() as u64, stored),
        })
    }

    fn count(&self, kind: impl FnOnce(&mut Summary), size: u64) {
        let mut counts = lock(&self.counts);
        kind(&mut counts);
        counts.total_files_processed += 1;
        counts.total_bytes_processed += size;
        drop(counts);
        self.surroundings.progress.advance(Phase::BackupFiles, 1);
    }

    fn report(&self, leaf: &Leaf, node: &Node, action: ItemAction, added: u64, stored: u64) {
        self.surroundings.progress.item(&Item {
            path: &leaf.snapshot_path(),
            action,
            is_folder: false,
            size: node.size,
            data_added: added,
            data_stored: stored,
        });
    }
}

/// Opens without following a link that has taken the file's place, without waiting for a pipe's other
/// end, and if we may without touching the access time.
fn open_for_reading(path: &Path) -> Result<File> {
    use rustix::fs::OFlags;
    let open = |more: OFlags| {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
        File::options().read(true).custom_flags(flags.bits() as i32).open(path)
    };
    match open(OFlags::NOATIME) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => open(OFlags::empty()),
        other => other,
    }
    .map_err(|error| Error::io("open", path, error))
}

fn has_vanished(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
