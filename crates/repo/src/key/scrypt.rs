//! scrypt with several lanes at a time on each processor.
//!
//! scrypt (RFC 7914) does the same work `p` times, on lanes that know nothing of each other. In each, every
//! instruction waits for the one before it, so that a lane alone leaves most of a processor idle; three or four
//! side by side take little longer than one. Every command pays for this before anything else can begin: with
//! six lanes, as restic's keys have them on such a machine, two processors take 0.12 to 0.14 s instead of 0.21.

#[cfg(target_arch = "x86_64")]
mod side_by_side;
#[cfg(target_arch = "x86_64")]
mod x86;

/// What scrypt costs: see [`super::ScryptParams`], which are known to be valid here.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    /// The cost, a power of two from 2 on, as its logarithm.
    pub log_n: u8,
    /// The block size.
    pub r: u32,
    /// The lanes.
    pub p: u32,
}

/// Key material from a password, or nothing if the library does not take the cost. Lanes that are worked on side by
/// side take at most `memory` bytes together.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "none are side by side"))]
pub(super) fn derive(
    password: &[u8],
    salt: &[u8],
    cost: Cost,
    memory: usize,
    material: &mut [u8],
) -> Option<()> {
    #[cfg(target_arch = "x86_64")]
    if side_by_side::derive(password, salt, cost, memory, material) {
        return Some(());
    }
    by_library(password, salt, cost, material)
}

/// The same, one lane at a time on each processor.
fn by_library(password: &[u8], salt: &[u8], cost: Cost, material: &mut [u8]) -> Option<()> {
    let params = ::scrypt::Params::new(cost.log_n, cost.r, cost.p).ok()?;
    ::scrypt::scrypt(password, salt, &params, material).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn derived(password: &[u8], salt: &[u8], cost: Cost, memory: usize) -> [u8; 64] {
        let mut material = [0; 64];
        derive(password, salt, cost, memory, &mut material).expect("valid parameters");
        material
    }

    #[test]
    fn the_standard_has_these_keys() {
        // RFC 7914, 12.
        for (password, salt, cost, expected) in [
            (
                "password",
                "NaCl",
                Cost { log_n: 10, r: 8, p: 16 },
                "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
                 2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
            ),
            (
                "pleaseletmein",
                "SodiumChloride",
                Cost { log_n: 14, r: 8, p: 1 },
                "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2\
                 d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
            ),
        ] {
            let material = derived(password.as_bytes(), salt.as_bytes(), cost, usize::MAX);
            let hex: String = material.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{password}");
        }
    }

    proptest! {
        #[test]
        fn both_ways_come_to_the_same(
            password in prop::collection::vec(any::<u8>(), 0..40),
            salt in prop::collection::vec(any::<u8>(), 0..70),
            (log_n, r, p) in (1u8..8, 1u32..10, 1u32..20),
            lanes_at_once in 0usize..9,
        ) {
            let cost = Cost { log_n, r, p };
            let mut expected = [0; 64];
            by_library(&password, &salt, cost, &mut expected).expect("valid parameters");
            let memory = (lanes_at_once * 128 * r as usize) << log_n;
            prop_assert_eq!(derived(&password, &salt, cost, memory), expected);
        }
    }
}
