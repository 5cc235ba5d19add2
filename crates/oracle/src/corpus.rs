//! What fuzzing ever found.

use std::fs;
use std::path::Path;

/// The files in the corpus of a fuzz target: where each is, and what is in it.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folder = corpus.join(target);
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry?.path();
        Ok((path.display().to_string(), fs::read(path)?))
    };
    let files = fs::read_dir(&folder).and_then(|entries| entries.map(read).collect());
    let files: Vec<_> = files.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}
