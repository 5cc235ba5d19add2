//! `init`

use std::path::PathBuf;

use clap::Args;
use restic_repo::Id;
use restic_repo::repository::{InitOptions, Repository};
use serde::Serialize;

use crate::access::Access;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::session::Session;

/// Makes a new repository.
#[derive(Args, Debug)]
pub struct Init {
    /// Version of the format: 1, 2, stable or latest
    #[arg(long, value_name = "VERSION", default_value = "stable")]
    repository_version: String,

    /// Cut files where the other repository does, so that copies between the two share data
    #[arg(long)]
    copy_chunker_params: bool,

    #[command(flatten)]
    from: FromArgs,
}

/// The other repository.
#[derive(Args, Clone, Debug, Default)]
pub struct FromArgs {
    /// Where it is [env: RESTIC_FROM_REPOSITORY]
    #[arg(long, value_name = "REPOSITORY", alias = "repo2", help_heading = "The other repository")]
    from_repo: Option<String>,

    /// File that holds its location [env: RESTIC_FROM_REPOSITORY_FILE]
    #[arg(
        long,
        value_name = "FILE",
        alias = "repository-file2",
        help_heading = "The other repository"
    )]
    from_repository_file: Option<PathBuf>,

    /// File that holds its password [env: RESTIC_FROM_PASSWORD_FILE]
    #[arg(
        long,
        value_name = "FILE",
        alias = "password-file2",
        help_heading = "The other repository"
    )]
    from_password_file: Option<PathBuf>,

    /// Command that prints its password [env: RESTIC_FROM_PASSWORD_COMMAND]
    #[arg(
        long,
        value_name = "COMMAND",
        alias = "password-command2",
        help_heading = "The other repository"
    )]
    from_password_command: Option<String>,

    /// Id of the key to try first [env: RESTIC_FROM_KEY_HINT]
    #[arg(long, value_name = "KEY", alias = "key-hint2", help_heading = "The other repository")]
    from_key_hint: Option<String>,

    /// It has an empty password
    #[arg(long, help_heading = "The other repository")]
    from_insecure_no_password: bool,
}

/// What `init --json` prints.
#[derive(Debug, Serialize)]
pub struct Initialized {
    message_type: &'static str,
    id: Id,
    repository: String,
}

impl Initialized {
    /// A repository was made.
    pub fn new(id: Id, repository: String) -> Self {
        Self { message_type: "initialized", id, repository }
    }

    /// The same for people.
    pub fn lines(&self, copied_parameters: bool) -> Vec<String> {
        let id = self.id.to_hex();
        let mut lines =
            vec![format!("created restic repository {} at {}", &id[..10], self.repository)];
        if copied_parameters {
            lines.push(" with the chunker parameters of the other repository".to_owned());
        }
        lines.extend([
            String::new(),
            "Keep the password in a safe place: without it, nobody can read what is in the"
                .to_owned(),
            "repository, and nobody can bring it back.".to_owned(),
        ]);
        lines
    }
}

impl Init {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let version = version(&self.repository_version)?;
        let from = self.from.resolve(&session.environment);
        if self.copy_chunker_params {
            from.location()?;
        } else if from.has_location() {
            return Err(Failure::new(
                "another repository is only of use for its chunker parameters; add \
                 --copy-chunker-params or take --from-repo away",
            ));
        }
        let access = &session.settings.access;
        let backend = session.backend(access).await?;
        let prompt = "enter password for new repository: ";
        let password = session.new_password(access, prompt).await?;
        let polynomial = match self.copy_chunker_params {
            true => {
                let other =
                    session.open_at(&from, "enter password for source repository: ").await?;
                Some(other.config().chunker_polynomial)
            }
            false => None,
        };
        let init = InitOptions { version, polynomial, ..InitOptions::new(session.identity()) };
        let options = session.repository_options();
        let repository = Repository::init(backend, &password, init, options).await?;
        let made = Initialized::new(repository.config().id, access.location_text()?);
        match session.terminal.is_json() {
            true => session.terminal.print_json(&made),
            false => {
                for line in made.lines(self.copy_chunker_params) {
                    session.terminal.note(line);
                }
            }
        }
        Ok(())
    }
}

impl FromArgs {
    /// With the environment filled in.
    pub fn resolve(self, environment: &Environment) -> Access {
        let path = |given: Option<PathBuf>, name| {
            given.or_else(|| environment.value(name).map(PathBuf::from))
        };
        Access {
            location: self.from_repo.or_else(|| environment.text("RESTIC_FROM_REPOSITORY")),
            location_file: path(self.from_repository_file, "RESTIC_FROM_REPOSITORY_FILE"),
            password: None,
            password_file: path(self.from_password_file, "RESTIC_FROM_PASSWORD_FILE"),
            password_command: self
                .from_password_command
                .or_else(|| environment.text("RESTIC_FROM_PASSWORD_COMMAND")),
            password_variable: "RESTIC_FROM_PASSWORD",
            key_hint: self.from_key_hint.or_else(|| environment.text("RESTIC_FROM_KEY_HINT")),
            without_password: self.from_insecure_no_password,
            option_names: ["--from-repo", "--from-repository-file"],
        }
    }
}

/// The version of the format that a word means.
fn version(word: &str) -> Result<u32> {
    match word {
        "latest" | "stable" | "" | "2" => Ok(2),
        "1" => Ok(1),
        other => Err(Failure::new(format_args!(
            "there is no repository version {other:?}, only 1, 2, stable and latest"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;

    #[test]
    fn versions_have_names() {
        assert_eq!(version("stable"), Ok(2));
        assert_eq!(version("latest"), Ok(2));
        assert_eq!(version("1"), Ok(1));
        assert!(version("3").is_err());
        assert!(version("new").is_err());
    }

    #[test]
    fn json_is_restics() {
        let id = Id::of(b"");
        let line = json::line(&Initialized::new(id, "/srv/js/r0.19.1".into()));
        assert_eq!(
            String::from_utf8(line).unwrap(),
            format!(
                "{{\"message_type\":\"initialized\",\"id\":\"{id}\",\
                 \"repository\":\"/srv/js/r0.19.1\"}}\n"
            )
        );
    }

    #[test]
    fn people_see_ten_digits_of_the_id() {
        let lines = Initialized::new(Id::of(b""), "/srv/r".into()).lines(false);
        assert_eq!(lines[0], "created restic repository e3b0c44298 at /srv/r");
    }

    #[test]
    fn the_other_repository_has_variables_of_its_own() {
        let environment = Environment::of(&[
            ("RESTIC_FROM_REPOSITORY", "/srv/from"),
            ("RESTIC_REPOSITORY", "/srv/to"),
            ("RESTIC_FROM_PASSWORD", "geheim"),
        ]);
        let access = FromArgs::default().resolve(&environment);
        assert_eq!(access.location.as_deref(), Some("/srv/from"));
        let password = access.stored_password(&environment).unwrap().unwrap();
        assert!(!password.is_empty());
    }
}
