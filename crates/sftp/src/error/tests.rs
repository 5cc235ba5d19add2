use super::*;

#[test]
fn every_error_is_one_line_that_begins_like_a_sentence_within_another() {
    let server = || "store:2222".to_owned();
    let io = || io::Error::from(io::ErrorKind::HostUnreachable);
    let key = || Fingerprint { algorithm: "ssh-ed25519".into(), sha256: "SHA256:abc".into() };
    let file = || PathBuf::from("/home/ada/.ssh/known_hosts");
    let tried = |outcome| vec![Tried { key: "/home/ada/.ssh/id_rsa".into(), outcome }];
    let refused = |tried, methods: &[&str]| Error::NoKeyAccepted {
        server: server(),
        user: "ada".into(),
        tried,
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
    };
    let change = KeyChange {
        server: server(),
        name: "[store]:2222".into(),
        offered: key(),
        known: key(),
        file: file(),
        line: 7,
    };
    let errors = [
        Error::NoSuchUser { uid: 7 },
        Error::TooManyJumps { server: server() },
        Error::Jump {
            server: server(),
            over: "jump".into(),
            cause: Error::ConnectionRefused { server: "jump".into() }.into(),
        },
        Error::NotForwarded {
            server: server(),
            over: "jump".into(),
            cause: "ConnectFailed".into(),
        },
        Error::NameNotResolved { host: "store".into(), cause: io() },
        Error::Unreachable { server: server(), cause: io() },
        Error::TimedOut { server: server(), after: Duration::from_secs(30) },
        Error::Handshake { server: server(), cause: "x".into() },
        Error::NoCommonAlgorithm { server: server(), kind: "cipher", theirs: "3des-cbc".into() },
        Error::NothingAllowed { server: server(), kind: "Ciphers" },
        Error::HostKeyChanged(change.into()),
        Error::HostKeyUnknown { server: server(), offered: key(), hint: "ssh store".into() },
        Error::HostKeyRevoked { server: server(), offered: key(), file: file(), line: 7 },
        Error::HostCertificate { server: server(), problem: "it has expired".into() },
        Error::HostKeyWeak { server: server(), bits: 1024, least: 2048 },
        Error::KnownHosts { file: file(), cause: io() },
        refused(Vec::new(), &["publickey"]),
        refused(tried(Outcome::Refused), &["publickey", "password"]),
        refused(tried(Outcome::Encrypted { wanted: true, file: "/id_rsa".into() }), &["publickey"]),
        refused(tried(Outcome::Refused), &["password"]),
        Error::TooManyKeys {
            server: server(),
            user: "ada".into(),
            message: "Too many".into(),
            tried: tried(Outcome::Refused),
        },
        Error::MoreAsked {
            server: server(),
            user: "ada".into(),
            accepted: "/id".into(),
            methods: vec!["password".into()],
        },
        Error::LoginBroken { server: server(), cause: "x".into() },
    ];
    for error in errors {
        let text = error.to_string();
        println!("{text}");
        assert!(!text.contains(['\n', '{', '}']) && !text.contains("  "), "{text}");
        assert!(!text.ends_with('.') && text.starts_with(|c: char| !c.is_uppercase()), "{text}");
    }
}
