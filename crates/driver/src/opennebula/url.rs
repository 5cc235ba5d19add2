//! Where a disk of a backup is, as OpenNebula writes it into an image's path.

use std::fmt;

use crate::exit::{Failure, Result};
use crate::opennebula::increments::Increments;

/// `restic://<datastore>/<backup job or nothing>/<increments>/<path of the disk>`.
///
/// The number behind the disk's in the file's name need not be that of the last increment: all files of
/// that disk in all increments belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether the disk is in Ceph's format, `restic+rbd://`.
    pub is_rbd: bool,
    /// The datastore's number.
    pub datastore: u64,
    /// The backup job whose repository it is in.
    pub job: Option<u64>,
    /// The increments to put together.
    pub increments: Increments,
    /// The disk's file in a snapshot: an absolute path.
    pub path: String,
}

impl Url {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self> {
        Self::try_parse(text).unwrap_or_else(|| {
            Err(Failure::new(format_args!(
                "{text:?} is no URL of a backup; it looks like \
                 restic://102//0:66c01fd7/var/lib/one/datastores/100/0/backup/disk.0.0"
            )))
        })
    }

    fn try_parse(text: &str) -> Option<Result<Self>> {
        let (scheme, rest) = text.split_once("://")?;
        let is_rbd = match scheme {
            "restic" => false,
            "restic+rbd" => true,
            _ => return None,
        };
        let mut parts = rest.splitn(4, '/');
        let datastore = parts.next()?.parse().ok()?;
        let job = match parts.next()? {
            "" => None,
            job => Some(job.parse().ok()?),
        };
        let increments = match Increments::parse(parts.next()?) {
            Ok(increments) => increments,
            Err(failure) => return Some(Err(failure)),
        };
        let path = format!("/{}", parts.next()?);
        let is_clean = |part: &str| !part.is_empty() && part != "." && part != "..";
        // OpenNebula's scripts make shell commands of URLs.
        let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,".contains(c);
        if !path[1..].split('/').all(is_clean) || !path.chars().all(is_plain) {
            return None;
        }
        Some(Ok(Self { is_rbd, datastore, job, increments, path }))
    }

    /// The file's name: `disk.0.1`.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The folder that the disk is in.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Which disk of the VM it is: `0`, or `tpm`.
    pub fn disk(&self) -> Result<&str> {
        let mut parts = self.file_name().split('.');
        match (parts.next(), parts.next()) {
            (Some("disk"), Some(disk)) if !disk.is_empty() => Ok(disk),
            _ => Err(Failure::new(format_args!("{self} names no disk of a VM"))),
        }
    }

    /// The VM's number, which is that of the folder above `backup`.
    pub fn vm(&self) -> Result<u64> {
        let above = self.folder().strip_suffix("/backup").and_then(|path| path.rsplit('/').next());
        above.and_then(|name| name.parse().ok()).ok_or_else(|| {
            Failure::new(format_args!("{self} does not say which VM it is a backup of"))
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_rbd { "restic+rbd" } else { "restic" };
        write!(f, "{scheme}://{}/", self.datastore)?;
        if let Some(job) = self.job {
            write!(f, "{job}")?;
        }
        write!(f, "/{}{}", self.increments, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_as_it_is_read() {
        let text =
            "restic://102//1:b132bf66,2:3feebbe9/var/lib/one/datastores/100/17/backup/disk.0.3";
        let url = Url::parse(text).unwrap();
        assert_eq!(url.to_string(), text);
        assert_eq!((url.disk().unwrap(), url.vm().unwrap()), ("0", 17));
        assert_eq!(url.folder(), "/var/lib/one/datastores/100/17/backup");
        let of_job = Url::parse("restic+rbd://102/7/0:3ca42df5/x/0/backup/disk.tpm.0").unwrap();
        assert_eq!((of_job.is_rbd, of_job.job, of_job.disk().unwrap()), (true, Some(7), "tpm"));
        assert_eq!(of_job.to_string(), "restic+rbd://102/7/0:3ca42df5/x/0/backup/disk.tpm.0");
    }

    #[test]
    fn hostile_urls_are_refused() {
        for text in [
            "",
            "restic://",
            "http://102//0:66c01fd7/x/0/backup/disk.0.0",
            "restic://x//0:66c01fd7/x/0/backup/disk.0.0",
            "restic://102/../0:66c01fd7/x/0/backup/disk.0.0",
            "restic://102//0:66c01fd7/x/../0/backup/disk.0.0",
            "restic://102//0:66c01fd7",
            "restic://102//0:66c01fd7/x/0/backup/disk.0\n.0",
            "restic://102//0:66c01fd7/x'; reboot; '/0/backup/disk.0.0",
            "restic://102//0:66c01fd7/$(reboot)/0/backup/disk.0.0",
            "restic://102//0:$(reboot)/x/0/backup/disk.0.0",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        let no_vm = Url::parse("restic://102//0:66c01fd7/x/disk.0.0").unwrap();
        assert!(no_vm.vm().is_err());
        assert!(Url::parse("restic://102//0:66c01fd7/1/backup/vm.xml").unwrap().disk().is_err());
    }
}
