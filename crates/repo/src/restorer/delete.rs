//! Removing what does not belong.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::node::Name;
use crate::progress::{Item, ItemAction};
use crate::restorer::Site;
use crate::restorer::target::{Place, type_of};

/// Removes what the filter selects in a folder and the snapshot does not have there.
pub(super) fn remove_unexpected(site: &Site, path: &Path, expected: &HashSet<Name>) {
    let listed = site.target.folder(path).and_then(|folder| Ok((names(&folder)?, folder)));
    let (names, folder) = match listed {
        Ok(listed) => listed,
        // In a dry run it may not be there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return site.failed("list", path, error),
    };
    for name in names {
        if expected.contains(name.as_bytes()) || site.stopped() {
            continue;
        }
        let path = path.join(&name);
        let place = Place { folder: Arc::clone(&folder), name };
        let removed = place.status().and_then(|status| {
            let Some(status) = status else { return Ok(()) };
            let is_folder = type_of(&status) == FileType::Directory;
            match site.options.filter.choose(&path, is_folder).selected {
                true => remove_all(site, &path, &place),
                false => Ok(()),
            }
        });
        if let Err(error) = removed {
            site.failed("remove", &path, error);
        }
    }
}

/// Removes what is there, with all that is in it, and counts it.
pub(super) fn remove_all(site: &Site, path: &Path, place: &Place) -> io::Result<()> {
    let Some(status) = place.status()? else { return Ok(()) };
    let is_folder = type_of(&status) == FileType::Directory;
    let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    if is_folder {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = fs::openat(&place.folder, &place.name, flags, Mode::empty())?;
        let folder = Arc::new(folder);
        for name in names(&folder)? {
            let path = path.join(&name);
            remove_all(site, &path, &Place { folder: Arc::clone(&folder), name })?;
        }
    }
    if !site.options.dry_run {
        match fs::unlinkat(&place.folder, &place.name, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    site.count(|outcome| outcome.files_deleted += 1);
    let action = ItemAction::Deleted;
    site.progress.item(&Item { path, action, is_folder, size: 0, data_added: 0, data_stored: 0 });
    Ok(())
}

/// The names in a folder, sorted.
fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    // It may be open only for passing through.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = Dir::new(fs::openat(folder, ".", flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in folder {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable_by(|one, other| OsStr::cmp(one, other));
    Ok(names)
}
