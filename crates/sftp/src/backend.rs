//! A repository on a server.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use restic_repo::backend::{Backend, BackendError, Extent, FileInfo, Properties};
use restic_repo::buffers::Buffers;
use restic_repo::{FileType, Handle};
use russh::ChannelMsg;
use tokio::time::Instant;

use crate::connect::{Connection, Connector, Facts};
use crate::error::Error;
use crate::failure::Failure;
use crate::layout::{self, Layout, Modes};
use crate::listing;
use crate::loading::{Loaded, Loading, SMALL, stat_file};
use crate::location::Location;
use crate::pool::{Opener, Pool};
use crate::saving::{self, Saving};
use crate::session::{Permit, Session};
use crate::turns::Turns;

/// Folders that are made at the same time.
pub(crate) const FOLDERS: usize = 100;

/// How many bytes of idle buffers are kept, for what will be read next.
const IDLE: usize = 32 << 20;

/// After so many connections that broke in the middle of one operation, it fails.
const MOST_LOSSES: u32 = 5;

/// A repository in a folder of a server, reached over SFTP.
///
/// Temporary files have restic's form, `<name>-restic-temp-<32 hex digits>`, in the folder of the file
/// they are to become. Our own are removed also after a broken connection; those that other programs left
/// are not touched, because they look like those of living ones.
///
/// When the connection breaks, whoever is in the middle of something begins it again on a new connection.
/// The server is tried for as long as [`Options::patience`] says; after that, operations fail with a
/// transient error, and the next one tries again.
///
/// SFTP cannot make a name durable (it has no way to sync a folder), only a file's content.
#[derive(Clone, Debug)]
pub struct Sftp {
    pool: Pool,
    layout: Layout,
    location: String,
    connections: usize,
    turns: Turns,
    /// For what is read.
    buffers: Buffers,
    /// The permissions that the config asks for, once there is a config.
    modes: Arc<Mutex<Option<Modes>>>,
    facts: Known,
}

/// What is known of the connection that was opened last.
type Known = Arc<Mutex<Option<Facts>>>;

/// How to work with a server.
#[derive(Clone)]
pub struct Options {
    /// Transfers at the same time; restic's default is 5.
    pub connections: usize,
    /// SSH connections that they are spread over, at most. Further ones are opened when the first are
    /// busy; what the server refuses, is done without.
    pub sessions: usize,
    /// How long a server may leave us without a single byte while we wait for one. After that the
    /// connection is given up. To sync a large file may take a slow disk a while.
    pub stall: Duration,
    /// How long to try for a new connection after one broke.
    pub patience: Duration,
    /// Called when a connection breaks, and when there is a new one, so that people learn why nothing
    /// goes on.
    pub observer: Arc<dyn Fn(&Event) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 5,
            sessions: 4,
            stall: Duration::from_secs(120),
            patience: Duration::from_secs(120),
            observer: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("connections", &self.connections)
            .field("sessions", &self.sessions)
            .field("stall", &self.stall)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What happens to the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection broke.
    Lost {
        /// Why, as far as is known.
        reason: String,
    },
    /// None was left, and there is a new one.
    Reconnected {
        /// How long that took.
        after: Duration,
    },
}

impl Sftp {
    /// Connects to the server of a repository. If that fails, it is not tried again.
    pub async fn connect(
        location: &Location,
        connector: Connector,
        options: Options,
    ) -> Result<Self, Error> {
        let patience = options.stall;
        let known = Known::default();
        let facts = Arc::clone(&known);
        let open = move || {
            let (connector, facts) = (connector.clone(), Arc::clone(&facts));
            let open = async move {
                let connection = connector.connect().await?;
                let found = connection.facts.clone();
                let session = begin_session(connection, patience).await?;
                *facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                Ok(session)
            };
            open.boxed()
        };
        let layout = Layout::new(&location.path);
        let sftp = Self::over(Box::new(open), layout, location.to_string(), options).await?;
        Ok(Self { facts: known, ..sftp })
    }

    pub(crate) fn facts(&self) -> Option<Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Waits until the temporary files of saves that were dropped are removed. Who ends the program
    /// without that may leave some behind.
    pub async fn tidied(&self) {
        self.pool.tidied().await;
    }

