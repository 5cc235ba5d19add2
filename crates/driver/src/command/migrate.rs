//! `migrate`

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use restic_repo::checker;
use restic_repo::migrate::{self, Migration};
use restic_repo::repository::Repository;

use crate::exit::{Failure, Result};
use crate::report::counters::Counters;
use crate::session::{Intent, Session};

/// Brings a repository up to date. Without a name it lists what can be done.
#[derive(Args, Debug)]
pub struct Migrate {
    /// What to do: upgrade_repo_v2
    #[arg(value_name = "MIGRATION")]
    names: Vec<String>,

    /// Do it even if it seems not to apply
    #[arg(short, long)]
    force: bool,
}

impl Migrate {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let repository = session.open_uncached().await?;
        let nothing = async || Ok(());
        let work = async |()| match self.names.is_empty() {
            true => {
                list(session, &repository);
                Ok(())
            }
            false => self.apply(session, &repository).await,
        };
        session.locked(&repository, Intent::Replace, nothing, work).await
    }

    async fn apply(&self, session: &Session, repository: &Repository) -> Result {
        let terminal = &session.terminal;
        let mut result = Ok(());
        for name in &self.names {
            let Some(migration) = Migration::named(name) else {
                terminal.error(format!("unknown migration {name}"));
                continue;
            };
            if let Some(obstacle) = migration.obstacle(repository) {
                if !self.force {
                    terminal.error(format!(
                        "migration {name} cannot be applied: {obstacle}\nIf you want to apply this \
                         migration anyway, re-run with option --force"
                    ));
                    continue;
                }
                terminal.error(format!("check for migration {name} failed, continuing anyway"));
            }
            terminal.note("checking repository integrity...");
            check(session, repository).await?;
            terminal.note(format!("applying migration {name}..."));
            match upgrade(repository).await {
                Ok(()) => terminal.note(format!("migration {name}: success")),
                Err(failure) => {
                    terminal.error(format!("migration {name} failed"));
                    result = result.and(Err(failure));
                }
            }
        }
        result
    }
}

fn list(session: &Session, repository: &Repository) {
    let terminal = &session.terminal;
    terminal.note("available migrations:");
    let applicable = Migration::ALL.iter().filter(|each| each.obstacle(repository).is_none());
    let lines: Vec<String> = applicable
        .map(|migration| format!("  {}\t{}", migration.name(), migration.description()))
        .collect();
    match lines.is_empty() {
        true => terminal.note("no migrations found"),
        false => terminal.note(lines.join("\n")),
    }
}

/// Refuses a repository that is not sound.
async fn check(session: &Session, repository: &Repository) -> Result {
    let counters = Arc::new(Counters::new(Arc::clone(&session.terminal)));
    let pulse = session.pulse(&counters, Counters::show);
    let found = checker::check(repository, &checker::Options::default(), counters).await?;
    drop(pulse);
    match found.is_sound() {
        true => {
            session.terminal.note("no errors were found");
            Ok(())
        }
        false => Err(Failure::new(format_args!(
            "repository contains errors: {} found; repair them first, see `check`",
            found.errors
        ))),
    }
}

/// Upgrades the repository. Until that is done, a copy of its config is kept on this machine.
async fn upgrade(repository: &Repository) -> Result {
    let config = migrate::stored_config(repository).await?;
    let copy = Copy::keep(&config).map_err(|error| {
        Failure::new(format_args!("cannot keep a copy of the config on this machine: {error}"))
    })?;
    match migrate::upgrade_to_version_2(repository).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let path = copy.leave();
            let failure = Failure::from(error);
            Err(Failure::new(format_args!(
                "{}; there is a copy of the config file in {}",
                failure.cause(),
                path.display()
            )))
        }
    }
}

/// A copy of the config, removed when it is not needed any more.
struct Copy(tempfile::NamedTempFile);

impl Copy {
    fn keep(config: &[u8]) -> std::io::Result<Self> {
        let mut file = tempfile::Builder::new().prefix("restic-migrate-config-").tempfile()?;
        file.write_all(config)?;
        file.as_file().sync_all()?;
        Ok(Self(file))
    }

    /// Leaves it where it is.
    fn leave(self) -> PathBuf {
        let path = self.0.path().to_owned();
        match self.0.keep() {
            Ok((_, path)) => path,
            Err(_) => path,
        }
    }
}
