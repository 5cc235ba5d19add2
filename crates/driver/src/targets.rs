//! What is to be backed up: from the command line, and from files that list it.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use crate::exit::{Failure, Result};
use crate::glob;
use crate::text_file;

/// Files and folders to back up.
#[derive(Args, Clone, Debug, Default)]
pub struct TargetArgs {
    /// Files and folders to back up
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,

    /// Back up what this file lists, one pattern a line; - for standard input
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,

    /// Back up what this file lists, one path a line, taken as it is; - for standard input
    #[arg(long, value_name = "FILE")]
    pub files_from_verbatim: Vec<PathBuf>,

    /// Back up what this file lists, each path ended by a zero byte; - for standard input
    #[arg(long, value_name = "FILE")]
    pub files_from_raw: Vec<PathBuf>,
}

/// What was found of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Those that exist, as they were given.
    pub paths: Vec<PathBuf>,
    /// What is missing, in words.
    pub warnings: Vec<String>,
    /// Whether one of them does not exist. Without it the backup is not complete.
    pub is_missing_any: bool,
}

impl TargetArgs {
    /// The options that list files, with their names.
    fn lists(&self) -> [(&'static str, &[PathBuf]); 3] {
        [
            ("--files-from", &self.files_from),
            ("--files-from-verbatim", &self.files_from_verbatim),
            ("--files-from-raw", &self.files_from_raw),
        ]
    }

    /// The first option that lists files, if there is one.
    pub fn list_option(&self) -> Option<&'static str> {
        self.lists().iter().find(|(_, files)| !files.is_empty()).map(|(option, _)| *option)
    }

    /// Whether a list comes from standard input, where the password may have to come from too.
    pub fn reads_standard_input(&self) -> bool {
        self.lists().iter().any(|(_, files)| files.iter().any(|file| is_standard_input(file)))
    }

    /// Collects all targets, and looks which of them exist.
    pub fn collect(&self) -> Result<Targets> {
        let mut targets = Targets::default();
        let mut wanted = Vec::new();
        for file in &self.files_from {
            for line in text_file::lines(&read(file)?) {
                let line = text_file::trim(line);
                if line.is_empty() || line.starts_with(b"#") {
                    continue;
                }
                let shown = String::from_utf8_lossy(line);
                let found = glob::expand(line).ok_or_else(|| {
                    Failure::new(format_args!("--files-from: not a valid pattern: {shown:?}"))
                })?;
                if found.is_empty() {
                    targets.warnings.push(format!("pattern {shown:?} matches no files, skipping"));
                }
                wanted.extend(found);
            }
        }
        for file in &self.files_from_verbatim {
            let text = read(file)?;
            let lines = text_file::lines(&text).filter(|line| !line.is_empty());
            wanted.extend(lines.map(path));
        }
        for file in &self.files_from_raw {
            wanted.extend(raw_names(&read_raw(file)?)?);
        }
        wanted.extend(self.paths.iter().map(PathBuf::from));
        if wanted.is_empty() && targets.warnings.is_empty() {
            return Err(Failure::new("nothing to back up; name files or folders"));
        }
        for path in wanted {
            match std::fs::symlink_metadata(&path) {
                Ok(_) => targets.paths.push(path),
                Err(error) => {
                    let what = match error.kind() {
                        io::ErrorKind::NotFound => "does not exist",
                        _ => "cannot be accessed",
                    };
                    targets.warnings.push(format!("{} {what}, skipping", path.display()));
                    targets.is_missing_any = true;
                }
            }
        }
        Ok(targets)
    }
}

/// A path from the root on, without `.` and `..`; symbolic links are not looked at.
pub fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut clean = PathBuf::new();
    for component in whole.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            component => clean.push(component),
        }
    }
    clean
}

/// What is said when none of the targets exists.
pub fn nothing_exists() -> Failure {
    Failure::new("all source directories/files do not exist; no snapshot was made")
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if is_standard_input(file) {
        return read_raw(file);
    }
    text_file::read(file).map(|text| text.to_vec()).map_err(|error| unreadable(file, &error))
}

fn read_raw(file: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = match is_standard_input(file) {
        true => io::stdin().lock().read_to_end(&mut content).map(drop),
        false => std::fs::read(file).map(|read| content = read),
    };
    read.map_err(|error| unreadable(file, &error))?;
    Ok(content)
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot read the list of files {}: {error}", file.display()))
}

fn raw_names(content: &[u8]) -> Result<Vec<PathBuf>> {
    let Some(names) = content.strip_suffix(b"\0") else {
        return match content {
            [] => Ok(Vec::new()),
            _ => Err(Failure::new(
                "--files-from-raw: the list does not end in a zero byte; it may be cut off",
            )),
        };
    };
    let names: Vec<&[u8]> = names.split(|&byte| byte == 0).collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err(Failure::new("--files-from-raw: the list has an empty name in it"));
    }
    Ok(names.into_iter().map(path).collect())
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_lists_are_checked() {
        assert_eq!(raw_names(b"/a\0/b\nc\0").unwrap(), [Path::new("/a"), Path::new("/b\nc")]);
        assert!(raw_names(b"").unwrap().is_empty());
        assert!(raw_names(b"/a\0/b").unwrap_err().message().contains("zero byte"));
        assert!(raw_names(b"/a\0\0").unwrap_err().message().contains("empty name"));
    }

    #[test]
    fn lists_and_arguments_are_taken_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.raw", "b.raw", "#c", " d"] {
            std::fs::write(at(name), "").unwrap();
        }
        let root = folder.path().display();
        std::fs::write(at("globs"), format!("# list\n\n {root}/*.raw \n{root}/no*\n")).unwrap();
        std::fs::write(at("verbatim"), format!("{root}/#c\r\n{root}/ d\n")).unwrap();
        let targets = TargetArgs {
            paths: vec![at("missing").into(), at("a.raw").into()],
            files_from: vec![at("globs")],
            files_from_verbatim: vec![at("verbatim")],
            ..TargetArgs::default()
        };
        let found = targets.collect().unwrap();
        assert_eq!(found.paths, [at("a.raw"), at("b.raw"), at("#c"), at(" d"), at("a.raw")]);
        assert_eq!(
            found.warnings,
            [
                format!("pattern \"{root}/no*\" matches no files, skipping"),
                format!("{root}/missing does not exist, skipping"),
            ]
        );
        assert!(found.is_missing_any);
    }

    #[test]
    fn nothing_to_back_up_is_an_error() {
        let failure = TargetArgs::default().collect().unwrap_err();
        assert!(failure.message().contains("nothing to back up"));
        let lists = TargetArgs { files_from_raw: vec!["-".into()], ..TargetArgs::default() };
        assert!(lists.reads_standard_input());
        assert_eq!(lists.list_option(), Some("--files-from-raw"));
    }
}
