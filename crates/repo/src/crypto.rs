//! Sealing: AES-256-CTR and Poly1305-AES, as restic combines them.

/// What sealing adds to a plaintext, in bytes: the nonce before it and the MAC behind.
pub const OVERHEAD: usize = 32;
