//! Where the disks of a VM are while it is backed up: on which host, and in which folder there.

use std::fs;
use std::path::Path;

use crate::exit::{Failure, Result};
use crate::opennebula::installation::Installation;
use crate::opennebula::vm::Vm;

/// The folder in that of a VM that a backup is made from.
const BACKUP: &str = "backup";
/// The setting that names a folder for the backups of all VMs.
const BASE_PATH: &str = "BACKUP_BASE_PATH";

/// A VM's folder on its host, as `host:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The folder, without the double slashes that OpenNebula writes.
    pub folder: String,
}

impl Place {
    /// Parses it.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Failure::new(format_args!(
                "{text:?} is no host with a folder, as in node1:/var/lib/one/datastores/0/5"
            ))
        };
        // The host may be an address with colons in it.
        let at = text.find(":/").ok_or_else(invalid)?;
        let (host, folder) = (&text[..at], &text[at + 1..]);
        let parts: Vec<_> =
            folder.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if host.is_empty() || parts.is_empty() || parts.contains(&"..") || text.contains('\0') {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), folder: format!("/{}", parts.join("/")) })
    }

    /// The folder that a backup is made from.
    pub fn backup_folder(&self, installation: &Installation) -> Result<String> {
        match base_path(installation)? {
            None => Ok(format!("{}/{BACKUP}", self.folder)),
            Some(base) => {
                let vm = self.folder.rsplit('/').next().unwrap_or_default();
                Ok(format!("{}/{vm}/{BACKUP}", base.trim_end_matches('/')))
            }
        }
    }

    /// The host that reads the disks: the VM's own, or another that has its datastore, too.
    pub fn reader<'a>(&'a self, vm: Option<&'a Vm>) -> &'a str {
        vm.and_then(|vm| vm.last_bridge.as_deref()).unwrap_or(&self.host)
    }
}

/// What `datastore.conf` says of where backups are made. Without the file, nothing.
fn base_path(installation: &Installation) -> Result<Option<String>> {
    let file = installation.remotes().join("etc/datastore/datastore.conf");
    let Ok(text) = fs::read(&file) else { return Ok(None) };
    match setting(&String::from_utf8_lossy(&text), BASE_PATH) {
        None => Ok(None),
        Some(path) if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {
            Ok(Some(path))
        }
        Some(path) => Err(Failure::new(format_args!(
            "{BASE_PATH} in {} is {path:?}; an absolute path is needed",
            Path::display(&file)
        ))),
    }
}

/// The last value of a setting in a file of shell assignments.
fn setting(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export").map_or(line, str::trim_start);
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        let inner = |quote| value.strip_prefix(quote)?.split_once(quote).map(|(inner, _)| inner);
        let bare = || value.split([' ', '\t', '#']).next().unwrap_or_default();
        let value = inner('"').or_else(|| inner('\'')).unwrap_or_else(bare);
        (!value.is_empty()).then(|| value.to_owned())
    };
    text.lines().rev().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_folder_are_told_apart() {
        let parsed = |text| Place::parse(text).map(|place| (place.host, place.folder)).ok();
        let place = |host: &str, folder: &str| Some((host.to_owned(), folder.to_owned()));
        assert_eq!(
            parsed("localhost:/var/lib/one//datastores/100/0/"),
            place("localhost", "/var/lib/one/datastores/100/0")
        );
        assert_eq!(parsed("fe80::1:/ds/0"), place("fe80::1", "/ds/0"));
        assert_eq!(parsed("h:/a 'b'\n$c:/5"), place("h", "/a 'b'\n$c:/5"));
        for text in ["", "host", "host:", ":/a", "host:a", "host:/", "host:/a/../b"] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    #[test]
    fn backups_are_made_beside_the_disks_or_where_the_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        let installation = Installation { var: folder.path().to_owned() };
        let place = Place::parse("h:/ds//100/5").unwrap();
        assert_eq!(place.backup_folder(&installation), Ok("/ds/100/5/backup".to_owned()));
        let file = installation.remotes().join("etc/datastore/datastore.conf");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (line, expected) in [
            ("# BACKUP_BASE_PATH=/b", "/ds/100/5/backup"),
            ("BACKUP_BASE_PATH=/b", "/b/5/backup"),
            ("BACKUP_BASE_PATH=\"/var/b/\" # here", "/var/b/5/backup"),
            ("export BACKUP_BASE_PATH='/b'", "/b/5/backup"),
            ("OTHER_BACKUP_BASE_PATH=/c", "/ds/100/5/backup"),
            ("BACKUP_BASE_PATH=", "/ds/100/5/backup"),
        ] {
            fs::write(&file, format!("X=1\n{line}\n")).unwrap();
            assert_eq!(place.backup_folder(&installation), Ok(expected.to_owned()), "{line}");
        }
        fs::write(&file, "BACKUP_BASE_PATH=relative").unwrap();
        assert!(place.backup_folder(&installation).unwrap_err().message().contains("relative"));
    }
}
