//! Folders to work in that leave nothing behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder of its own for one test, removed at the end whatever modes a restore put in it.
///
/// It is made in `TMPDIR`, which must be on a file system with extended attributes.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// Makes an empty one, with a `home` in it that programs get as theirs.
    #[expect(clippy::new_without_default, reason = "it touches the disk")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("one-restic-test-")
            .tempdir()
            .unwrap_or_else(|error| panic!("no folder in TMPDIR: {error}"));
        let scratch = Self { folder };
        scratch.folder("home");
        scratch
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder in it, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A repository's place in it, with the password `geheim`. The repository is not made.
    pub fn repo(&self, name: &str) -> Repo {
        self.repo_at(self.path().join(name), "geheim")
    }

    /// A repository elsewhere: a path or a URL. Programs still get this scratch folder as their home.
    pub fn repo_at(&self, location: impl AsRef<Path>, password: &str) -> Repo {
        Repo {
            location: location.as_ref().to_owned(),
            password: password.to_owned(),
            home: self.path().join("home"),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What was restored may deny its owner the way in; only root is not stopped by that.
        open_up(self.path());
    }
}

fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Where a repository is, what opens it, and which home its programs have.
#[derive(Clone, Debug)]
pub struct Repo {
    /// A path or a URL.
    pub location: PathBuf,
    /// The password; empty for a repository without one.
    pub password: String,
    /// `HOME`, and what lies in it: the cache and `TMPDIR`.
    pub home: PathBuf,
}
