use std::collections::HashMap;
use std::process::{Command, Stdio};

use restic_sftp::User;
use restic_sftp::config::{Asked, Checking, ConfigFiles, HostConfig};

use super::sshd::Home;

/// What `ssh -G` makes of the same file: the last words for each keyword.
fn ssh_says(home: &Home, asked: &Asked<'_>) -> Option<HashMap<String, Vec<String>>> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(home.path("config")).arg("-G").stdin(Stdio::null());
    ssh.env_remove("SSH_AUTH_SOCK");
    if let Some(user) = asked.user {
        ssh.args(["-l", user]);
    }
    if let Some(port) = asked.port {
        ssh.args(["-p", &port.to_string()]);
    }
    let output = ssh.arg(asked.host).output().expect("ssh (see dev/setup)");
    if !output.status.success() {
        return None;
    }
    let mut said: HashMap<String, Vec<String>> = HashMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        said.entry(keyword.to_owned()).or_default().push(value.to_owned());
    }
    Some(said)
}

fn compare(text: &str, asked: &Asked<'_>) {
    let home = Home::new();
    // `ssh` takes the home folder from the user database.
    let entry = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
    let me = User { home: entry.dir, agent: None, ..home.user.clone() };
    home.write("config", text);
    let ours = HostConfig::load(&ConfigFiles::Only(home.path("config")), asked, &me);
    let Some(said) = ssh_says(&home, asked) else {
        assert!(ours.is_err(), "ssh refuses this:\n{text}");
        return;
    };
    let ours = ours.unwrap_or_else(|error| panic!("{error}\n{text}"));
    let one =
        |keyword: &str| said.get(keyword).map(|values| values[0].as_str()).unwrap_or_default();
    assert_eq!(ours.host, one("hostname"), "{text}");
    assert_eq!(ours.port.to_string(), one("port"), "{text}");
    assert_eq!(ours.user, one("user"), "{text}");
    assert_eq!(if ours.identities_only { "yes" } else { "no" }, one("identitiesonly"), "{text}");
    assert_eq!(if ours.hash_known_hosts { "yes" } else { "no" }, one("hashknownhosts"), "{text}");
    assert_eq!(ours.host_key_alias.clone().unwrap_or_default(), one("hostkeyalias"), "{text}");
    let checking = match one("stricthostkeychecking") {
        "true" | "ask" => Checking::Strict,
        "accept-new" => Checking::AcceptNew,
        _ => Checking::Off,
    };
    assert_eq!(ours.checking, checking, "{text}");
    let timeout = ours.connect_timeout.map_or("none".to_owned(), |time| time.as_secs().to_string());
    assert_eq!(timeout, one("connecttimeout"), "{text}");
    assert_eq!(
        ours.alive_interval.unwrap_or_default().as_secs().to_string(),
        one("serveraliveinterval"),
        "{text}"
    );
    assert_eq!(ours.alive_count_max.unwrap_or(3).to_string(), one("serveralivecountmax"), "{text}");
    let jumps: Vec<_> = ours.jumps.iter().map(ToString::to_string).collect();
    assert_eq!(jumps.join(","), one("proxyjump").replace("none", ""), "{text}");

    // ssh leaves ~ and tokens as they are.
    let home = me.home.to_str().unwrap();
    let plain = |text: &str| {
        let text = match text.strip_prefix("~/") {
            Some(rest) => format!("{home}/{rest}"),
            None => text.to_owned(),
        };
        let text = text
            .replace("%h", &ours.host)
            .replace("%p", &ours.port.to_string())
            .replace("%r", &ours.user);
        text.replace("%n", &ours.original)
            .replace("%u", &me.name)
            .replace("%d", home)
            .replace("%%", "%")
    };
    let files: Vec<_> = ours
        .identities
        .iter()
        .filter(|file| file.named)
        .map(|file| file.path.to_str().unwrap().to_owned())
        .collect();
    if !files.is_empty() {
        let theirs: Vec<_> = said["identityfile"].iter().map(|text| plain(text)).collect();
        assert_eq!(files, theirs, "{text}");
    }
    let certificates: Vec<_> =
        ours.certificates.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    let theirs =
        said.get("certificatefile").map(|files| files.iter().map(|text| plain(text)).collect());
    assert_eq!(certificates, theirs.unwrap_or_else(Vec::new), "{text}");
    for (ours, keyword) in [
        (&ours.user_known_hosts, "userknownhostsfile"),
        (&ours.global_known_hosts, "globalknownhostsfile"),
    ] {
        let ours: Vec<_> = ours.iter().map(|path| path.to_str().unwrap()).collect();
        let theirs: Vec<_> = one(keyword)
            .split(' ')
            .filter(|word| !word.is_empty() && *word != "none")
            .map(plain)
            .collect();
        assert_eq!(ours, theirs, "{keyword}: {text}");
    }
}

