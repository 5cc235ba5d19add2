//! JSON for scripts, spelled as Go spells it.

use serde::Serialize;

/// A value as one line of JSON, the newline included.
pub fn line<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut line = restic_repo::json::to_vec(value);
    line.push(b'\n');
    line
}
