//! A cloud of three machines, each with users of its own: a front-end and a host, whose drivers work as
//! `oneadmin`, and a backup server that lets `backups` in, as the guide for operators says, word for word.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use restic_oracle::{Machine, Outcome, Repo, Scratch};

use crate::api;
use crate::site::{HOST, SERVER, deploy_id, told, wait_for};

const GUIDE: &str = include_str!("../../../../doc/opennebula.md");
const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");
const PROGRAM: &str = env!("CARGO_BIN_EXE_one-restic");

/// The password of all repositories. No other test has this one.
pub const PASSWORD: &str = "geheim-0f7b2c91-only-here";
/// The password of OpenNebula's own user.
pub const LOGIN: &str = "login-51d04c7e-only-here";

/// The datastores of the server, as it has them itself.
pub const DATASTORES: &str = "/srv/backup/var/lib/one/datastores";
/// The folder of the drivers on the front-end.
const DRIVERS: &str = "/var/lib/one/remotes/datastore";
/// Where the agent of OpenNebula listens.
const AGENT: &str = "/var/lib/one/agent.sock";
/// The number that OpenNebula's packages give its user.
const UID: &str = "9869";

/// How many VMs this process had.
static VMS: AtomicU64 = AtomicU64::new(0);

/// The machines.
pub struct Cloud {
    /// The number of the VM. No other test has it: they see each other's processes.
    pub vm: u64,
    pub front_end: Machine,
    pub host: Machine,
    pub server: Machine,
    agent: Child,
    scratch: Scratch,
}

impl Cloud {
    /// Sets it up; nothing where that is not possible.
    pub fn new() -> Option<Self> {
        if let Some(why) = Machine::obstacle() {
            println!("skipped: {why}");
            return None;
        }
        let scratch = Scratch::new();
        let folder = |name: &str| scratch.path().join(name);
        let program = format!("{DRIVERS}/restic/restic");
        let given: [(&Path, &str); 1] = [(PROGRAM.as_ref(), &program)];
        let front_end = Machine::new("front-end", folder("front-end"), &given);
        let mut host = Machine::new(HOST, folder(HOST), &[]);
        let mut server = Machine::new(SERVER, folder(SERVER), &[]);

        for machine in [&front_end, &host] {
            let user = format!(
                "useradd --uid {UID} --home-dir /var/lib/one --password '*' oneadmin; useradd guest"
            );
            let own = "install -d -o oneadmin -g oneadmin /var/lib/one /var/lib/one/datastores";
            machine.sh("root", &format!("{user}; {own}")).success();
            machine.sh("oneadmin", "mkdir -m 700 .ssh .one").success();
        }
        let [account, config, ..] = &guide("Set up a backup server")[..] else {
            panic!("the guide says how to set up the server")
        };
        server.sh("root", account).success();
        fs::write(server.at("/etc/ssh/sshd_config.d/one-restic.conf"), config).unwrap();
        // Somebody whom the server does not know as oneadmin, but who has his number.
        server.sh("root", &format!("useradd --uid {UID} --create-home guest")).success();

        let new_key = "ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519; cat .ssh/id_ed25519.pub";
        let key = front_end.sh("oneadmin", new_key).success().text().trim().to_owned();
        let allow = format!("mkdir -p -m 700 .ssh; echo {key} > .ssh/authorized_keys");
        host.sh("oneadmin", &allow).success();
        server.sh("backups", &allow).success();

        let mut ssh_config = String::new();
        let mut known = String::new();
        for (name, port) in [(HOST, host.start_sshd()), (SERVER, server.start_sshd())] {
            ssh_config += &format!("Host {name}\n  HostName 127.0.0.1\n  Port {port}\n");
            known += &format!(
                "ssh-keyscan -t ed25519 -p {port} 127.0.0.1 2>/dev/null >> .ssh/known_hosts\n"
            );
        }
        for machine in [&front_end, &host] {
            let script = format!("cat > .ssh/config <<END\n{ssh_config}END\n{known}");
            machine.sh("oneadmin", &script).success();
        }
        let agent = start_agent(&front_end);
        let vm = u64::from(std::process::id()) * 100 + VMS.fetch_add(1, Ordering::Relaxed);
        let cloud = Self { vm, front_end, host, server, agent, scratch };
        cloud.install();
        cloud.answer(&[
            ("one.datastore.info", &cloud.datastore("")),
            ("one.image.info", "<IMAGE/>"),
        ]);
        Some(cloud)
    }

    /// The drivers, as packages bring them.
    fn install(&self) {
        let build = fs::read_to_string(format!("{PACKAGING}/build")).unwrap();
        let list = build.split_once("actions=(").unwrap().1.split_once(')').unwrap().0;
        let actions = list.split_whitespace().map(|action| ("action", format!("restic/{action}")));
        let downloader = ("restic_downloader.rb", "restic_downloader.rb".to_owned());
        for (script, name) in actions.chain([downloader]) {
            let target = self.front_end.at(DRIVERS).join(name);
            fs::copy(format!("{PACKAGING}/{script}"), target).unwrap();
        }
        let login = format!(
            "umask 077; echo oneadmin:{LOGIN} > .one/one_auth; echo serveradmin:x > .one/onegate_auth"
        );
        self.front_end.sh("oneadmin", &login).success();
    }

