//! How a command ends: one exit code, and one sentence that says what went wrong and what to do.
//!
//! This is the only place that knows restic's exit codes, and the only one that turns the facts of
//! [`restic_repo::Error`] into words for an operator.

use std::fmt;
use std::io;

use restic_repo::backend::{BackendError, BackendErrorKind};
use restic_repo::{Error, FileType, Subject};
use serde::Serialize;

use crate::report::json;

/// What restic puts in front of a message with which it ends.
const FATAL: &str = "Fatal: ";

/// The result of a command.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Why the program ends, as a number that scripts can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Any failure without a code of its own.
    Error = 1,
    /// The backup was made, but without some of its sources.
    Incomplete = 3,
    /// There is no repository.
    NoRepository = 10,
    /// The repository is locked by somebody else.
    Locked = 11,
    /// The password opens no key.
    WrongPassword = 12,
    /// Stopped by SIGINT or SIGTERM.
    Interrupted = 130,
    /// Any failure of one of OpenNebula's actions: what a script that ends with `exit(-1)` shows.
    Action = 255,
    /// Nobody reads the output any more: what a shell shows for a program killed by SIGPIPE.
    OutputClosed = 141,
}

/// A command that did not do all it was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: ExitCode,
    message: String,
}

impl Failure {
    /// A failure without an exit code of its own. The message says what is wrong and what to do; it
    /// begins with a small letter and has no full stop.
    pub fn new(message: impl fmt::Display) -> Self {
        Self::with_code(ExitCode::Error, message)
    }

    /// A failure with this exit code.
    pub fn with_code(code: ExitCode, message: impl fmt::Display) -> Self {
        Self { code, message: format!("{FATAL}{message}") }
    }

    /// A failure with exactly this message.
    pub fn plain(code: ExitCode, message: String) -> Self {
        Self { code, message }
    }

    /// The backup was made, but something could not be read.
    pub fn incomplete() -> Self {
        let message = "Warning: at least one source file could not be read; \
                       the snapshot was saved without it";
        Self { code: ExitCode::Incomplete, message: message.to_owned() }
    }

    /// The operator asked to stop.
    pub fn interrupted() -> Self {
        Self { code: ExitCode::Interrupted, message: "interrupted".to_owned() }
    }

    /// What becomes of an error while writing to standard output.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => {
                Self { code: ExitCode::OutputClosed, message: String::new() }
            }
            _ => Self::new(format_args!("cannot write the output: {error}")),
        }
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        self.code
    }

    /// What is told to the operator. Empty where nobody is there to be told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What went wrong, as part of another sentence.
    pub fn cause(&self) -> &str {
        self.message.strip_prefix(FATAL).unwrap_or(&self.message)
    }

    /// The same for OpenNebula's daemon, which shows it to users and keeps it in a VM's template: one
    /// line, without quotes, which would break the shell text that the template later becomes part of.
    #[must_use]
    pub fn for_daemon(self) -> Self {
        if self.code == ExitCode::OutputClosed {
            return self;
        }
        let message = self
            .cause()
            .chars()
            .filter(|c| !matches!(c, '\'' | '"' | '`' | '\\'))
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self { code: ExitCode::Action, message }
    }

    /// The same, with what was being done in front of the message.
    #[must_use]
    pub fn while_doing(mut self, what: impl fmt::Display) -> Self {
        if let Some(cause) = self.message.strip_prefix(FATAL) {
            self.message = format!("{FATAL}{what}: {cause}");
        }
        self
    }

    /// What is written to standard error: the message, or a line of JSON with it; nothing if there is
    /// no message.
    pub fn render(&self, as_json: bool) -> Vec<u8> {
        #[derive(Serialize)]
        struct ExitError<'a> {
            message_type: &'static str,
            code: u8,
            message: &'a str,
        }
        if self.message.is_empty() {
            return Vec::new();
        }
        if !as_json {
            return format!("{}\n", self.message).into_bytes();
        }
        json::line(&ExitError {
            message_type: "exit_error",
            code: self.code as u8,
            message: &self.message,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Error::from(error).into()
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error {
            Error::Cancelled => Self::interrupted(),
            error => Self::with_code(code_of(error), explain(error)),
        }
    }
}

fn code_of(error: &Error) -> ExitCode {
    match error {
        Error::Locked { .. } => ExitCode::Locked,
        Error::WrongPassword => ExitCode::WrongPassword,
        Error::NotARepository { .. } => ExitCode::NoRepository,
        _ => ExitCode::Error,
    }
}

