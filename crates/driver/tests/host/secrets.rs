//! Where secrets are not to be seen.

use std::fs;
use std::path::Path;

use restic_oracle::data;

use crate::site::{Site, ended, processes, signal, start};

/// No other test has this one.
const UNIQUE: &str = "geheim-8c1f4e53-only-here";

fn contains(path: &Path, secret: &str) -> bool {
    let content = fs::read(path).unwrap_or_default();
    content.windows(secret.len()).any(|part| part == secret.as_bytes())
}

/// All files below a folder that have the secret in them.
fn files_with(folder: &Path, secret: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_with(&entry.path(), secret),
            Ok(kind) if kind.is_file() && contains(&entry.path(), secret) => {
                vec![entry.path().display().to_string()]
            }
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn the_password_is_in_no_argument_no_environment_no_file_and_no_output() {
    let mut site = Site::new();
    UNIQUE.clone_into(&mut site.password);
    let attributes = "<RESTIC_BWLIMIT>2000</RESTIC_BWLIMIT>";
    for cancel in [false, true] {
        site.lay_out(5, &data::ctr(&[cancel.into()], 8 << 20));
        let mut child = start(&mut site.backup(5), &site.message(5, attributes, ""));
        let mut rounds = 0;
        while child.try_wait().unwrap().is_none() {
            for pid in processes() {
                for what in ["cmdline", "environ"] {
                    let path = format!("/proc/{pid}/{what}");
                    assert!(!contains(Path::new(&path), UNIQUE), "it is in {path}");
                }
            }
            let found = files_with(site.scratch.path(), UNIQUE);
            assert!(found.is_empty(), "it is in {found:?}");
            rounds += 1;
            if cancel && !site.jobs().is_empty() && rounds > 10 {
                signal(child.id(), "TERM");
            }
        }
        assert!(rounds > 5, "it was looked for {rounds} times only");
        let outcome = ended("backup".to_owned(), child);
        assert_eq!(outcome.code == Some(0), !cancel, "{outcome}");
        assert!(!outcome.to_string().contains(UNIQUE), "{outcome}");
    }
}
