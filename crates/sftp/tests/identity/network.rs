use std::time::{Duration, Instant};

use restic_repo::backend::BackendErrorKind;
use restic_sftp::{Error, Location};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::sshd::{Home, Sshd, keygen};

#[tokio::test]
async fn nobody_listening_an_unknown_name_and_silence_are_told_apart() {
    let home = Home::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = home.connector(port, "").connect().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionRefused { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("127.0.0.1:{port} refuses connections")));

    let location = Location::parse("sftp:host.invalid:x").unwrap();
    let error = home.connector_to(&location, "").unwrap().connect().await.unwrap_err();
    assert!(matches!(error, Error::NameNotResolved { .. }), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = home.connector(silent.local_addr().unwrap().port(), "ConnectTimeout 1");
    let error = connector.connect().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(error.kind(), BackendErrorKind::Transient);
}

#[tokio::test]
async fn what_is_no_ssh_server_is_an_error_in_one_line() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff",
        b"SSH-1.5-old\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
        });
        let error = Home::new().connector(port, "").connect().await.unwrap_err();
        assert!(matches!(error, Error::Handshake { .. }), "{error}");
        assert!(!error.to_string().contains('\n'));
        assert_eq!(error.kind(), BackendErrorKind::Transient);
    }
}

#[tokio::test]
async fn giving_up_hangs_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = Home::new().connector(listener.local_addr().unwrap().port(), "");
    let attempt = tokio::spawn(async move { connector.connect().await.map(drop) });
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"SSH-2.0-slow\r\n").await.unwrap();
    let mut read = [0; 4096];
    // Once it has offered its algorithms, the library goes on by itself.
    let mut said: Vec<u8> = Vec::new();
    while !said.windows(10).any(|name| name == b"curve25519") {
        let count = stream.read(&mut read).await.unwrap();
        assert!(count > 0);
        said.extend(&read[..count]);
    }
    attempt.abort();
    let end = async { while stream.read(&mut read).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(Duration::from_secs(20), end).await.expect("the connection to be closed");
}

#[tokio::test]
async fn algorithms_are_negotiated_as_configured_and_fast_ones_by_default() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let facts = home.connect(&sshd, "").await.unwrap().facts;
    assert_eq!(facts.cipher, "aes128-gcm@openssh.com");
    assert!(facts.version.starts_with("SSH-2.0-OpenSSH"), "{}", facts.version);
    let config = "Ciphers aes128-ctr\nMACs hmac-sha2-512\nKexAlgorithms ecdh-sha2-nistp256";
    let facts = home.connect(&sshd, config).await.unwrap().facts;
    assert_eq!(
        (facts.cipher.as_str(), facts.key_exchange.as_str()),
        ("aes128-ctr", "ecdh-sha2-nistp256")
    );
    let error = home.refusal(&sshd, "Ciphers 3des-cbc").await;
    assert!(matches!(error, Error::NothingAllowed { .. }), "{error}");
    let error = home.refusal(&Sshd::start("Ciphers aes192-ctr"), "Ciphers aes128-ctr").await;
    assert!(matches!(error, Error::NoCommonAlgorithm { kind: "cipher", .. }), "{error}");
    assert_eq!(error.kind(), BackendErrorKind::Permanent);
}

#[tokio::test]
async fn a_connection_works_until_it_is_dropped_and_its_connector_opens_more() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let connector = home.connector(sshd.port, "ServerAliveInterval 1");
    assert!(!format!("{connector:?}").contains("PRIVATE"));
    for _ in 0..3 {
        let connection = connector.connect().await.unwrap();
        let mut channel = connection.handle.channel_open_session().await.unwrap();
        channel.exec(true, "echo here").await.unwrap();
        let begun = Instant::now();
        loop {
            match channel.wait().await {
                Some(russh::ChannelMsg::Data { data }) => break assert_eq!(&data[..], b"here\n"),
                Some(_) => assert!(begun.elapsed() < Duration::from_secs(60)),
                None => panic!("the channel ended"),
            }
        }
        assert!(!connection.handle.is_closed());
    }
}
