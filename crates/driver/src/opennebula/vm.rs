//! A VM, as far as its backups are concerned.

use crate::exit::Result;
use crate::opennebula::element::Element;

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its number.
    pub id: u64,
    /// The host that reads the disks in place of the VM's own.
    pub last_bridge: Option<String>,
    /// The image that its increments are being added to.
    pub incremental_backup: Option<u64>,
}

impl Vm {
    /// Reads a `VM` of OpenNebula's.
    pub fn parse(vm: Element<'_>) -> Result<Self> {
        let image: Option<i64> = vm.number("BACKUPS/BACKUP_CONFIG/INCREMENTAL_BACKUP_ID")?;
        // A VM that is backed up in full has no increments, whatever it had before.
        let is_incremental = vm.text("BACKUPS/BACKUP_CONFIG/MODE") != Some("FULL");
        let image = image.filter(|_| is_incremental);
        Ok(Self {
            id: vm.required_number("ID")?,
            last_bridge: vm.text("BACKUPS/BACKUP_CONFIG/LAST_BRIDGE").map(str::to_owned),
            incremental_backup: image.and_then(|image| u64::try_from(image).ok()),
        })
    }
}
