//! Machines within this one: each with its users, files and name, all of which end with it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::Outcome;
use crate::sshd;

/// What a machine has for itself. All else is that of the machine around it, the network and the processes
/// included.
const OWN: [&str; 6] = ["etc", "home", "srv", "var/lib", "var/log", "var/tmp"];

/// The numbers of users and groups who are not the system's own (Debian policy 9.2.2), OpenNebula's among them.
const PEOPLE: std::ops::Range<u32> = 1000..60000;

/// Makes it, in its folder: takes the name, and pairs of files that are bound together; stays until its input ends.
///
/// Paths are relative and not looked up, since a folder that is hidden by now may be part of them.
const MAKE: &str = r#"
    set -e
    hostname "$1" && shift
    while [ $# -gt 0 ]; do
        mount -c --bind "$1" "$2" && mount -c -o remount,bind,ro "$2" && shift 2
    done
    for place in etc home srv var/lib var/log var/tmp; do mount -c --rbind "$place" "/$place"; done
    echo made && exec cat
"#;

/// A machine of one's own, made of namespaces of this one. Only root can make one.
///
/// `/etc` is a copy of this machine's, so that there are users to begin with and others can be added, without the
/// people: somebody of this machine may have the name of one who is to be made;
/// `/home`, `/srv`, `/var/lib`, `/var/log` and `/var/tmp` are empty.
#[derive(Debug)]
pub struct Machine {
    folder: PathBuf,
    holder: Child,
    sshd: Option<(u16, Child)>,
}

impl Machine {
    /// Why there can be none here, so that a test is to be skipped; nothing if there can.
    pub fn obstacle() -> Option<&'static str> {
        let made = Command::new("unshare").args(["--mount", "--uts", "true"]).output();
        let is_possible = rustix::process::geteuid().is_root()
            && made.is_ok_and(|output| output.status.success());
        (!is_possible)
            .then_some("only root can make users and mounts, where that is allowed at all")
    }

    /// Makes one of this name. Its files are kept in a folder, which is made. Some files of this machine may be
    /// given to it to read, each with its path there, which must be in what the machine has for itself.
    pub fn new(name: &str, folder: PathBuf, given: &[(&Path, &str)]) -> Self {
        for own in &OWN[1..] {
            make_folder(&folder.join(own));
        }
        let _ = fs::set_permissions(folder.join("var/tmp"), Permissions::from_mode(0o1777));
        let copied = Command::new("cp").args(["-a", "/etc"]).arg(&folder).status();
        assert!(copied.is_ok_and(|status| status.success()), "/etc cannot be copied");
        forget_people(&folder.join("etc"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "sh", "-c", MAKE, "sh", name]).current_dir(&folder);
        for (source, target) in given {
            let target = target.trim_start_matches('/');
            let place = folder.join(target);
            make_folder(place.parent().unwrap_or(&folder));
            fs::write(&place, "").unwrap_or_else(|error| panic!("{}: {error}", place.display()));
            command.arg(source).arg(target);
        }
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run unshare: {error}"));
        let mut said = String::new();
        let _ = holder.stdout.take().map(|out| BufReader::new(out).read_line(&mut said));
        assert_eq!(said, "made\n", "the machine {name} cannot be made");
        Self { folder, holder, sshd: None }
    }

    /// Where a file of this machine is for others: in what it has for itself.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    /// A command that one of its users runs, with nothing of ours in its environment.
    pub fn command(&self, user: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter();
        command.arg("setpriv").args(["--reuid", user, "--regid", user, "--init-groups", "--"]);
        command.arg(program).env("HOME", self.home(user)).env("USER", user).env("LOGNAME", user);
        command
    }

    /// Has one of its users run a script, in his home.
    pub fn sh(&self, user: &str, script: &str) -> Outcome {
        let mut command = self.command(user, "sh");
        Outcome::of(command.args(["-euc", &format!("cd; {script}")]).stdin(Stdio::null()))
    }

    /// The number of one of its users.
    pub fn uid(&self, user: &str) -> u32 {
        let field = self.account(user).get(2).and_then(|text| text.parse().ok());
        field.expect("users have numbers")
    }

    /// Starts its SSH server, with `/etc/ssh/sshd_config.d` as Debian has it, and a key of its own. The port is
    /// one of 127.0.0.1.
    pub fn start_sshd(&mut self) -> u16 {
        let config = format!(
            "Include /etc/ssh/sshd_config.d/*.conf\nListenAddress 127.0.0.1\nPidFile none\nLogLevel VERBOSE\n\
             HostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM no\nUseDNS no\nX11Forwarding yes\n\
             Subsystem sftp {}\n",
            sshd::sftp_server()
        );
        let path = self.at("etc/ssh/sshd_config");
        fs::write(&path, config).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.sh("root", "rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key").success();
        let started = sshd::begin(&self.at("var/log/sshd"), |sshd, arguments| {
            let mut command = self.enter();
            command.arg(sshd).args(arguments);
            command
        });
        self.sshd.insert(started).0
    }

    /// What its SSH server has logged.
    pub fn sshd_log(&self) -> String {
        fs::read_to_string(self.at("var/log/sshd")).unwrap_or_default()
    }

    /// What follows runs on this machine, as root.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        command.args(["--target", &holder, "--mount", "--uts", "--"]).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn home(&self, user: &str) -> String {
        self.account(user).get(5).cloned().expect("users have homes")
    }

    fn account(&self, user: &str) -> Vec<String> {
        let accounts = fs::read_to_string(self.at("etc/passwd")).expect("there are accounts");
        let mut accounts = accounts.lines().map(|line| line.split(':').map(str::to_owned));
        let found = accounts.find_map(|fields| {
            let fields: Vec<_> = fields.collect();
            (fields.first().is_some_and(|name| name == user)).then_some(fields)
        });
        found.unwrap_or_else(|| panic!("there is no user {user}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in self.sshd.iter_mut().map(|(_, child)| child).chain([&mut self.holder]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Takes all users and groups out that are not the system's own.
fn forget_people(etc: &Path) {
    let is_person = |line: &str| {
        let number = line.split(':').nth(2).and_then(|number| number.parse().ok());
        number.is_some_and(|number: u32| PEOPLE.contains(&number))
    };
    for (list, secrets) in [("passwd", "shadow"), ("group", "gshadow")] {
        let list = etc.join(list);
        let lines = fs::read_to_string(&list).unwrap_or_default();
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        let people: Vec<_> = lines.lines().filter(|line| is_person(line)).map(name).collect();
        for file in [list, etc.join(secrets)] {
            let Ok(lines) = fs::read_to_string(&file) else { continue };
            let left = lines.lines().filter(|line| !people.contains(&name(line)));
            let left: String = left.map(|line| format!("{line}\n")).collect();
            fs::write(&file, left).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}

fn make_folder(path: &Path) {
    fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[test]
    fn a_machine_has_its_own_users_files_and_name() {
        if Machine::obstacle().is_some() {
            return;
        }
        let scratch = Scratch::new();
        let given = scratch.path().join("given");
        fs::write(&given, "given").unwrap();
        let path = "/var/lib/there/given";
        let machine = Machine::new("elsewhere", scratch.path().join("machine"), &[(&given, path)]);
        machine.sh("root", "useradd --create-home --uid 4711 visitor").success();
        let said = machine.sh("visitor", "hostname; id -un; pwd; cat /var/lib/there/given");
        assert_eq!(said.success().text(), "elsewhere\nvisitor\n/home/visitor\ngiven");
        machine.sh("visitor", "touch here; touch /var/tmp/here").success();
        assert!(machine.at("/home/visitor/here").exists() && machine.at("/var/tmp/here").exists());
        assert_eq!(machine.uid("visitor"), 4711);
        assert!(!fs::read_to_string("/etc/passwd").unwrap().contains("visitor"));
        assert!(!Path::new("/home/visitor").exists() && !Path::new("/var/tmp/here").exists());
    }
}
