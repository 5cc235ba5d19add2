//! Is it all zeros?

/// Bytes looked at before the next chance to stop: enough to fill the widest vectors several times.
const STRETCH: usize = 256;

/// Whether all of `bytes` are zero. Stops soon after the first that is not.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (stretches, rest) = bytes.as_chunks::<STRETCH>();
    stretches.iter().all(|stretch| is_zero_throughout(stretch)) && is_zero_throughout(rest)
}

/// The same without stopping: the compiler makes vector instructions of this.
#[inline(always)]
fn is_zero_throughout(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_seen() {
        for length in [0, 1, 7, STRETCH - 1, STRETCH, STRETCH + 1, 3 * STRETCH + 5] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes), "{length}");
            for position in 0..length {
                bytes[position] = 1 << (position % 8);
                assert!(!is_zero(&bytes), "{position} of {length}");
                bytes[position] = 0;
            }
        }
    }
}
