//! Repositories written by the real restics, with a list of everything in them.
//!
//! `golden/NAME.tar.zst` is the repository as it lay on the disk. `golden/NAME.json.zst` was made by
//! another program that decodes the format by itself, and was compared with what restic restored.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde::Deserialize;

use crate::scratch::{Repo, Scratch};
use crate::tree::{Entry, FirstPaths, Kind, Tree};

/// All golden repositories. `README.md` in `golden/` says what is special about each.
pub const NAMES: [&str; 12] = [
    "v1-r014",
    "v2-r018-auto",
    "v2-r018-max",
    "v2-r019-off",
    "v2-r019-max",
    "vm-r014",
    "vm-r018",
    "pruned-r014",
    "pruned-r018",
    "dups-r018",
    "empty-r018",
    "nopass-r019",
];

/// A golden repository, unpacked into a scratch folder.
#[derive(Debug)]
pub struct Golden {
    /// Where it is and what opens it.
    pub repo: Repo,
    /// What is in it.
    pub manifest: Manifest,
    /// The folder it is in; there is room for a restore beside it.
    pub scratch: Scratch,
}

impl Golden {
    /// Unpacks one of [`NAMES`].
    pub fn unpack(name: &str) -> Self {
        let scratch = Scratch::new();
        unpack(&format!("{name}.tar.zst"), scratch.path(), |_| true);
        let manifest = Manifest::of(name);
        let repo = scratch.repo_at(scratch.path().join(name), &manifest.password);
        Self { repo, manifest, scratch }
    }
}

/// What is in a golden repository.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The program that wrote it last: `restic 0.18.0`.
    pub made_by: String,
    /// What is special about it.
    pub note: String,
    /// The format's version: 1 or 2.
    pub repo_version: u32,
    /// The id in its config.
    pub repo_id: String,
    /// The chunker polynomial in its config, in hexadecimal.
    pub polynomial: String,
    /// What opens it; empty for a repository without a password.
    pub password: String,
    /// How many different blobs it holds, by type: `data` and `tree`.
    pub unique_blobs: BTreeMap<String, u64>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<SnapshotManifest>,
}

/// What is in a snapshot.
#[derive(Clone, Debug, Deserialize)]
pub struct SnapshotManifest {
    /// Its id.
    pub id: String,
    /// The snapshot as it is stored.
    pub json: serde_json::Value,
    /// Every node of its trees. A folder comes before what is in it.
    pub entries: Vec<Node>,
}

/// A node, with the fields of the tree that holds it.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// The absolute path's bytes, in base64.
    pub path_b64: String,
    /// As in the tree: `file`, `dir`, `symlink`, `dev`, `chardev`, `fifo`.
    #[serde(rename = "type")]
    pub node_type: String,
    /// As in the tree: Go's bits.
    #[serde(default)]
    pub mode_go: u32,
    /// As `st_mode` has it, in octal.
    pub mode_posix: String,
    /// As in the tree.
    pub mtime: String,
    /// As in the tree.
    pub atime: String,
    /// As in the tree.
    pub ctime: String,
    /// As in the tree.
    #[serde(default)]
    pub uid: u32,
    /// As in the tree.
    #[serde(default)]
    pub gid: u32,
    /// As in the tree.
    #[serde(default)]
    pub user: String,
    /// As in the tree.
    #[serde(default)]
    pub group: String,
    /// As in the tree.
    #[serde(default)]
    pub inode: u64,
    /// As in the tree.
    #[serde(default)]
    pub device_id: u64,
    /// As in the tree.
    #[serde(default)]
    pub links: u64,
    /// As in the tree.
    #[serde(default)]
    pub device: u64,
    /// As in the tree.
    #[serde(default)]
    pub size: u64,
    /// Of a file: the SHA-256 of its content, in hexadecimal.
    pub sha256: Option<String>,
    /// Of a file: its data blobs.
    pub content: Option<Vec<String>>,
    /// Of a folder: its tree.
    pub subtree: Option<String>,
    /// Of a symbolic link: the target, with U+FFFD for what is no UTF-8.
    pub linktarget: Option<String>,
    /// Of a symbolic link: the target's bytes in base64, where it is no UTF-8.
    pub linktarget_raw: Option<String>,
    /// In the order of the tree.
    #[serde(default)]
    pub extended_attributes: Vec<Xattr>,
}

/// An extended attribute.
#[derive(Clone, Debug, Deserialize)]
pub struct Xattr {
    /// Its name.
    pub name: String,
    /// Its value, in base64.
    pub value: String,
}

impl Manifest {
    /// The manifest of one of [`NAMES`].
    pub fn of(name: &str) -> Self {
        let mut json = Vec::new();
        open(&format!("{name}.json.zst"))
            .read_to_end(&mut json)
            .unwrap_or_else(|error| panic!("golden manifest {name}: {error}"));
        serde_json::from_slice(&json)
            .unwrap_or_else(|error| panic!("golden manifest {name}: {error}"))
    }
}

impl SnapshotManifest {
    /// What a restore of the whole snapshot puts into an empty folder, by path relative to that folder.
    pub fn tree(&self) -> Tree {
        let mut first = BTreeMap::new();
        let nodes: BTreeMap<PathBuf, &Node> =
            self.entries.iter().map(|node| (node.relative_path(), node)).collect();
        let entries = nodes.into_iter().map(|(path, node)| {
            let hard_link_to = (node.links > 1)
                .then(|| first.insert_first((node.device_id, node.inode), &path))
                .flatten();
            let entry = node.entry(hard_link_to);
            (path, entry)
        });
        Tree { entries: entries.collect() }
    }

