//! A front-end: its files, a backup server, and the actions.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use restic_oracle::{Program, Repo, Scratch, Sshd, Version};

use crate::oned::Oned;
use crate::recording::unpack;

/// The password of the recorded repositories.
pub const PASSWORD: &str = "opennebula";

/// What the daemon's user logs in to the API with.
pub const OWN_SESSION: &str = "oneadmin:very-secret";

/// The password of the account that acts for others.
pub const ADMIN_PASSWORD: &str = "9c8a317c309973aae9fa8d0fcde61bad18ce206782ed1dd9678a7a7ad17c1f30";

/// A front-end and a server with the recorded repositories.
pub struct FrontEnd {
    pub scratch: Scratch,
    pub server: Sshd,
}

impl FrontEnd {
    pub fn new() -> Self {
        Self::with(Sshd::start())
    }

    /// The same with this server.
    pub fn with(server: Sshd) -> Self {
        let scratch = Scratch::new();
        unpack("ds102.tar.zst", &scratch.folder("datastore"));
        let folder = scratch.folder("one/var/.one");
        fs::write(folder.join("one_auth"), format!("{OWN_SESSION}\n")).unwrap();
        fs::write(folder.join("onegate_auth"), format!("serveradmin:{ADMIN_PASSWORD}\n")).unwrap();
        let front_end = Self { scratch, server };
        for (repository, alias) in [("job_0", "0"), ("1", "2")] {
            let _ = fs::remove_dir_all(front_end.folder(alias));
            let copied = Command::new("cp")
                .arg("-a")
                .args([front_end.folder(repository), front_end.folder(alias)])
                .status();
            assert!(copied.unwrap().success());
        }
        front_end
    }

    /// The folder of a repository on the server.
    pub fn folder(&self, repository: &str) -> PathBuf {
        self.base().join(repository)
    }

    /// The datastore's folder on the server.
    pub fn base(&self) -> PathBuf {
        self.scratch.path().join("datastore")
    }

    /// A repository, for the real restic.
    pub fn repo(&self, repository: &str) -> Repo {
        self.scratch.repo_at(self.folder(repository), PASSWORD)
    }

    /// The real restic on a repository.
    pub fn restic(&self, repository: &str, arguments: &[&str]) -> Output {
        let mut command = Program::restic(Version::V0_18).command(&self.repo(repository));
        command.args(arguments).output().unwrap()
    }

    /// A message with the server of this test in place of the recorded one.
    pub fn adapt(&self, message: &str) -> String {
        let base = self.base().display().to_string();
        let user = self.server.user();
        let adapted = replace_element(message, "RESTIC_SFTP_USER", |_| String::new());
        let adapted = replace_element(&adapted, "RESTIC_SFTP_SERVER", |content| {
            let server = if content.contains("127.0.0.1") { "testbed" } else { "nobody.invalid" };
            format!(
                "<RESTIC_SFTP_SERVER>{server}</RESTIC_SFTP_SERVER><RESTIC_SFTP_USER>{user}\
                 </RESTIC_SFTP_USER>"
            )
        });
        adapted
            .replace("/var/lib/one//datastores/102", &base)
            .replace("/var/lib/one//datastores/103", &base)
            .replace("slow pass", PASSWORD)
    }

    /// An action with nothing in its environment that it would not have.
    pub fn command(&self, action: &str, arguments: &[&str], oned: Option<&Oned>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_one-restic"));
        command.args(["datastore", action]).args(arguments);
        self.surround(&mut command, oned);
        command
    }

    /// Gives a command the environment of an action.
    pub fn surround(&self, command: &mut Command, oned: Option<&Oned>) {
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.scratch.path().join("home"))
            .env("LANG", "C.UTF-8")
            .env("ONE_LOCATION", self.scratch.path().join("one"))
            .env("ONE_RESTIC_SSH_CONFIG", self.server.client_config())
            .current_dir(self.scratch.path());
        let nobody = "http://127.0.0.1:1/RPC2".to_owned();
        command.env("ONE_XMLRPC", oned.map_or(nobody, Oned::endpoint));
    }

    /// Runs an action to its end.
    pub fn run(
        &self,
        action: &str,
        arguments: &[&str],
        stdin: &[u8],
        oned: Option<&Oned>,
    ) -> Ended {
        Ended::of(&mut self.command(action, arguments, oned), stdin)
    }
}

/// XML with something else in place of an element.
fn replace_element(xml: &str, name: &str, replacement: impl Fn(&str) -> String) -> String {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let Some((before, rest)) = xml.split_once(&begin) else { return xml.to_owned() };
    let (content, after) = rest.split_once(&end).unwrap();
    format!("{before}{}{after}", replacement(content))
}

/// How an action ended.
#[derive(Debug)]
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Ended {
    /// Runs a command to its end.
    pub fn of(command: &mut Command, stdin: &[u8]) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(stdin); // it may not care
        drop(input);
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let ended = Self { stdout: text(stdout), stderr: text(stderr), code: status.code() };
        for secret in [PASSWORD, OWN_SESSION, "very-secret", ADMIN_PASSWORD] {
            // A user may be called like the password.
            let text = format!("{}{}", ended.stdout, ended.stderr).replace("/opennebula", "");
            assert!(!text.contains(secret), "{secret} is told: {ended:?}");
        }
        ended
    }

    /// The one line of an error, which has nothing in it that a shell could stumble over.
    #[track_caller]
    pub fn error(&self) -> &str {
        assert_eq!(self.code, Some(255), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let is_log = |line: &&str| line.starts_with("INFO: ") || line.starts_with("WARN: ");
        let lines: Vec<_> = self.stderr.lines().filter(|line| !is_log(line)).collect();
        let [line] = lines[..] else { panic!("not one line: {self:?}") };
        assert!(!line.contains(['\'', '"', '`', '\\']), "{line}");
        assert!(!line.is_empty());
        line
    }

    /// What it printed.
    #[track_caller]
    pub fn success(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.stdout
    }
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(self::files(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}
