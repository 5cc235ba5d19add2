//! The files of a folder, as a server lists them.

use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt, stream};
use restic_repo::backend::FileInfo;
use restic_repo::{FileType, Id};

use crate::failure::Failure;
use crate::layout::Layout;
use crate::session::{File, Permit, Session};

/// Folders that are read at the same time.
const FOLDERS: usize = 80;

/// Requests for names that are under way for one large folder: a server gives about 100 names at a time.
const AHEAD: usize = 8;

/// The first requests. Two answers are the least that there are: some names, and that there are no more. Most folders
/// need no others, so these are waited for.
const FIRST: usize = 2;

/// The most names that one listing may have. A server that goes on for ever has to end somewhere; 8
/// million packs of the usual size are 140 TB. Tests do not wait for so many.
const MOST_NAMES: usize = if cfg!(test) { 100_000 } else { 8 << 20 };

/// As how many names one counts that has none.
const EMPTY_LOT: usize = 1000;

/// All files of a type.
pub(crate) async fn list(
    session: &Arc<Session>,
    layout: &Layout,
    file_type: FileType,
    permit: &Permit,
) -> Result<Vec<FileInfo>, Failure> {
    match file_type {
        FileType::Config => Ok(Vec::new()),
        FileType::Pack => list_packs(session, layout, permit).await,
        _ => files_in(session, &layout.folder_of(file_type), permit).await,
    }
}

async fn list_packs(
    session: &Arc<Session>,
    layout: &Layout,
    permit: &Permit,
) -> Result<Vec<FileInfo>, Failure> {
    let folders = stream::iter(0..=u8::MAX).map(|prefix| async move {
        let mut files = files_in(session, &layout.pack_folder(prefix), permit).await?;
        // A pack in another pack's folder cannot be loaded.
        files.retain(|file| file.id.as_bytes()[0] == prefix);
        Ok::<_, Failure>(files)
    });
    let mut folders = std::pin::pin!(folders.buffer_unordered(FOLDERS));
    let mut all = Vec::new();
    while let Some(mut files) = folders.try_next().await? {
        all.append(&mut files);
        within_bounds(all.len())?;
    }
    Ok(all)
}

/// The regular files of a folder that have an id for a name. None if there is no such folder.
async fn files_in(
    session: &Arc<Session>,
    path: &str,
    permit: &Permit,
) -> Result<Vec<FileInfo>, Failure> {
    let folder = match session.open_folder(path, Arc::clone(permit)).await {
        Err(Failure::NotFound) => return Ok(Vec::new()),
        Err(failure) => return if_folder(session, path, failure).await,
        Ok(folder) => folder,
    };
    let mut files = Vec::new();
    // Not every server tells the type and size of what it names.
    let mut untold = Vec::new();
    each_name(&folder, |name, stat| {
        let Some(id) = Id::from_hex(name.as_bytes()) else { return };
        match stat.size.filter(|_| stat.mode.is_some()) {
            Some(size) if stat.is_file() => files.push(FileInfo { id, size }),
            Some(_) => {}
            None => untold.push(id),
        }
    })
    .await?;
    drop(folder);
    let told = stream::iter(untold).map(|id| async move {
        match session.lstat(&format!("{path}/{id}")).await {
            // Removed in between.
            Err(Failure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
            Ok(stat) if stat.is_file() => Ok(stat.size.map(|size| FileInfo { id, size })),
            Ok(_) => Ok(None),
        }
    });
    let told: Vec<_> = told.buffer_unordered(FOLDERS).try_collect().await?;
    files.extend(told.into_iter().flatten());
    Ok(files)
}

/// What cannot be opened because it is no folder, is empty.
async fn if_folder(
    session: &Arc<Session>,
    path: &str,
    failure: Failure,
) -> Result<Vec<FileInfo>, Failure> {
    match failure.is_lost() || session.stat(path).await?.is_folder() {
        true => Err(failure),
        false => Ok(Vec::new()),
    }
}

/// Goes through all names of a folder, asking for several lots of them at once if there are many.
async fn each_name(
    folder: &File,
    mut each: impl FnMut(&str, crate::session::Stat),
) -> Result<(), Failure> {
    let mut asked = FuturesUnordered::new();
    let (mut more, mut lots, mut count) = (true, 0, 0);
    loop {
        let ahead = if lots < FIRST { FIRST - lots } else { AHEAD };
        while more && asked.len() < ahead {
            asked.push(folder.names());
        }
        match asked.next().await.transpose()? {
            None => return Ok(()),
            Some(None) => more = false,
            Some(Some(names)) => {
                lots += 1;
                // A lot without names should not be, and there may be no end of them.
                count += if names.is_empty() { EMPTY_LOT } else { names.len() };
                within_bounds(count)?;
                names.iter().for_each(|(name, stat)| each(name, *stat));
            }
        }
    }
}

fn within_bounds(count: usize) -> Result<(), Failure> {
    match count <= MOST_NAMES {
        true => Ok(()),
        false => Err(Failure::Nonsense(format!("a folder of more than {MOST_NAMES} names"))),
    }
}