    /// Has OpenNebula's API answer these methods with these texts, from now on.
    pub fn answer(&self, answers: &[(&str, &str)]) {
        let endpoint = api::answering(answers);
        self.front_end.sh("oneadmin", &format!("echo {endpoint} > .one/one_endpoint")).success();
    }

    /// The datastore, as OpenNebula describes it, with these attributes beyond the necessary.
    pub fn datastore(&self, attributes: &str) -> String {
        format!(
            "<DATASTORE><ID>102</ID><DS_MAD>restic</DS_MAD>\
             <BASE_PATH>/var/lib/one//datastores/102</BASE_PATH><TEMPLATE>\
             <RESTIC_PASSWORD>{PASSWORD}</RESTIC_PASSWORD>\
             <RESTIC_SFTP_SERVER>{SERVER}</RESTIC_SFTP_SERVER>\
             <RESTIC_SFTP_USER>backups</RESTIC_SFTP_USER>{attributes}</TEMPLATE></DATASTORE>"
        )
    }

    /// The image of a VM's backups, as OpenNebula describes it.
    pub fn image(&self, increments: &[(u64, String)]) -> String {
        let increment = |(id, snapshot): &(u64, String)| {
            format!("<INCREMENT><ID>{id}</ID><SOURCE>{snapshot}</SOURCE></INCREMENT>")
        };
        let list: String = increments.iter().map(increment).collect();
        format!(
            "<IMAGE><ID>3</ID><SOURCE>{}</SOURCE><FORMAT>raw</FORMAT><VMS><ID>{vm}</ID></VMS>\
             <BACKUP_INCREMENTS>{list}</BACKUP_INCREMENTS></IMAGE>",
            increments[0].1,
            vm = self.vm
        )
    }

    /// What `oneadmin` runs on the front-end, as the daemon does, in a process group of its own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.front_end.command("oneadmin", program);
        command.env("SSH_AUTH_SOCK", AGENT).process_group(0);
        command
    }

    /// An action of the drivers.
    pub fn action(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(&format!("{DRIVERS}/restic/{name}"));
        command.args(arguments);
        command
    }

    /// Runs an action to its end, with a message of the datastore and this.
    pub fn run(&self, action: &str, arguments: &[&str], message: &str) -> Outcome {
        told(&mut self.action(action, arguments), &self.message("", message))
    }

    pub fn message(&self, attributes: &str, more: &str) -> String {
        let datastore = self.datastore(attributes);
        format!("<DS_DRIVER_ACTION_DATA>{datastore}{more}</DS_DRIVER_ACTION_DATA>")
    }

    /// The backup of the VM, to be given its message.
    pub fn backup(&self) -> Command {
        let vm = self.vm.to_string();
        self.action("backup", &[&self.place(), "0", &deploy_id(&vm), "-", &vm, "100"])
    }

    /// Cancels the backup of the VM.
    pub fn cancel(&self) -> Outcome {
        let vm = self.vm.to_string();
        let mut command = self.action("backup_cancel", &[&self.place(), &deploy_id(&vm)]);
        told(&mut command, &format!("<VM><ID>{vm}</ID></VM>"))
    }

    /// The argument `host:folder` of the VM, with the double slash that OpenNebula has.
    fn place(&self) -> String {
        format!("{HOST}:/var/lib/one//datastores/100/{}", self.vm)
    }

    /// Puts a file into the folder that the VM is backed up from, as its owner's.
    pub fn put(&self, name: &str, source: &Path) {
        let folder = format!("datastores/100/{}/backup", self.vm);
        self.host.sh("oneadmin", &format!("mkdir -p {folder}; : > {folder}/{name}")).success();
        let target = self.host.at(&format!("/var/lib/one/{folder}/{name}"));
        fs::write(target, fs::read(source).unwrap()).unwrap();
    }

    /// A folder for the test's own files.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.scratch.folder(name)
    }

    /// The VM's repository, as root of the server has it.
    pub fn repo(&self) -> Repo {
        self.scratch.repo_at(self.server.at(DATASTORES).join(format!("102/{}", self.vm)), PASSWORD)
    }

    /// The locks in the repository.
    pub fn locks(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.repo().location.join("locks"));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// The agent that OpenNebula has, with the key.
fn start_agent(front_end: &Machine) -> Child {
    let mut agent = front_end.command("oneadmin", "ssh-agent");
    let child = agent.args(["-D", "-a", AGENT]).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the agent takes the key", || {
        let added = front_end.sh("oneadmin", &format!("SSH_AUTH_SOCK={AGENT} ssh-add -q"));
        added.code == Some(0)
    });
    child
}

/// What a chapter of the guide has to be typed in, where the account on the server is called `backups`.
fn guide(chapter: &str) -> Vec<String> {
    let (_, text) = GUIDE.split_once(&format!("## {chapter}\n")).unwrap();
    let text = text.split_once("\n## ").map_or(text, |(text, _)| text);
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').unwrap().1.replace("oneadmin", "backups")).collect()
}
