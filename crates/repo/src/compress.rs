//! zstd, as restic uses it: one frame a blob, and the prefix of unpacked files.
