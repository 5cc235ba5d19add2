//! One SFTP session: requests and their answers. Only this room knows `russh-sftp`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use russh_sftp::client::error::Error as Told;
use russh_sftp::client::rawsession::Limits;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, Status, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::wire::{LONGEST_PACKET, Pulse, Wire};

pub(crate) use file::File;
use measure::{AHEAD_UNIT, LEAST_AHEAD, Pieces, ahead};

mod file;
mod measure;

/// Files and folders open at once in one session.
///
/// OpenSSH numbers them from 0 on and takes the lowest free number; the library takes the numbers for
/// text, which fails from 128 on. Some servers allow no more than about 100.
const OPEN_FILES: usize = 90;

/// How much of what a server says is shown.
const LONGEST_SAYING: usize = 200;

/// A session with an SFTP server.
pub(crate) struct Session {
    raw: RawSftpSession,
    pulse: Arc<Pulse>,
    offers: Offers,
    pieces: OnceCell<Pieces>,
    /// How long its first answer took.
    greeting: Duration,
    open_files: Arc<Semaphore>,
    /// Room for what is asked for and has not come yet, in [`AHEAD_UNIT`].
    ahead: Semaphore,
    /// Bytes of the transfers that are under way.
    load: AtomicU64,
    /// What the session stands on.
    _keeps: Box<dyn Any + Send + Sync>,
}

/// What the server can do beyond the protocol.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offers {
    posix_rename: bool,
    fsync: bool,
    statvfs: bool,
    limits: bool,
}

impl Offers {
    /// The extensions that are there, in their own names.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let all = [
            (self.posix_rename, "posix-rename@openssh.com"),
            (self.fsync, "fsync@openssh.com"),
            (self.statvfs, "statvfs@openssh.com"),
        ];
        all.into_iter().filter_map(|(is_there, name)| is_there.then_some(name)).collect()
    }
}

/// What a server tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// Type and permissions, as on Unix.
    pub(crate) mode: Option<u32>,
}

impl Stat {
    fn of(attributes: &FileAttributes) -> Self {
        Self { size: attributes.size, mode: attributes.permissions }
    }

    /// The bits of the mode that say what it is.
    fn kind(self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o170_000).filter(|&kind| kind != 0)
    }

    /// Whether it is a regular file. What a server does not call anything else, is one.
    pub(crate) fn is_file(self) -> bool {
        self.kind().is_none_or(|kind| kind == 0o100_000)
    }

    pub(crate) fn is_pipe(self) -> bool {
        self.kind() == Some(0o010_000)
    }

    pub(crate) fn is_folder(self) -> bool {
        self.kind() == Some(0o040_000)
    }
}

/// The space of a file system, as the server tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Bytes that this user can still store.
    pub(crate) bytes: u64,
    /// Bytes in all.
    pub(crate) total: u64,
    /// Bytes that are taken.
    pub(crate) used: u64,
    /// Files that can still be made. Some file systems always say 0, and then have none in all either.
    pub(crate) files: Option<u64>,
    /// Whether nothing can be written to it.
    pub(crate) read_only: bool,
}

