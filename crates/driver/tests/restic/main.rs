//! one-restic's command line against the real restics: what they wrote we read, what we wrote they read.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod cache;
mod check;
mod copy;
mod damaged;
mod diff;
mod exit_codes;
mod find;
mod flatten;
mod forget;
mod full_disk;
mod golden;
mod interop;
mod killed;
mod locks;
mod migrate;
mod near;
mod prune;
mod recover;
mod repair;
mod repair_snapshots;
mod rewrite;
mod sftp;
mod siege;
mod tag;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use restic_oracle::{Program, Repo};
use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::key::{Password, ScryptParams};
use restic_repo::repository::{InitOptions, Options, Repository};

/// The program under test.
fn one_restic() -> Program {
    Program::at("one-restic", env!("CARGO_BIN_EXE_one-restic"))
}

/// Makes a repository whose password is quickly tried, for tests that open it very often.
fn init_cheaply(repo: &Repo) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(made_cheaply(repo));
}

/// The same inside of a runtime; gives the repository, open.
async fn made_cheaply(repo: &Repo) -> Repository {
    let backend = Arc::new(Local::new(&repo.location));
    let password = Password::new(repo.password.as_str());
    let scrypt = Some(ScryptParams { n: 1 << 10, r: 8, p: 1 });
    let init = InitOptions { scrypt, ..InitOptions::new(Identity::current()) };
    Repository::init(backend, &password, init, Options::default()).await.unwrap()
}

/// A copy of a repository, in the same scratch folder.
fn copy(repo: &Repo, name: &str) -> Repo {
    let location = repo.location.with_file_name(name);
    let copied = Command::new("cp").arg("-a").args([&repo.location, &location]).status().unwrap();
    assert!(copied.success(), "cannot copy {}", repo.location.display());
    Repo { location, ..repo.clone() }
}

/// All files of a repository, whole or still being written. Some may be gone by now.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(self::files(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}

/// The locks in a repository: whole ones, not what somebody died of writing.
fn locks(repo: &Repo) -> Vec<PathBuf> {
    let is_id = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    files(&repo.location.join("locks")).into_iter().filter(is_id).collect()
}

/// A folder and all below it, once more.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
