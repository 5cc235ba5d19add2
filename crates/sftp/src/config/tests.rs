use proptest::prelude::*;

use super::*;

fn me() -> User {
    User { name: "ada".into(), uid: 7, home: "/home/ada".into(), agent: Some("/run/agent".into()) }
}

fn asked(host: &str) -> Asked<'_> {
    Asked { host, user: None, port: None }
}

fn load(text: &str, host: &str) -> HostConfig {
    HostConfig::from_text(text, &asked(host), &me()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    HostConfig::from_text(text, &asked("host"), &me()).unwrap_err().to_string()
}

#[test]
fn without_files_the_usual_holds() {
    let config = load("", "host");
    assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("host", 22, "ada"));
    assert_eq!(config.agent, Some("/run/agent".into()));
    assert_eq!(config.checking, Checking::Strict);
    let paths: Vec<_> = config.identities.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["/home/ada/.ssh/id_rsa", "/home/ada/.ssh/id_ecdsa", "/home/ada/.ssh/id_ed25519"]
    );
    assert_eq!(config.user_known_hosts[0], Path::new("/home/ada/.ssh/known_hosts"));
}

#[test]
fn the_first_value_wins_and_the_location_goes_before_all() {
    let text = "Host store\n Port 1\n User one\nHost *\n Port 2\n User two\n HashKnownHosts yes";
    let config = load(text, "store");
    assert_eq!((config.port, config.user.as_str(), config.hash_known_hosts), (1, "one", true));
    let asked = Asked { host: "store", user: Some("me"), port: Some(9) };
    let config = HostConfig::from_text(text, &asked, &me()).unwrap();
    assert_eq!((config.port, config.user.as_str()), (9, "me"));
}

#[test]
fn key_files_add_up_and_none_takes_the_usual_ones_away() {
    let config = load("IdentityFile ~/a\nIdentityFile %d/b\nIdentityFile ~/a", "host");
    let paths: Vec<_> = config.identities.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/home/ada/a", "/home/ada/b"]);
    assert_eq!(load("IdentityFile none", "host").identities, []);
}

#[test]
fn match_sees_what_was_set_above_it() {
    let text = "Match host store\n Port 1\nHost store\n HostName %h.example.org\nMatch host *.org\n User two\n\
                Match originalhost store user two\n Port 3";
    let config = load(text, "store");
    assert_eq!(
        (config.host.as_str(), config.port, config.user.as_str()),
        ("store.example.org", 1, "two")
    );
}

#[test]
fn match_final_reads_everything_again_with_the_final_name() {
    let text = "Host *.example.org\n Port 7\nHost store\n HostName %h.example.org\nMatch final\n User late";
    let config = load(text, "store");
    assert_eq!((config.port, config.user.as_str()), (7, "late"));
}

#[test]
fn a_proxy_command_is_refused_only_where_it_would_be_used() {
    assert!(
        refusal("ProxyCommand nc %h %p")
            .contains("ssh_config line 1: ProxyCommand is not possible")
    );
    load("ProxyCommand none", "host");
    load("ProxyJump a\nProxyCommand nc %h %p", "host");
    load("ProxyCommand none\nProxyCommand nc %h %p", "host");
    load("Host other\nProxyCommand nc %h %p", "host");
    assert_eq!(load("ProxyJump a,b\n", "host").jumps.len(), 2);
}

#[test]
fn what_cannot_be_done_or_read_is_named_with_its_line() {
    for (text, word) in [
        ("\nHostNam x", "hostnam"),
        ("\nPort x", "port"),
        ("\nPort", "keyword"),
        ("\nPort 1 2", "more than one"),
        ("\nPKCS11Provider /x", "pkcs11provider"),
        ("\nKnownHostsCommand /x", "knownhostscommand"),
        ("\nPubkeyAuthentication no", "pubkeyauthentication"),
        ("\nPreferredAuthentications password", "publickey"),
        ("\nMatch exec true", "exec"),
        ("\nIdentityFile %q", "%q"),
        ("\nStrictHostKeyChecking maybe", "maybe"),
        ("\nIdentityFile \"x", "quotes"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with("ssh_config line 2: "), "{refusal}");
        assert!(refusal.contains(word), "{text}: {refusal}");
    }
}

