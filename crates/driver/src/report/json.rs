//! JSON for scripts, spelled as Go spells it.

use serde::Serialize;

/// A value as one line of JSON, the newline included.
pub fn line<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("reports are structs with names for keys");
    line.push(b'\n');
    line
}
