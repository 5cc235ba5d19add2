//! The host's half of a backup: `datastore job`.

use std::fs::File;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use restic_repo::archiver;
use restic_repo::lock;
use restic_repo::progress::{Item, Phase, Progress, Warning};
use restic_repo::repository::Repository;
use restic_repo::{FileType, Id};
use tokio::time::timeout;

use crate::access::Access;
use crate::command::version;
use crate::environment::Environment;
use crate::exit::{ExitCode, Failure, Result};
use crate::global::{GlobalArgs, Settings};
use crate::host::confine;
use crate::host::disks::Disks;
use crate::host::lifeline::{Lifeline, SILENCE};
use crate::host::message::{self, Bounds, Done, Hello, Job, Outcome};
use crate::report::backup::BackupReport;
use crate::report::counters::Counters;
use crate::report::number;
use crate::report::terminal::Terminal;
use crate::session::{Intent, Session};
use crate::signals::Interrupt;

/// The action that this is.
pub const ACTION: &str = "job";
/// Says that the bounds are set already.
pub const BOUNDED: &str = "--bounded";

/// How long to wait for somebody who has the repository for himself. A backup that does not happen is
/// worse than one that comes late.
const LOCK_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How long it may take to store a snapshot that is unwanted, before it is given up.
const LAST_STAGE: Duration = Duration::from_secs(2);

/// How long to try to release the lock of a backup that nobody wants any more, if the server is away.
const RELEASE_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Does what the front-end says on standard input. What becomes of it goes to standard output, a failure
/// too; standard error has lines for the log.
///
/// To be called before any other thread is started: they take over what this one may take of the host.
pub fn run(arguments: &[String]) -> Result {
    let mut input = message::input()?;
    match arguments {
        [] => {
            message::say(&Hello { one_restic: version::OWN_VERSION.to_owned() })?;
            let bounds: Bounds = message::read(&mut input)?;
            if bounds.confinement.needs_slice() {
                return Err(confine::start_in_slice(&bounds));
            }
            confine::be_nice(&bounds.confinement)?;
        }
        [word] if word == BOUNDED => {}
        _ => return Err(Failure::new("this command takes no arguments; the front-end starts it")),
    }
    let job: Job = message::read(&mut input)?;
    let made = make(&job, input);
    message::say(&match made {
        Ok(done) => Outcome::Done(done),
        Err(failure) => {
            let message = failure.message().to_owned();
            match failure.code() {
                ExitCode::NoRepository => Outcome::NoRepository(message),
                ExitCode::Interrupted => Outcome::Cancelled,
                _ => Outcome::Failed(message),
            }
        }
    })
}

fn make(job: &Job, input: File) -> Result<Done> {
    let disks = Disks::find(Path::new(&job.folder))?;
    // Whoever is asked to stop the backup of this folder finds this process by it.
    std::env::set_current_dir(&job.folder).map_err(|error| {
        Failure::new(format_args!("cannot go to the folder {}: {error}", job.folder))
    })?;
    let mut done = None;
    crate::in_session(
        job.settings()?,
        Environment::of_process(),
        Terminal::of_daemon(),
        Interrupt::listen_quietly,
        async |session| {
            let mut lifeline = Lifeline::hold(input, SILENCE);
            let unwanted = async {
                tokio::select! {
                    () = lifeline.broken() => {}
                    () = session.interrupt.requested() => {}
                }
            };
            let made = job.back_up_while_wanted(session, &disks, unwanted).await;
            if made.as_ref().is_err_and(|failure| failure.code() == ExitCode::Interrupted) {
                // The folder is nobody's any more, and whoever stopped this has no need to find it again.
                let _ = std::env::set_current_dir("/");
                let _ = timeout(RELEASE_PATIENCE, session.keepers.idle()).await;
            }
            done = Some(made?);
            Ok(())
        },
    )?;
    done.ok_or_else(Failure::interrupted)
}

/// A backup that was made, and where it is.
struct Made {
    done: Done,
    id: Id,
    repository: Repository,
}

impl Job {
    fn settings(&self) -> Result<Settings> {
        // The variables that restic knows are an operator's, and not meant for datastores.
        let defaults = Settings::resolve(GlobalArgs::default(), &Environment::of(&[]))?;
        Ok(Settings {
            access: Access {
                location: Some(self.repository.clone()),
                password: Some(self.password.clone()),
                ..defaults.access
            },
            retry_lock: LOCK_PATIENCE,
            limit_upload: self.bandwidth,
            limit_download: self.bandwidth,
            compression: self.compression,
            workers: self.workers,
            options: self.options.clone(),
            ..defaults
        })
    }

