//! From the paths that were asked for to the folders of a snapshot.
//!
//! A snapshot holds its targets under all of their parent folders: `/var/lib/one/vm.xml` becomes
//! `var`, `lib`, `one`, `vm.xml`. The parents are stored with their metadata, but with only those
//! entries that lead to a target.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// A folder of the snapshot that is put together from targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// By name in the snapshot, which is the order of a tree's nodes as well.
    pub entries: BTreeMap<OsString, Target>,
}

/// One entry of such a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// What was asked for: this file, or this folder with all that is in it.
    Whole(PathBuf),
    /// A folder on the way to targets. The path is where its metadata is read from.
    Parent(PathBuf, Targets),
}

impl Targets {
    /// Arranges the targets. Relative ones keep their names below the top; `.`, `..` and `/` stand for
    /// what is in them.
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Self> {
        let mut targets = Self::default();
        for path in paths {
            let path = clean(path);
            if names(&path).is_empty() {
                for name in list(&path)? {
                    targets.add(&path.join(name));
                }
            } else {
                targets.add(&path);
            }
        }
        targets.unroll()?;
        Ok(targets)
    }

    fn add(&mut self, path: &Path) {
        let names = names(path);
        let mut root = root(path);
        let mut folder = self;
        for (depth, name) in names.iter().enumerate() {
            let place = root.join(name);
            // Two roots, as `a/x` and `../a/y`, may have the same first name, and mean other folders.
            let name = match depth {
                0 => folder.free_name(name, &place),
                _ => name.clone(),
            };
            let last = depth + 1 == names.len();
            let entry = folder
                .entries
                .entry(name)
                .or_insert_with(|| Target::Parent(place.clone(), Self::default()));
            match entry {
                // A parent that is asked for as a whole keeps what was asked for below it: unroll()
                // makes one of the two.
                Target::Parent(_, below) if last && below.entries.is_empty() => {
                    *entry = Target::Whole(place);
                    return;
                }
                Target::Parent(_, below) if last => {
                    below.entries.insert(OsString::new(), Target::Whole(place));
                    return;
                }
                Target::Whole(_) if last => return,
                Target::Whole(whole) => {
                    let whole = std::mem::take(whole);
                    let mut below = Self::default();
                    below.entries.insert(OsString::new(), Target::Whole(whole.clone()));
                    *entry = Target::Parent(whole, below);
                }
                Target::Parent(..) => {}
            }
            let Target::Parent(_, below) = entry else { return };
            folder = below;
            root = place;
        }
    }

    /// The name for an entry at the top that stands for `place`: its own, or with a number behind if
    /// that is taken by another place.
    fn free_name(&self, name: &OsStr, place: &Path) -> OsString {
        let mut free = name.to_owned();
        let mut number = 0;
        while let Some(Target::Whole(other) | Target::Parent(other, _)) = self.entries.get(&free)
            && other != place
        {
            number += 1;
            free = name.to_owned();
            free.push(format!("-{number}"));
        }
        free
    }

    /// Where a folder was asked for as a whole, and something below it as well, lists the folder, so
    /// that nothing is there twice. Such folders are marked by an entry without a name.
    fn unroll(&mut self) -> Result<()> {
        if let Some(Target::Whole(whole)) = self.entries.remove(OsStr::new("")) {
            for name in list(&whole)? {
                let path = whole.join(&name);
                match self.entries.get_mut(&name) {
                    Some(Target::Parent(_, below)) => {
                        below.entries.insert(OsString::new(), Target::Whole(path));
                    }
                    Some(Target::Whole(_)) => {}
                    None => {
                        self.entries.insert(name, Target::Whole(path));
                    }
                }
            }
        }
        for entry in self.entries.values_mut() {
            if let Target::Parent(_, below) = entry {
                below.unroll()?;
            }
        }
        Ok(())
    }
}

/// The path without `.`, doubled slashes, and `x/..`; purely by its text, as in restic.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match clean.components().next_back() {
                Some(Component::Normal(_)) => {
                    clean.pop();
                }
                Some(Component::RootDir) => {}
                _ => clean.push(".."),
            },
            other => clean.push(other),
        }
    }
    if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean }
}

/// The names that lead to a clean path in the snapshot: without the root, and without leading `..`.
fn names(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

/// What leads to the first name: `/`, nothing, or some `..`.
fn root(path: &Path) -> PathBuf {
    path.components().take_while(|component| !matches!(component, Component::Normal(_))).collect()
}

/// The names in a folder, in the order of their bytes.
pub(crate) fn list(folder: &Path) -> Result<Vec<OsString>> {
    let io = |error| Error::io("list", folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        names.push(entry.map_err(io)?.file_name());
    }
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(targets: &Targets) -> String {
        let entry = |(name, target): (&OsString, &Target)| match target {
            Target::Whole(path) => format!("{}={}", name.display(), path.display()),
            Target::Parent(path, below) => {
                format!("{}@{}({})", name.display(), path.display(), show(below))
            }
        };
        targets.entries.iter().map(entry).collect::<Vec<_>>().join(" ")
    }

    fn arrange(paths: &[&str]) -> String {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        show(&Targets::new(&paths).unwrap())
    }

    #[test]
    fn parents_lead_to_targets() {
        assert_eq!(
            arrange(&["/var/lib/one/a", "/var/lib/one/b", "/etc/x"]),
            "etc@/etc(x=/etc/x) var@/var(lib@/var/lib(one@/var/lib/one(\
             a=/var/lib/one/a b=/var/lib/one/b)))"
        );
    }

    #[test]
    fn relative_targets_keep_their_names() {
        assert_eq!(arrange(&["a/./b//c/../d"]), "a@a(b@a/b(d=a/b/d))");
        assert_eq!(arrange(&["../x"]), "x=../x");
        assert_eq!(arrange(&["a/x", "../a/y"]), "a@a(x=a/x) a-1@../a(y=../a/y)");
        assert_eq!(arrange(&["a/x", "a/x"]), "a@a(x=a/x)");
    }

    #[test]
    fn a_folder_swallows_what_is_below_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("file"), "").unwrap();
        }
        let path = folder.path().to_path_buf();
        let below = path.join("one/file");
        let expected = Targets::new(&[path.clone(), below.clone()]).unwrap();
        assert_eq!(Targets::new(&[below, path.clone()]).unwrap(), expected);
        let shown = show(&expected);
        assert!(shown.contains(&format!("two={}/two", path.display())), "{shown}");
        assert!(shown.contains(&format!("file={}/one/file", path.display())), "{shown}");
        assert_eq!(
            arrange(&[&format!("{}/.", path.join("one").display())]).matches("one=").count(),
            1
        );
    }
}
