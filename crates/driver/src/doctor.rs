//! Whether everything is in place for OpenNebula's backups, and how to mend what is not.
//!
//! Each room looks at one place: the [`front_end`], the [`datastores`] with their servers, the [`hosts`].
//! What is found is told at once, in a line each; nothing is changed, but for datastores' folders that are
//! missing on their servers and are made.

use serde::Serialize;

use crate::exit::{Failure, Result};
use crate::session::Session;

pub mod datastores;
pub mod front_end;
pub mod hosts;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Nothing fails by it now.
    Doubtful,
    /// Something will fail by it.
    Bad,
}

/// Tells what is found, and counts what is bad.
#[derive(Debug)]
pub struct Doctor<'a> {
    session: &'a Session,
    bad: usize,
}

/// A line for scripts.
#[derive(Serialize)]
struct Finding<'a> {
    message_type: &'static str,
    verdict: Verdict,
    what: &'a str,
}

impl<'a> Doctor<'a> {
    /// Looks at everything.
    pub async fn examine(session: &'a Session) -> Result {
        let mut doctor = Self { session, bad: 0 };
        let found = front_end::examine(&mut doctor).await;
        if let Some(api) = found {
            let servers = datastores::examine(&mut doctor, &api).await;
            hosts::examine(&mut doctor, &api, &servers).await;
        }
        match doctor.bad {
            0 => Ok(()),
            1 => Err(Failure::new("one thing is not as it should be; see above")),
            bad => {
                Err(Failure::new(format_args!("{bad} things are not as they should be; see above")))
            }
        }
    }

    /// Something is as it should be.
    pub fn good(&mut self, what: impl AsRef<str>) {
        self.tell(Verdict::Good, what.as_ref());
    }

    /// Something may be wrong. What is said ends with what to do.
    pub fn doubtful(&mut self, what: impl AsRef<str>) {
        self.tell(Verdict::Doubtful, what.as_ref());
    }

    /// Something is wrong. What is said ends with what to do.
    pub fn bad(&mut self, what: impl AsRef<str>) {
        self.bad += 1;
        self.tell(Verdict::Bad, what.as_ref());
    }

    /// Tells of something that either works, in these words, or does not, for this reason. Gives what
    /// there is to go on with.
    pub fn expect<T>(&mut self, result: Result<T>, good: impl FnOnce(&T) -> String) -> Option<T> {
        match result {
            Ok(found) => {
                self.good(good(&found));
                Some(found)
            }
            Err(failure) => {
                self.bad(failure.cause());
                None
            }
        }
    }

    fn tell(&self, verdict: Verdict, what: &str) {
        let terminal = &self.session.terminal;
        if terminal.is_json() {
            terminal.print_json(&Finding { message_type: "finding", verdict, what });
            return;
        }
        let mark = match verdict {
            Verdict::Good => "ok    ",
            Verdict::Doubtful => "?     ",
            Verdict::Bad => "WRONG ",
        };
        terminal.print(format!("{mark}{what}"));
    }
}
