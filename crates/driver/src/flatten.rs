//! Putting the oldest increments of a backup together to one full backup, inside of the repository.
//!
//! Each disk of the newest of these snapshots becomes what `qemu-img commit` would make of its oldest file: what
//! increments changed is other, and everything else is where it was. It is stored as a [`Patch`], so only the
//! chunks that a change touches are read and stored again. All else, as the VM's description and the state of a
//! TPM, is that of the newest of the snapshots, and so are paths and time.
//!
//! The new snapshot is stored when all that it needs is. It remembers what it was put together from; whoever is
//! asked to do the same again, because the first time was broken off before anybody heard of it, finds it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use restic_repo::index::Index;
use restic_repo::node::Node;
use restic_repo::patch::Patch;
use restic_repo::progress::{Phase, Progress};
use restic_repo::reader::FileReader;
use restic_repo::repository::Repository;
use restic_repo::revision::Revision;
use restic_repo::snapshot::{Snapshot, Summary};
use restic_repo::time::Timestamp;
use restic_repo::walk::find_path;
use restic_repo::{Error, Id};
use serde::{Deserialize, Serialize};
use virtual_disk::{Chain, Source, commit};

use crate::command::version;
use crate::committed::{Committed, unreadable};
use crate::disk_source::BackupFile;
use crate::exit::{Failure, Result};
use crate::lineage::{self, names, parts};
use crate::opennebula::disk_file::{DiskFile, TPM};
use crate::opennebula::increments::Increment;

/// How many bytes of the increments of a disk are kept in memory, together. What they changed is asked for in the
/// order of the oldest file, and is anywhere in them: those that do not fit are read again and again.
const CACHE: u64 = 240 << 20;
/// How many bytes are kept of any file at least: of the oldest, only tables are asked for.
const LEAST_CACHE: u64 = 8 << 20;

/// Why increments of some files cannot be put together, and what to do.
pub const ONLY_CEPH: &str = "is in a format of Ceph, whose increments only the program rbd can merge; make a \
                             full backup of the VM to begin a new chain";

/// What a file system takes a file's room in, in bytes.
const BLOCK: u64 = 4096;

/// Snapshots to be put together.
#[derive(Debug)]
pub struct Flatten<'a> {
    /// The VM that they are backups of.
    pub vm: u64,
    /// The snapshots, as OpenNebula knows them: the oldest, which is a full backup, and those behind it.
    pub increments: &'a [Increment],
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flattened {
    /// The new snapshot.
    pub snapshot: Id,
    /// The room that its disks take, in bytes.
    pub size: u64,
    /// The old snapshots, of which nobody has any need.
    pub old: Vec<Id>,
    /// How many bytes of chunks of the oldest files had to be read.
    pub reread: u64,
}

impl Flatten<'_> {
    /// Puts the snapshots together. The repository must be locked by the caller, shared at least; `snapshots` are
    /// all that are in it, and `index` knows of no pack that is not there.
    ///
    /// # Errors
    /// If it cannot be done, nothing has changed but for blobs that nobody refers to.
    pub async fn run(
        &self,
        repository: &Repository,
        index: &Arc<Index>,
        snapshots: &[(Id, Snapshot)],
        progress: &dyn Progress,
    ) -> Result<Flattened> {
        let find = |tree, path| find_path(repository, index, tree, Path::new(path));
        let made = |(_, snapshot): &&(Id, Snapshot)| self.is_made_by(&parts(snapshot));
        if let Some((id, done)) = snapshots.iter().find(made) {
            let merged = lineage::merged_from(snapshots, self.increments).map(|(id, _)| *id);
            let parts = parts(done);
            let named = snapshots.iter().map(|(id, _)| *id).filter(|id| parts.contains(id));
            let old = named.chain(merged.filter(|other| other != id)).collect();
            let mut size = 0;
            for path in disks(done)?.into_values() {
                size += room(&find(done.tree, path).await?);
            }
            return Ok(Flattened { snapshot: *id, size, old, reread: 0 });
        }

        let begun = Timestamp::now();
        let chain = lineage::resolve(snapshots, self.increments)?;
        let Some((_, last)) = chain.last() else {
            return Err(Failure::new("there are no increments to put together"));
        };
        let mut files: BTreeMap<&str, Vec<Node>> = BTreeMap::new();
        let kept = disks(last)?;
        for (_, snapshot) in &chain {
            for (disk, path) in
                disks(snapshot)?.into_iter().filter(|(disk, _)| kept.contains_key(disk))
            {
                files.entry(disk).or_default().push(find(snapshot.tree, path).await?);
            }
        }
        if files.is_empty() {
            return Err(Failure::new("Backup does not contain any disks"));
        }

        progress.begin(Phase::BackupBytes, None);
        let mut revision = Revision::new(repository, Arc::clone(index));
        let (mut size, mut reread) = (0, 0);
        for (disk, files) in files {
            let path = Path::new(kept[disk]);
            let (node, read) = merged(repository, index, &revision, path, files, progress).await?;
            size += room(&node);
            reread += read;
            revision.put(path, node)?;
        }
        let revised = revision.store(last.tree).await?;
        progress.end(Phase::BackupBytes);

        let mut summary = Summary {
            backup_start: begun,
            backup_end: Timestamp::now(),
            files_changed: kept.len() as u64,
            data_blobs: revised.added.data_blobs,
            tree_blobs: revised.added.tree_blobs,
            data_added: revised.added.plaintext,
            data_added_packed: revised.added.stored,
            total_files_processed: last.paths.len() as u64,
            ..Summary::default()
        };
        summary.files_unmodified = summary.total_files_processed - summary.files_changed;
        for path in &last.paths {
            summary.total_bytes_processed += find(revised.tree, path).await?.size;
        }
        let old: Vec<Id> = chain.iter().map(|(id, _)| *id).collect();
        // What OpenNebula has never heard of is remembered as what it was merged from.
        let is_named = |id: &Id| self.increments.iter().any(|increment| names(increment, id));
        let merged = chain.iter().flat_map(|(id, snapshot)| match is_named(id) {
            true => vec![*id],
            false => parts(snapshot),
        });
        let snapshot = Snapshot {
            hostname: last.hostname.clone(),
            username: last.username.clone(),
            uid: last.uid,
            gid: last.gid,
            tags: vec![format!("one-{}", self.vm)],
            program_version: version::NAME_AND_VERSION.to_owned(),
            summary: Some(summary),
            unknown: vec![lineage::remember(&merged.collect::<Vec<_>>())?],
            ..Snapshot::new(last.time, revised.tree, last.paths.clone())
        };
        let snapshot = repository.save_snapshot(&snapshot).await?;
        Ok(Flattened { snapshot, size, old, reread })
    }

    /// Whether these are the snapshots of the increments.
    fn is_made_by(&self, parts: &[Id]) -> bool {
        let mut pairs = parts.iter().zip(self.increments);
        let is_as_long = parts.len() == self.increments.len() && !parts.is_empty();
        is_as_long && pairs.all(|(id, increment)| names(increment, id))
    }
}