    /// Makes the backup, unless it turns out to be unwanted; then no snapshot is left that nobody knows of.
    async fn back_up_while_wanted(
        &self,
        session: &Session,
        disks: &Disks,
        unwanted: impl Future<Output = ()>,
    ) -> Result<Done> {
        let stage = Arc::new(Stage::default());
        let mut work = pin!(self.back_up(session, disks, &stage));
        tokio::select! {
            biased;
            () = unwanted => {}
            made = &mut work => return made.map(|made| made.done),
        }
        if stage.is_last()
            && let Ok(Ok(made)) = timeout(LAST_STAGE, work).await
        {
            made.repository.remove(FileType::Snapshot, made.id).await?;
        }
        Err(Failure::interrupted())
    }

    async fn back_up(&self, session: &Session, disks: &Disks, stage: &Arc<Stage>) -> Result<Made> {
        for disk in disks.missing(&self.disks) {
            session.terminal.error(format!("there is no file for disk {disk} in {}", self.folder));
        }
        let began = Instant::now();
        let repository = session.open().await?;
        forget_the_dead(session, &repository).await?;
        let outcome = session.gated(&repository, Intent::Add, async |gate| {
            let repository = repository.behind(&gate);
            let counters = Counters::new(Arc::clone(&session.terminal));
            let index = repository.load_index(&counters).await?;
            let report = Arc::new(BackupReport::new(Arc::clone(&session.terminal)));
            report.advance(Phase::Scan, disks.paths.len() as u64);
            report.advance(Phase::ScanBytes, disks.bytes);
            let _pulse = session.pulse(&report, BackupReport::show);
            let plan = self.plan(session, disks);
            let watch = Arc::new(Watch { report, stage: Arc::clone(stage) });
            Ok::<_, Failure>(plan.run(&repository, index, watch).await?)
        });
        let outcome = outcome.await?;
        let id = outcome.id.ok_or_else(|| Failure::new("no snapshot was stored"))?;
        let snapshot = id.short();
        let counts = outcome.snapshot.summary.unwrap_or_default();
        session.terminal.note(format!(
            "backed up {} files, {}, in {}: {} are new, {} stored for them; snapshot {snapshot}",
            counts.total_files_processed,
            number::bytes(counts.total_bytes_processed),
            number::duration(began.elapsed()),
            number::bytes(counts.data_added),
            number::bytes(counts.data_added_packed),
        ));
        let bytes = counts.total_bytes_processed;
        Ok(Made { done: Done { snapshot, bytes, is_rbd: disks.is_rbd }, id, repository })
    }

    fn plan(&self, session: &Session, disks: &Disks) -> archiver::Backup {
        archiver::Backup {
            tags: self.tags.clone(),
            all_or_nothing: true,
            program_version: version::NAME_AND_VERSION.to_owned(),
            ..archiver::Backup::of_paths(disks.paths.clone(), session.identity())
        }
    }
}

/// How far a backup is: whether all that is left is to store the snapshot, and what follows.
#[derive(Debug, Default)]
struct Stage(AtomicBool);

impl Stage {
    fn is_last(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reports the progress, and keeps an eye on the stage.
struct Watch {
    report: Arc<BackupReport>,
    stage: Arc<Stage>,
}

impl Progress for Watch {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        self.report.begin(phase, total);
    }

    fn advance(&self, phase: Phase, amount: u64) {
        self.report.advance(phase, amount);
    }

    fn end(&self, phase: Phase) {
        // The archiver is done with all files before it stores the snapshot.
        if phase == Phase::BackupBytes {
            self.stage.0.store(true, Ordering::Relaxed);
        }
        self.report.end(phase);
    }

    fn warn(&self, warning: &Warning<'_>) {
        self.report.warn(warning);
    }

    fn item(&self, item: &Item<'_>) {
        self.report.item(item);
    }
}

/// Removes what others on this machine have left that could not release their locks: those that were
/// killed, or whose server was gone. Nobody else can know that their processes are no more.
pub async fn forget_the_dead(session: &Session, repository: &Repository) -> Result {
    let unlocked = lock::remove_dead(repository, &session.identity()).await?;
    for holder in unlocked {
        session.terminal.note(format!("removed a lock held {holder}"));
    }
    Ok(())
}
