//! JSON as Go's `encoding/json` writes it, byte for byte.