    async fn over(
        open: Box<Opener>,
        layout: Layout,
        location: String,
        options: Options,
    ) -> Result<Self, Error> {
        let connections = options.connections.max(1);
        Ok(Self {
            pool: Pool::open(open, options).await?,
            layout,
            location,
            connections,
            turns: Turns::new(connections),
            buffers: Buffers::new(IDLE),
            modes: Arc::default(),
            facts: Known::default(),
        })
    }

    /// Does something in a session, and does it again in another one when the connection breaks. It is
    /// told how often it was begun before.
    pub(crate) async fn redo<T, F>(
        &self,
        work: impl Fn(Arc<Session>, u32) -> F + Send,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let (mut begun, mut losses, mut since) = (0, 0, Instant::now());
        loop {
            let session = self.pool.session().await?;
            if self.pool.has_strays() {
                self.pool.sweep(&session).await;
            }
            match work(Arc::clone(&session), begun).await {
                Err(failure) if failure.is_lost() => {
                    // A server may say so of its own accord; then this is no session to go on with.
                    session.end(&failure.to_string());
                    // Where one connection breaks, the others mostly have broken too, and only wait for
                    // somebody to notice. They count as one.
                    if session.began() >= since {
                        (losses, since) = (losses + 1, Instant::now());
                    }
                    if losses == MOST_LOSSES {
                        return Err(failure);
                    }
                    begun += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn load_from(
        &self,
        session: &Arc<Session>,
        handle: &Handle,
        extent: Extent,
        permit: &Permit,
    ) -> Result<Bytes, Failure> {
        let (path, turns, buffers) = (&self.layout.path_of(handle), &self.turns, &self.buffers);
        let loading = Loading { session, handle, extent, path, turns, buffers, permit };
        let Loaded { content, mode } = loading.run().await?;
        if *handle == Handle::CONFIG {
            self.learn_modes(mode);
        }
        Ok(content)
    }

    async fn save_to(
        &self,
        session: Arc<Session>,
        handle: &Handle,
        data: &[u8],
        permit: &Permit,
    ) -> Result<(), Failure> {
        let _burden = session.burden(data.len() as u64);
        let modes = self.modes(&session).await?;
        let (pool, layout) = (&self.pool, &self.layout);
        let saving = Saving { pool, session: &session, layout, handle, data, modes, permit };
        saving.run().await
    }

    /// What new files and folders may be used for, and by whom.
    async fn modes(&self, session: &Session) -> Result<Modes, Failure> {
        if let Some(modes) = *self.modes.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(modes);
        }
        match session.stat(&self.layout.path_of(&Handle::CONFIG)).await {
            Ok(config) => Ok(self.learn_modes(config.mode)),
            Err(failure) if failure.is_lost() => Err(failure),
            Err(_) => Ok(Modes::PRIVATE),
        }
    }

    /// Takes the modes of new files and folders from the config's.
    fn learn_modes(&self, config: Option<u32>) -> Modes {
        let modes = Modes::beside_config(config);
        *self.modes.lock().unwrap_or_else(PoisonError::into_inner) = Some(modes);
        modes
    }

    async fn create_in(&self, session: Arc<Session>) -> Result<(), Failure> {
        let session = &*session;
        let make = |path: String, modes| async move {
            match saving::make_folder(session, &path, modes).await {
                Err(failure) => Err(saving::why(session, &self.layout, failure, 0).await),
                made => made,
            }
        };
        make_with_parents(session, self.layout.root()).await?;
        let modes = self.modes(session).await?;
        let folders = FileType::ALL.into_iter().filter(|&kind| kind != FileType::Config);
        let folders = stream::iter(folders).map(|kind| make(self.layout.folder_of(kind), modes));
        folders.buffer_unordered(FOLDERS).try_collect::<()>().await?;
        let packs = stream::iter(0..=u8::MAX);
        let packs = packs.map(|prefix| make(self.layout.pack_folder(prefix), modes));
        packs.buffer_unordered(FOLDERS).try_collect().await
    }
}

#[async_trait]
impl Backend for Sftp {
    fn properties(&self) -> Properties {
        Properties { location: self.location.clone(), connections: self.connections }
    }

    async fn create(&self) -> Result<(), BackendError> {
        let created = self.redo(|session, _| self.create_in(session)).await;
        created.map_err(|failure| error("create", None, failure))
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let large = match extent {
            Extent::Range { length, .. } => length > SMALL,
            Extent::Whole => matches!(handle.file_type, FileType::Pack | FileType::Index),
        };
        let load = async {
            let permit = match large {
                true => self.turns.reading().await?,
                false => self.turns.errand().await?,
            };
            let permit = &permit;
            self.redo(
                |session, _| async move { self.load_from(&session, handle, extent, permit).await },
            )
            .await
        };
        load.await.map_err(|failure| error("load", Some(handle), failure))
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        let save = async {
            let permit = match data.len() > SMALL {
                true => self.turns.transfer().await?,
                false => self.turns.errand().await?,
            };
            self.redo(|session, _| self.save_to(session, handle, &data, &permit)).await
        };
        save.await.map_err(|failure| error("save", Some(handle), failure))
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        let path = &self.layout.path_of(handle);
        let stat = async {
            let _permit = self.turns.errand().await?;
            self.redo(|session, _| async move { Ok(stat_file(&session, path).await?.0) }).await
        };
        stat.await.map_err(|failure| error("stat", Some(handle), failure))
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        let list = async {
            let permit = self.turns.errand().await?;
            let (layout, permit) = (&self.layout, &permit);
            self.redo(|session, _| async move {
                listing::list(&session, layout, file_type, permit).await
            })
            .await
        };
        list.await.map_err(|failure| error("list", None, failure))
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        let path = &self.layout.path_of(handle);
        let remove = async {
            let _permit = self.turns.errand().await?;
            self.redo(|session, tries| async move {
                match remove_file(&session, path).await {
                    // An earlier try removed it, and its answer was lost.
                    Err(Failure::NotFound) if tries > 0 => Ok(()),
                    Err(failure) => Err(saving::why(&session, &self.layout, failure, 0).await),
                    removed => removed,
                }
            })
            .await
        };
        remove.await.map_err(|failure| error("remove", Some(handle), failure))
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        let root = self.layout.root();
        match self.redo(|session, _| async move { session.space(root).await }).await {
            Ok(space) => Ok(space.map(|space| space.bytes)),
            Err(Failure::Unsupported(_)) => Ok(None),
            Err(failure) => Err(error("free space", None, failure)),
        }
    }
}

/// Opens a session on a connection.
async fn begin_session(connection: Connection, patience: Duration) -> Result<Arc<Session>, Error> {
    let mut channel = connection.handle.channel_open_session().await?;
    channel.request_subsystem(true, "sftp").await?;
    let agreed = async {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure) => return Err(Failure::NoSftp),
                Some(_) => {}
                None => return Err(Failure::Lost("it was closed".to_owned())),
            }
        }
    };
    let silent = |_| Failure::Lost("the server does not answer".to_owned());
    tokio::time::timeout(patience, agreed).await.map_err(silent)??;
    Ok(Session::begin(channel.into_stream(), connection, patience).await?)
}

