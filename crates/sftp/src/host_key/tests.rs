use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::config::Asked;
use crate::user::User;

/// Keys and certificates of a host, made by OpenSSH.
struct Host {
    folder: TempDir,
}

impl Host {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keygen<const N: usize>(&self, arguments: [&str; N]) {
        let done = Command::new("ssh-keygen")
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn key(&self, name: &str, kind: &str) -> PublicKey {
        self.keygen(["-q", "-t", kind, "-N", "", "-C", "", "-f", name]);
        self.public(name)
    }

    fn public(&self, name: &str) -> PublicKey {
        PublicKey::from_openssh(&fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap())
            .unwrap()
    }

    /// A certificate of the key `host` by the key `ca`.
    fn certificate<const N: usize>(&self, options: [&str; N]) -> PublicKeyOrCertificate {
        let mut arguments = vec!["-q", "-s", "ca", "-I", "id"];
        arguments.extend(options);
        arguments.push("host.pub");
        let done = Command::new("ssh-keygen")
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = fs::read_to_string(self.path("host-cert.pub")).unwrap();
        PublicKeyOrCertificate::Certificate(Certificate::from_openssh(&text).unwrap())
    }

    fn known(&self, lines: &[(&str, &PublicKey)]) {
        let text: String = lines
            .iter()
            .map(|(names, key)| format!("{names} {}\n", key.to_openssh().unwrap()))
            .collect();
        fs::write(self.path("known_hosts"), text).unwrap();
    }

    fn keys_with(&self, host: &str, port: u16, more: &str) -> HostKeys {
        let text = format!(
            "UserKnownHostsFile {}\nGlobalKnownHostsFile none\n{more}\n",
            self.path("known_hosts").display()
        );
        let me = User { name: "ada".into(), uid: 0, home: self.folder.path().into(), agent: None };
        let asked = Asked { host, user: None, port: Some(port) };
        HostKeys::load(&HostConfig::from_text(&text, &asked, &me).unwrap()).unwrap()
    }