#[test]
fn what_is_harmless_or_to_be_ignored_is_passed_over() {
    load(
        "ForwardAgent yes\nCompression yes\nControlMaster auto\nSendEnv LANG LC_*\nTCPKeepAlive no",
        "host",
    );
    load("IgnoreUnknown Foo*,bar\nFooBar 1\nBar 2 3", "host");
    assert!(refusal("FooBar 1\nIgnoreUnknown Foo*").contains("foobar"));
}

#[test]
fn algorithms_are_kept_as_written() {
    let config = load("Ciphers -chacha*\nMACs hmac-sha2-256\nRequiredRSASize 3072", "host");
    let ciphers = config.algorithms.ciphers.unwrap();
    assert_eq!(ciphers.apply(&["aes", "chacha20"]), ["aes"]);
    assert_eq!(config.required_rsa_bits, 3072);
}

#[test]
fn agents_are_named_in_several_ways() {
    for (text, agent) in [
        ("IdentityAgent none", None),
        ("IdentityAgent SSH_AUTH_SOCK", Some("/run/agent")),
        ("IdentityAgent $SSH_AUTH_SOCK", Some("/run/agent")),
        ("IdentityAgent ${SSH_AUTH_SOCK}", Some("/run/agent")),
        ("IdentityAgent ~/%r.sock", Some("/home/ada/ada.sock")),
    ] {
        assert_eq!(load(text, "host").agent, agent.map(PathBuf::from), "{text}");
    }
    assert!(refusal("IdentityAgent $OTHER").contains("only SSH_AUTH_SOCK"));
}

#[test]
fn files_include_others_in_order_and_only_where_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let at = folder.path().display();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    write("conf.d/2.conf", "Port 2");
    write("conf.d/1.conf", "Host store\nPort 1\nHost other\nUser no");
    write("conf.d/.hidden.conf", "Port 3");
    write("never.conf", "Host *\nUser no\n");
    write(
        "main",
        &format!(
            "Host other\nInclude {at}/never.conf\nHost *\nInclude {at}/conf.d/*.conf {at}/missing\nUser after"
        ),
    );
    let files = ConfigFiles::Only(folder.path().join("main"));
    let config = HostConfig::load(&files, &asked("store"), &me()).unwrap();
    assert_eq!((config.port, config.user.as_str()), (1, "after"));
}

#[test]
fn files_that_include_themselves_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main");
    let line = format!("Include {}\n", path.display());
    for times in [1, 3] {
        std::fs::write(&path, line.repeat(times)).unwrap();
        let error =
            HostConfig::load(&ConfigFiles::Only(path.clone()), &asked("host"), &me()).unwrap_err();
        assert!(error.to_string().contains("include"), "{error}");
    }
}

#[test]
fn a_file_that_is_named_must_be_there_and_the_usual_ones_need_not() {
    let error = HostConfig::load(&ConfigFiles::Only("/nowhere/x".into()), &asked("host"), &me())
        .unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/x: it cannot be read"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let me = User { home: folder.path().into(), ..me() };
    HostConfig::load(&ConfigFiles::Usual, &asked("host"), &me).unwrap();
    HostConfig::load(&ConfigFiles::Only("none".into()), &asked("host"), &me).unwrap();
}

#[test]
fn the_users_own_file_must_not_be_writable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let me = User { home: folder.path().into(), uid: nix::unistd::getuid().as_raw(), ..me() };
    std::fs::create_dir(folder.path().join(".ssh")).unwrap();
    let path = folder.path().join(".ssh/config");
    std::fs::write(&path, "Port 7").unwrap();
    let load = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        HostConfig::load(&ConfigFiles::Usual, &asked("host"), &me)
    };
    assert_eq!(load(0o644).unwrap().port, 7);
    assert!(load(0o664).unwrap_err().to_string().contains("chmod 600"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        text in "((Host|Match|HostName|Port|IdentityFile|ProxyJump|Ciphers|Match final|Tag|IdentityAgent)[ =]?[a-c*?!%~\"' ,:@$\\{\\}\\[\\]#0-9é-]{0,12}\n?){0,6}",
        host in "[a-c]{1,3}",
    ) {
        let _ = HostConfig::from_text(&text, &asked(&host), &me());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(text in "\\PC{0,80}") {
        let _ = HostConfig::from_text(&text, &asked("host"), &me());
    }
}
