//! Everything that fuzzing ever found, on every test run.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/sftp_targets.rs"]
mod targets;

#[test]
fn nothing_in_the_fuzzing_corpus_breaks_a_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::ALL {
        let folder = corpus.join(name);
        let files =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut fed = 0;
        for file in files {
            let path = file.unwrap().path();
            // So that a failure says which file it was.
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            fed += 1;
        }
        assert!(fed > 0, "{} is empty", folder.display());
    }
}