    fn keys(&self, host: &str) -> HostKeys {
        self.keys_with(host, 22, "")
    }
}

fn plain(key: &PublicKey) -> PublicKeyOrCertificate {
    key.clone().into()
}

#[test]
fn a_known_key_is_believed_and_an_unknown_one_is_refused_with_its_fingerprint() {
    let host = Host::new();
    let (key, other) = (host.key("host", "ed25519"), host.key("other", "ed25519"));
    host.known(&[("elsewhere", &other), ("Host", &key)]);
    let trust = host.keys("HOST").check(&plain(&key)).unwrap();
    assert_eq!(trust, Trust::Known { file: host.path("known_hosts"), line: 2 });
    let error = host.keys("third").check(&plain(&key)).unwrap_err();
    assert!(matches!(error, Error::HostKeyUnknown { .. }));
    assert!(error.to_string().contains(&key.fingerprint(HashAlg::Sha256).to_string()), "{error}");
}

#[test]
fn a_changed_key_is_refused_whatever_the_checking_and_both_keys_are_shown() {
    let host = Host::new();
    let (key, other) = (host.key("host", "ed25519"), host.key("other", "ecdsa"));
    host.known(&[("a", &key), ("host", &key)]);
    for checking in ["yes", "accept-new", "no", "ask"] {
        let keys = host.keys_with("host", 22, &format!("StrictHostKeyChecking {checking}"));
        let text = keys.check(&plain(&other)).unwrap_err().to_string();
        for part in [&key, &other].map(|key| key.fingerprint(HashAlg::Sha256).to_string()) {
            assert!(text.contains(&part), "{text}");
        }
        assert!(text.contains("known_hosts line 2"), "{text}");
    }
}

#[test]
fn a_new_key_is_added_once_and_a_hash_of_the_name_if_that_is_wanted() {
    let host = Host::new();
    let (key, other) = (host.key("host", "ed25519"), host.key("other", "ed25519"));
    let file = host.path("known_hosts");
    for (checking, hashed) in [("accept-new", true), ("no", false)] {
        let _ = fs::remove_file(&file);
        let more = format!(
            "StrictHostKeyChecking {checking}\nHashKnownHosts {}",
            if hashed { "yes" } else { "no" }
        );
        // Two connections that both began before the key was known.
        let (one, two) = (host.keys_with("host", 2222, &more), host.keys_with("host", 2222, &more));
        assert_eq!(one.check(&plain(&key)).unwrap(), Trust::Added { file: file.clone() });
        assert_eq!(two.check(&plain(&key)).unwrap(), Trust::Known { file: file.clone(), line: 1 });
        assert!(matches!(two.check(&plain(&other)), Err(Error::HostKeyChanged(_))));
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!((text.lines().count(), text.starts_with("|1|")), (1, hashed), "{text}");
        assert_eq!(text.starts_with("[host]:2222 "), !hashed);
    }
}

#[test]
fn a_key_that_cannot_be_added_is_told() {
    let host = Host::new();
    let key = host.key("host", "ed25519");
    let more = "StrictHostKeyChecking accept-new\nUserKnownHostsFile none";
    let me = User { name: "ada".into(), uid: 0, home: host.path("x"), agent: None };
    let text = format!("{}\nGlobalKnownHostsFile none", more);
    let asked = Asked { host: "host", user: None, port: None };
    let keys = HostKeys::load(&HostConfig::from_text(&text, &asked, &me).unwrap()).unwrap();
    assert!(matches!(keys.check(&plain(&key)), Ok(Trust::NotAdded { .. })));
}

#[test]
fn a_key_known_without_a_port_is_the_hosts_on_every_port_but_does_not_forbid_others() {
    let host = Host::new();
    let (key, other) = (host.key("host", "ed25519"), host.key("other", "ed25519"));
    host.known(&[("host", &key)]);
    assert!(matches!(
        host.keys_with("host", 2222, "").check(&plain(&key)),
        Ok(Trust::Known { .. })
    ));
    let unknown = host.keys_with("host", 2222, "").check(&plain(&other));
    assert!(matches!(unknown, Err(Error::HostKeyUnknown { .. })));
}

#[test]
fn a_host_can_be_known_under_another_name() {
    let host = Host::new();
    let key = host.key("host", "ed25519");
    host.known(&[("store", &key)]);
    let keys = host.keys_with("10.0.0.7", 2222, "HostKeyAlias store");
    assert!(matches!(keys.check(&plain(&key)), Ok(Trust::Known { .. })));
}

#[test]
fn a_revoked_key_is_refused_even_if_it_is_known_or_would_be_added() {
    let host = Host::new();
    let key = host.key("host", "ed25519");
    host.known(&[("host", &key), ("@revoked *", &key)]);
    for name in ["host", "new"] {
        let keys = host.keys_with(name, 22, "StrictHostKeyChecking no");
        let error = keys.check(&plain(&key)).unwrap_err();
        assert!(matches!(error, Error::HostKeyRevoked { line: 2, .. }), "{error}");
    }
}

#[test]
fn a_certificate_is_believed_if_its_authority_is_known_and_it_holds() {
    let host = Host::new();
    let (key, ca) = (host.key("host", "ed25519"), host.key("ca", "ed25519"));
    host.known(&[("@cert-authority *.example.org", &ca)]);
    let good = host.certificate(["-h", "-n", "store.example.org,*.example.net"]);
    let trust = host.keys("store.example.org").check(&good).unwrap();
    assert_eq!(trust, Trust::Certified { file: host.path("known_hosts"), line: 1 });
    // Without its authority it is nothing but the key in it.
    assert!(matches!(host.keys("other").check(&good), Err(Error::HostKeyUnknown { .. })));

    for (options, word) in [
        (vec!["-h", "-n", "other.example.org"], "made out to other.example.org"),
        (vec!["-n", "store.example.org"], "not made for a host"),
        (vec!["-h", "-V", "20200101:20210101"], "expired"),
        (vec!["-h", "-V", "21000101:21010101"], "not valid yet"),
        (vec!["-h", "-O", "critical:x@y=z"], "critical options"),
    ] {
        let bad = match options[..] {
            [a, b, c] => host.certificate([a, b, c]),
            [a, b] => host.certificate([a, b]),
            _ => unreachable!(),
        };
        let error = host.keys("store.example.org").check(&bad).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        // The key in it may be known for itself.
        host.known(&[("@cert-authority *.example.org", &ca), ("store.example.org", &key)]);
        assert!(matches!(host.keys("store.example.org").check(&bad), Ok(Trust::Known { .. })));
        host.known(&[("@cert-authority *.example.org", &ca)]);
    }

    host.known(&[("@cert-authority *", &ca), ("@revoked *", &ca)]);
    let error = host.keys("store.example.org").check(&good).unwrap_err();
    assert!(matches!(error, Error::HostKeyRevoked { .. }), "{error}");
}

#[test]
fn a_certificate_that_was_tampered_with_is_refused() {
    let host = Host::new();
    let ca = host.key("ca", "ed25519");
    host.key("host", "ed25519");
    host.known(&[("@cert-authority *", &ca)]);
    let good = host.certificate(["-h", "-n", "other"]);
    let mut bytes = good.certificate().unwrap().to_bytes().unwrap();
    let at = bytes.windows(5).position(|five| five == b"other").unwrap();
    bytes[at..at + 5].copy_from_slice(b"store");
    let forged = PublicKeyOrCertificate::Certificate(Certificate::from_bytes(&bytes).unwrap());
    let error = host.keys("store").check(&forged).unwrap_err();
    assert!(error.to_string().contains("its signature is wrong"), "{error}");
}

#[test]
fn a_short_rsa_key_is_refused() {
    let host = Host::new();
    host.keygen(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "host"]);
    let key = host.public("host");
    host.known(&[("host", &key)]);
    assert!(host.keys("host").check(&plain(&key)).is_ok());
    let error = host.keys_with("host", 22, "RequiredRSASize 3072").check(&plain(&key)).unwrap_err();
    assert!(matches!(error, Error::HostKeyWeak { bits: 2048, least: 3072, .. }), "{error}");
}

