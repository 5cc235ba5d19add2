use restic_sftp::{Error, Location};

use super::sshd::{Home, Sshd, keygen};

/// A home that may log in everywhere, and a configuration with names for the servers.
fn all(servers: &[(&str, &Sshd)]) -> (Home, String) {
    let home = Home::new();
    let public = keygen(&home.path("id_ed25519"), "ed25519", &[]);
    let mut config = String::new();
    for (name, sshd) in servers {
        sshd.authorize(&public);
        home.know(name, &sshd.host_key());
        config +=
            &format!("Host {name}\nHostName 127.0.0.1\nPort {}\nHostKeyAlias {name}\n", sshd.port);
    }
    (home, config)
}

async fn way(home: &Home, config: &str, to: &str) -> Result<Vec<String>, Error> {
    let location = Location::parse(&format!("sftp:{to}:x")).unwrap();
    let facts = home.connector_to(&location, config)?.connect().await?.facts;
    Ok(facts.over.iter().chain([&facts]).map(|facts| facts.server.clone()).collect())
}

#[tokio::test]
async fn the_way_leads_over_one_host_or_several_each_with_its_own_configuration() {
    let (one, two, end) = (Sshd::start(""), Sshd::start(""), Sshd::start(""));
    let (home, config) = all(&[("one", &one), ("two", &two), ("end", &end)]);
    let server = |sshd: &Sshd| format!("127.0.0.1:{}", sshd.port);
    for (jumps, expected) in [
        ("Host end\nProxyJump one", vec![server(&one), server(&end)]),
        ("Host end\nProxyJump one,two", vec![server(&one), server(&two), server(&end)]),
        (
            "Host end\nProxyJump two\nHost two\nProxyJump one",
            vec![server(&one), server(&two), server(&end)],
        ),
        ("Host end\nProxyJump none\nHost *\nProxyJump one", vec![server(&end)]),
    ] {
        assert_eq!(
            way(&home, &format!("{config}{jumps}"), "end").await.unwrap(),
            expected,
            "{jumps}"
        );
    }
}

#[tokio::test]
async fn what_fails_on_the_way_is_told_with_the_host_where_it_failed() {
    let (jump, end) = (Sshd::start(""), Sshd::start(""));
    let (home, config) = all(&[("jump", &jump), ("end", &end)]);
    let config = format!("{config}Host end\nProxyJump jump\n");
    way(&home, &config, "end").await.unwrap();

    let unknown = format!("Host jump\nUserKnownHostsFile none\n{config}");
    let error = way(&home, &unknown, "end").await.unwrap_err();
    assert!(
        matches!(&error, Error::Jump { cause, .. } if matches!(**cause, Error::HostKeyUnknown { .. })),
        "{error}"
    );
    // The end is checked as well: a host on the way could stand in for it.
    let unknown = format!("Host end\nUserKnownHostsFile none\n{config}");
    assert!(matches!(way(&home, &unknown, "end").await.unwrap_err(), Error::HostKeyUnknown { .. }));

    drop(end);
    let error = way(&home, &config, "end").await.unwrap_err();
    assert!(matches!(error, Error::NotForwarded { .. }), "{error}");
}

#[tokio::test]
async fn a_host_that_forwards_nothing_is_told() {
    let (jump, end) = (Sshd::start("AllowTcpForwarding no"), Sshd::start(""));
    let (home, config) = all(&[("jump", &jump), ("end", &end)]);
    let error =
        way(&home, &format!("{config}Host end\nProxyJump jump\n"), "end").await.unwrap_err();
    assert!(error.to_string().contains("allows forwarding"), "{error}");
}

#[tokio::test]
async fn a_way_in_a_circle_is_an_error() {
    let home = Home::new();
    for config in ["Host *\nProxyJump one", "Host one\nProxyJump end\nHost end\nProxyJump one"] {
        let error = way(&home, config, "end").await.unwrap_err();
        assert!(matches!(error, Error::TooManyJumps { .. }), "{error}");
    }
}
