//! Names of hosts that cannot be read off: `|1|salt|HMAC-SHA1(salt, name)`, both in base64.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// The length of salt and hash: that of SHA-1.
const LENGTH: usize = 20;

/// Whether a hash is the name's.
pub(super) fn fits(name: &str, text: &str) -> bool {
    let Some((salt, hash)) = text.strip_prefix("|1|").and_then(|rest| rest.split_once('|')) else {
        return false;
    };
    match (STANDARD.decode(salt), STANDARD.decode(hash)) {
        (Ok(salt), Ok(hash)) if salt.len() == LENGTH => digest(&salt, name) == hash[..],
        _ => false,
    }
}

/// The name as a hash with a new salt.
pub(super) fn hash(name: &str) -> io::Result<String> {
    let mut salt = [0; LENGTH];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    Ok(format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(digest(&salt, name))))
}

fn digest(salt: &[u8], name: &str) -> [u8; LENGTH] {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).expect("HMAC takes keys of any length");
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().into()
}
