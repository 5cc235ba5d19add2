//! The folder that OpenNebula puts a VM's disks into, for a backup to take them from.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Result};

/// The VM's description.
pub const DESCRIPTION: &str = "vm.xml";
/// What the names of disks begin with, and of a TPM's state.
const DISK: &[u8] = b"disk.";
/// What the names of Ceph's formats end with.
const RBD: [&str; 2] = ["rbd2", "rbdiff"];

/// What there is to back up of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disks {
    /// The disks in the order of their names, and then the VM's description.
    pub paths: Vec<PathBuf>,
    /// The sizes of all of them together, in bytes.
    pub bytes: u64,
    /// Whether they are in Ceph's format, which the first one tells.
    pub is_rbd: bool,
}

impl Disks {
    /// Looks what there is in a folder. A backup without a disk, or without the description that says
    /// what VM they belong to, would be of no use.
    pub fn find(folder: &Path) -> Result<Self> {
        let mut names = Vec::new();
        let mut bytes = 0u64;
        let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(folder, &error))?;
            let name = entry.file_name();
            if !name.as_bytes().starts_with(DISK) && name != DESCRIPTION {
                continue;
            }
            let path = entry.path();
            let found = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, &error))?;
            if found.file_type().is_socket() {
                continue;
            }
            if !found.is_file() {
                // Of a link, only the link would be stored.
                return Err(Failure::new(format_args!("{} is no file", path.display())));
            }
            bytes = bytes.saturating_add(found.len());
            names.push(name);
        }
        names.sort_by(|a, b| {
            (*a == DESCRIPTION, a.as_bytes()).cmp(&(*b == DESCRIPTION, b.as_bytes()))
        });
        let missing = |what| {
            Err(Failure::new(format_args!(
                "there is no {what} in {}; OpenNebula should have put it there before the backup",
                folder.display()
            )))
        };
        match names.as_slice() {
            [] => return missing("disk"),
            [only] if only == DESCRIPTION => return missing("disk"),
            [.., last] if last != DESCRIPTION => return missing(DESCRIPTION),
            _ => {}
        }
        Ok(Self {
            is_rbd: is_rbd(&names[0]),
            paths: names.into_iter().map(|name| folder.join(name)).collect(),
            bytes,
        })
    }

    /// Those of these disks of a VM that no file is there for.
    pub fn missing<'a>(&self, wanted: &'a [u64]) -> impl Iterator<Item = &'a u64> {
        let begins = |number: u64| {
            let start = format!("disk.{number}.");
            move |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().as_bytes();
                name.starts_with(start.as_bytes())
            }
        };
        wanted.iter().filter(move |number| !self.paths.iter().any(begins(**number)))
    }
}

fn is_rbd(name: &OsString) -> bool {
    Path::new(name).extension().is_some_and(|ending| RBD.iter().any(|rbd| ending == *rbd))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format_args!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        folder
    }

    fn names(disks: &Disks) -> Vec<&str> {
        disks.paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn disks_come_first_and_other_files_not_at_all() {
        let all =
            ["vm.xml", "disk.10.0", "disk.tpm.0", "disk.1.0", "disk", "backup.log", "xdisk.2.0"];
        let folder = folder(&all);
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::write(folder.path().join("below/disk.9.0"), "").unwrap();
        let found = Disks::find(folder.path()).unwrap();
        assert_eq!(names(&found), ["disk.1.0", "disk.10.0", "disk.tpm.0", "vm.xml"]);
        assert_eq!((found.bytes, found.is_rbd), (8 + 9 + 10 + 6, false));
        assert_eq!(found.missing(&[1, 10, 0]).collect::<Vec<_>>(), [&0]);
    }

    #[test]
    fn the_first_disk_tells_the_format() {
        for (first, is_rbd) in
            [("disk.0.rbd2", true), ("disk.0.3.rbdiff", true), ("disk.0.0", false)]
        {
            let folder = folder(&[first, "disk.1.0", "vm.xml"]);
            assert_eq!(Disks::find(folder.path()).unwrap().is_rbd, is_rbd, "{first}");
        }
    }

    #[test]
    fn a_folder_that_lacks_something_is_no_backup() {
        for (names, what) in [
            (&["vm.xml"][..], "there is no disk in"),
            (&["disk.0.0"], "there is no vm.xml in"),
            (&[], "there is no disk in"),
        ] {
            let folder = folder(names);
            let failure = Disks::find(folder.path()).unwrap_err();
            assert!(failure.message().contains(what), "{failure}");
        }
        let failure = Disks::find(Path::new("/nowhere at all")).unwrap_err();
        assert!(failure.message().contains("cannot read /nowhere at all"), "{failure}");
    }

    #[test]
    fn a_link_in_place_of_a_disk_is_refused() {
        let folder = folder(&["vm.xml", "elsewhere"]);
        std::os::unix::fs::symlink("elsewhere", folder.path().join("disk.0.0")).unwrap();
        let failure = Disks::find(folder.path()).unwrap_err();
        assert!(failure.message().contains("is no file"), "{failure}");
    }
}
