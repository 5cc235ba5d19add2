//! A small cloud on the loopback interface: a front-end, a host, and a backup server, each of which the
//! others reach only through `sshd`, with keys that only the front-end's agent has.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use restic_oracle::{Outcome, Program, Repo, Scratch, Sshd, SshdOptions, Version};

/// The password of all repositories. It has whatever could go wrong.
pub const PASSWORD: &str = "ge$h'e\"i`m \\ 7";
/// The host, by the name that OpenNebula has for it.
pub const HOST: &str = "node1";
/// The backup server.
pub const SERVER: &str = "vault";

/// The machines, and a folder that is everybody's.
pub struct Site {
    pub scratch: Scratch,
    pub host: Sshd,
    pub server: Sshd,
    /// The password of all repositories.
    pub password: String,
    agent: Agent,
}

impl Site {
    pub fn new() -> Self {
        Self::with("")
    }

    /// The same, with more in the environment of what runs on the host, as in `A=1 B=2`.
    pub fn with(variables: &str) -> Self {
        let scratch = Scratch::new();
        let cache = scratch.folder("cache");
        let options = SshdOptions::internal("")
            .line(format!("SetEnv XDG_CACHE_HOME={} {variables}", cache.display()));
        let (host, server) = (Sshd::with(&options), Sshd::start());
        let agent = Agent::start(&scratch.path().join("agent.sock"));
        agent.add(&host.user_key());
        agent.add(&server.user_key());
        let site = Self { scratch, host, server, password: PASSWORD.to_owned(), agent };
        site.write_ssh_config(site.host.port(), site.server.port());
        let program = site.remote_program();
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        symlink(env!("CARGO_BIN_EXE_one-restic"), program).unwrap();
        site
    }

    /// How the machines reach each other. The host gets this file, too.
    pub fn write_ssh_config(&self, host_port: u16, server_port: u16) {
        let known = self.scratch.path().join("known_hosts");
        let lines = [(host_port, &self.host), (server_port, &self.server)]
            .map(|(port, machine)| format!("[127.0.0.1]:{port} {}\n", machine.host_key()));
        fs::write(&known, lines.concat()).unwrap();
        let machine = |name: &str, port: u16, user: String| {
            format!(
                "Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentityFile none\n  \
                 UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n",
                known.display()
            )
        };
        let config = [
            machine(HOST, host_port, self.host.user()),
            machine(SERVER, server_port, self.server.user()),
            // Nobody listens there.
            machine("nowhere", 1, self.server.user()),
        ];
        fs::write(self.ssh_config(), config.concat()).unwrap();
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.scratch.path().join("ssh_config")
    }

    /// Where the host has its program.
    pub fn remote_program(&self) -> PathBuf {
        self.scratch.path().join("remote/datastore/restic/restic")
    }

    /// The folder of a VM, without its disks.
    pub fn vm_folder(&self, vm: u64) -> PathBuf {
        self.scratch.folder(&format!("datastores/100/{vm}"))
    }

    /// Lays out a VM for backup: `disk.0.0` with this content, and its description.
    pub fn lay_out(&self, vm: u64, disk: &[u8]) -> PathBuf {
        let folder = self.scratch.folder(&format!("datastores/100/{vm}/backup"));
        fs::write(folder.join("disk.0.0"), disk).unwrap();
        fs::write(folder.join("vm.xml"), format!("PFZNPjxJRD4{vm}\n\n")).unwrap();
        folder
    }

    /// The argument `host:folder` of a VM.
    pub fn place(&self, vm: u64) -> String {
        // With the double slash that OpenNebula has.
        let folder =
            self.vm_folder(vm).display().to_string().replacen("/datastores", "//datastores", 1);
        format!("{HOST}:{folder}")
    }

    /// A datastore's folder on the server.
    pub fn base_path(&self) -> PathBuf {
        self.scratch.path().join("datastores/102")
    }

    /// The message of a backup, with these attributes beyond the necessary.
    pub fn message(&self, vm: u64, attributes: &str, vm_elements: &str) -> String {
        format!(
            "<DS_DRIVER_ACTION_DATA>\n  <DATASTORE><ID>102</ID><BASE_PATH><![CDATA[{}]]></BASE_PATH>\
             <TEMPLATE><RESTIC_PASSWORD><![CDATA[{}]]></RESTIC_PASSWORD>\
             <RESTIC_SFTP_SERVER><![CDATA[{SERVER}]]></RESTIC_SFTP_SERVER>\
             <RESTIC_SFTP_USER><![CDATA[{}]]></RESTIC_SFTP_USER>{attributes}</TEMPLATE></DATASTORE>\n  \
             <VM><ID>{vm}</ID>{vm_elements}</VM>\n</DS_DRIVER_ACTION_DATA>\n",
            self.base_path().display(),
            self.password,
            self.server.user(),
        )
    }