impl Session {
    /// Begins a session on a stream that leads to an SFTP server. `keeps` is dropped with the session;
    /// a session in which somebody waits and nothing moves for so long has ended.
    pub(crate) async fn begin<S>(
        stream: S,
        keeps: impl Any + Send + Sync,
        patience: Duration,
    ) -> Result<Arc<Self>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pulse = Pulse::new();
        tokio::spawn(pulse.clone().watch(patience));
        let config = Config {
            max_packet_len: LONGEST_PACKET,
            // The session has its own watch, which looks at bytes and not at requests.
            request_timeout_secs: u64::MAX,
            ..Config::default()
        };
        let raw = RawSftpSession::new_with_config(Wire::new(stream, pulse.clone()), config);
        let mut session = Self {
            raw,
            pulse,
            offers: Offers::default(),
            pieces: OnceCell::new(),
            greeting: Duration::ZERO,
            open_files: Arc::new(Semaphore::new(OPEN_FILES)),
            ahead: Semaphore::new(LEAST_AHEAD / AHEAD_UNIT),
            load: AtomicU64::new(0),
            _keeps: Box::new(keeps),
        };
        let asked = Instant::now();
        let version = session.ask(session.raw.init()).await?;
        session.greeting = asked.elapsed();
        if version.version != 3 {
            let text = format!("it speaks version {}, not 3", version.version);
            return Err(Failure::Unsupported(text));
        }
        let has = |name: &str| version.extensions.contains_key(name);
        session.offers = Offers {
            posix_rename: has("posix-rename@openssh.com"),
            fsync: has("fsync@openssh.com"),
            statvfs: has("statvfs@openssh.com"),
            limits: has("limits@openssh.com"),
        };
        let session = Arc::new(session);
        let asking = Arc::clone(&session);
        // A round trip that nobody has to wait for: the answer is there before the first file is open.
        tokio::spawn(async move { asking.pieces().await });
        Ok(session)
    }

    /// How much to ask for at once.
    pub(crate) async fn pieces(&self) -> Result<Pieces, Failure> {
        self.pieces.get_or_try_init(|| self.ask_for_limits()).await.copied()
    }

    async fn ask_for_limits(&self) -> Result<Pieces, Failure> {
        let asked = Instant::now();
        let mut round_trip = self.greeting;
        let limits = match self.offers.limits {
            true => match self.ask(self.raw.limits()).await {
                Ok(limits) => {
                    // The server was still getting ready when it was greeted.
                    round_trip = round_trip.min(asked.elapsed());
                    Limits::from(limits)
                }
                Err(failure) if failure.is_lost() => return Err(failure),
                Err(_) => Limits::default(),
            },
            false => Limits::default(),
        };
        self.ahead.add_permits((ahead(round_trip) - LEAST_AHEAD) / AHEAD_UNIT);
        Ok(Pieces::within(&limits))
    }

    pub(crate) fn offers(&self) -> Offers {
        self.offers
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.pulse.began()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.pulse.is_over()
    }

    /// Why it ended, if it has.
    pub(crate) fn reason(&self) -> Option<String> {
        self.pulse.reason()
    }

    /// Ends it: whoever waits in it learns that the connection is lost.
    pub(crate) fn end(&self, reason: &str) {
        self.pulse.end(reason);
    }

    /// The bytes of the transfers that are under way.
    pub(crate) fn load(&self) -> u64 {
        self.load.load(Ordering::Relaxed)
    }

    /// Counts bytes as being under way, until what this gives is dropped.
    pub(crate) fn burden(self: &Arc<Self>, bytes: u64) -> Burden {
        self.load.fetch_add(bytes, Ordering::Relaxed);
        Burden { session: Arc::clone(self), bytes }
    }

    pub(crate) async fn stat(&self, path: &str) -> Result<Stat, Failure> {
        Ok(Stat::of(&self.ask(self.raw.stat(path)).await?.attrs))
    }

    /// The same, not following a symbolic link.
    pub(crate) async fn lstat(&self, path: &str) -> Result<Stat, Failure> {
        Ok(Stat::of(&self.ask(self.raw.lstat(path)).await?.attrs))
    }

    pub(crate) async fn make_folder(&self, path: &str, mode: u32) -> Result<(), Failure> {
        self.ask(self.raw.mkdir(path, permissions(mode))).await.map(drop)
    }

    pub(crate) async fn remove_folder(&self, path: &str) -> Result<(), Failure> {
        self.ask(self.raw.rmdir(path)).await.map(drop)
    }

    pub(crate) async fn set_mode(&self, path: &str, mode: u32) -> Result<(), Failure> {
        self.ask(self.raw.setstat(path, permissions(mode))).await.map(drop)
    }

    pub(crate) async fn remove(&self, path: &str) -> Result<(), Failure> {
        self.ask(self.raw.remove(path)).await.map(drop)
    }

    /// Gives a file another name; one of that name that is there already is replaced in the same moment.
    /// Not every server can do that.
    pub(crate) async fn replace(&self, old: &str, new: &str) -> Result<(), Failure> {
        if !self.offers.posix_rename {
            return Err(Failure::Unsupported("posix-rename@openssh.com".to_owned()));
        }
        let names = [text(old), text(new)].concat();
        match self.ask(self.raw.extended("posix-rename@openssh.com", names)).await? {
            Packet::Status(status) => self.judge(status),
            _ => Err(Failure::Nonsense("an answer of another kind to a rename".to_owned())),
        }
    }

    /// Gives a file another name, which is free.
    pub(crate) async fn rename(&self, old: &str, new: &str) -> Result<(), Failure> {
        self.ask(self.raw.rename(old, new)).await.map(drop)
    }

    /// The space of the file system that a path is on, where the server can tell.
    pub(crate) async fn space(&self, path: &str) -> Result<Option<Space>, Failure> {
        if !self.offers.statvfs {
            return Ok(None);
        }
        let told = self.ask(self.raw.statvfs(path)).await?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.fragment_size.max(1));
        Ok(Some(Space {
            bytes: bytes(told.blocks_avail),
            total: bytes(told.blocks),
            used: bytes(told.blocks.saturating_sub(told.blocks_free)),
            files: (told.inodes > 0).then_some(told.inodes_avail),
            read_only: told.flags & 1 != 0,
        }))
    }

    /// Opens a file for reading. `permit` is kept until the server has closed it again.
    pub(crate) async fn open(
        self: &Arc<Self>,
        path: &str,
        permit: Permit,
    ) -> Result<File, Failure> {
        self.open_as(path, OpenFlags::READ, FileAttributes::empty(), permit).await
    }

    /// Makes a file that must not be there yet, and opens it for writing.
    pub(crate) async fn make(
        self: &Arc<Self>,
        path: &str,
        mode: u32,
        permit: Permit,
    ) -> Result<File, Failure> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        self.open_as(path, flags, permissions(mode), permit).await
    }

    async fn open_as(
        self: &Arc<Self>,
        path: &str,
        flags: OpenFlags,
        attributes: FileAttributes,
        permit: Permit,
    ) -> Result<File, Failure> {
        let (session, path) = (Arc::clone(self), path.to_owned());
        self.opened(
            permit,
            async move { session.ask(session.raw.open(path, flags, attributes)).await },
        )
        .await
    }

    /// Opens a folder, to read what is in it.
    pub(crate) async fn open_folder(
        self: &Arc<Self>,
        path: &str,
        permit: Permit,
    ) -> Result<File, Failure> {
        let (session, path) = (Arc::clone(self), path.to_owned());
        self.opened(permit, async move { session.ask(session.raw.opendir(path)).await }).await
    }

    /// Runs what opens something. When the caller is dropped meanwhile, it is opened and closed again:
    /// else it would stay open for ever.
    async fn opened(
        self: &Arc<Self>,
        permit: Permit,
        open: impl Future<Output = Result<russh_sftp::protocol::Handle, Failure>> + Send + 'static,
    ) -> Result<File, Failure> {
        let place = Arc::clone(&self.open_files).acquire_owned().await;
        let place = place.map_err(|_| Failure::Lost("it was closed".to_owned()))?;
        let session = Arc::clone(self);
        let opening = tokio::spawn(async move {
            let handle = open.await?.handle;
            if handle.contains(char::REPLACEMENT_CHARACTER) {
                // The library has mangled it, so that it cannot be closed either.
                let text = "the server names open files in a way that is not supported";
                session.end(text);
                return Err(Failure::Unsupported(text.to_owned()));
            }
            Ok(File::new(session, handle, place, permit))
        });
        opening.await.map_err(|_| Failure::Lost("the program is ending".to_owned()))?
    }

    /// Waits for an answer, or for the end of the session.
    async fn ask<T>(&self, request: impl Future<Output = Result<T, Told>>) -> Result<T, Failure> {
        let _waiting = self.pulse.wait();
        tokio::select! {
            biased;
            answer = request => answer.map_err(|told| self.failure(told)),
            reason = self.pulse.ended() => Err(Failure::Lost(reason)),
        }
    }

    fn failure(&self, told: Told) -> Failure {
        match told {
            Told::Status(status) => match self.judge(status) {
                Err(failure) => failure,
                // "Success" where something else was asked for.
                Ok(()) => Failure::Nonsense("a success without what was asked for".to_owned()),
            },
            Told::UnexpectedPacket => {
                Failure::Nonsense("an answer of another kind than what was asked".to_owned())
            }
            Told::Limited(text) => Failure::Unsupported(text),
            Told::IO(text) | Told::UnexpectedBehavior(text) => {
                Failure::Lost(self.pulse.reason().unwrap_or_else(|| saying(&text)))
            }
            Told::Timeout => Failure::Lost("the server does not answer".to_owned()),
        }
    }

    /// What a status means. Its second text is the number that the server sent: see [`crate::wire`].
    fn judge(&self, status: Status) -> Result<(), Failure> {
        let text = saying(&status.error_message);
        Err(match status.status_code {
            StatusCode::Ok => return Ok(()),
            StatusCode::NoSuchFile => Failure::NotFound,
            StatusCode::PermissionDenied => Failure::Denied(text),
            StatusCode::OpUnsupported => Failure::Unsupported(text),
            StatusCode::NoConnection | StatusCode::ConnectionLost => Failure::Lost(text),
            StatusCode::Eof => Failure::Nonsense("an end where there is none".to_owned()),
            StatusCode::BadMessage => Failure::Refused(text),
            // Numbers of later versions of the protocol.
            StatusCode::Failure => match status.language_tag.as_str() {
                "10" => Failure::NotFound,
                "12" => Failure::ReadOnly,
                "14" | "15" => Failure::Full,
                _ => Failure::Refused(text),
            },
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("offers", &self.offers)
            .field("load", &self.load())
            .field("over", &self.reason())
            .finish_non_exhaustive()
    }
}

/// Bytes that are under way in a session.
pub(crate) struct Burden {
    session: Arc<Session>,
    bytes: u64,
}

impl Drop for Burden {
    fn drop(&mut self) {
        self.session.load.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Leave to have something under way. Kept until the server is done with it, so that what is under way
/// stays bounded even if callers are dropped.
pub(crate) type Permit = Arc<OwnedSemaphorePermit>;

fn permissions(mode: u32) -> FileAttributes {
    FileAttributes { permissions: Some(mode), ..FileAttributes::empty() }
}

/// A text as the protocol has it.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// What a server says, fit to be shown.
fn saying(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_SAYING).map(printable).collect()
}

#[cfg(test)]
mod tests;
