//! The server's half: `datastore near`.

use std::fs::File;

use restic_repo::Error;
use restic_repo::crypto::Key;
use restic_repo::repository::Repository;

use crate::action::increment_flatten::flatten;
use crate::action::reclaim::reclaim;
use crate::command::version::OWN_VERSION;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::host::confine;
use crate::host::job::forget_the_dead;
use crate::host::lifeline::{Lifeline, SILENCE};
use crate::host::message::{self, Hello};
use crate::near::order::{Answer, Order};
use crate::report::terminal::Terminal;
use crate::session::Session;
use crate::signals::Interrupt;

/// The action that this is.
pub const ACTION: &str = "near";

/// Does what the front-end says on standard input. What becomes of it goes to standard output, a failure too;
/// standard error has lines for the log.
///
/// To be called before any other thread is started: they take over what this one may take of the machine.
pub fn run(arguments: &[String]) -> Result {
    if !arguments.is_empty() {
        return Err(Failure::new("this command takes no arguments; the front-end starts it"));
    }
    message::say(&Hello { one_restic: OWN_VERSION.to_owned() })?;
    let mut input = message::input()?;
    // It was meant for an SFTP server.
    message::read_line(&mut input)?;
    let order: Order = message::read(&mut input)?;
    let answer = match confine::be_nice(&order.confinement) {
        Ok(()) => work_while_wanted(&order, input),
        Err(failure) => Ok(Answer::Elsewhere(failure.cause().to_owned())),
    };
    message::say(&answer.unwrap_or_else(|failure| Answer::Failed(failure.message().to_owned())))
}

fn work_while_wanted(order: &Order, input: File) -> Result<Answer> {
    let mut answer = None;
    crate::in_session(
        order.settings()?,
        Environment::of_process(),
        Terminal::of_daemon(),
        Interrupt::listen_quietly,
        async |session| {
            let mut lifeline = Lifeline::hold(input, SILENCE);
            let wanted = async {
                tokio::select! {
                    biased;
                    () = lifeline.broken() => Err(Failure::interrupted()),
                    done = order.work(session) => done,
                }
            };
            answer = Some(session.interrupt.guard(wanted).await?);
            Ok(())
        },
    )?;
    answer.ok_or_else(Failure::interrupted)
}

impl Order {
    async fn work(&self, session: &Session) -> Result<Answer> {
        let repository = match self.open(session).await {
            Ok(repository) => repository,
            Err(failure) => return Ok(Answer::Elsewhere(failure.cause().to_owned())),
        };
        forget_the_dead(session, &repository).await?;
        let mut held = None;
        if let Some(merge) = &self.merge {
            let (lock, flattened) = flatten(session, &repository, merge).await?;
            held = Some(lock);
            // At once: whatever happens from here on, the old increments are gone.
            message::say(&Answer::Merged(flattened))?;
        }
        reclaim(session, &repository, &self.prune(), held).await;
        Ok(Answer::Done)
    }

    async fn open(&self, session: &Session) -> Result<Repository> {
        let backend = session.backend(&session.settings.access).await?;
        let key = Key::from_json(self.key.reveal().as_bytes());
        let key = key.ok_or_else(|| Failure::new("what came is no key"))?;
        let options = session.repository_options();
        match Repository::open_with_key(backend, key, self.key_id, options).await {
            Ok(repository) if repository.config().id == self.repository => Ok(repository),
            // Its own key opens what the front-end sees.
            Ok(_) | Err(Error::Damaged { .. }) => {
                Err(Failure::new(format_args!("{} is another repository here", self.folder)))
            }
            Err(error) => Err(error.into()),
        }
    }
}
