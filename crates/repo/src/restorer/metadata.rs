//! Owners, extended attributes, times and permissions.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use nix::unistd::{Group, User};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::node::Node;
use crate::restorer::target::{Place, type_of};
use crate::restorer::{Ownership, Site, lock};
use crate::time::Timestamp;

/// Gives something that is there the metadata of its node. Gives what failed, and why.
///
/// The order matters: a new owner takes away set-id bits and capabilities, which are attributes, and
/// permissions may forbid everything else. As restic does, what only root may do is left undone for
/// others.
pub(super) fn restore(site: &Site, place: &Place, node: &Node) -> Vec<(&'static str, io::Error)> {
    let status = match place.status() {
        Ok(Some(status)) => status,
        Ok(None) => return vec![("look at", Errno::NOENT.into())],
        Err(error) => return vec![("look at", error)],
    };
    let is_root = rustix::process::geteuid().is_root();
    let mut faults = Vec::new();
    let mut check = |operation, result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_root => {}
        Err(error) => faults.push((operation, error)),
        Ok(()) => {}
    };
    let owned = set_owner(&site.owners, place, node, &status);
    let is_new_owner = matches!(owned, Ok(true));
    check("set the owner of", owned.map(drop));
    for result in set_attributes(site, place, node) {
        check("set attributes of", result);
    }
    check("set the times of", set_times(place, node));
    let mode = Mode::from_raw_mode(node.mode.unix_permissions());
    // An attribute may be a list of who may do what, which is the mode in other words.
    let is_right = Mode::from_raw_mode(status.st_mode) == mode
        && !is_new_owner
        && node.extended_attributes.is_empty();
    if type_of(&status) != FileType::Symlink && !is_right {
        check("set the permissions of", place.set_permissions(mode));
    }
    faults
}

/// Whether there was anything to do.
fn set_owner(owners: &Owners, place: &Place, node: &Node, status: &Stat) -> io::Result<bool> {
    let (uid, gid) = (owners.user(node), owners.group(node));
    if (status.st_uid, status.st_gid) == (uid, gid) {
        return Ok(false);
    }
    // The highest number stands for "leave it", so nobody can have it.
    let (uid, gid) = (
        (uid != u32::MAX).then(|| Uid::from_raw(uid)),
        (gid != u32::MAX).then(|| Gid::from_raw(gid)),
    );
    fs::chownat(&place.folder, &place.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(true)
}

fn set_attributes(site: &Site, place: &Place, node: &Node) -> Vec<io::Result<()>> {
    let path = place.path();
    let selected = |name: &OsStr| site.options.filter.attribute(name);
    let there = match list_attributes(place) {
        Ok(there) => there,
        // Not every file system has attributes, and restic says nothing where they are lost.
        Err(error) if is_unsupported(&error) => return Vec::new(),
        Err(error) => return vec![Err(error)],
    };
    let mut results = Vec::new();
    for attribute in node.extended_attributes.iter().filter(|attribute| selected(&attribute.name)) {
        let set = fs::lsetxattr(&path, &attribute.name, &attribute.value, XattrFlags::empty());
        match set.map_err(io::Error::from) {
            Err(error) if is_unsupported(&error) => {}
            result => results.push(result),
        }
    }
    let expected = |name: &OsStr| node.extended_attributes.iter().any(|other| other.name == name);
    for name in there.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        if !expected(name) && selected(name) {
            match fs::lremovexattr(&path, name) {
                // The system gives some to every file, and lets nobody take them away.
                Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => {}
                result => results.push(result.map_err(io::Error::from)),
            }
        }
    }
    results
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error())
}

/// The names of all attributes, a zero byte behind each.
fn list_attributes(place: &Place) -> io::Result<Vec<u8>> {
    let path = place.path();
    loop {
        let length = fs::llistxattr_query(&path)?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut names = vec![0; length];
        match fs::llistxattr(&path, &mut names[..]) {
            Ok(length) => {
                names.truncate(length);
                return Ok(names);
            }
            Err(Errno::RANGE) => {} // there are more now
            Err(error) => return Err(error.into()),
        }
    }
}

fn set_times(place: &Place, node: &Node) -> io::Result<()> {
    let spec = |time: &Timestamp| Timespec {
        tv_sec: time.unix_seconds(),
        tv_nsec: time.subsec_nanoseconds().into(),
    };
    let times = Timestamps { last_access: spec(&node.atime), last_modification: spec(&node.mtime) };
    Ok(fs::utimensat(&place.folder, &place.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Finds out whose something is to be.
pub(super) struct Owners {
    ownership: Ownership,
    users: Mutex<HashMap<String, Option<u32>>>,
    groups: Mutex<HashMap<String, Option<u32>>>,
}

impl Owners {
    pub fn new(ownership: Ownership) -> Self {
        Self { ownership, users: Mutex::default(), groups: Mutex::default() }
    }

    fn user(&self, node: &Node) -> u32 {
        let find = |name: &str| Some(User::from_name(name).ok()??.uid.as_raw());
        self.look_up(&self.users, &node.user, find).unwrap_or(node.uid)
    }

    fn group(&self, node: &Node) -> u32 {
        let find = |name: &str| Some(Group::from_name(name).ok()??.gid.as_raw());
        self.look_up(&self.groups, &node.group, find).unwrap_or(node.gid)
    }

    fn look_up(
        &self,
        known: &Mutex<HashMap<String, Option<u32>>>,
        name: &str,
        find: impl Fn(&str) -> Option<u32>,
    ) -> Option<u32> {
        if self.ownership == Ownership::ByNumber || name.is_empty() {
            return None;
        }
        *lock(known).entry(name.to_owned()).or_insert_with(|| find(name))
    }
}
