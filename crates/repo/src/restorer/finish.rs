//! The last part of a batch: links, devices, metadata, and what does not belong.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType};

use crate::error::Error;
use crate::node::{Name, Node, NodeType};
use crate::progress::{ItemAction, Phase};
use crate::restorer::target::{PRIVATE_FILE, Place, type_of};
use crate::restorer::{RestoredFile, Site, State, Step, delete, lock, metadata};

/// Finishes what the steps of a batch began, in their order: so a folder comes after what is in it.
pub(super) fn finish(site: &Site, steps: Vec<Step>) {
    for step in steps {
        if site.stopped() {
            return;
        }
        match step {
            Step::Enter { .. } => {}
            Step::File(file) => finish_file(site, &file),
            Step::Link { path, node, first } => match lock(&site.failed).contains(&first) {
                true => {
                    let detail = format!("{first:?}, the same file, could not be restored");
                    site.not_restored(&path, &Error::mismatch(&path, detail));
                }
                false => make(site, &path, &node, |place| link(site, &path, place, &first)),
            },
            Step::Other { path, node } => {
                make(site, &path, &node, |place| create(site, &path, place, &node));
            }
            Step::Leave { path, node, names } => leave(site, &path, node.as_deref(), names),
        }
    }
}

fn finish_file(site: &Site, file: &RestoredFile) {
    let RestoredFile { path, node, state, .. } = file;
    let action = match state {
        State::Planned | State::Failed => {
            // Its times are not set, so that nobody takes it for what it should be.
            if node.links > 1 {
                lock(&site.failed).insert(path.clone());
            }
            return;
        }
        State::Skipped | State::Unchanged => ItemAction::Unchanged,
        // In a dry run it stays that way.
        State::Wanted { exists: true, .. } | State::Written { existed: true, .. } => {
            ItemAction::Updated
        }
        State::Wanted { .. } | State::Written { .. } => ItemAction::Restored,
    };
    if !matches!(state, State::Skipped) {
        set_metadata(site, path, node);
    }
    site.count(|outcome| match action {
        ItemAction::Unchanged => {
            outcome.files_skipped += 1;
            outcome.bytes_skipped += node.size;
        }
        _ => {
            outcome.files_restored += 1;
            outcome.bytes_restored += node.size;
        }
    });
    if action != ItemAction::Unchanged {
        site.progress.advance(Phase::RestoreItems, 1);
    }
    site.report(path, Some(node), action);
}

/// Makes what is neither folder nor file. The closure does it, and tells whether it was there already.
fn make(site: &Site, path: &Path, node: &Node, create: impl FnOnce(&Place) -> io::Result<bool>) {
    let status = match site.target.place(path).and_then(|place| place.status()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && site.options.dry_run => None,
        Err(error) => return site.failed("look at", path, error),
        Ok(status) => status,
    };
    if let Some(status) = &status
        && !site.may_replace(node, status)
    {
        site.count(|outcome| {
            outcome.total_files -= 1;
            outcome.files_skipped += 1;
        });
        return site.report(path, Some(node), ItemAction::Unchanged);
    }
    let action = if status.is_some() { ItemAction::Updated } else { ItemAction::Restored };
    let created = match site.options.dry_run {
        true => Ok(false),
        false => site.target.place(path).and_then(|place| create(&place)),
    };
    let action = match created {
        Ok(true) => ItemAction::Unchanged,
        Ok(false) => action,
        Err(error) => return site.failed("make", path, error),
    };
    set_metadata(site, path, node);
    site.count(|outcome| outcome.files_restored += 1);
    site.progress.advance(Phase::RestoreItems, 1);
    site.report(path, Some(node), action);
}

/// Gives the file at `first` another name.
fn link(site: &Site, path: &Path, place: &Place, first: &Path) -> io::Result<bool> {
    let first = site.target.place(first)?;
    if let (Some(one), Some(other)) = (first.status()?, place.status()?)
        && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
    {
        return Ok(true);
    }
    site.make_room(path, place)?;
    fs::linkat(&first.folder, &first.name, &place.folder, &place.name, AtFlags::empty())?;
    Ok(false)
}

fn create(site: &Site, path: &Path, place: &Place, node: &Node) -> io::Result<bool> {
    let file_type = match node.node_type {
        NodeType::Symlink => FileType::Symlink,
        NodeType::Dev => FileType::BlockDevice,
        NodeType::CharDev => FileType::CharacterDevice,
        NodeType::Fifo => FileType::Fifo,
        _ => {
            let text =
                format!("nobody knows how to restore the type {:?}", node.node_type.as_str());
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    };
    if is_there(place, node, file_type)? {
        return Ok(true);
    }
    site.make_room(path, place)?;
    match file_type {
        FileType::Symlink => fs::symlinkat(&node.link_target, &place.folder, &place.name)?,
        _ => {
            let device = if file_type == FileType::Fifo { 0 } else { node.device };
            fs::mknodat(&place.folder, &place.name, file_type, PRIVATE_FILE, device)?;
        }
    }
    Ok(false)
}

fn is_there(place: &Place, node: &Node, file_type: FileType) -> io::Result<bool> {
    let Some(status) = place.status()? else { return Ok(false) };
    if type_of(&status) != file_type {
        return Ok(false);
    }
    Ok(match file_type {
        FileType::Symlink => {
            let target = fs::readlinkat(&place.folder, &place.name, Vec::new())?;
            target.as_bytes() == node.link_target.as_encoded_bytes()
        }
        FileType::Fifo => true,
        _ => status.st_rdev == node.device,
    })
}

fn leave(site: &Site, path: &Path, node: Option<&Node>, names: Option<HashSet<Name>>) {
    if let Some(names) = names {
        delete::remove_unexpected(site, path, &names);
    }
    let Some(node) = node else { return };
    set_metadata(site, path, node);
    site.count(|outcome| outcome.files_restored += 1);
    site.progress.advance(Phase::RestoreItems, 1);
    site.report(path, Some(node), ItemAction::Restored);
}

fn set_metadata(site: &Site, path: &Path, node: &Node) {
    if site.options.dry_run {
        return;
    }
    let place = match site.target.place(path) {
        Ok(place) => place,
        Err(error) => return site.failed("look at", path, error),
    };
    for (operation, error) in metadata::restore(site, &place, node) {
        site.failed(operation, path, error);
    }
}