/// The sentence for an error: its own words, and a remedy where there is one.
///
/// Some phrases are restic's, because scripts look for them: "repository is already locked", "wrong
/// password or no key found", "config file already exists", "unable to open config file".
fn explain(error: &Error) -> String {
    match error {
        Error::Locked { holders } => {
            let remedy = match holders.iter().all(|holder| holder.is_gone()) {
                true if !holders.is_empty() => "remove it with `unlock`",
                _ => {
                    "wait for it to end (see --retry-lock), or run `unlock` if that process is gone"
                }
            };
            let holder = error.to_string();
            let holder = holder.strip_prefix("the repository is locked: ").unwrap_or(&holder);
            format!(
                "unable to create lock in backend: repository is already locked {holder}; {remedy}"
            )
        }
        Error::LockLost { .. } => format!("{error}; nothing was removed, run the command again"),
        Error::InvalidLock { .. } => {
            format!("{error}; if nobody is at work on the repository, run `unlock --remove-all`")
        }
        Error::WrongPassword => {
            "wrong password or no key found; check the password and that this is the right repository"
                .to_owned()
        }
        Error::TooManyKeys { .. } => format!("{error} (--key-hint)"),
        Error::NotARepository { location } => format!(
            "repository does not exist: unable to open config file at {location}; check the \
             location, or make a new repository there with `init`"
        ),
        Error::AlreadyInitialized { location, found } => format!(
            "create repository at {location} failed: {found} already exists; choose another \
             location, or use the repository that is there"
        ),
        Error::UnsupportedVersion { .. } => {
            format!("{error}; a newer release of this program may know it")
        }
        Error::Damaged { what: Subject::File(handle), .. } => match handle.file_type {
            FileType::Config | FileType::Key => {
                format!("{error}; it must be brought back from a copy of the repository")
            }
            FileType::Index => {
                format!("{error}; the index can be rebuilt from the packs with `repair index`")
            }
            _ => format!("{error}; run `check` to see what else is"),
        },
        Error::Damaged { what: Subject::Blob(_), .. } | Error::BlobNotFound(_) => {
            format!("{error}; run `check --read-data` to see what else is damaged")
        }
        Error::IndexIncomplete { .. } => format!(
            "{error}; run `check` to see what is missing, then `repair index` or, if the data is \
             gone, `repair snapshots`"
        ),
        Error::Overtaken => format!("{error}; run the command again"),
        Error::NoMatch { .. } => format!("{error}; see `snapshots` or `list` for what there is"),
        Error::Ambiguous { .. } => format!("{error}; give more of it"),
        Error::PathNotFound { .. } => format!("{error}; see `ls` for what is in it"),
        Error::Backend(error) => explain_backend(error),
        error => error.to_string(),
    }
}

fn explain_backend(error: &BackendError) -> String {
    let remedy = match error.kind {
        BackendErrorKind::NotFound => {
            "if the file should be there, run `check` to see what is missing"
        }
        BackendErrorKind::PermissionDenied => {
            "the user that runs this program needs access to the files of the repository"
        }
        BackendErrorKind::NoSpace => "free some space there and run the command again",
        BackendErrorKind::TooShort | BackendErrorKind::TooLarge => {
            "run `check` to see what is damaged"
        }
        BackendErrorKind::ReadOnly => {
            "make it writable, or use --no-lock with a command that only reads"
        }
        BackendErrorKind::Authentication => "check the user, the keys and the known hosts",
        _ => "check that the storage can be reached, and run the command again",
    };
    format!("{error}; {remedy}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use restic_repo::{Handle, Id};

    use super::*;

    #[test]
    fn errors_have_restics_exit_codes() {
        let code = |error: Error| Failure::from(error).code() as u8;
        assert_eq!(code(Error::NotARepository { location: "/srv/r".into() }), 10);
        assert_eq!(code(Error::Locked { holders: Vec::new() }), 11);
        assert_eq!(code(Error::WrongPassword), 12);
        assert_eq!(code(Error::Cancelled), 130);
        assert_eq!(code(Error::PathNotFound { path: PathBuf::from("/x") }), 1);
        assert_eq!(Failure::incomplete().code() as u8, 3);
    }

    #[test]
    fn scripts_find_the_phrases_they_look_for() {
        let message = |error: Error| Failure::from(error).message().to_owned();
        assert!(message(Error::WrongPassword).starts_with("Fatal: wrong password or no key found"));
        let missing = message(Error::NotARepository { location: "/srv/r".into() });
        assert!(
            missing.contains("repository does not exist: unable to open config file at /srv/r")
        );
        let locked = message(Error::Locked { holders: Vec::new() });
        assert!(locked.contains("repository is already locked by an unknown holder;"), "{locked}");
    }

    #[test]
    fn a_storage_failure_names_cause_and_remedy() {
        let handle = Handle::new(FileType::Pack, Id::of(b""));
        let error = BackendError::new(BackendErrorKind::NoSpace, "save").on(&handle);
        assert_eq!(
            Failure::from(Error::from(error)).message(),
            "Fatal: save pack e3b0c442: the storage is full; free some space there and run the \
             command again"
        );
    }

    #[test]
    fn json_mode_reports_one_object() {
        let failure = Failure::with_code(ExitCode::WrongPassword, "wrong password or no key found");
        assert_eq!(
            String::from_utf8(failure.render(true)).unwrap(),
            "{\"message_type\":\"exit_error\",\"code\":12,\
             \"message\":\"Fatal: wrong password or no key found\"}\n"
        );
        assert_eq!(failure.render(false), b"Fatal: wrong password or no key found\n");
    }

    #[test]
    fn a_closed_pipe_is_passed_over_in_silence() {
        let failure = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.code(), ExitCode::OutputClosed);
        assert!(failure.render(false).is_empty() && failure.render(true).is_empty());
        let full = Failure::output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.code(), ExitCode::Error);
    }

    #[test]
    fn the_context_goes_in_front() {
        let failure = Failure::new("no room").while_doing("saving the snapshot");
        assert_eq!(failure.message(), "Fatal: saving the snapshot: no room");
    }
}