/// Removes a file. Servers on Windows remove none that is read-only.
async fn remove_file(session: &Session, path: &str) -> Result<(), Failure> {
    match session.remove(path).await {
        Err(denied @ Failure::Denied(_)) => {
            match session.set_mode(path, Modes::PRIVATE.writing).await {
                Ok(()) => session.remove(path).await,
                Err(failure) if failure.is_lost() => Err(failure),
                Err(_) => Err(denied),
            }
        }
        outcome => outcome,
    }
}

/// Makes the repository's own folder, and those above it that are missing.
pub(crate) async fn make_with_parents(session: &Session, path: &str) -> Result<(), Failure> {
    let mut missing = vec![path];
    while let Some(&folder) = missing.last() {
        match saving::make_folder(session, folder, Modes::PRIVATE).await {
            Ok(()) => {
                missing.pop();
            }
            Err(Failure::NotFound) => match layout::parent(folder) {
                // No deeper than the path is long: each step is upwards, and each success downwards.
                Some(parent) if missing.len() < MOST_PARENTS => missing.push(parent),
                _ => return Err(Failure::NotFound),
            },
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// How many folders above the repository's own are made, at most.
const MOST_PARENTS: usize = 100;

pub(crate) fn error(
    operation: &'static str,
    handle: Option<&Handle>,
    failure: Failure,
) -> BackendError {
    let error = BackendError::new(failure.kind(), operation).because(failure);
    match handle {
        Some(handle) => error.on(handle),
        None => error,
    }
}
