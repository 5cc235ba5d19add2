//! zstd, as restic uses it: one frame a blob, and the prefix of unpacked files.

use std::io::{self, Read};

use zstd::bulk;
use zstd::zstd_safe::{CParameter, DParameter};

/// How hard to compress, in restic's words (`--compression`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// A good ratio at a speed that keeps up with most storage.
    #[default]
    Auto,
    /// Data as it is. Trees and unpacked files are compressed all the same: restic does so.
    Off,
    /// Least work.
    Fastest,
    /// A better ratio, more work.
    Better,
    /// The best ratio that is worth its time.
    Max,
}

impl Compression {
    /// The zstd level. restic's encoder has four levels of its own, said by its authors to lie near
    /// zstd's 1, 3, 7 and 11.
    const fn level(self) -> i32 {
        match self {
            Self::Fastest => 1,
            Self::Auto | Self::Off => 3,
            Self::Better => 7,
            Self::Max => 12,
        }
    }
}

/// A zstd compressor that is used again and again: a new context costs more than a small blob.
pub(crate) struct Compressor {
    zstd: bulk::Compressor<'static>,
}

impl Compressor {
    pub(crate) fn new(mode: Compression) -> io::Result<Self> {
        let mut zstd = bulk::Compressor::new(mode.level())?;
        zstd.set_parameter(CParameter::ChecksumFlag(false))?;
        zstd.set_parameter(CParameter::ContentSizeFlag(true))?;
        Ok(Self { zstd })
    }

    /// Appends one frame that holds all of `plaintext` to `out`.
    pub(crate) fn append(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        out.reserve(zstd::zstd_safe::compress_bound(plaintext.len()));
        let mut tail = io::Cursor::new(std::mem::take(out));
        tail.set_position(start as u64);
        let result = self.zstd.compress_to_buffer(plaintext, &mut tail);
        *out = tail.into_inner();
        result.map(|_| ())
    }
}

/// A zstd decompressor that is used again and again, and never writes more than it is allowed to.
pub(crate) struct Decompressor {
    zstd: bulk::Decompressor<'static>,
}

/// The largest window a frame may ask for, as a power of two: 128 MiB, zstd's own default. The window
/// is only filled by output, which is bounded by itself.
const WINDOW_LOG_MAX: u32 = 27;

impl Decompressor {
    pub(crate) fn new() -> io::Result<Self> {
        let mut zstd = bulk::Decompressor::new()?;
        zstd.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(Self { zstd })
    }

    /// Replaces what is in `out` by the content of `frames` (one frame or several behind each other).
    ///
    /// `expected` is what somebody claims the length to be. It is tried first, because it is right in
    /// all but broken repositories; restic does not check it, so a wrong one is no error. More than
    /// `limit` bytes are an error, whatever the frame says of itself.
    pub(crate) fn decompress(
        &mut self,
        frames: &[u8],
        expected: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        out.clear();
        if expected <= limit {
            out.reserve(expected);
            if self.zstd.decompress_to_buffer(frames, out).is_ok() && out.len() <= limit {
                return Ok(());
            }
            out.clear();
        }
        let mut reader = zstd::stream::read::Decoder::with_buffer(frames)?;
        reader.window_log_max(WINDOW_LOG_MAX)?;
        reader.take(limit as u64 + 1).read_to_end(out)?;
        if out.len() > limit {
            *out = Vec::new(); // may be the better part of `limit`: give it back
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it decompresses to more than {limit} bytes"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(plaintext: &[u8]) -> Vec<u8> {
        let mut out = b"head".to_vec();
        Compressor::new(Compression::Auto).unwrap().append(plaintext, &mut out).unwrap();
        assert_eq!(&out[..4], b"head");
        out.split_off(4)
    }

    #[test]
    fn a_wrong_claim_of_the_length_does_not_matter() {
        let text = b"the quick brown fox ".repeat(1000);
        let frame = compress(&text);
        for claim in [0, 1, text.len() - 1, text.len(), text.len() + 1, 1 << 22] {
            let mut out = b"old".to_vec();
            Decompressor::new().unwrap().decompress(&frame, claim, 1 << 22, &mut out).unwrap();
            assert_eq!(out, text, "{claim}");
        }
    }

    #[test]
    fn several_frames_are_one_content() {
        let frames = [compress(b"one "), compress(b"two")].concat();
        for claim in [0, 7] {
            let mut out = Vec::new();
            Decompressor::new().unwrap().decompress(&frames, claim, 100, &mut out).unwrap();
            assert_eq!(out, b"one two");
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let bomb = compress(&vec![0; 16 << 20]);
        assert!(bomb.len() < 2000);
        for claim in [0, 1000, 16 << 20, usize::MAX] {
            let mut out = Vec::new();
            let error = Decompressor::new().unwrap().decompress(&bomb, claim, 1 << 20, &mut out);
            assert!(error.is_err(), "{claim}");
            assert!(out.capacity() <= 4 << 20);
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for junk in [&b"junk"[..], &[0x28, 0xb5, 0x2f, 0xfd], &compress(b"hello")[..8]] {
            assert!(
                Decompressor::new().unwrap().decompress(junk, 5, 100, &mut Vec::new()).is_err()
            );
        }
    }
}
