//! A real SSH server on the loopback interface, with keys of its own.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Debian and most others have it.
const SFTP_SERVERS: [&str; 3] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// A server that runs until this is dropped. Whoever runs the test can log in to it, with one key.
///
/// Connections that are open when the server ends stay open, as `sshd` has it.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    port: u16,
    child: Child,
}

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct SshdOptions {
    /// What runs as the `sftp` subsystem, with its arguments; nothing for none.
    pub subsystem: Option<String>,
    /// Further lines for `sshd_config`.
    pub lines: Vec<String>,
}

impl SshdOptions {
    /// SFTP inside `sshd`, with arguments as `sftp-server` has them: `-R` for a server that only lets
    /// read, `-P posix-rename` for one that lacks that request, `-u 077` for a umask.
    pub fn internal(arguments: &str) -> Self {
        Self { subsystem: Some(format!("internal-sftp {arguments}")), lines: Vec::new() }
    }

    /// SFTP in the program `sftp-server`.
    pub fn external(arguments: &str) -> Self {
        let program = sftp_server();
        Self { subsystem: Some(format!("{program} {arguments}")), lines: Vec::new() }
    }

    /// A server without SFTP.
    pub fn without_sftp() -> Self {
        Self { subsystem: None, lines: Vec::new() }
    }

    /// The same, with a further line of `sshd_config`.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

impl Sshd {
    /// A server with SFTP inside.
    pub fn start() -> Self {
        Self::with(&SshdOptions::internal(""))
    }

    /// A server that is like this.
    pub fn with(options: &SshdOptions) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("one-restic-sshd-")
            .tempdir()
            .unwrap_or_else(|error| panic!("no folder in TMPDIR: {error}"));
        for name in ["host_key", "user_key"] {
            make_key(&folder.path().join(name));
        }
        let place = folder.path().display();
        let mut config = format!(
            "ListenAddress 127.0.0.1\nHostKey {place}/host_key\nAuthorizedKeysFile {place}/user_key.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n\
             MaxSessions 20\nUseDNS no\nPrintMotd no\nLogLevel VERBOSE\n"
        );
        if let Some(subsystem) = &options.subsystem {
            config.push_str(&format!("Subsystem sftp {subsystem}\n"));
        }
        for line in &options.lines {
            config.push_str(&format!("{line}\n"));
        }
        write(&folder.path().join("sshd_config"), &config);
        let (port, child) = begin(&folder.path().join("log"), |sshd, arguments| {
            let mut command = Command::new(sshd);
            command.arg("-f").arg(folder.path().join("sshd_config")).args(arguments);
            command
        });
        let server = Self { folder, port, child };
        server.write_client_files(port);
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who can log in: whoever runs the test.
    pub fn user(&self) -> String {
        let id = Command::new("id").arg("-un").output().expect("there is a program `id`");
        String::from_utf8_lossy(&id.stdout).trim().to_owned()
    }

    /// A folder for what belongs to this server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The private key that opens the door.
    pub fn user_key(&self) -> PathBuf {
        self.folder.path().join("user_key")
    }

    /// The server's public key, as `type base64`.
    pub fn host_key(&self) -> String {
        let path = self.folder.path().join("host_key.pub");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}"));
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// An `ssh_config` in which the host `testbed` is this server, and nothing of the user's is used.
    pub fn client_config(&self) -> PathBuf {
        self.client_config_through(self.port)
    }

    /// The same, where the server is reached on another port, that of a proxy say.
    pub fn client_config_through(&self, port: u16) -> PathBuf {
        self.write_client_files(port);
        self.folder.path().join(format!("ssh_config-{port}"))
    }

    /// Once: a client may be reading them when the next one asks for them.
    fn write_client_files(&self, port: u16) {
        let place = self.folder.path().display();
        let config_path = self.folder.path().join(format!("ssh_config-{port}"));
        if config_path.exists() {
            return;
        }
        let known = format!("[127.0.0.1]:{port} {}\n", self.host_key());
        write(&self.folder.path().join(format!("known_hosts-{port}")), &known);
        let config = format!(
            "Host testbed\n  HostName 127.0.0.1\n  Port {port}\n  User {}\n  IdentityFile {place}/user_key\n  \
             IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {place}/known_hosts-{port}\n  \
             GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  BatchMode yes\n",
            self.user()
        );
        write(&config_path, &config);
    }

    /// The location of a folder on this server, for the host `testbed` of [`Self::client_config`].
    pub fn location(&self, path: impl AsRef<Path>) -> String {
        format!("sftp:testbed:{}", path.as_ref().display())
    }

    /// The arguments that make a real restic use [`Self::client_config`].
    pub fn restic_arguments(&self) -> [String; 2] {
        let config = self.client_config();
        ["-o".to_owned(), format!("sftp.command=ssh -F {} testbed -s sftp", config.display())]
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program `sftp-server`.
pub(crate) fn sftp_server() -> &'static str {
    let program = SFTP_SERVERS.into_iter().find(|path| Path::new(path).exists());
    program.expect("there is no sftp-server; dev/setup installs it")
}

/// Begins a server on a port that is free, and gives that. `command` runs `sshd` with these arguments.
///
/// # Panics
/// With the server's log, if it does not begin.
pub(crate) fn begin(log: &Path, command: impl Fn(&Path, &[&str]) -> Command) -> (u16, Child) {
    let sshd = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
    let sshd = sshd.into_iter().map(Path::new).find(|path| path.exists());
    let sshd = sshd.expect("there is no sshd; dev/setup installs it");
    if rustix::process::geteuid().is_root() {
        // sshd locks itself into this folder before a login; where it is not a service, it is missing.
        let _ = fs::create_dir_all("/run/sshd");
    }
    // A port that is free now may be taken in a moment.
    for _ in 0..10 {
        let port = free_port();
        if let Some(child) =
            listen(command(sshd, &["-D", "-e", "-p", &port.to_string()]), port, log)
        {
            return (port, child);
        }
    }
    panic!("sshd does not begin:\n{}", fs::read_to_string(log).unwrap_or_default());
}

/// Begins a server, if the port is still free.
fn listen(mut command: Command, port: u16, log: &Path) -> Option<Child> {
    let log = File::options().create(true).append(true).open(log);
    let log = log.unwrap_or_else(|error| panic!("{error}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run sshd: {error}"));
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Some(child);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "one-restic-test", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "ssh-keygen fails; dev/setup installs it");
}

fn write(path: &Path, text: &str) {
    let mut file = File::create(path).unwrap_or_else(|error| panic!("{error}"));
    file.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let _ = fs::set_permissions(path, Permissions::from_mode(0o600));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_sftp_gets_in() {
        for options in [SshdOptions::internal(""), SshdOptions::external("")] {
            let server = Sshd::with(&options);
            let mut sftp = Command::new("sftp");
            sftp.arg("-F").arg(server.client_config()).args(["-b", "/dev/stdin", "testbed"]);
            sftp.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = sftp.spawn().unwrap();
            child.stdin.take().unwrap().write_all(b"pwd\n").unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}\n{}", server.log());
        }
    }
}
