//! Everything that fuzzing ever found, on every test run.

#[path = "../../../fuzz/src/sftp_targets.rs"]
mod targets;

#[test]
fn nothing_in_the_fuzzing_corpus_breaks_a_promise() {
    for (name, target) in targets::ALL {
        for (path, bytes) in restic_oracle::corpus(name) {
            // So that a failure says which file it was.
            println!("{path}");
            target(&bytes);
        }
    }
}
