//! The files of a VM's disks in a backup.

/// The name of the file that describes the VM.
pub const DESCRIPTION: &str = "vm.xml";

/// The disk that holds the state of a VM's TPM, which is an archive rather than a disk.
pub const TPM: &str = "tpm";

/// A file of a disk in a backup: `disk.<disk>.<increment>`, or `disk.tpm.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFile<'a> {
    /// The absolute path, as the snapshot has it.
    pub path: &'a str,
    /// Which disk of the VM it is: `0`, or `tpm`.
    pub disk: &'a str,
    /// What is behind that: `3`, or `rbd2`.
    suffix: &'a str,
}

impl<'a> DiskFile<'a> {
    /// Those among the paths of a snapshot, in their order.
    pub fn among(paths: &'a [String]) -> impl Iterator<Item = Self> {
        paths.iter().filter_map(|path| Self::parse(path))
    }

    fn parse(path: &'a str) -> Option<Self> {
        let (disk, suffix) = file_name(path).strip_prefix("disk.")?.split_once('.')?;
        let is_disk = disk == TPM || !disk.is_empty() && disk.chars().all(|c| c.is_ascii_digit());
        is_disk.then_some(Self { path, disk, suffix })
    }

    /// Its name, without the folder.
    pub fn name(&self) -> &'a str {
        file_name(self.path)
    }

    /// Whether it is in Ceph's format.
    pub fn is_rbd(&self) -> bool {
        matches!(self.suffix.rsplit('.').next(), Some("rbd2" | "rbdiff"))
    }
}

/// The path of the description among those of a snapshot.
pub fn description(paths: &[String]) -> Option<&str> {
    paths.iter().map(String::as_str).find(|path| file_name(path) == DESCRIPTION)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_by_their_names() {
        let names = [
            "disk.0.0",
            "disk.10.3",
            "disk.1.rbd2",
            "disk.1.4.rbdiff",
            "disk.tpm.0",
            "vm.xml",
            "disk.x.0",
            "disk.2",
            "disk..0",
        ];
        let paths = names.map(|name| format!("/v/0/backup/{name}"));
        let found = DiskFile::among(&paths).map(|file| (file.disk, file.name(), file.is_rbd()));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                ("0", "disk.0.0", false),
                ("10", "disk.10.3", false),
                ("1", "disk.1.rbd2", true),
                ("1", "disk.1.4.rbdiff", true),
                ("tpm", "disk.tpm.0", false),
            ]
        );
        assert_eq!(description(&paths), Some("/v/0/backup/vm.xml"));
        assert_eq!(description(&["/v/disk.0.0".to_owned()]), None);
    }
}
