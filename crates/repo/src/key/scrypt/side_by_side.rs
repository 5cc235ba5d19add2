//! scrypt's lanes in groups, a group for each processor at a time.

use std::sync::{Mutex, PoisonError};
use std::thread;

use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Cost;
use super::x86::{LANES, Mixer};

impl Cost {
    /// The bytes that go through a lane, at its beginning and at its end.
    fn lane(self) -> usize {
        128 * self.r as usize
    }

    /// The bytes of memory that a lane takes at most while it is worked on.
    fn memory(self) -> usize {
        self.lane() << self.log_n
    }
}

/// Key material from a password. `false`, with nothing done, if this processor cannot do it.
pub(super) fn derive(
    password: &[u8],
    salt: &[u8],
    cost: Cost,
    memory: usize,
    material: &mut [u8],
) -> bool {
    let Some(mixer) = Mixer::detect() else { return false };
    let mut lanes = Zeroizing::new(vec![0; cost.lane() * cost.p as usize]);
    pbkdf2_hmac::<Sha256>(password, salt, 1, &mut lanes);
    mix_all(mixer, &mut lanes, cost, memory);
    pbkdf2_hmac::<Sha256>(password, &lanes, 1, material);
    true
}

/// Works on all lanes, on as many processors as there are. All that are worked on at the same time take at most
/// `memory` bytes, but there is always one.
fn mix_all(mixer: Mixer, lanes: &mut [u8], cost: Cost, memory: usize) {
    let at_once = (memory / cost.memory()).max(1);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let group = (cost.p as usize).div_ceil(threads).min(LANES).min(at_once);
    let groups = lanes.chunks_mut(group * cost.lane());
    let threads = threads.min(groups.len()).min(at_once / group);

    let groups = Mutex::new(groups);
    let work = || {
        // In a function of its own, so that the lock ends before the work begins.
        let next = || groups.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(group) = next() {
            mixer.mix(group, cost.lane(), 1 << cost.log_n);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where there is no further thread to be had, those that are there do the work.
            let _ = thread::Builder::new().name("scrypt".into()).spawn_scoped(scope, work);
        }
        work();
    });
}
