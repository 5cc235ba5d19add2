//! Pack files: sealed blobs, and the header that names them.
