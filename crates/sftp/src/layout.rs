//! Where a repository's files are on a server, what temporary ones are called, and who may do what with
//! them. All of it as restic has it.

use restic_repo::{FileType, Handle};

use crate::failure::Failure;

/// A repository's folder on a server.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: String,
}

impl Layout {
    /// The folder of this path; an empty one is where one finds oneself after logging in.
    pub(crate) fn new(path: &str) -> Self {
        let root = match path.trim_end_matches('/') {
            "" if path.starts_with('/') => "/",
            "" => ".",
            root => root,
        };
        Self { root: root.to_owned() }
    }

    /// The repository's own folder.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    pub(crate) fn path_of(&self, handle: &Handle) -> String {
        self.below(&handle.path())
    }

    /// The folder of a type of files.
    pub(crate) fn folder_of(&self, file_type: FileType) -> String {
        self.below(file_type.folder())
    }

    /// One of the 256 folders of packs.
    pub(crate) fn pack_folder(&self, prefix: u8) -> String {
        self.below(&format!("{}/{prefix:02x}", FileType::Pack.folder()))
    }

    /// The folders between the repository's own and a file, the outer one first.
    pub(crate) fn folders_above(&self, handle: &Handle) -> Vec<String> {
        match handle.file_type {
            FileType::Config => Vec::new(),
            FileType::Pack => {
                let prefix = handle.id.as_bytes()[0];
                vec![self.folder_of(FileType::Pack), self.pack_folder(prefix)]
            }
            other => vec![self.folder_of(other)],
        }
    }

    fn below(&self, name: &str) -> String {
        if self.root == "/" { format!("/{name}") } else { format!("{}/{name}", self.root) }
    }
}

/// The name of the temporary file that is to become this one: restic's form, a new one every time.
pub(crate) fn temporary(path: &str) -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Failure::NoRandom(error.to_string()))?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{path}-restic-temp-{digits}"))
}

/// The folder that a folder is in, if that can be told from its path.
pub(crate) fn parent(path: &str) -> Option<&str> {
    let (parent, _) = path.rsplit_once('/')?;
    if parent.is_empty() { None } else { Some(parent) }
}

/// The permissions of what a repository is made of. Nobody writes to a file that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) folder: u32,
    /// While it is written.
    pub(crate) writing: u32,
    pub(crate) file: u32,
}

impl Modes {
    pub(crate) const PRIVATE: Self = Self { folder: 0o700, writing: 0o600, file: 0o400 };
    const GROUP: Self = Self { folder: 0o770, writing: 0o660, file: 0o440 };

    /// As in restic, the config decides: a group that may read it shares the repository.
    pub(crate) fn beside_config(mode: Option<u32>) -> Self {
        if mode.is_some_and(|mode| mode & 0o040 != 0) { Self::GROUP } else { Self::PRIVATE }
    }
}

#[cfg(test)]
mod tests {
    use restic_repo::Id;

    use super::*;

    #[test]
    fn paths_are_below_the_folder_however_it_is_written() {
        for (path, config) in [
            ("/srv/repo", "/srv/repo/config"),
            ("/srv/repo//", "/srv/repo/config"),
            ("repo", "repo/config"),
            ("", "./config"),
            (".", "./config"),
            ("/", "/config"),
            ("//", "/config"),
        ] {
            assert_eq!(Layout::new(path).path_of(&Handle::CONFIG), config, "{path:?}");
        }
    }

    #[test]
    fn a_pack_is_two_folders_deep() {
        let pack = Handle::new(FileType::Pack, Id::of(b""));
        let layout = Layout::new("/r");
        assert_eq!(layout.folders_above(&pack), ["/r/data", "/r/data/e3"]);
        assert_eq!(layout.path_of(&pack), format!("/r/data/e3/{}", pack.id));
        let key = Handle::new(FileType::Key, pack.id);
        assert_eq!(layout.folders_above(&key), ["/r/keys"]);
        assert!(layout.folders_above(&Handle::CONFIG).is_empty());
    }

    #[test]
    fn temporary_files_have_restics_form_and_are_no_names_of_ours() {
        let (one, other) = (temporary("/r/keys/ab").unwrap(), temporary("/r/keys/ab").unwrap());
        assert_ne!(one, other);
        let digits = one.strip_prefix("/r/keys/ab-restic-temp-").unwrap();
        assert!(digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    }

    #[test]
    fn parents_end_where_the_path_does() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("a/b"), Some("a"));
        assert_eq!(parent("/a"), None);
        assert_eq!(parent("a"), None);
    }

    #[test]
    fn a_config_that_a_group_may_read_lets_the_group_in() {
        assert_eq!(Modes::beside_config(Some(0o100_440)).folder, 0o770);
        assert_eq!(Modes::beside_config(Some(0o100_404)), Modes::PRIVATE);
        assert_eq!(Modes::beside_config(None), Modes::PRIVATE);
    }
}
