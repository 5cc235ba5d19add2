//! File modes in Go's bits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A file's type and permissions as Go's `os.FileMode` has them.
///
/// Only the nine permission bits are where Unix has them. restic keeps no other bits than those named
/// here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mode(u32);

impl Mode {
    /// A folder.
    pub const DIR: Self = Self(1 << 31);
    /// A symbolic link.
    pub const SYMLINK: Self = Self(1 << 27);
    /// A block device; with [`CHAR_DEVICE`](Self::CHAR_DEVICE) a character device.
    pub const DEVICE: Self = Self(1 << 26);
    /// A named pipe.
    pub const FIFO: Self = Self(1 << 25);
    /// A socket.
    pub const SOCKET: Self = Self(1 << 24);
    /// Runs as its owner.
    pub const SETUID: Self = Self(1 << 23);
    /// Runs as its group; in folders, new files take the folder's group.
    pub const SETGID: Self = Self(1 << 22);
    /// A character device, together with [`DEVICE`](Self::DEVICE).
    pub const CHAR_DEVICE: Self = Self(1 << 21);
    /// Only owners may delete in this folder.
    pub const STICKY: Self = Self(1 << 20);
    /// None of the above, and not a file either.
    pub const IRREGULAR: Self = Self(1 << 19);

    const PERMISSIONS: u32 = 0o777;

    /// A mode from Go's bits. Bits that nobody knows are kept.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Go's bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// A mode from a Unix `st_mode`. A type that Unix does not know becomes irregular.
    pub const fn from_unix(st_mode: u32) -> Self {
        let file_type = match st_mode & UNIX_TYPE {
            0o100_000 => 0,
            0o040_000 => Self::DIR.0,
            0o120_000 => Self::SYMLINK.0,
            0o060_000 => Self::DEVICE.0,
            0o020_000 => Self::DEVICE.0 | Self::CHAR_DEVICE.0,
            0o010_000 => Self::FIFO.0,
            0o140_000 => Self::SOCKET.0,
            _ => Self::IRREGULAR.0,
        };
        let mut bits = file_type | st_mode & Self::PERMISSIONS;
        if st_mode & UNIX_SETUID != 0 {
            bits |= Self::SETUID.0;
        }
        if st_mode & UNIX_SETGID != 0 {
            bits |= Self::SETGID.0;
        }
        if st_mode & UNIX_STICKY != 0 {
            bits |= Self::STICKY.0;
        }
        Self(bits)
    }

    /// The Unix `st_mode`: type, permissions, and the set-id and sticky bits. An irregular type is 0.
    pub const fn to_unix(self) -> u32 {
        let file_type = if self.contains(Self::DIR) {
            0o040_000
        } else if self.contains(Self::SYMLINK) {
            0o120_000
        } else if self.contains(Self::CHAR_DEVICE) {
            0o020_000
        } else if self.contains(Self::DEVICE) {
            0o060_000
        } else if self.contains(Self::FIFO) {
            0o010_000
        } else if self.contains(Self::SOCKET) {
            0o140_000
        } else if self.contains(Self::IRREGULAR) {
            0
        } else {
            0o100_000
        };
        file_type | self.unix_permissions()
    }

    /// What `chmod` takes: permissions, and the set-id and sticky bits.
    pub const fn unix_permissions(self) -> u32 {
        let mut mode = self.0 & Self::PERMISSIONS;
        if self.contains(Self::SETUID) {
            mode |= UNIX_SETUID;
        }
        if self.contains(Self::SETGID) {
            mode |= UNIX_SETGID;
        }
        if self.contains(Self::STICKY) {
            mode |= UNIX_STICKY;
        }
        mode
    }

    /// The type bits alone, as Go's `ModeType` has them.
    pub(super) const fn file_type(self) -> Self {
        let types = Self::DIR.0
            | Self::SYMLINK.0
            | Self::DEVICE.0
            | Self::FIFO.0
            | Self::SOCKET.0
            | Self::CHAR_DEVICE.0
            | Self::IRREGULAR.0;
        Self(self.0 & types)
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Mode {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const UNIX_TYPE: u32 = 0o170_000;
const UNIX_SETUID: u32 = 0o4000;
const UNIX_SETGID: u32 = 0o2000;
const UNIX_STICKY: u32 = 0o1000;

/// As Go shows it, and so `restic ls -l`: a letter for each of the upper bits, or a dash, then `rwx`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_set = |bit: u32| self.0 & 1 << bit != 0;
        let upper = "dalTLDpSugct?".chars().zip((0..32).rev());
        let lower = "rwxrwxrwx".chars().zip((0..9).rev());
        let mut text: String =
            upper.filter(|(_, bit)| is_set(*bit)).map(|(letter, _)| letter).collect();
        if text.is_empty() {
            text.push('-');
        }
        text.extend(lower.map(|(letter, bit)| if is_set(bit) { letter } else { '-' }));
        f.pad(&text)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_modes_have_restics_numbers() {
        for (unix, bits, text) in [
            (0o100_644, 420, "-rw-r--r--"),
            (0o100_000, 0, "----------"),
            (0o104_755, 8_389_101, "urwxr-xr-x"),
            (0o102_755, 4_194_797, "grwxr-xr-x"),
            (0o040_755, 2_147_484_141, "drwxr-xr-x"),
            (0o041_777, 2_148_532_735, "dtrwxrwxrwx"),
            (0o120_777, 134_218_239, "Lrwxrwxrwx"),
            (0o060_660, 67_109_296, "Drw-rw----"),
            (0o020_660, 69_206_448, "Dcrw-rw----"),
            (0o010_600, 33_554_816, "prw-------"),
            (0o140_600, 16_777_600, "Srw-------"),
        ] {
            let mode = Mode::from_unix(unix);
            assert_eq!(mode.bits(), bits, "{unix:o}");
            assert_eq!(mode.to_unix(), unix);
            assert_eq!(mode.unix_permissions(), unix & 0o7777);
            assert_eq!(mode.to_string(), text);
        }
        assert_eq!(Mode::from_unix(0o600), Mode::IRREGULAR | Mode::from_bits(0o600));
    }
}
