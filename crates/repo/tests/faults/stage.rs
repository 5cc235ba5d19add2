//! A small repository in memory, and what can be brought back from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use restic_repo::archiver::Backup;
use restic_repo::backend::Backend;
use restic_repo::backend::mem::Mem;
use restic_repo::checker::{self, ReadData, Report};
use restic_repo::dump::dump_tar;
use restic_repo::identity::Identity;
use restic_repo::key::{Password, ScryptParams};
use restic_repo::progress::Silent;
use restic_repo::repository::{InitOptions, Options, Repository};
use restic_repo::{Error, Handle, Result};
use tempfile::TempDir;

/// All files of a repository.
pub type Files = BTreeMap<Handle, Bytes>;

/// The password, and the one that it is changed to.
pub const PASSWORDS: [&str; 2] = ["geheim", "geheimer"];
/// Costs nothing to try.
pub const SCRYPT: Option<ScryptParams> = Some(ScryptParams { n: 2, r: 1, p: 1 });

/// A repository with two snapshots of a folder, and the folder as it is now: different again.
pub struct Stage {
    /// The folder.
    pub source: TempDir,
    /// The repository.
    pub files: Files,
    /// What it had after the first backup.
    pub first: Files,
}

impl Stage {
    pub async fn new() -> Self {
        let source = tempfile::tempdir().unwrap();
        let mem = Mem::new();
        let repository = empty(&mem).await;
        let write = |name: &str, content: &[u8]| {
            let path = source.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write("image", &b"0123456789abcdef".repeat(5_000));
        write("sub/small", b"first");
        back_up(&repository, source.path()).await.unwrap();
        let first = mem.files();
        write("sub/small", b"second");
        write("sub/more", b"more");
        back_up(&repository, source.path()).await.unwrap();
        write("sub/small", b"third");
        write("last", b"last");
        Self { source, files: mem.files(), first }
    }
}

/// A new repository.
async fn empty(mem: &Mem) -> Repository {
    let init = InitOptions { scrypt: SCRYPT, ..InitOptions::new(Identity::current()) };
    let (backend, password) = (Arc::new(mem.clone()), Password::new(PASSWORDS[0]));
    Repository::init(backend, &password, init, options()).await.unwrap()
}

/// Another repository, with a snapshot of the folder as it is now.
pub async fn another(stage: &Stage) -> Repository {
    let repository = empty(&Mem::new()).await;
    back_up(&repository, stage.source.path()).await.unwrap();
    repository
}

fn options() -> Options {
    Options { workers: 2, ..Options::default() }
}

/// Backs up a folder.
pub async fn back_up(repository: &Repository, folder: &Path) -> Result<()> {
    let index = repository.load_index(&Silent).await?;
    let backup = Backup::of_paths(vec![folder.to_owned()], Identity::current());
    backup.run(repository, index, Arc::new(Silent)).await.map(drop)
}

/// Opens a repository with whichever password fits.
pub async fn open(backend: Arc<dyn Backend>) -> Repository {
    for password in PASSWORDS {
        let (password, backend) = (Password::new(password), Arc::clone(&backend));
        match Repository::open(backend, &password, None, options(), &Silent).await {
            Err(Error::WrongPassword) => {}
            opened => return opened.unwrap(),
        }
    }
    panic!("no password opens the repository any more");
}

/// A full check.
pub async fn check(repository: &Repository) -> Report {
    let options = checker::Options { read_data: ReadData::All, ..checker::Options::default() };
    checker::check(repository, &options, Arc::new(Silent)).await.unwrap()
}

/// All that can be brought back as a whole: each snapshot's content with its metadata, in order.
pub async fn contents(repository: &Repository) -> Vec<Vec<u8>> {
    // What cannot be read for now brings nothing back.
    let Ok(index) = repository.load_index(&Silent).await else { return Vec::new() };
    let index = Arc::new(index);
    let mut contents = Vec::new();
    for (_, snapshot) in repository.readable_snapshots(&Silent).await.unwrap() {
        let (index, top) = (Arc::clone(&index), Path::new("/"));
        match dump_tar(repository, index, snapshot.tree, top, Vec::new(), &Silent).await {
            Ok(tar) if tar.errors == 0 => contents.push(tar.out),
            Ok(_) | Err(_) => {}
        }
    }
    contents.sort();
    contents
}
