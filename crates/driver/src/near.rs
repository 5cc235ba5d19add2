//! What is done on the backup server itself, where this program is there and may run: work that moves much data
//! back and forth and gives little back, as merging increments and reclaiming space.
//!
//! The front-end's half asks the server to run one constant command, over SSH as its own SFTP is. If this program
//! answers, in the same version, it is told what to do over standard input: an [`order::Order`]. The other half
//! ([`job`]) does it with the same code, on a local folder. Anything else that answers, or nobody, is no fault: the
//! work is done over SFTP then. The halves talk as those of a backup do ([`crate::host`]), with its lines, its
//! signs of life, and its ways to notice that nobody is there any more.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use restic_repo::FileType;
use restic_sftp::Command;
use tokio::time::timeout;

use crate::action::reclaim;
use crate::action::repository::BackupRepository;
use crate::command::version::OWN_VERSION;
use crate::exit::{ExitCode, Failure, Result};
use crate::flatten::Flattened;
use crate::host::link::{Link, Log};
use crate::host::message;
use crate::near::order::{Answer, Merge, Order};
use crate::opennebula::datastore::Datastore;
use crate::report::terminal::printable;
use crate::session::Session;
use crate::storage;

pub mod job;
pub mod order;

/// What the server is asked to run. Its account's shell looks for it.
pub const COMMAND_LINE: &str = "one-restic datastore near";

/// What is said before anything else: a packet with which an SFTP session begins. An account that may do nothing
/// but SFTP has an SFTP server take every command's place, and that would wait for this for ever. It answers at
/// once, with a packet whose first byte is a zero.
const QUESTION: &[u8] = b"\0\0\0\x05\x01\0\0\0\x03\n";

/// How much longer than the work beside it an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the other half may take to end once it has said all.
const FAREWELL: Duration = Duration::from_secs(3);
/// What is shown of another version, in characters.
const SHOWN: usize = 40;

/// This program on the server, ready to work.
#[derive(Debug)]
pub struct Near {
    link: Link,
    log: Log,
}

/// What there is on a server.
#[derive(Debug)]
pub enum Found {
    /// This program, in this version.
    Ready(Near),
    /// This program, in that version.
    Other(String),
    /// Something else or nothing, or it may not be used.
    Nothing,
}

/// Does some work on a server, and meanwhile looks whether this program can work there. That it can not is told
/// only where another version of it is there.
pub async fn beside<T>(
    session: &Session,
    datastore: &Datastore,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Option<Near>)> {
    let (mut work, mut looking) = (pin!(work), pin!(look(session, datastore)));
    let (done, found) = tokio::select! {
        done = &mut work => (done?, timeout(PATIENCE, looking).await.unwrap_or(Found::Nothing)),
        found = &mut looking => (work.await?, found),
    };
    let near = match found {
        Found::Ready(near) => Some(near),
        Found::Other(version) => {
            session.terminal.note(format!(
                "{} has version {version} of one-restic and this is {OWN_VERSION}, so the work is done over SFTP",
                datastore.server
            ));
            None
        }
        Found::Nothing => None,
    };
    Ok((done, near))
}

/// Looks what there is, for so long as somebody waits who has nothing else to do.
pub async fn look_shortly(session: &Session, datastore: &Datastore) -> Found {
    // Logging in takes time as well.
    timeout(4 * PATIENCE, look(session, datastore)).await.unwrap_or(Found::Nothing)
}

/// Asks a datastore's server for this program. It may take for ever.
async fn look(session: &Session, datastore: &Datastore) -> Found {
    if !datastore.near {
        return Found::Nothing;
    }
    let log = Log { terminal: Arc::clone(&session.terminal), vm: None };
    // Whoever cannot get in here cannot over SFTP either, and says why.
    let Ok(command) = start(session, datastore).await else { return Found::Nothing };
    let mut link = Link::over(command, &log);
    link.send(QUESTION).await;
    if link.next_byte().await.is_none_or(|first| first == 0) {
        return Found::Nothing;
    }
    match link.hello().await {
        Some(hello) if hello.one_restic == OWN_VERSION => Found::Ready(Near { link, log }),
        Some(hello) => {
            Found::Other(printable(&hello.one_restic.chars().take(SHOWN).collect::<String>()))
        }
        None => Found::Nothing,
    }
}

