//! JSON as Go's `encoding/json` writes it, byte for byte.

use serde::Serialize;

/// Placeholder until the formatter lands.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}
