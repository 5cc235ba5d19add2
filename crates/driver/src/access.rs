//! What it takes to open a repository: where it is, and its password.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use restic_repo::key::Password;
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::location::Location;
use crate::password::{self, Bytes, Secret};
use crate::text_file;
use crate::words;

/// Where a repository is, and where its password comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The location, given as such.
    pub location: Option<String>,
    /// A file that holds the location.
    pub location_file: Option<PathBuf>,
    /// The password, where somebody else has found it already. It goes before all that follows.
    pub password: Option<Secret>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
    /// A command that prints the password.
    pub password_command: Option<String>,
    /// The environment variable that holds the password.
    pub password_variable: &'static str,
    /// The key to try first.
    pub key_hint: Option<String>,
    /// Whether the password is empty.
    pub without_password: bool,
    /// What the operator calls the two options for the location, for messages.
    pub option_names: [&'static str; 2],
}

impl Access {
    /// Whether a location is given at all.
    pub fn has_location(&self) -> bool {
        self.location.is_some() || self.location_file.is_some()
    }

    /// The location as it was given, for messages: only once [`Self::location`] has accepted it.
    pub fn location_text(&self) -> Result<String> {
        let [option, file_option] = self.option_names;
        match (&self.location, &self.location_file) {
            (Some(_), Some(_)) => Err(Failure::new(format_args!(
                "the repository's location is given twice, as {option} and as {file_option} (or the \
                 environment variable of either); give one of them"
            ))),
            (Some(text), None) => Ok(text.clone()),
            (None, Some(file)) => {
                let text = text_file::read(file).map_err(|error| {
                    Failure::new(format_args!(
                        "cannot read the location of the repository from {}: {error}",
                        file.display()
                    ))
                })?;
                Ok(String::from_utf8_lossy(text_file::trim(&text)).into_owned())
            }
            (None, None) => Err(Failure::new(format_args!(
                "no repository is given; name its location with {option} or {file_option}"
            ))),
        }
    }

    /// The location.
    pub fn location(&self) -> Result<Location> {
        Location::parse(&self.location_text()?)
    }

    /// Whether there is a password, or somewhere to get it from, without asking.
    pub fn gives_password(&self, environment: &Environment) -> bool {
        self.without_password
            || self.password.is_some()
            || self.password_file.is_some()
            || self.password_command.is_some()
            || environment.value(self.password_variable).is_some()
    }

    /// The password as far as it can be had without asking: from a command, a file or the environment.
    /// Nothing if the operator must be asked; see [`password::ask`].
    pub fn stored_password(&self, environment: &Environment) -> Result<Option<Password>> {
        Ok(self.stored_bytes(environment)?.map(password::from_bytes))
    }

    fn stored_bytes(&self, environment: &Environment) -> Result<Option<Bytes>> {
        if let Some(password) = &self.password {
            return Ok(Some(Bytes::new(password.reveal().as_bytes().to_vec())));
        }
        let found = self.find_password(environment)?.filter(|password| !password.is_empty());
        match (self.without_password, found) {
            (true, Some(_)) => Err(Failure::new(
                "there is a password although the option says that there is none \
                 (--insecure-no-password); take one of them away",
            )),
            (true, None) => Ok(Some(Bytes::default())),
            (false, found) => Ok(found),
        }
    }

    fn find_password(&self, environment: &Environment) -> Result<Option<Bytes>> {
        match (&self.password_file, &self.password_command) {
            (Some(_), Some(_)) => Err(Failure::new(
                "the password is to come from a file and from a command; give one of them \
                 (--password-file, --password-command, or the environment variable of either)",
            )),
            (None, Some(command)) => run(command).map(Some),
            (Some(file), None) => password::from_file(file).map(Some),
            (None, None) => Ok(environment
                .value(self.password_variable)
                .map(|value| Bytes::new(std::os::unix::ffi::OsStringExt::into_vec(value)))),
        }
    }
}

/// Runs a password command. Its standard error is the operator's to see; the command itself, which
/// might hold a secret, is in no message.
fn run(command: &str) -> Result<Bytes> {
    let fail = |error: &dyn std::fmt::Display| {
        Failure::new(format_args!("the password command failed: {error}"))
    };
    let words = words::split(command).map_err(|error| fail(&error))?;
    let output = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => fail(&"there is no such program"),
            _ => fail(&error),
        })?;
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(fail(&output.status));
    }
    Ok(text_file::trim(&stdout).to_vec().into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::*;

    fn access() -> Access {
        Access {
            password_variable: "RESTIC_PASSWORD",
            option_names: ["-r", "--repository-file"],
            ..Access::default()
        }
    }

    fn file(content: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn password(access: &Access, variables: &[(&str, &str)]) -> Result<Option<Vec<u8>>> {
        let found = access.stored_bytes(&Environment::of(variables))?;
        Ok(found.map(|password| password.to_vec()))
    }

    #[test]
    fn the_location_comes_from_the_option_or_a_file() {
        let given = Access { location: Some("/srv/r".into()), ..access() };
        assert_eq!(given.location(), Ok(Location::Local("/srv/r".into())));
        let file = file(b"\xef\xbb\xbf /srv/x \r\n");
        let from_file = Access { location_file: Some(file.path().into()), ..access() };
        assert_eq!(from_file.location(), Ok(Location::Local("/srv/x".into())));
        let both = Access { location: given.location, ..from_file };
        assert!(both.location().unwrap_err().message().contains("given twice"));
        assert!(access().location().unwrap_err().message().contains("no repository is given"));
    }

    #[test]
    fn a_password_file_is_trimmed_and_the_variable_is_not() {
        let file = file(b" geheim\r\n");
        let from_file = Access { password_file: Some(file.path().into()), ..access() };
        assert_eq!(password(&from_file, &[]), Ok(Some(b"geheim".to_vec())));
        let variables = [("RESTIC_PASSWORD", " geheim\n")];
        assert_eq!(password(&access(), &variables), Ok(Some(b" geheim\n".to_vec())));
        assert_eq!(password(&from_file, &variables), Ok(Some(b"geheim".to_vec())));
        assert_eq!(password(&access(), &[]), Ok(None));
    }

    #[test]
    fn a_password_command_is_run() {
        let with = |command: &str| Access { password_command: Some(command.into()), ..access() };
        assert_eq!(password(&with("sh -c 'echo \" geheim \"'"), &[]), Ok(Some(b"geheim".to_vec())));
        for (command, message) in [
            ("false", "the password command failed: exit status: 1"),
            ("no-such-program geheim", "the password command failed: there is no such program"),
            ("echo 'geheim", "the password command failed: a single quote is not closed"),
        ] {
            let failure = password(&with(command), &[]).unwrap_err();
            assert_eq!(failure.message(), format!("Fatal: {message}"));
        }
        let both = Access { password_file: Some("/x".into()), ..with("echo geheim") };
        assert!(password(&both, &[]).unwrap_err().message().contains("a file and from a command"));
    }

    #[test]
    fn no_password_must_be_said_and_meant() {
        let without = Access { without_password: true, ..access() };
        assert_eq!(password(&without, &[]), Ok(Some(Vec::new())));
        assert!(password(&without, &[("RESTIC_PASSWORD", "x")]).is_err());
    }
}