/// The file of a disk with all of its increments in it, at this path, and how much of the old one was read.
async fn merged(
    repository: &Repository,
    index: &Arc<Index>,
    revision: &Revision,
    path: &Path,
    files: Vec<Node>,
    progress: &dyn Progress,
) -> Result<(Node, u64)> {
    let mut contents = Vec::with_capacity(files.len());
    for file in &files {
        let missing = || Error::mismatch(path, "its snapshot has no content for it");
        contents.push(file.content.clone().ok_or_else(missing)?);
    }
    let increments: u64 = files[1..].iter().map(|file| file.size).sum();
    let source = |(number, (content, file)): (usize, (&Vec<Id>, &Node))| {
        let share = u128::from(CACHE) * u128::from(file.size) / u128::from(increments.max(CACHE));
        let cache = if number == 0 { LEAST_CACHE } else { LEAST_CACHE.max(share as u64) };
        let reader = FileReader::new(repository, Arc::clone(index), content.clone(), cache)?;
        Ok(Arc::new(BackupFile::new(reader)) as Arc<dyn Source>)
    };
    let sources = contents.iter().zip(&files).enumerate().map(source);
    let sources = sources.collect::<Result<Vec<_>, Error>>()?;
    let chain = Chain::open(sources).await.map_err(|error| unreadable(error, path))?;
    let commit = commit::plan(&chain).await.map_err(|error| unreadable(error, path))?;
    let patch = Patch {
        old: contents.swap_remove(0),
        length: commit.len(),
        ranges: commit.changes().to_vec(),
        changed: Arc::new(Committed { commit, path: path.to_owned() }),
    };
    let patched = revision.write(patch, progress).await?;
    let mut node = files.into_iter().last().unwrap_or_default();
    (node.content, node.size) = (Some(patched.content), patched.size);
    Ok((node, patched.reread))
}

/// The disks of a snapshot that increments can be put into: the number of each, and its path.
fn disks(snapshot: &Snapshot) -> Result<BTreeMap<&str, &str>> {
    let mut disks = BTreeMap::new();
    for file in DiskFile::among(&snapshot.paths).filter(|file| file.disk != TPM) {
        let DiskFile { path, disk, .. } = file;
        if file.is_rbd() {
            return Err(Failure::new(format_args!("{path} {ONLY_CEPH}")));
        }
        if disks.insert(disk, path).is_some() {
            return Err(Failure::new(format_args!("a snapshot has disk {disk} twice, as {path}")));
        }
    }
    Ok(disks)
}

/// The room that a file takes in a file system, in bytes.
fn room(file: &Node) -> u64 {
    file.size.checked_next_multiple_of(BLOCK).unwrap_or(file.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flatten(increments: &[Increment]) -> Flatten<'_> {
        Flatten { vm: 1, increments }
    }

    fn snapshot(paths: &[&str]) -> Snapshot {
        let paths = paths.iter().map(|path| format!("/vm/backup/{path}")).collect();
        Snapshot::new(Timestamp::ZERO, Id::default(), paths)
    }

    #[test]
    fn disks_are_told_from_what_else_is_in_a_backup() {
        let one = snapshot(&["disk.0.3", "disk.10.3", "disk.tpm.0", "vm.xml"]);
        let disks: Vec<_> = disks(&one).unwrap().into_iter().collect();
        assert_eq!(disks, [("0", "/vm/backup/disk.0.3"), ("10", "/vm/backup/disk.10.3")]);
    }

    #[test]
    fn what_only_ceph_can_merge_is_refused_with_a_remedy() {
        for name in ["disk.0.rbd2", "disk.0.4.rbdiff"] {
            let failure = disks(&snapshot(&["vm.xml", name])).unwrap_err();
            assert!(failure.message().contains("make a full backup"), "{failure}");
        }
        assert!(disks(&snapshot(&["disk.0.1", "disk.0.2"])).is_err());
    }

    #[test]
    fn what_was_put_together_from_the_same_increments_is_known_again() {
        let ids = [1, 2].map(|n| Id::from_bytes([n; 32]));
        let increments =
            ids.map(|id| Increment { id: 7, snapshot: id.to_string()[..8].to_owned() });
        assert!(flatten(&increments).is_made_by(&ids));
        assert!(!flatten(&increments[..1]).is_made_by(&ids));
        let [one, two] = increments;
        assert!(!flatten(&[two, one]).is_made_by(&ids));
    }
}
