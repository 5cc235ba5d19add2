//! The files of a repository, and how one of them is named.

use std::fmt;

use crate::id::Id;

/// The kinds of files a repository is made of. One folder each, but for the config.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileType {
    /// The one config file at the top.
    Config,
    /// A password's way to the master key: `keys/`.
    Key,
    /// Who is at work here: `locks/`.
    Lock,
    /// One backup: `snapshots/`.
    Snapshot,
    /// Which blobs are in which packs: `index/`.
    Index,
    /// Blobs: `data/`, in 256 folders by the first two digits.
    Pack,
}

impl FileType {
    /// Every type, in the order in which a repository is made.
    pub const ALL: [Self; 6] =
        [Self::Pack, Self::Index, Self::Snapshot, Self::Key, Self::Lock, Self::Config];

    /// The folder below the repository's own; the config has none.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
        }
    }

    /// restic's word for one such file, as in its messages.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
        }
    }

    /// The largest file of this type that is read whole, in bytes.
    ///
    /// A repository may be hostile or damaged, and memory must stay bounded. The limits are far above
    /// what restic writes: an index of restic 0.14 with 150,000 blobs has about 30 MiB before
    /// compression; offsets in a pack are 32 bits wide.
    pub const fn size_limit(self) -> u64 {
        match self {
            Self::Config | Self::Key | Self::Lock => 1 << 20,
            Self::Snapshot => 64 << 20,
            Self::Index => 256 << 20,
            Self::Pack => u32::MAX as u64,
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun())
    }
}

/// Names one file of a repository.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    /// What kind of file.
    pub file_type: FileType,
    /// Its name: the SHA-256 of what is stored. All zeros for the config, which has no name.
    pub id: Id,
}

impl Handle {
    /// The config file.
    pub const CONFIG: Self = Self { file_type: FileType::Config, id: Id::from_bytes([0; 32]) };

    /// The file of this type and name.
    pub const fn new(file_type: FileType, id: Id) -> Self {
        Self { file_type, id }
    }

    /// The path below the repository's folder: `config`, `keys/<id>`, `data/<2 digits>/<id>`.
    pub fn path(&self) -> String {
        let hex = self.id.to_hex();
        match self.file_type {
            FileType::Config => "config".to_owned(),
            FileType::Pack => format!("data/{}/{hex}", &hex[..2]),
            other => format!("{}/{hex}", other.folder()),
        }
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file_type {
            FileType::Config => f.write_str("config"),
            other => write!(f, "{other} {}", self.id.short()),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_restics() {
        let id = Id::of(b"");
        assert_eq!(Handle::CONFIG.path(), "config");
        assert_eq!(Handle::new(FileType::Key, id).path(), format!("keys/{id}"));
        assert_eq!(Handle::new(FileType::Pack, id).path(), format!("data/e3/{id}"));
    }
}
