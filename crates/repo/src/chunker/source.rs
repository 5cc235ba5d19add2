//! What is cut: a source of bytes that may know where it holds nothing but zeros.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

/// A source of bytes, read from start to end.
pub trait Source {
    /// Reads up to `buffer.len()` bytes into `buffer` and returns how many. None are left when it
    /// returns 0 for a buffer that is not empty.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// How many of the bytes that come next are known to be zero without reading them. Knowing of
    /// none is always right.
    fn zeros(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    /// Passes over the next `count` bytes, no more than [`Self::zeros`] has just told of. Sources that
    /// never tell of any need not implement it.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let _ = count;
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read(buffer)
    }

    fn zeros(&mut self) -> io::Result<u64> {
        (**self).zeros()
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        (**self).skip(count)
    }
}

/// Anything that can be read: standard input, a decompressor.
#[derive(Debug)]
pub struct ReadSource<R>(pub R);

impl<R: Read> Source for ReadSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// A file, from its current position to its end. The holes of a regular file are not read.
///
/// The file may change meanwhile. Then the source is what was there at the moment of reading, and it ends
/// where the end was at the moment of reaching it.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    /// The next byte to read. The file's own position is of no use: looking for holes moves it.
    offset: u64,
    /// Whether it is a regular file; others have no position.
    regular: bool,
    /// Whether holes can be asked for.
    sparse: bool,
    /// There is no hole between `offset` and here, as far as was asked.
    data_end: u64,
}

impl FileSource {
    /// Reads this file, and tells the system so.
    pub fn new(file: File) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let position = rustix::fs::tell(&file);
        let regular = regular && position.is_ok();
        if regular {
            // A hint, worth no error.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        }
        Self { file, offset: position.unwrap_or(0), regular, sparse: regular, data_end: 0 }
    }

    /// The length of the hole at `offset`, 0 if there is none.
    fn hole(&mut self) -> rustix::io::Result<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(self.offset)) {
            Ok(data) if data > self.offset => Ok(data - self.offset),
            Ok(_) => {
                // Asked once for each piece of data, since over a network asking is slow.
                self.data_end = rustix::fs::seek(&self.file, SeekFrom::Hole(self.offset))?;
                Ok(0)
            }
            // No data from here on: a hole up to the end, or the end itself.
            Err(Errno::NXIO) => {
                let size = u64::try_from(rustix::fs::fstat(&self.file)?.st_size).unwrap_or(0);
                Ok(size.saturating_sub(self.offset))
            }
            Err(error) => Err(error),
        }
    }
}

impl Source for FileSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.regular {
            return self.file.read(buffer);
        }
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }

    fn zeros(&mut self) -> io::Result<u64> {
        if !self.sparse || self.offset < self.data_end {
            return Ok(0);
        }
        Ok(self.hole().unwrap_or_else(|_| {
            // A file system that does not tell: everything is read.
            self.sparse = false;
            0
        }))
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.offset = self.offset.checked_add(count).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn read_all(source: &mut FileSource) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match source.read(&mut buffer).unwrap() {
                0 => return bytes,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn a_file_is_read_from_its_position() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"header, body").unwrap();
        file.seek(io::SeekFrom::Start(8)).unwrap();
        assert_eq!(read_all(&mut FileSource::new(file)), b"body");
    }

    #[test]
    fn a_hole_is_told_and_passed_over() {
        let hole = 64 << 20;
        let mut file = tempfile::tempfile().unwrap();
        file.seek(io::SeekFrom::Start(hole)).unwrap();
        file.write_all(b"data").unwrap();
        file.set_len(2 * hole).unwrap();
        file.rewind().unwrap();

        let mut source = FileSource::new(file);
        let zeros = source.zeros().unwrap();
        // A file system may not tell of holes, or give whole blocks to data; but it must not lie.
        assert!(zeros <= hole, "{zeros}");
        if zeros > 0 {
            source.skip(zeros).unwrap();
        }
        let mut rest = read_all(&mut source);
        let data = (hole - zeros) as usize;
        assert_eq!(&rest[data..data + 4], b"data");
        rest[data..data + 4].fill(0);
        assert_eq!(rest, vec![0; (2 * hole - zeros) as usize]);
        assert_eq!(source.zeros().unwrap(), 0, "nothing follows the end");
    }

    #[test]
    fn a_hole_behind_data_is_told_when_it_is_reached() {
        let size = 1 << 20;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; size as usize]).unwrap();
        file.write_all_at(b"data", 3 * size).unwrap();
        let here = FileSource::new(file.try_clone().unwrap()).zeros().unwrap();

        file.rewind().unwrap();
        let mut source = FileSource::new(file);
        for _ in 0..4 {
            let mut buffer = vec![0; size as usize / 4];
            assert_eq!(source.read(&mut buffer).unwrap(), buffer.len());
            // After the last: the same that one sees who begins here.
            let zeros = if source.offset < size { 0 } else { here };
            assert_eq!(source.zeros().unwrap(), zeros);
        }
        source.skip(here).unwrap();
        assert_eq!(source.zeros().unwrap(), 0);
    }

    #[test]
    fn a_hole_at_the_end_ends_with_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let mut source = FileSource::new(file);
        let zeros = source.zeros().unwrap();
        assert!(zeros == 1 << 40 || zeros == 0, "{zeros}");
    }

    #[test]
    fn data_is_not_taken_for_a_hole() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        file.rewind().unwrap();
        let mut source = FileSource::new(file);
        assert_eq!(source.zeros().unwrap(), 0);
        source.read(&mut [0; 4096]).unwrap();
        assert_eq!(source.zeros().unwrap(), 0);
    }

    #[test]
    fn a_file_that_changes_is_what_was_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 3000]).unwrap();
        file.rewind().unwrap();
        let mut source = FileSource::new(file.try_clone().unwrap());
        assert_eq!(source.zeros().unwrap(), 0);
        assert_eq!(source.read(&mut [0; 1000]).unwrap(), 1000);
        // It shrinks to less than was read; then it grows again.
        file.set_len(500).unwrap();
        assert_eq!(source.zeros().unwrap(), 0);
        assert_eq!(source.read(&mut [0; 1000]).unwrap(), 0);
        file.write_all_at(&[2; 1500], 0).unwrap();
        assert_eq!(read_all(&mut source), [2; 500]);
    }

    #[test]
    fn a_pipe_is_read_as_it_comes() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"through a pipe").unwrap();
        drop(writer);
        let mut source = FileSource::new(File::from(std::os::fd::OwnedFd::from(reader)));
        assert_eq!(source.zeros().unwrap(), 0);
        assert_eq!(read_all(&mut source), b"through a pipe");
    }

    #[test]
    fn a_device_is_read_as_it_comes() {
        let mut source = FileSource::new(File::open("/dev/zero").unwrap());
        assert_eq!(source.zeros().unwrap(), 0);
        let mut buffer = [1; 100];
        assert_eq!(source.read(&mut buffer).unwrap(), 100);
        assert_eq!(buffer, [0; 100]);
    }
}
