//! What a backup leaves out: by patterns, by size, by file system, and in folders that are marked.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use restic_repo::archiver::Filter;
use restic_repo::filter::PatternList;
use restic_repo::node::{Node, NodeType};

use crate::exit::{Failure, Result};
use crate::targets;

/// Decides what is left out. Paths are absolute and clean.
#[derive(Default)]
pub struct Exclusions {
    /// What one of these matches.
    pub patterns: Vec<PatternList>,
    /// What is larger, in bytes; folders are not.
    pub larger_than: Option<u64>,
    /// What is in folders with one of these.
    pub marks: Vec<Mark>,
    /// What is on other file systems.
    pub devices: Option<Devices>,
    /// Who is told of marks that cannot be read.
    pub warn: Option<Box<dyn Fn(String) + Send + Sync>>,
}

impl Filter for Exclusions {
    fn by_name(&self, path: &Path) -> bool {
        !self.reject_name(&targets::absolute(path))
    }

    fn by_node(&self, path: &Path, node: &Node) -> bool {
        !self.reject_node(&targets::absolute(path), node)
    }
}

impl Exclusions {
    /// Whether a path is left out for its name alone.
    fn reject_name(&self, path: &Path) -> bool {
        self.patterns.iter().any(|list| list.matches(path))
    }

    /// Whether it is left out for what it is, or for where it is.
    fn reject_node(&self, path: &Path, node: &Node) -> bool {
        let is_folder = node.node_type == NodeType::Dir;
        let is_foreign =
            || self.devices.as_ref().is_some_and(|own| !own.admit(path, node.device_id, is_folder));
        let is_large = || !is_folder && self.larger_than.is_some_and(|limit| node.size > limit);
        is_foreign() || is_large() || self.marks.iter().any(|mark| self.is_marked(mark, path))
    }

    fn is_marked(&self, mark: &Mark, path: &Path) -> bool {
        mark.covers(path).unwrap_or_else(|warning| {
            if let Some(warn) = &self.warn {
                warn(warning);
            }
            false
        })
    }
}

impl fmt::Debug for Exclusions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusions")
            .field("patterns", &self.patterns)
            .field("larger_than", &self.larger_than)
            .field("marks", &self.marks)
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

/// A file that marks the folder it is in: what else is in there is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFile {
    /// Its name.
    pub name: String,
    /// What it must begin with.
    pub header: Vec<u8>,
}

impl TagFile {
    /// The one of the Cache Directory Tagging Standard, <https://bford.info/cachedir/>.
    pub fn cache() -> Self {
        let header = b"Signature: 8a477f597d28d172789f06886806bc55".to_vec();
        Self { name: "CACHEDIR.TAG".to_owned(), header }
    }

    /// Parses `name` or `name:header`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, header) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "" => Err("the name of a file is needed".to_owned()),
            name => Ok(Self { name: name.to_owned(), header: header.into() }),
        }
    }

    /// Whether the folder has it. Not having it is no reason for a warning, another content is.
    fn is_in(&self, folder: &Path) -> Result<bool, String> {
        let path = folder.join(&self.name);
        let warn = |what: &dyn fmt::Display| format!("tag file {}: {what}", path.display());
        match fs::symlink_metadata(&path) {
            Ok(_) if self.header.is_empty() => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(warn(&error)),
        }
        let mut start = Vec::with_capacity(self.header.len());
        let read = File::open(&path)
            .and_then(|file| file.take(self.header.len() as u64).read_to_end(&mut start));
        match read {
            Err(error) => Err(warn(&error)),
            Ok(_) if start == self.header => Ok(true),
            Ok(_) => Err(warn(&"it does not begin as it should, so it does not count")),
        }
    }
}

/// A tag file, and the folders that were looked at already.
#[derive(Debug)]
pub struct Mark {
    tag: TagFile,
    known: Mutex<HashMap<PathBuf, bool>>,
}

impl From<TagFile> for Mark {
    fn from(tag: TagFile) -> Self {
        Self { tag, known: Mutex::default() }
    }
}

impl Mark {
    /// Whether the path is in a marked folder. The tag file itself is not left out.
    fn covers(&self, path: &Path) -> Result<bool, String> {
        let Some(folder) =
            path.parent().filter(|_| path.file_name() != Some(self.tag.name.as_ref()))
        else {
            return Ok(false);
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&is_marked) = known.get(folder) {
            return Ok(is_marked);
        }
        let found = self.tag.is_in(folder);
        known.insert(folder.to_owned(), found == Ok(true));
        found
    }
}

/// The file systems that are backed up: those that the targets are on.
#[derive(Clone, Debug)]
pub struct Devices(HashMap<PathBuf, u64>);

