//! Bytes to work on, always the same.

/// Random enough: xorshift.
pub fn random(size: usize) -> Vec<u8> {
    let mut state = 88172645463325252u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545f4914f6cdd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// As compressible as the files of an operating system: random bytes and a text, in turns.
pub fn mixed(size: usize) -> Vec<u8> {
    let text = b"the quick brown fox jumps over the lazy dog, and the dog sleeps on; ";
    let mut bytes = random(size);
    for piece in bytes.chunks_mut(4096).step_by(2) {
        for (to, from) in piece.iter_mut().zip(text.iter().cycle()) {
            *to = *from;
        }
    }
    bytes
}
