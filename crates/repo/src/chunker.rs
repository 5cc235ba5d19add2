//! Content-defined chunking, exactly as restic cuts.