impl Devices {
    /// The file systems of these paths, which are absolute and clean.
    pub fn of(targets: &[PathBuf]) -> Result<Self> {
        let device = |path: &PathBuf| {
            let metadata = fs::symlink_metadata(path).map_err(|error| {
                let path = path.display();
                Failure::new(format_args!("cannot tell which file system {path} is on: {error}"))
            })?;
            Ok((path.clone(), metadata.dev()))
        };
        targets.iter().map(device).collect::<Result<_>>().map(Self)
    }

    /// Whether a path is backed up. So is a folder that another file system is mounted on, but nothing
    /// that is in it.
    fn admit(&self, path: &Path, device: u64, is_folder: bool) -> bool {
        if self.is_own(path, device) {
            return true;
        }
        let Some(parent) = path.parent().filter(|_| is_folder) else { return false };
        fs::symlink_metadata(parent).is_ok_and(|metadata| self.is_own(parent, metadata.dev()))
    }

    /// Whether this is the file system of the nearest target above. Folders above all targets are only
    /// on the way to them.
    fn is_own(&self, path: &Path, device: u64) -> bool {
        path.ancestors().find_map(|above| self.0.get(above)).is_none_or(|&own| own == device)
    }
}

#[cfg(test)]
mod tests {
    use restic_repo::filter::Case;

    use super::*;

    fn node(node_type: NodeType, size: u64, device: u64) -> Node {
        let mut node = Node::new("x", node_type);
        (node.size, node.device_id) = (size, device);
        node
    }

    #[test]
    fn patterns_look_at_names_and_sizes_at_files() {
        let exclusions = Exclusions {
            patterns: vec![PatternList::parse(["*.raw"], Case::Sensitive).unwrap()],
            larger_than: Some(100),
            ..Exclusions::default()
        };
        assert!(exclusions.reject_name(Path::new("/a/x.raw")));
        assert!(!exclusions.reject_name(Path::new("/a/x.img")));
        let path = Path::new("/a/x");
        assert!(exclusions.reject_node(path, &node(NodeType::File, 101, 0)));
        assert!(!exclusions.reject_node(path, &node(NodeType::File, 100, 0)));
        assert!(!exclusions.reject_node(path, &node(NodeType::Dir, 4096, 0)));
    }

    #[test]
    fn tag_files_may_have_a_header() {
        let tag = TagFile::parse("NOBACKUP:a:b").unwrap();
        assert_eq!((tag.name.as_str(), &tag.header[..]), ("NOBACKUP", &b"a:b"[..]));
        assert_eq!(TagFile::parse("NOBACKUP").unwrap().header, b"");
        assert!(TagFile::parse("").is_err());
        assert!(TagFile::parse(":a").is_err());
    }

    #[test]
    fn a_marked_folder_keeps_only_its_mark() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("cache")).unwrap();
        fs::create_dir(at("other")).unwrap();
        fs::write(at("cache/CACHEDIR.TAG"), [&TagFile::cache().header[..], b"\nmore"].concat())
            .unwrap();
        fs::write(at("other/CACHEDIR.TAG"), "Signature: none").unwrap();
        let warnings = std::sync::Arc::new(Mutex::new(Vec::new()));
        let seen = std::sync::Arc::clone(&warnings);
        let exclusions = Exclusions {
            marks: vec![TagFile::cache().into()],
            warn: Some(Box::new(move |text| seen.lock().unwrap().push(text))),
            ..Exclusions::default()
        };
        let rejects = |name: &str| exclusions.reject_node(&at(name), &node(NodeType::File, 1, 0));
        assert!(rejects("cache/a") && rejects("cache/b"));
        assert!(!rejects("cache/CACHEDIR.TAG") && !rejects("cache"));
        assert!(!rejects("other/a") && !rejects("other/b"));
        let warnings = warnings.lock().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("does not begin as it should"));
    }

    #[test]
    fn a_mount_point_is_kept_and_what_is_in_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let own = fs::symlink_metadata(&root).unwrap().dev();
        let devices = Devices::of(std::slice::from_ref(&root)).unwrap();
        let exclusions = Exclusions { devices: Some(devices), ..Exclusions::default() };
        let rejects = |path: &Path, node_type, device| {
            exclusions.reject_node(path, &node(node_type, 0, device))
        };
        assert!(!rejects(&root.join("a"), NodeType::File, own));
        assert!(rejects(&root.join("a"), NodeType::File, own + 1));
        assert!(!rejects(&root.join("mnt"), NodeType::Dir, own + 1));
        assert!(rejects(&root.join("gone/dir"), NodeType::Dir, own + 1));
        assert!(!rejects(Path::new("/"), NodeType::Dir, own + 1));
    }
}