#[test]
fn types_of_known_keys_are_asked_for_first_and_certificates_only_with_an_authority() {
    let host = Host::new();
    let (ca, ecdsa) = (host.key("ca", "ed25519"), host.key("ecdsa", "ecdsa"));
    host.keygen(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa"]);
    host.known(&[("a", &ecdsa), ("b", &host.public("rsa")), ("@cert-authority c", &ca)]);
    let names =
        |list: Vec<Algorithm>| list.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>();
    let asked = |name, more| {
        let (certificates, keys) = host.keys_with(name, 22, more).algorithms();
        (certificates.len(), names(keys))
    };
    assert_eq!(asked("a", "").1[..2], ["ecdsa-sha2-nistp256", "ssh-ed25519"]);
    assert_eq!(asked("b", "").1[..3], ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
    assert_eq!((asked("a", "").0, asked("c", "").0), (0, 6));
    assert_eq!(
        asked("a", "HostKeyAlgorithms ssh-ed25519,ssh-rsa"),
        (0, vec!["ssh-ed25519".to_owned()])
    );
    assert_eq!(asked("c", "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com"), (1, vec![]));
    assert!(!asked("a", "HostKeyAlgorithms -rsa*").1.contains(&"rsa-sha2-512".to_owned()));
    // Nothing with SHA-1 is ever asked for.
    assert!(!asked("a", "HostKeyAlgorithms +ssh-rsa").1.contains(&"ssh-rsa".to_owned()));
}

#[test]
fn a_file_of_known_hosts_that_cannot_be_read_is_an_error_for_it_may_revoke_keys() {
    let host = Host::new();
    fs::create_dir(host.path("known_hosts")).unwrap();
    let me = User { name: "ada".into(), uid: 0, home: host.path("x"), agent: None };
    let text = format!("UserKnownHostsFile {}", host.path("known_hosts").display());
    let asked = Asked { host: "host", user: None, port: None };
    let config = HostConfig::from_text(&text, &asked, &me).unwrap();
    assert!(matches!(HostKeys::load(&config), Err(Error::KnownHosts { .. })));
}