    /// An action on the front-end, with its own environment, and its own process group as OpenNebula
    /// has it.
    pub fn action(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_one-restic"));
        command.arg("datastore").arg(name).args(arguments);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.scratch.path().join("home"))
            .env("ONE_LOCATION", self.scratch.path().join("one"))
            .env("SSH_AUTH_SOCK", &self.agent.socket)
            .env("ONE_RESTIC_SSH_CONFIG", self.ssh_config())
            .env("SCRIPTS_REMOTE_DIR", self.scratch.path().join("remote"))
            .process_group(0);
        command
    }

    /// A backup of a VM, to be given its message.
    pub fn backup(&self, vm: u64) -> Command {
        let (place, vm) = (self.place(vm), vm.to_string());
        self.action("backup", &[&place, "0", &deploy_id(&vm), "-", &vm, "100"])
    }

    /// Backs up a VM.
    pub fn back_up(&self, vm: u64) -> Outcome {
        told(&mut self.backup(vm), &self.message(vm, "", ""))
    }

    /// Cancels the backup of a VM.
    pub fn cancel(&self, vm: u64) -> Outcome {
        let place = self.place(vm);
        let mut command = self.action("backup_cancel", &[&place, &deploy_id(&vm.to_string())]);
        told(&mut command, &format!("<VM><ID>{vm}</ID></VM>"))
    }

    /// A repository, as the server has it in its folder.
    pub fn repo(&self, id: &str) -> Repo {
        self.scratch.repo_at(self.base_path().join(id), &self.password)
    }

    /// What a real restic says.
    pub fn restic(&self, id: &str, arguments: &[&str]) -> Outcome {
        Program::restic(Version::V0_18).run(&self.repo(id), arguments)
    }

    /// The snapshots, as a real restic lists them.
    pub fn snapshots(&self, id: &str) -> Vec<serde_json::Value> {
        let listed = self.restic(id, &["--no-lock", "snapshots", "--json"]).success().json();
        listed.as_array().unwrap().clone()
    }

    /// The locks in a repository.
    pub fn locks(&self, id: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.base_path().join(id).join("locks"));
        let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        paths.filter(|path| path.file_name().is_some_and(|name| name.len() == 64)).collect()
    }

    /// How many snapshots a repository has, which need not exist.
    pub fn snapshot_count(&self, id: &str) -> usize {
        let entries = fs::read_dir(self.base_path().join(id).join("snapshots"));
        entries.map_or(0, Iterator::count)
    }

    /// The processes that make backups on the host.
    pub fn jobs(&self) -> Vec<u32> {
        let program = self.remote_program().display().to_string();
        let is_job = |words: &[String]| {
            words.first() == Some(&program) && words.get(2).is_some_and(|word| word == "job")
        };
        processes().into_iter().filter(|pid| is_job(&arguments_of(*pid))).collect()
    }

    /// Begins the backup of a VM that would take a minute, and waits until the host is at it.
    pub fn begin_slowly(&self, vm: u64) -> Child {
        let attributes = "<RESTIC_BWLIMIT>100</RESTIC_BWLIMIT>";
        let before = self.jobs().len();
        let child = start(&mut self.backup(vm), &self.message(vm, attributes, ""));
        let repo = vm.to_string();
        wait_for("the host is at work", || {
            self.jobs().len() > before && !self.locks(&repo).is_empty()
        });
        child
    }

    /// Waits for everything to be as if nobody had ever begun, and says how long it took.
    pub fn assert_tidy(&self, vm: u64) -> Duration {
        let repo = vm.to_string();
        let took = wait_for("no job and no lock is left", || {
            self.jobs().is_empty() && self.locks(&repo).is_empty()
        });
        assert!(took < Duration::from_secs(5), "it took {took:?}");
        took
    }
}

/// The lines of standard error that are no lines of the log.
pub fn complaint(outcome: &Outcome) -> String {
    let text = outcome.complaint();
    let is_said = |line: &&str| !line.starts_with("INFO: ") && !line.starts_with("WARN: ");
    text.lines().filter(is_said).collect::<Vec<_>>().join("\n")
}

pub fn deploy_id(vm: &str) -> String {
    format!("1e5717fd-77dc-4cb1-bddb-4a034a22306{vm}")
}

/// The numbers of all processes.
pub fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The arguments of a process; none if it is gone.
pub fn arguments_of(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.strip_suffix(b"\0").unwrap_or_default().split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// A field of `/proc/PID/stat`, by its number in the manual.
pub fn stat_of(pid: u32, field: usize) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(") ").unwrap().1;
    rest.split(' ').nth(field - 3).unwrap().parse().unwrap()
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success(), "kill -{name} {pid}");
}

/// Starts a command and gives it its message.
pub fn start(command: &mut Command, message: &str) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that ends before it has read all of it has not wanted it.
    let _ = child.stdin.take().unwrap().write_all(message.as_bytes());
    child
}

/// Runs a command to its end, with this message.
pub fn told(command: &mut Command, message: &str) -> Outcome {
    let said = format!("{command:?}");
    ended(said, start(command, message))
}

/// Waits for the end of what was started.
pub fn ended(command: String, child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    Outcome { command, code: output.status.code(), stdout: output.stdout, stderr: output.stderr }
}

/// Waits until something is so, and says how long it took. Panics if it does not become so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "not in a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// A real agent.
struct Agent {
    socket: PathBuf,
    child: Child,
}

impl Agent {
    fn start(socket: &Path) -> Self {
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(socket).stdout(Stdio::null());
        let child = agent.spawn().expect("there is a program ssh-agent");
        wait_for("the agent listens", || socket.exists());
        Self { socket: socket.to_owned(), child }
    }

    fn add(&self, key: &Path) {
        // The socket is there before anybody listens to it.
        wait_for("the agent takes a key", || {
            let mut add = Command::new("ssh-add");
            add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stderr(Stdio::null());
            add.status().unwrap().success()
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
