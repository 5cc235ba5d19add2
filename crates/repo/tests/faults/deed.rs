//! What is broken off: one entry for each operation that changes a repository.
//!
//! A new one is a function that says what is done, a line in [`ALL`] and a test in `faults.rs`.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use restic_repo::identity::Identity;
use restic_repo::key::Password;
use restic_repo::progress::Silent;
use restic_repo::repository::Repository;
use restic_repo::{FileType, Handle, Result, repair};

use crate::stage::{Files, PASSWORDS, SCRYPT, Stage, back_up};

/// An operation, and the state in which it finds the repository.
pub struct Deed {
    pub name: &'static str,
    /// What is done to the repository before.
    pub prepare: fn(&mut Files),
    /// Whether the repository is sound then.
    pub begins_sound: bool,
    /// The operation.
    pub run: Run,
}

pub type Run = for<'a> fn(&'a Stage, Repository) -> Running<'a>;
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// All of them.
pub const ALL: [Deed; 5] = [
    Deed { name: "backup", prepare: |_| {}, begins_sound: true, run: backup },
    Deed { name: "passwd", prepare: |_| {}, begins_sound: true, run: passwd },
    Deed { name: "index", prepare: lose_an_index, begins_sound: false, run: repair_index },
    Deed { name: "reindex", prepare: |_| {}, begins_sound: true, run: reindex },
    Deed { name: "packs", prepare: flip_headers, begins_sound: false, run: repair_packs },
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
        let packs: HashSet<_> = packs.iter().map(|pack| pack.id).collect();
        repair::packs::repair(&repository, &packs, Arc::new(Silent)).await.map(drop)
    })
}

fn of(files: &Files, file_type: FileType) -> Vec<Handle> {
    files.keys().filter(|handle| handle.file_type == file_type).copied().collect()
}

fn lose_an_index(files: &mut Files) {
    let first = of(files, FileType::Index)[0];
    files.remove(&first);
}

fn flip_headers(files: &mut Files) {
    for pack in of(files, FileType::Pack) {
        let mut bytes = files[&pack].to_vec();
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        files.insert(pack, bytes.into());
    }
}
