//! Storing a file: under a temporary name, made durable, then renamed.
//!
//! What SFTP cannot do is make a *name* durable: it has no way to sync a folder. A server that loses its
//! power right after a save may come back without the file, as with restic; most file systems write the
//! name within seconds, and ext4 and XFS write it along with the next file that is synced.

use std::sync::Arc;

use futures_util::FutureExt;
use restic_repo::{FileType, Handle};

use crate::failure::Failure;
use crate::layout::{self, Layout, Modes};
use crate::pool::Pool;
use crate::session::{File, Permit, Session, Stat};
use crate::transfer;

/// One save, as far as one session carries it.
pub(crate) struct Saving<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) layout: &'a Layout,
    pub(crate) handle: &'a Handle,
    pub(crate) data: &'a [u8],
    pub(crate) modes: Modes,
    pub(crate) permit: &'a Permit,
}

impl Saving<'_> {
    /// Stores the file. What is there already, whole, is only made durable.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let path = self.layout.path_of(self.handle);
        let (there, made) = tokio::join!(self.session.lstat(&path), self.make(&path));
        let (there, mut temporary) = (self.found(there)?, made?);
        let stored = match self.is_whole(there) {
            // Whoever stored it may have died before it was durable.
            true => self.sync(&path).await,
            false => self.store(&mut temporary, &path).await,
        };
        temporary.discard().await;
        stored
    }

    /// Makes what is stored already durable.
    async fn sync(&self, path: &str) -> Result<(), Failure> {
        let file = self.session.open(path, Arc::clone(self.permit)).await?;
        file.sync().await?;
        file.close().await
    }

    fn found(&self, there: Result<Stat, Failure>) -> Result<Option<Stat>, Failure> {
        match there {
            Ok(stat) => Ok(Some(stat)),
            Err(failure) if failure.is_lost() => Err(failure),
            // Whatever is wrong there, comes up again when it is replaced.
            Err(_) => Ok(None),
        }
    }

    /// Whether what is there is what is to be stored. A config may be replaced by another; anything else
    /// has its content's hash for a name.
    fn is_whole(&self, there: Option<Stat>) -> bool {
        let size = self.data.len() as u64;
        self.handle.file_type != FileType::Config
            && there.is_some_and(|stat| {
                stat.mode.is_some() && stat.is_file() && stat.size == Some(size)
            })
    }

    /// Makes the temporary file, and the folders above it if they are missing.
    async fn make(&self, path: &str) -> Result<Temporary, Failure> {
        let made = match self.try_to_make(path).await {
            Err(Failure::NotFound) => match self.make_folders().await {
                Ok(()) => self.try_to_make(path).await,
                Err(failure) => Err(failure),
            },
            made => made,
        };
        match made {
            Err(failure) => Err(self.why(failure).await),
            made => made,
        }
    }

    /// Makes the folders between the repository's own and the file.
    async fn make_folders(&self) -> Result<(), Failure> {
        for folder in self.layout.folders_above(self.handle) {
            make_folder(self.session, &folder, self.modes).await?;
        }
        Ok(())
    }

    async fn try_to_make(&self, path: &str) -> Result<Temporary, Failure> {
        let mut temporary = Temporary::new(self, layout::temporary(path)?);
        let permit = Arc::clone(self.permit);
        let made = self.session.make(&temporary.path, self.modes.writing, permit).await;
        // Without an answer, it may be there.
        temporary.there = made.as_ref().err().is_none_or(Failure::is_lost);
        temporary.file = Some(made?);
        Ok(temporary)
    }

    /// Fills the temporary file, and gives it its final name.
    async fn store(&self, temporary: &mut Temporary, path: &str) -> Result<(), Failure> {
        let Some(file) = temporary.file.take() else { return Err(Failure::NotFound) };
        let durable = match self.fill(&file).await {
            Ok(durable) => durable,
            Err(failure) => {
                temporary.file = Some(file);
                return Err(self.why(failure).await);
            }
        };
        let closing = file.close();
        if durable {
            // Closing has nothing more to bring to light, so its answer is not waited for.
            let (closed, replaced) = tokio::join!(closing, self.replace(temporary, path));
            match (closed, replaced) {
                (Ok(()), Ok(())) => return Ok(()),
                (_, Err(failure)) if failure.is_lost() => return Err(failure),
                (Err(failure), _) => return Err(self.why(failure).await),
                // Some systems rename no file that is open, and it may have been.
                (Ok(()), Err(_)) => {}
            }
        } else if let Err(failure) = closing.await {
            return Err(self.why(failure).await);
        }
        self.put_in_place(temporary, path).await
    }

    /// Fills the temporary file, and makes it durable. Tells whether it is.
    async fn fill(&self, file: &File) -> Result<bool, Failure> {
        let mut durable = false;
        let finish = async {
            let (protected, synced, stat) =
                tokio::join!(file.set_mode(self.modes.file), file.sync(), file.stat());
            durable = synced?;
            match protected {
                Err(failure) if failure.is_lost() => return Err(failure),
                // Some file systems know no permissions: that is no reason to fail.
                _ => {}
            }
            let (found, written) = (stat?.size, self.data.len() as u64);
            match found {
                Some(found) if found != written => Err(Failure::WrongSize { written, found }),
                _ => Ok(()),
            }
        };
        transfer::write(file, self.data, finish.boxed()).await?;
        Ok(durable)
    }

    /// Gives the temporary file its final name in one step, where the server can.
    async fn replace(&self, temporary: &mut Temporary, path: &str) -> Result<(), Failure> {
        let replaced = self.session.replace(&temporary.path, path).await;
        temporary.there = replaced.is_err();
        replaced
    }

    /// Gives the temporary file its final name.
    async fn put_in_place(&self, temporary: &mut Temporary, path: &str) -> Result<(), Failure> {
        match self.replace(temporary, path).await {
            Err(Failure::Unsupported(_)) => {}
            outcome => return outcome,
        }
        let refused = match self.session.rename(&temporary.path, path).await {
            Ok(()) => {
                temporary.there = false;
                return Ok(());
            }
            Err(failure) if failure.is_lost() => return Err(failure),
            Err(failure) => failure,
        };
        // A file of that name is in the way, and the server can only put one where there is none.
        let there = match self.session.lstat(path).await {
            Ok(there) => there,
            Err(failure) if failure.is_lost() => return Err(failure),
            Err(_) => return Err(refused),
        };
        if self.is_whole(Some(there)) {
            // Somebody else has stored the same meanwhile.
            return Ok(());
        }
        self.session.remove(path).await?;
        // From here on, the temporary file may be the only one: whatever happens, it is not removed.
        temporary.there = false;
        self.session.rename(&temporary.path, path).await
    }

    /// Finds out what is behind a failure that the protocol has no words for.
    async fn why(&self, failure: Failure) -> Failure {
        why(self.session, self.layout, failure, self.data.len() as u64).await
    }
}

