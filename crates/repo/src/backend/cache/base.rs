//! The folder with the copies of all repositories.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folder::Folder;
use crate::handle::FileType;
use crate::id::Id;

/// How long a repository's copies may lie unused before they are called old: restic's 30 days.
pub const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The version of the layout.
const VERSION: u32 = 1;
/// What marks a folder that is not worth a backup: see <https://bford.info/cachedir/>.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

/// The folder that has a folder for each repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    path: PathBuf,
}

/// The copies of one repository, as one finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryCache {
    /// The folder's name: the repository's id, or that of a check that keeps its own copies.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// When it was last used.
    pub used: SystemTime,
}

impl Base {
    /// The folder at this path, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for a repository, made if it is missing, and marked as just used.
    ///
    /// # Errors
    /// If it cannot be made, or a newer program has another layout there.
    pub fn folder(&self, repository: Id) -> io::Result<Folder> {
        make_folders(&self.path)?;
        self.tag()?;
        let path = self.path.join(repository.to_hex());
        let version = read_version(&path)?;
        let is_new = match version {
            Some(newer) if newer > VERSION => {
                return Err(io::Error::other("it has the layout of a newer program"));
            }
            Some(_) => {
                let now = SystemTime::now();
                let times = FileTimes::new().set_accessed(now).set_modified(now);
                File::open(&path)?.set_times(times)?;
                false
            }
            None => match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(error),
            },
        };
        if version != Some(VERSION) {
            fs::write(path.join("version"), VERSION.to_string())?;
        }
        for file_type in [FileType::Pack, FileType::Snapshot, FileType::Index] {
            make_folders(&path.join(file_type.folder()))?;
        }
        Ok(Folder::new(path, is_new))
    }

    /// The folders of all repositories, the one that was unused for longest first.
    pub fn repositories(&self) -> io::Result<Vec<RepositoryCache>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Another program may just have removed it.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() && is_cache_name(&name) {
                let used = metadata.modified()?;
                found.push(RepositoryCache { name, path: entry.path(), used });
            }
        }
        found.sort_by_key(|cache| cache.used);
        Ok(found)
    }

    fn tag(&self) -> io::Result<()> {
        let path = self.path.join("CACHEDIR.TAG");
        match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
            Ok(mut file) => file.write_all(TAG.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl RepositoryCache {
    /// Whether nobody has used it for this long.
    pub fn is_older_than(&self, age: Duration) -> bool {
        self.age() > age
    }

    /// How long ago it was used.
    pub fn age(&self) -> Duration {
        SystemTime::now().duration_since(self.used).unwrap_or_default()
    }

    /// How many bytes its files have.
    pub fn size(&self) -> u64 {
        size_of_folder(&self.path)
    }

    /// Removes it.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// The version of the layout of a folder; nothing if there is none.
fn read_version(folder: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(folder.join("version")) {
        Ok(text) => text.trim().parse().map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn make_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn is_cache_name(name: &str) -> bool {
    let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = name.strip_prefix("restic-check-cache-").unwrap_or_default();
    is_id || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn size_of_folder(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of_folder(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_looks_like_restics() {
        let place = tempfile::tempdir().unwrap();
        let base = Base::new(place.path().join("deep/cache"));
        assert_eq!(base.repositories().unwrap(), []);
        let id = Id::of(b"repository");
        assert!(base.folder(id).unwrap().is_new());
        let folder = base.folder(id).unwrap();
        assert!(!folder.is_new());
        assert_eq!(fs::read_to_string(base.path().join("CACHEDIR.TAG")).unwrap(), TAG);
        assert_eq!(fs::read_to_string(folder.path().join("version")).unwrap(), "1");
        for name in ["", "data", "index", "snapshots"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{name}");
        }
    }

    #[test]
    fn old_folders_are_told_from_new_ones_and_foreign_ones() {
        let place = tempfile::tempdir().unwrap();
        let base = Base::new(place.path());
        let (old, new) = (base.folder(Id::of(b"old")).unwrap(), base.folder(Id::of(b"")).unwrap());
        fs::create_dir(place.path().join("restic-check-cache-123")).unwrap();
        for name in ["restic-check-cache-", "restic-check-cache-x", "photos"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let long_ago = SystemTime::now() - MAX_AGE - Duration::from_secs(60);
        let times = FileTimes::new().set_modified(long_ago);
        File::open(old.path()).unwrap().set_times(times).unwrap();
        let all = base.repositories().unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].path, old.path());
        assert_eq!(all.iter().filter(|cache| cache.is_older_than(MAX_AGE)).count(), 1);
        assert_eq!(all[0].size(), 1);
        all[0].remove().unwrap();
        assert!(!old.path().exists() && new.path().exists());
        // Using one makes it new.
        let times = FileTimes::new().set_modified(long_ago);
        File::open(new.path()).unwrap().set_times(times).unwrap();
        base.folder(Id::of(b"")).unwrap();
        let all = base.repositories().unwrap();
        assert!(!all.iter().any(|cache| cache.is_older_than(MAX_AGE)));
    }

    #[test]
    fn a_newer_layout_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let base = Base::new(place.path());
        let folder = base.folder(Id::of(b"")).unwrap();
        for version in ["2", "x"] {
            fs::write(folder.path().join("version"), version).unwrap();
            assert!(base.folder(Id::of(b"")).is_err());
        }
    }
}
