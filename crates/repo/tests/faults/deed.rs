//! What is broken off: one entry for each operation that changes a repository.
//!
//! A new one is a function that says what is done, a line in [`ALL`] and a test in `faults.rs`.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use restic_repo::copy::Copier;
use restic_repo::identity::Identity;
use restic_repo::key::Password;
use restic_repo::patch::{Changed, Patch};
use restic_repo::progress::{Progress, Silent};
use restic_repo::prune::{self, MaxUnused};
use restic_repo::repository::Repository;
use restic_repo::revision::Revision;
use restic_repo::rewrite::{TagChanges, replace};
use restic_repo::snapshot::Snapshot;
use restic_repo::walk::find_path;
use restic_repo::{FileType, Handle, Result, repair};

use crate::stage::{Files, PASSWORDS, SCRYPT, Stage, another, back_up};

/// An operation, and the state in which it finds the repository.
pub struct Deed {
    pub name: &'static str,
    /// What is done to the repository before.
    pub prepare: fn(&mut Stage),
    /// Whether the repository is sound then.
    pub begins_sound: bool,
    /// The operation.
    pub run: Run,
}

pub type Run = for<'a> fn(&'a Stage, Repository) -> Running<'a>;
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// All of them.
pub const ALL: [Deed; 9] = [
    Deed { name: "backup", prepare: |_| {}, begins_sound: true, run: backup },
    Deed { name: "passwd", prepare: |_| {}, begins_sound: true, run: passwd },
    Deed { name: "index", prepare: lose_an_index, begins_sound: false, run: repair_index },
    Deed { name: "reindex", prepare: |_| {}, begins_sound: true, run: reindex },
    Deed { name: "packs", prepare: flip_headers, begins_sound: false, run: repair_packs },
    Deed { name: "tag", prepare: |_| {}, begins_sound: true, run: tag },
    Deed { name: "revise", prepare: |_| {}, begins_sound: true, run: revise },
    Deed { name: "copy", prepare: |_| {}, begins_sound: true, run: copy },
    Deed { name: "prune", prepare: forget_the_first, begins_sound: true, run: prune },
];

fn backup<'a>(stage: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move { back_up(&repository, stage.source.path()).await })
}

fn passwd<'a>(_: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let password = Password::new(PASSWORDS[1]);
        repository.change_password(&password, &Identity::current(), SCRYPT).await.map(drop)
    })
}

fn repair_index<'a>(_: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let options = repair::index::Options::default();
        repair::index::repair(&repository, options, Arc::new(Silent)).await.map(drop)
    })
}

fn reindex<'a>(_: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let options = repair::index::Options { read_all_packs: true };
        repair::index::repair(&repository, options, Arc::new(Silent)).await.map(drop)
    })
}

fn repair_packs<'a>(_: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let packs = repository.list(FileType::Pack).await?;
        // All but one, whose place in an index has to be kept.
        let packs: HashSet<_> = packs.iter().skip(1).map(|pack| pack.id).collect();
        repair::packs::repair(&repository, &packs, Arc::new(Silent)).await.map(drop)
    })
}

fn tag<'a>(_: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let tags = TagChanges::Set(vec!["tag".to_owned()]);
        for snapshot in repository.readable_snapshots(&Silent).await? {
            if let Some(new) = tags.apply(&snapshot) {
                replace(&repository, snapshot.0, &new, true).await?;
            }
        }
        Ok(())
    })
}

/// Changes a part of a file in the newest snapshot, whose place the new one takes.
fn revise<'a>(stage: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let snapshots = repository.readable_snapshots(&Silent).await?;
        let index = Arc::new(repository.load_index(&Silent).await?);
        let Some((_, newest)) = snapshots.last() else { return Ok(()) };
        let path = stage.source.path().join("image");
        let node = find_path(&repository, &index, newest.tree, &path).await?;
        let mut revision = Revision::new(&repository, index);
        let old = node.content.clone().unwrap_or_default();
        let ranges = vec![10..20, node.size..node.size + 50_000];
        let changed = Arc::new(Ones);
        let patch = Patch { old, length: node.size + 50_000, ranges, changed };
        let patched = revision.write(patch, &Silent).await?;
        let mut new = node;
        (new.content, new.size) = (Some(patched.content), patched.size);
        revision.put(&path, new)?;
        let tree = revision.store(newest.tree).await?.tree;
        repository.save_snapshot(&Snapshot { tree, ..newest.clone() }).await.map(drop)
    })
}

struct Ones;

#[async_trait::async_trait]
impl Changed for Ones {
    async fn read_at(&self, _: u64, length: usize) -> Result<Bytes> {
        Ok(vec![1; length].into())
    }
}

fn copy<'a>(stage: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let source = another(stage).await;
        let snapshots = source.readable_snapshots(&Silent).await?;
        let theirs = Arc::new(source.load_index(&Silent).await?);
        let ours = repository.load_index(&Silent).await?;
        let mut copier = Copier::new(&source, theirs, &repository, ours, Arc::new(Silent)).await?;
        for (id, snapshot) in snapshots {
            copier.add(id, snapshot).await?;
        }
        copier.commit().await.map(drop)
    })
}

fn prune<'a>(_: &'a Stage, repository: Repository) -> Running<'a> {
    Box::pin(async move {
        let progress: Arc<dyn Progress> = Arc::new(Silent);
        let options = prune::Options { max_unused: MaxUnused::Bytes(0), ..Default::default() };
        let plan = prune::Plan::make(&repository, &options, &progress).await?;
        let repacked = plan.repack(&repository, &progress).await?;
        repacked.unlist(&repository, &progress).await?.remove(&repository, &progress).await;
        Ok(())
    })
}

fn of(files: &Files, file_type: FileType) -> Vec<Handle> {
    files.keys().filter(|handle| handle.file_type == file_type).copied().collect()
}

/// The index of the second backup.
fn lose_an_index(stage: &mut Stage) {
    let lost = of(&stage.files, FileType::Index);
    let lost = lost.into_iter().find(|index| !stage.first.contains_key(index)).unwrap();
    stage.files.remove(&lost);
}

fn forget_the_first(stage: &mut Stage) {
    for snapshot in of(&stage.first, FileType::Snapshot) {
        stage.files.remove(&snapshot);
    }
}

fn flip_headers(stage: &mut Stage) {
    let files = &mut stage.files;
    for pack in of(files, FileType::Pack).into_iter().skip(1) {
        let mut bytes = files[&pack].to_vec();
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        files.insert(pack, bytes.into());
    }
}
