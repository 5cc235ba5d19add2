//! A file in the target that is open for writing.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{self, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::chunker;
use crate::restorer::Site;
use crate::restorer::target::{PRIVATE_FILE, Place, type_of};

/// In what units zeros become holes, in bytes: no smaller than a file system's blocks, no larger than
/// what images of disks use.
const HOLE: usize = 64 << 10;

/// What is written at some place.
pub(super) enum Content {
    Data(Bytes),
    /// So many zeros.
    Zeros(u64),
}

impl Content {
    /// How many bytes of the file it is.
    pub fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// How many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Zeros(_) => 0,
        }
    }
}

/// A file that is open for writing.
pub(super) struct OpenOutput {
    file: File,
    /// Whether there was nothing in it, so that all that is not written reads as zeros.
    is_new: bool,
}

impl OpenOutput {
    /// Opens a file: one that `exists` is written to where that is safe, and emptied unless it is to
    /// `keep` what is in it.
    pub fn open(site: &Site, path: &Path, exists: bool, keep: bool) -> io::Result<Self> {
        let place = site.target.place(path)?;
        if exists && let Some(file) = open_existing(&place)? {
            if !keep {
                file.set_len(0)?;
            }
            return Ok(Self { file, is_new: !keep });
        }
        if keep {
            return Err(io::Error::other("it changed while it was restored"));
        }
        if exists {
            site.make_room(path, &place)?;
        }
        let create =
            |place: &Place| place.open_file(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL);
        let file = match create(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                site.make_room(path, &place)?;
                create(&place)?
            }
            created => created?,
        };
        Ok(Self { file, is_new: true })
    }

    /// Writes something. Zeros become holes, if the file is to be `sparse`.
    pub fn write(&self, offset: u64, content: &Content, sparse: bool) -> io::Result<()> {
        match content {
            Content::Data(data) if sparse => {
                for (range, is_zero) in runs(data, offset) {
                    let at = offset + range.start as u64;
                    match is_zero {
                        true => self.write_zeros(at, range.len() as u64, true)?,
                        false => self.file.write_all_at(&data[range], at)?,
                    }
                }
                Ok(())
            }
            Content::Data(data) => self.file.write_all_at(data, offset),
            Content::Zeros(length) => self.write_zeros(offset, *length, sparse),
        }
    }

    /// The file system can often do better than being told all the zeros.
    fn write_zeros(&self, offset: u64, length: u64, sparse: bool) -> io::Result<()> {
        let flags = match (sparse, self.is_new) {
            (true, true) => return Ok(()),
            (true, false) => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            (false, true) => FallocateFlags::empty(),
            (false, false) => FallocateFlags::ZERO_RANGE,
        };
        match fs::fallocate(&self.file, flags, offset, length) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let zeros = chunker::zero_chunk();
        let mut written = 0;
        while written < length {
            let more = (length - written).min(zeros.len() as u64);
            self.file.write_all_at(&zeros[..more as usize], offset + written)?;
            written += more;
        }
        Ok(())
    }

    /// Gives the file its length, now that all of it is written.
    pub fn finish(&self, length: u64) -> io::Result<()> {
        if self.file.metadata()?.len() != length {
            self.file.set_len(length)?;
        }
        Ok(())
    }
}

/// The file that is there, if it is one that may be written to: a regular file with a single name. Other
/// names may be those of files that are none of ours.
fn open_existing(place: &Place) -> io::Result<Option<File>> {
    let is_ours = |file: &File| {
        let status = fs::fstat(file)?;
        Ok::<_, io::Error>(type_of(&status) == FileType::RegularFile && status.st_nlink == 1)
    };
    let Some(status) = place.status()? else { return Ok(None) };
    if type_of(&status) != FileType::RegularFile {
        return Ok(None);
    }
    let file = match place.open_file(OFlags::WRONLY) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Its owner may not write to it, but may allow that.
            place.set_permissions(Mode::from_raw_mode(status.st_mode) | PRIVATE_FILE)?;
            place.open_file(OFlags::WRONLY)?
        }
        opened => opened?,
    };
    Ok(if is_ours(&file)? { Some(file) } else { None })
}

/// Divides data into what is zero and what is not, by blocks of the file.
fn runs(data: &[u8], offset: u64) -> Vec<(Range<usize>, bool)> {
    let mut runs: Vec<(Range<usize>, bool)> = Vec::new();
    let mut start = 0;
    while start < data.len() {
        let into_block = ((offset + start as u64) % HOLE as u64) as usize;
        let end = data.len().min(start + HOLE - into_block);
        let is_zero = chunker::is_zero(&data[start..end]);
        match runs.last_mut() {
            Some((range, same)) if *same == is_zero => range.end = end,
            _ => runs.push((start..end, is_zero)),
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_found_by_blocks_of_the_file() {
        let mut data = vec![0; 5 * HOLE];
        data[HOLE + 1] = 1;
        data[4 * HOLE] = 1;
        let runs_at = |offset| runs(&data, offset);
        let aligned = [
            (0..HOLE, true),
            (HOLE..2 * HOLE, false),
            (2 * HOLE..4 * HOLE, true),
            (4 * HOLE..5 * HOLE, false),
        ];
        assert_eq!(runs_at(0), aligned);
        let half = HOLE / 2;
        let moved = [
            (0..half, true),
            (half..HOLE + half, false),
            (HOLE + half..3 * HOLE + half, true),
            (3 * HOLE + half..4 * HOLE + half, false),
            (4 * HOLE + half..5 * HOLE, true),
        ];
        assert_eq!(runs_at(half as u64), moved);
        assert_eq!(runs(&[], 7), []);
    }
}
