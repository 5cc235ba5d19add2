use std::fs;
use std::process::{Command, Stdio};

use restic_sftp::host_key::Trust;
use restic_sftp::{Connection, Error};

use super::sshd::{Home, Sshd, keygen, run};

/// What the real `ssh` makes of the same configuration: whether it gets in.
fn ssh_gets_in(home: &Home, sshd: &Sshd) -> bool {
    let output = Command::new("ssh")
        .args(["-F", home.path("config").to_str().unwrap(), "-o", "BatchMode=yes", "-o"])
        // `~` is the home folder of the user database to ssh, not this one.
        .arg(format!("UserKnownHostsFile={}", home.path("known_hosts").display()))
        .args([
            "-o",
            &format!("IdentityFile={}", home.path("id_ed25519").display()),
            "-o",
            "IdentityAgent=none",
        ])
        .args(["-p", &sshd.port.to_string(), "127.0.0.1", "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.status.success()
}

fn trust(connection: Result<Connection, Error>) -> Trust {
    connection.unwrap_or_else(|error| panic!("{error}")).facts.trust
}

#[tokio::test]
async fn we_believe_a_server_where_ssh_does_and_nowhere_else() {
    let sshd = Sshd::start("");
    let home = Home::new();
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let here = format!("[127.0.0.1]:{}", sshd.port);
    let mine = sshd.host_key();
    let mine = mine.trim_end();
    let other = keygen(&home.path("other"), "ed25519", &[]);
    let other = other.trim_end();
    let ecdsa = keygen(&home.path("ecdsa"), "ecdsa", &[]);
    let ecdsa = ecdsa.trim_end();
    for (known, expected) in [
        (String::new(), false),
        (format!("{here} {mine}"), true),
        (format!("{here} {other}"), false),
        (format!("{here} {other}\n{here} {mine}"), true),
        (format!("{here} {ecdsa}"), false),
        (format!("127.0.0.1 {mine}"), true),
        (format!("127.0.0.1 {other}"), false),
        (format!("127.0.0.1 {mine}\n{here} {other}"), false),
        (format!("[127.0.0.*]:* {mine}"), true),
        (format!("* {mine}"), true),
        (format!("*,!{here} {mine}"), true),
        (format!("*,!*127.0.0.1* {mine}"), false),
        (format!("[127.0.0.1]:1 {mine}"), false),
        (format!("x,{here}\t{}", mine.replace(' ', "\t")), true),
        (format!("@revoked * {mine}\n{here} {mine}"), false),
        (format!("{here} {mine}\n@revoked {here} {mine}"), false),
        (format!("@revoked other {mine}\n{here} {mine}"), true),
        (format!("@cert-authority * {mine}"), false),
        (format!("@cert-authority * {other}\n{here} {mine}"), true),
        (format!("@something * {mine}"), false),
        (format!("#{here} {mine}"), false),
        (format!("broken\n{here} ssh-ed25519 AAAA\n{here} {mine}"), true),
        (format!("{here} ssh-rsa {}", mine.split(' ').nth(1).unwrap()), false),
    ] {
        fs::write(home.path("known_hosts"), known.clone() + "\n").unwrap();
        let result = home.connect(&sshd, "").await;
        assert_eq!(result.is_ok(), expected, "{known}: {:?}", result.err());
        assert_eq!(ssh_gets_in(&home, &sshd), expected, "ssh: {known}");
    }
}

#[tokio::test]
async fn a_new_key_is_added_under_accept_new_and_then_holds() {
    let mut sshd = Sshd::start("");
    let home = Home::new();
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let file = home.path("known_hosts");
    assert!(matches!(
        home.refusal(&sshd, "StrictHostKeyChecking ask").await,
        Error::HostKeyUnknown { .. }
    ));
    assert!(!file.exists());

    let config = "StrictHostKeyChecking accept-new\nHashKnownHosts yes";
    assert_eq!(trust(home.connect(&sshd, config).await), Trust::Added { file: file.clone() });
    assert!(ssh_gets_in(&home, &sshd));
    assert_eq!(trust(home.connect(&sshd, "").await), Trust::Known { file: file.clone(), line: 1 });
    let before = fs::read_to_string(&file).unwrap();

    fs::remove_file(sshd.path("host")).unwrap();
    keygen(&sshd.path("host"), "ed25519", &[]);
    sshd.restart();
    for config in [config, "StrictHostKeyChecking no", ""] {
        let error = home.refusal(&sshd, config).await;
        assert!(matches!(&error, Error::HostKeyChanged(change) if change.line == 1), "{error}");
        assert!(error.to_string().contains("ssh-keygen -R"), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

#[tokio::test]
async fn many_connections_at_once_add_a_new_key_once() {
    let sshd = Sshd::start("");
    let home = Home::new();
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let connector = home.connector(sshd.port, "StrictHostKeyChecking accept-new");
    let tasks: Vec<_> = (0..5)
        .map(|_| connector.clone())
        .map(|one| tokio::spawn(async move { one.connect().await }))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(fs::read_to_string(home.path("known_hosts")).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn of_several_host_keys_the_server_shows_the_one_that_is_known() {
    let mut sshd = Sshd::start("");
    let ecdsa = keygen(&sshd.path("ecdsa"), "ecdsa", &[]);
    let rsa = keygen(&sshd.path("rsa"), "rsa", &["-b", "2048"]);
    sshd.set_options("HostKey @/host\nHostKey @/ecdsa\nHostKey @/rsa");
    for (key, kind) in
        [(ecdsa, "ecdsa-sha2-nistp256"), (rsa, "ssh-rsa"), (sshd.host_key(), "ssh-ed25519")]
    {
        let home = Home::new();
        sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
        home.know(&format!("[127.0.0.1]:{}", sshd.port), &key);
        let facts = home.connect(&sshd, "").await.unwrap().facts;
        assert_eq!(facts.host_key.algorithm, kind);
    }
}

#[tokio::test]
async fn a_host_certificate_of_a_known_authority_is_believed() {
    let mut sshd = Sshd::start("");
    let home = Home::new();
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let authority = keygen(&sshd.path("ca"), "ed25519", &[]);
    keygen(&sshd.path("rsa"), "rsa", &["-b", "2048"]);
    for key in ["host", "rsa"] {
        let (ca, public) = (sshd.path("ca"), sshd.path(&format!("{key}.pub")));
        let sign = |name| {
            run(
                "ssh-keygen",
                [
                    "-q",
                    "-s",
                    ca.to_str().unwrap(),
                    "-I",
                    "id",
                    "-h",
                    "-n",
                    name,
                    public.to_str().unwrap(),
                ],
            )
        };
        sign("127.0.0.1");
        sshd.set_options(&format!("HostKey @/{key}\nHostCertificate @/{key}-cert.pub"));
        let _ = fs::remove_file(home.path("known_hosts"));
        home.know("@cert-authority *", &authority);
        let result = home.connect(&sshd, "").await;
        assert!(matches!(trust(result), Trust::Certified { line: 1, .. }));
        assert!(ssh_gets_in(&home, &sshd));

        sign("elsewhere");
        sshd.restart();
        let error = home.refusal(&sshd, "").await;
        assert!(error.to_string().contains("made out to elsewhere"), "{error}");
        assert!(!ssh_gets_in(&home, &sshd));
    }
}