    /// The node of an absolute path. Panics if there is none.
    pub fn node(&self, path: impl AsRef<Path>) -> &Node {
        let path = path.as_ref();
        self.entries
            .iter()
            .find(|node| node.path() == path)
            .unwrap_or_else(|| panic!("{} is not in snapshot {}", path.display(), self.id))
    }
}

impl Node {
    /// The absolute path.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(decode(&self.path_b64)))
    }

    fn relative_path(&self) -> PathBuf {
        let path = self.path();
        path.strip_prefix("/").map(Path::to_owned).unwrap_or(path)
    }

    fn entry(&self, hard_link_to: Option<PathBuf>) -> Entry {
        let xattrs = self
            .extended_attributes
            .iter()
            .map(|xattr| (xattr.name.clone().into_bytes(), decode(&xattr.value)));
        Entry {
            kind: self.kind(),
            mode: u32::from_str_radix(&self.mode_posix, 8).expect("the manifest has octal modes")
                & 0o7777,
            mtime: self
                .mtime
                .parse::<jiff::Timestamp>()
                .expect("the manifest has RFC 3339 times")
                .as_nanosecond(),
            uid: self.uid,
            gid: self.gid,
            xattrs: xattrs.collect(),
            hard_link_to,
        }
    }

    fn kind(&self) -> Kind {
        match self.node_type.as_str() {
            "file" => Kind::File { size: self.size, sha256: self.digest() },
            "dir" => Kind::Folder,
            "symlink" => Kind::Symlink { target: self.target() },
            "fifo" => Kind::Fifo,
            "dev" => Kind::BlockDevice { device: self.device },
            "chardev" => Kind::CharacterDevice { device: self.device },
            other => panic!("the manifest has a node of type {other}"),
        }
    }

    fn digest(&self) -> [u8; 32] {
        let hex = self.sha256.as_deref().expect("the manifest has every file's SHA-256");
        let mut digest = [0; 32];
        assert_eq!(hex.len(), 64, "{hex}");
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16)
                .expect("the manifest has hexadecimal digests");
        }
        digest
    }

    fn target(&self) -> Vec<u8> {
        match (&self.linktarget_raw, &self.linktarget) {
            (Some(raw), _) => decode(raw),
            (None, Some(target)) => target.clone().into_bytes(),
            (None, None) => panic!("the manifest has a link without a target: {self:?}"),
        }
    }
}

/// Unpacks those top-level folders of an archive that are wanted.
pub(crate) fn unpack(archive: &str, target: &Path, wanted: impl Fn(&str) -> bool) {
    let fail = |error| -> ! { panic!("golden archive {archive}: {error}") };
    let mut tar = tar::Archive::new(open(archive));
    for entry in tar.entries().unwrap_or_else(|error| fail(error)) {
        let mut entry = entry.unwrap_or_else(|error| fail(error));
        let path = entry.path().unwrap_or_else(|error| fail(error)).into_owned();
        let top = path.iter().find(|part| *part != ".").unwrap_or_default();
        if wanted(&top.to_string_lossy()) {
            entry.unpack_in(target).unwrap_or_else(|error| fail(error));
        }
    }
}

fn open(name: &str) -> impl Read {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let fail = |error| -> ! { panic!("{}: {error}", path.display()) };
    let file = File::open(&path).unwrap_or_else(|error| fail(error));
    zstd::Decoder::new(file).unwrap_or_else(|error| fail(error))
}

fn decode(base64: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(base64).expect("the manifest has valid base64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Powers, Program, Version};

    /// Restores every snapshot with a real restic and compares the folder with the manifest.
    fn restic_restores(name: &str, version: Version) {
        let golden = Golden::unpack(name);
        let restic = Program::restic(version);
        let powers = Powers::here(golden.scratch.path());
        for snapshot in &golden.manifest.snapshots {
            let target = golden.scratch.folder(&snapshot.id[..8]);
            let target_argument = target.to_str().unwrap();
            let outcome =
                restic.run(&golden.repo, ["restore", &snapshot.id, "--target", target_argument]);
            if powers == Powers::ALL {
                outcome.success();
            }
            snapshot.tree().assert_restored(&target, powers);
        }
    }

    #[test]
    fn restic_0_14_restores_what_the_manifest_of_version_1_says() {
        restic_restores("v1-r014", Version::V0_14);
    }

    #[test]
    fn restic_0_18_restores_what_the_manifest_of_version_2_says() {
        restic_restores("v2-r018-auto", Version::V0_18);
    }

    #[test]
    fn restic_0_19_restores_what_the_manifest_of_an_uncompressed_repository_says() {
        restic_restores("v2-r019-off", Version::V0_19);
    }

    #[test]
    fn restic_0_19_restores_all_snapshots_of_a_vm() {
        restic_restores("vm-r018", Version::V0_19);
    }

    #[test]
    fn restic_0_19_restores_a_repository_without_a_password() {
        restic_restores("nopass-r019", Version::V0_19);
    }

    #[test]
    fn every_archive_unpacks_into_a_repository_and_every_manifest_can_be_read() {
        for name in NAMES {
            let golden = Golden::unpack(name);
            assert!(golden.repo.location.join("config").is_file(), "{name}");
            let listed = std::fs::read_dir(golden.repo.location.join("snapshots")).unwrap().count();
            assert_eq!(golden.manifest.snapshots.len(), listed, "{name}");
            for snapshot in &golden.manifest.snapshots {
                assert_eq!(snapshot.tree().entries.len(), snapshot.entries.len(), "{name}");
            }
        }
    }
}
