//! Bytes that are the same on every machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes that no program can compress: SHA-256 of the seed and a 64-bit little-endian counter, block
/// after block. The golden repositories and chunker vectors are made of the same stream.
pub fn ctr(seed: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block: u64 = 0;
    while bytes.len() < length {
        let digest = Sha256::new().chain_update(seed).chain_update(block.to_le_bytes()).finalize();
        bytes.extend_from_slice(&digest);
        block += 1;
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that compress well: numbered lines of text that begin with the tag.
pub fn lines(tag: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 64);
    let mut number: u64 = 0;
    while bytes.len() < length {
        bytes.extend_from_slice(format!("{tag} {number:012} the quick brown fox\n").as_bytes());
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

/// Writes a file that is all hole but for the pieces, each at its offset.
pub fn write_sparse(path: &Path, length: u64, pieces: &[(u64, &[u8])]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(length)?;
    for (offset, bytes) in pieces {
        file.write_all_at(bytes, *offset)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first lines of the recorded chunker vectors, written by another program.
    #[test]
    fn the_streams_are_those_that_the_recorded_vectors_were_made_of() {
        let hex = |bytes: &[u8]| {
            let digest = Sha256::digest(bytes);
            digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(hex(&ctr(b"q", 524_287)), "b166de9a819e18d9");
        assert_eq!(hex(&ctr(b"q", 524_288)), "3cceb10990e3caa7");
        assert_eq!(hex(&lines("line", 16 << 20)), "50b81c72e3f38b92");
    }
}
