//! Finds the files that a pattern matches, as Go's `filepath.Glob` does, for `--files-from`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use restic_repo::filter::Wildcard;

/// The existing files and folders that a pattern matches, sorted within each folder. Folders that
/// cannot be read are passed over.
///
/// Nothing if the text is no pattern.
pub fn expand(pattern: &[u8]) -> Option<Vec<PathBuf>> {
    Wildcard::parse(pattern)?;
    if !Wildcard::is_needed_for(pattern) {
        let path = as_path(pattern);
        let exists = fs::symlink_metadata(path).is_ok();
        return Some(if exists { vec![path.to_owned()] } else { Vec::new() });
    }
    let (folder, name) = match pattern.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&pattern[..slash.max(1)], &pattern[slash + 1..]),
        None => (&b"."[..], pattern),
    };
    let name = Wildcard::parse(name)?;
    let has_folder = pattern.contains(&b'/');
    let folders = if Wildcard::is_needed_for(folder) {
        expand(folder)?
    } else {
        vec![as_path(folder).to_owned()]
    };
    let found = folders.iter().flat_map(|folder| {
        let names = matching_names(folder, &name).into_iter();
        names.map(|name| if has_folder { folder.join(name) } else { name.into() })
    });
    Some(found.collect())
}

fn matching_names(folder: &Path, wanted: &Wildcard) -> Vec<std::ffi::OsString> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut names: Vec<_> = names.filter(|name| wanted.matches(name.as_bytes())).collect();
    names.sort();
    names
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_what_exists() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.raw", "b.raw", "c.img", ".hidden.raw", "d/x.raw", "e/x.raw", "e/[y]"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            let pattern = format!("{}/{pattern}", folder.path().display());
            let found = expand(pattern.as_bytes()).unwrap();
            let names = found.iter().map(|path| path.strip_prefix(folder.path()).unwrap());
            names.map(|name| name.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("*.raw"), [".hidden.raw", "a.raw", "b.raw"]);
        assert_eq!(found("?/x.raw"), ["d/x.raw", "e/x.raw"]);
        assert_eq!(found("[ab].*"), ["a.raw", "b.raw"]);
        assert_eq!(found("c.img"), ["c.img"]);
        assert_eq!(found("no*"), [""; 0]);
        assert_eq!(found("missing"), [""; 0]);
        assert_eq!(found("e/\\[y\\]"), ["e/[y]"]);
        assert_eq!(found("c.img/*"), [""; 0]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert_eq!(expand(b"/tmp/["), None);
        assert_eq!(expand(b"[/*"), None);
    }

    #[test]
    fn the_root_can_be_listed() {
        assert!(expand(b"/*").unwrap().contains(&PathBuf::from("/tmp")));
    }
}