#[test]
fn the_configuration_means_to_us_what_it_means_to_ssh() {
    let mut differences = 0;
    for text in [
        "",
        "# nothing\n\n\t\n",
        "Port 2222\nUser backup\nHostName store.example.org",
        "port=2222\nUSER = backup\nHostname=\"store.example.org\"",
        "Host store\n Port 1\nHost *\n Port 2\n User all",
        "Host st?re\n Port 1",
        "Host *,store\n Port 1",
        "Host x store\n Port 1",
        "Host * !store\n Port 1",
        "Host !other *\n Port 1",
        "Host !other\n Port 1",
        "Host STORE\n Port 1",
        "Host store # comment\n Port 1 # comment",
        "Host \"store\"\n Port 1",
        "HostName %h.example.org\nMatch host store.example.org\n Port 1\nMatch originalhost store\n User one",
        "Match host STORE\n Port 1",
        "Match host store,other\n Port 1",
        "Match host \"store,other\" user *\n Port 1",
        "Match !host store\n Port 1",
        "Match host *,!store\n Port 1",
        "User one\nMatch user one\n Port 1\nMatch user two\n Port 2",
        "Match user two\n Port 2",
        "Match localuser nobody-at-all\n Port 1\nMatch all\n Port 2",
        "Match all\n Port 2",
        "Match final\n Port 3\nMatch all\n Port 2",
        "Match final all\n Port 3",
        "Match !final\n Port 3",
        "HostName %h.example.org\nHost *.example.org\n Port 4\nMatch final host *.org\n User late",
        "Match canonical\n Port 1",
        "Match host nowhere exec true\n Port 2",
        "Match",
        "Match user",
        "Match all host x\n Port 1",
        "Match user root all",
        "IdentityFile ~/.ssh/one\nIdentityFile /two\nIdentityFile ~/.ssh/one\nIdentitiesOnly yes",
        "IdentityFile \"/with space\"\nCertificateFile /cert\nCertificateFile ~/cert2",
        "IdentityFile /a\\ b\nIdentityFile '/c d'",
        "IdentityFile /%h-%p-%r-%u-%n-100%%",
        "UserKnownHostsFile ~/a /b \"/c\"\nGlobalKnownHostsFile none",
        "UserKnownHostsFile /dev/null\nUserKnownHostsFile /x",
        "StrictHostKeyChecking accept-new\nHashKnownHosts yes\nHostKeyAlias alias",
        "StrictHostKeyChecking no",
        "StrictHostKeyChecking off",
        "StrictHostKeyChecking YES",
        "StrictHostKeyChecking maybe",
        "ConnectTimeout 1m30s\nServerAliveInterval 2m\nServerAliveCountMax 7",
        "ConnectTimeout none",
        "ConnectTimeout x",
        "ProxyJump jump",
        "ProxyJump ada@jump:2222,other",
        "ProxyJump none",
        "ProxyJump one\nProxyJump two",
        "ProxyJump one\nProxyCommand x",
        "ProxyJump @x",
        "Port 0",
        "Port 65536",
        "Port abc",
        "Port",
        "Port 1 2",
        "Nonsense 1",
        "Nonsense",
        "IgnoreUnknown Non*\nNonsense 1\nPort 2",
        "IgnoreUnknown nonsense,other\nNonsense 1 2 3\nOther \"x\"",
        "IgnoreUnknown other\nNonsense 1",
        "IdentityFile \"/open",
        "Include /nowhere/*.conf\nPort 2",
        "ForwardAgent yes\nCompression yes\nControlMaster auto\nSendEnv A B\nLocalForward 1 b:2\nPort 3",
        "Host store\n  HostName 10.0.0.7\n  User=one\n\n  Host other\n  Port 9",
        "\tHost\tstore\t\n\tPort\t7\t",
        "Port 7\r\nUser crlf\r",
        "AddressFamily inet\nBindAddress 127.0.0.1",
        "Tag x\nMatch all\nPort 1",
    ] {
        for asked in [
            Asked { host: "store", user: None, port: None },
            Asked { host: "store", user: Some("two"), port: Some(99) },
        ] {
            // Tags came with OpenSSH 9.4.
            if !text.starts_with("Tag") {
                // All of them are wanted at once.
                differences +=
                    usize::from(std::panic::catch_unwind(|| compare(text, &asked)).is_err());
            }
        }
    }
    assert_eq!(differences, 0);
}

#[test]
fn included_files_mean_the_same_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.conf", "Host store\n Port 1\nHost *\n User a");
    write("b.conf", "Match host store\n Port 2\n User b");
    write("plain", "Port 5\nUser plain");
    for text in [
        "Include @/*.conf",
        "Include @/b.conf @/a.conf",
        "Host other\nInclude @/*.conf\nPort 9",
        "Host store\nInclude @/a.conf\nHashKnownHosts yes",
        "Host other\nInclude @/plain\nHost *\nUser late",
        "Host *\nInclude @/plain\nHashKnownHosts yes",
        "Include @/?.conf\nInclude @/none",
        "Include",
    ] {
        compare(&text.replace('@', &at), &Asked { host: "store", user: None, port: None });
    }
}
