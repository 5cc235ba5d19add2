//! The fingerprint's arithmetic, looked up.

use super::polynomial::{DEGREE, Polynomial};

/// How many bytes a fingerprint covers.
pub(super) const WINDOW: usize = 64;

/// The bits of a fingerprint that are zero at a cut: a chance of one in 2^20, hence one MiB on average
/// beyond the least size.
pub(super) const MASK: u64 = (1 << 20) - 1;

/// What one byte does to a fingerprint modulo one polynomial, for each value of the byte.
pub(super) struct Tables {
    /// By the top eight bits of a fingerprint: what multiplying by x^8 carries out of them, reduced;
    /// and the carried bits themselves, so that one addition also removes them.
    carry: [u64; 256],
    /// What a byte still counts for when `WINDOW` bytes came after it: the byte times x^512, reduced.
    leave: [u64; 256],
}

impl Tables {
    pub(super) fn new(polynomial: Polynomial) -> Self {
        let carry = |byte| {
            let carried = (byte as u64) << DEGREE;
            polynomial.reduce(carried) | carried
        };
        let leave = |byte| (0..WINDOW).fold(byte as u64, |value, _| polynomial.reduce(value << 8));
        Self { carry: std::array::from_fn(carry), leave: std::array::from_fn(leave) }
    }

    /// The fingerprint when `enter` comes after the window and `leave`, the window's first byte, leaves.
    #[inline(always)]
    pub(super) fn roll(&self, fingerprint: u64, leave: u8, enter: u8) -> u64 {
        let top = (fingerprint >> (DEGREE - 8)) as u8;
        // In this order only the shift, the lookup and the last addition wait for the fingerprint.
        (fingerprint << 8)
            ^ (self.leave[usize::from(leave)] ^ u64::from(enter))
            ^ self.carry[usize::from(top)]
    }

    /// What `carry` adds to a fingerprint, without the carried bits: linear in the byte.
    pub(super) fn carried(&self, byte: u8) -> u64 {
        self.carry[usize::from(byte)] & ((1 << DEGREE) - 1)
    }

    /// What a byte takes along as it leaves: linear in the byte.
    pub(super) fn left(&self, byte: u8) -> u64 {
        self.leave[usize::from(byte)]
    }

    /// The fingerprint of `bytes` from nothing.
    pub(super) fn fingerprint(&self, bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |fingerprint, &byte| self.roll(fingerprint, 0, byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolled_fingerprint_is_the_windows_own() {
        let tables = Tables::new(Polynomial(0x3da3358b4dc173));
        let bytes: Vec<u8> = (0..300u32).map(|i| ((i * i) >> 3) as u8).collect();
        let mut fingerprint = tables.fingerprint(&bytes[..WINDOW]);
        for end in WINDOW + 1..=bytes.len() {
            let (leave, enter) = (bytes[end - 1 - WINDOW], bytes[end - 1]);
            fingerprint = tables.roll(fingerprint, leave, enter);
            assert_eq!(fingerprint, tables.fingerprint(&bytes[end - WINDOW..end]), "{end}");
        }
    }
}