async fn start(session: &Session, datastore: &Datastore) -> Result<Command> {
    let settings = datastore.common_settings(&session.environment)?;
    let connector = storage::connector(&datastore.folder(), &settings)?;
    Command::start(&connector, COMMAND_LINE).await.map_err(Failure::new)
}

impl Near {
    /// Puts increments together, and reclaims what then is of no use. Nothing if it cannot be done there: then
    /// nothing has happened.
    ///
    /// # Errors
    /// That it failed, or that nobody knows because the connection broke. The increments are as they were, or
    /// merged in a way that is found when they are asked for again.
    pub async fn flatten(
        mut self,
        backup: &BackupRepository,
        datastore: &Datastore,
        merge: &Merge,
    ) -> Result<Option<Flattened>> {
        self.order(&Order::new(backup, datastore, Some(merge.clone()))).await;
        let flattened = match self.link.message().await {
            Some(Answer::Merged(flattened)) => flattened,
            Some(Answer::Elsewhere(reason)) => {
                self.cannot(&reason);
                return Ok(None);
            }
            Some(Answer::Failed(reason)) => return Err(Failure::plain(ExitCode::Error, reason)),
            Some(Answer::Done) | None => {
                return Err(Failure::new(format_args!(
                    "merging on the server broke off: {}; nothing is lost, and it can be done again",
                    self.reason().await
                )));
            }
        };
        // OpenNebula is going to rely on it.
        let stored = backup.repository.list(FileType::Snapshot).await?;
        if !stored.iter().any(|file| file.id == flattened.snapshot) {
            return Err(Failure::new(format_args!(
                "the server says that it has merged the increments to snapshot {}, but that is not in the \
                 repository",
                flattened.snapshot.short()
            )));
        }
        self.reclaimed().await;
        Ok(Some(flattened))
    }

    /// Reclaims space. Gives whether that could be done there; if it failed there, that is told as a warning.
    pub async fn reclaim(mut self, backup: &BackupRepository, datastore: &Datastore) -> bool {
        self.order(&Order::new(backup, datastore, None)).await;
        self.reclaimed().await
    }

    async fn order(&mut self, order: &Order) {
        self.link.send(&message::line(order)).await;
    }

    /// Waits until the other half is done. Its own warnings are in the log already.
    async fn reclaimed(mut self) -> bool {
        let terminal = Arc::clone(&self.log.terminal);
        let failed = match self.link.message().await {
            Some(Answer::Done) => {
                let _ = timeout(FAREWELL, self.link.end()).await;
                return true;
            }
            Some(Answer::Elsewhere(reason)) => {
                self.cannot(&reason);
                return false;
            }
            Some(Answer::Failed(reason)) => Failure::plain(ExitCode::Error, reason),
            Some(Answer::Merged(_)) => Failure::new("the server does what it was not told to"),
            None => {
                Failure::new(format_args!("it broke off on the server: {}", self.reason().await))
            }
        };
        reclaim::postponed(&terminal, failed.cause());
        true
    }

    /// Why the other half ended.
    async fn reason(self) -> String {
        let ending = timeout(FAREWELL, self.link.end()).await;
        ending.map_or_else(
            |_| "it says nothing that makes sense".to_owned(),
            |ending| ending.reason(),
        )
    }

    fn cannot(&self, reason: &str) {
        self.log.warn(format_args!(
            "one-restic is on the server but cannot work there ({reason}), so the work is done over SFTP"
        ));
    }
}
