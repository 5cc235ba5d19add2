//! A server on the loopback, a home folder for the client, and an agent.

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use restic_sftp::{ConfigFiles, Connection, Connector, Error, Location, User};
use tempfile::TempDir;

/// Runs a program that has to succeed.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (see dev/setup): {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a key pair, and gives the public half.
pub fn keygen(path: &Path, kind: &str, more: &[&str]) -> String {
    let path_text = path.to_str().unwrap();
    let mut arguments = vec!["-q", "-t", kind, "-C", "", "-f", path_text];
    if !more.contains(&"-N") {
        arguments.extend(["-N", ""]);
    }
    arguments.extend(more);
    run("ssh-keygen", arguments);
    fs::read_to_string(
        path.with_file_name(format!("{}.pub", path.file_name().unwrap().to_str().unwrap())),
    )
    .unwrap()
}

/// Ends a process when dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Sshd {
    pub folder: TempDir,
    pub port: u16,
    process: Option<Process>,
    options: String,
}

impl Sshd {
    pub fn start(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        keygen(&folder.path().join("host"), "ed25519", &[]);
        fs::write(folder.path().join("authorized_keys"), "").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut sshd = Self { folder, port, process: None, options: options.to_owned() };
        sshd.restart();
        sshd
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn restart(&mut self) {
        self.process = None;
        // Where root's sshd wants to lock itself up.
        if nix::unistd::getuid().is_root() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").unwrap();
        }
        let at = self.folder.path().display();
        // The first value wins here too.
        let host_key = if self.options.contains("HostKey ") { "" } else { "HostKey @/host\n" };
        let options = format!("{}\n{host_key}", self.options).replace('@', &at.to_string());
        let config = format!(
            "{options}Port {}\nListenAddress 127.0.0.1\nAuthorizedKeysFile {at}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n",
            self.port
        );
        fs::write(self.path("config"), config).unwrap();
        let log = fs::File::create(self.path("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(self.path("config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd (see dev/setup)");
        self.process = Some(Process(child));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.path("log")).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(60), "sshd does not start: {log}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Starts it anew with other options.
    pub fn set_options(&mut self, options: &str) {
        options.clone_into(&mut self.options);
        self.restart();
    }

    pub fn authorize(&self, line: &str) {
        let path = self.path("authorized_keys");
        let text = fs::read_to_string(&path).unwrap() + line.trim_end() + "\n";
        fs::write(path, text).unwrap();
    }

    pub fn host_key(&self) -> String {
        fs::read_to_string(self.path("host.pub")).unwrap()
    }
}

/// The client's side: a home folder of its own.
pub struct Home {
    pub folder: TempDir,
    pub user: User,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::DirBuilder::new().mode(0o700).create(folder.path().join(".ssh")).unwrap();
        let user = User { home: folder.path().to_owned(), agent: None, ..User::current().unwrap() };
        Self { folder, user }
    }

    /// One that knows the server's key.
    pub fn knowing(sshd: &Sshd) -> Self {
        let home = Self::new();
        home.know(&format!("[127.0.0.1]:{}", sshd.port), &sshd.host_key());
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(".ssh").join(name)
    }

    pub fn know(&self, names: &str, key: &str) {
        let path = self.path("known_hosts");
        let text =
            fs::read_to_string(&path).unwrap_or_default() + names + " " + key.trim_end() + "\n";
        fs::write(path, text).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn connector(&self, port: u16, config: &str) -> Connector {
        let location = Location::parse(&format!("sftp://127.0.0.1:{port}/x")).unwrap();
        self.connector_to(&location, config).unwrap()
    }

    pub fn connector_to(&self, location: &Location, config: &str) -> Result<Connector, Error> {
        self.write("config", &format!("{config}\nMatch all\nGlobalKnownHostsFile none\n"));
        Connector::new(location, &ConfigFiles::Only(self.path("config")), &self.user)
    }

    pub async fn connect(&self, sshd: &Sshd, config: &str) -> Result<Connection, Error> {
        self.connector(sshd.port, config).connect().await
    }

    /// Connects, and says by which key.
    pub async fn log_in(&self, sshd: &Sshd, config: &str) -> String {
        match self.connect(sshd, config).await {
            Ok(connection) => connection.facts.login,
            Err(error) => panic!("{error}\n{}", fs::read_to_string(sshd.path("log")).unwrap()),
        }
    }

    pub async fn refusal(&self, sshd: &Sshd, config: &str) -> Error {
        self.connect(sshd, config).await.expect_err("to be refused")
    }
}

pub struct Agent {
    socket: PathBuf,
    _folder: TempDir,
    _process: Process,
}

impl Agent {
    /// Starts an agent for this user.
    pub fn start(home: &mut Home) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent (see dev/setup)");
        let process = Process(child);
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "ssh-agent does not start");
            sleep(Duration::from_millis(20));
        }
        home.user.agent = Some(socket.clone());
        Self { socket, _folder: folder, _process: process }
    }

    pub fn add<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) {
        let output = Command::new("ssh-add")
            .args(arguments)
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS", "/bin/false")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
