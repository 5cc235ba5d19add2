//! Disk images such as a VM has: holes, files' contents and noise in extents of all sizes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The unit of [`rewrite`]: a cluster of a qcow2 image.
pub const BLOCK: u64 = 64 << 10;

/// Writes a sparse raw image of `length` bytes. The same seed gives the same image.
///
/// About four tenths stay hole, a third compresses well, the rest does not; extents are 64 KiB to 4 MiB.
pub fn write_image(path: &Path, seed: u64, length: u64) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(length)?;
    let mut noise = Noise(seed);
    let mut offset = 0;
    while offset < length {
        let extent = ((BLOCK << noise.below(6)) + noise.below(16) * 4096).min(length - offset);
        match noise.below(100) {
            0..40 => {}
            40..75 => file.write_all_at(&noise.text(extent), offset)?,
            _ => file.write_all_at(&noise.bytes(extent), offset)?,
        }
        offset += extent;
    }
    Ok(())
}

/// Rewrites about `permille` in a thousand blocks in place, half with text, half with noise, and gives
/// the offsets of those blocks in rising order.
pub fn rewrite(path: &Path, seed: u64, permille: u64) -> io::Result<Vec<u64>> {
    let file = OpenOptions::new().write(true).open(path)?;
    let blocks = file.metadata()?.len() / BLOCK;
    let mut noise = Noise(seed);
    let mut offsets = Vec::new();
    for block in (0..blocks).filter(|_| noise.below(1000) < permille).collect::<Vec<_>>() {
        let bytes = if noise.below(2) == 0 { noise.text(BLOCK) } else { noise.bytes(BLOCK) };
        file.write_all_at(&bytes, block * BLOCK)?;
        offsets.push(block * BLOCK);
    }
    Ok(offsets)
}

/// The `SplitMix64` generator: small, and good enough to look like noise to a chunker and to zstd.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let words = length.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(length as usize);
        bytes
    }

    fn text(&mut self, length: u64) -> Vec<u8> {
        crate::data::lines(&format!("{:016x}", self.next()), length as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::Scratch;

    #[test]
    fn the_same_seed_gives_the_same_image_with_holes_in_it() {
        let scratch = Scratch::new();
        let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
        write_image(&one, 7, 32 << 20).unwrap();
        write_image(&two, 7, 32 << 20).unwrap();
        let allocated = fs::metadata(&one).unwrap().blocks() * 512;
        assert!(allocated > 4 << 20 && allocated < 30 << 20, "{allocated}");
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    }

    #[test]
    fn only_the_blocks_that_are_named_are_rewritten() {
        let scratch = Scratch::new();
        let path = scratch.path().join("disk");
        write_image(&path, 7, 16 << 20).unwrap();
        let before = fs::read(&path).unwrap();
        let offsets = rewrite(&path, 1, 50).unwrap();
        let after = fs::read(&path).unwrap();
        let changed: Vec<u64> = (0..before.len() as u64 / BLOCK)
            .map(|block| block * BLOCK)
            .filter(|&at| {
                let block = at as usize..(at + BLOCK) as usize;
                before[block.clone()] != after[block]
            })
            .collect();
        assert!(!offsets.is_empty());
        assert_eq!(changed, offsets);
    }
}
