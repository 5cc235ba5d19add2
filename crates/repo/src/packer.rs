//! Fills packs with blobs and stores them.