/// Asks the server about its disk when something to be written was refused without a reason.
pub(crate) async fn why(
    session: &Session,
    layout: &Layout,
    failure: Failure,
    bytes: u64,
) -> Failure {
    if !matches!(failure, Failure::Refused(_) | Failure::WrongSize { .. }) {
        return failure;
    }
    match session.space(layout.root()).await {
        Ok(Some(space)) if space.read_only => Failure::ReadOnly,
        // What was written already is freed when the temporary file is removed, so "less than needed"
        // would be too strict; but a full disk has next to nothing left.
        Ok(Some(space)) if space.bytes < bytes.clamp(64 << 10, 1 << 20) => Failure::Full,
        Ok(Some(space)) if space.files == Some(0) => Failure::Full,
        _ => failure,
    }
}

/// Makes a folder, and gives it these permissions if it was missing.
pub(crate) async fn make_folder(
    session: &Session,
    path: &str,
    modes: Modes,
) -> Result<(), Failure> {
    if let Err(failure) = session.make_folder(path, modes.folder).await {
        if failure.is_lost() {
            return Err(failure);
        }
        // The protocol has no word for "it is there".
        return match session.stat(path).await {
            Ok(stat) if stat.is_folder() => Ok(()),
            Err(lost) if lost.is_lost() => Err(lost),
            _ => Err(failure),
        };
    }
    // The server's umask may have taken from the mode; the file system may have added set-group-id, which
    // stays.
    match session.stat(path).await?.mode {
        Some(mode) if mode & 0o777 != modes.folder => {
            match session.set_mode(path, mode & 0o7000 | modes.folder).await {
                Err(failure) if failure.is_lost() => Err(failure),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// A file that is being written. Unless it has got its final name, it is removed when it is dropped; if
/// its session is gone, as soon as there is another one.
struct Temporary {
    pool: Pool,
    session: Arc<Session>,
    path: String,
    file: Option<File>,
    /// Whether there may be a file to remove.
    there: bool,
    permit: Permit,
}

impl Temporary {
    fn new(saving: &Saving<'_>, path: String) -> Self {
        Self {
            pool: saving.pool.clone(),
            session: Arc::clone(saving.session),
            path,
            file: None,
            there: true,
            permit: Arc::clone(saving.permit),
        }
    }

    /// Removes the file if there is one.
    async fn discard(mut self) {
        if let Some(removing) = self.removing() {
            // In a task of its own, so that it goes on if the caller is dropped.
            let _ = tokio::spawn(removing).await;
        }
    }

    /// Removes the file, once.
    fn removing(&mut self) -> Option<impl Future<Output = ()> + Send + 'static> {
        if !std::mem::replace(&mut self.there, false) {
            return None;
        }
        let (path, pool) = (std::mem::take(&mut self.path), self.pool.clone());
        if self.session.is_over() {
            pool.leave(path);
            return None;
        }
        let (session, file, permit) =
            (Arc::clone(&self.session), self.file.take(), Arc::clone(&self.permit));
        let tidying = pool.tidy();
        Some(async move {
            if let Some(file) = file {
                // Some systems remove no file that is open.
                let _ = file.close().await;
            }
            if let Err(failure) = session.remove(&path).await
                && failure.is_lost()
            {
                pool.leave(path);
            }
            drop((permit, tidying));
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && let Some(removing) = self.removing()
        {
            runtime.spawn(removing);
        }
    }
}
