use std::fs;

use restic_sftp::Error;

use super::sshd::{Agent, Home, Sshd, keygen, run};

#[tokio::test]
async fn every_kind_of_key_in_the_agent_opens_the_door() {
    let sshd = Sshd::start("");
    for (kind, more) in [("ed25519", &[][..]), ("ecdsa", &[]), ("rsa", &["-b", "2048"])] {
        let mut home = Home::knowing(&sshd);
        let agent = Agent::start(&mut home);
        sshd.authorize(&keygen(&home.path("key"), kind, more));
        agent.add([home.path("key")]);
        fs::remove_file(home.path("key")).unwrap();
        assert!(home.log_in(&sshd, "").await.ends_with("in the agent"), "{kind}");
        // The public half names it.
        let config = "IdentitiesOnly yes\nIdentityFile ~/.ssh/key.pub";
        assert!(home.log_in(&sshd, config).await.ends_with("key.pub in the agent"), "{kind}");
    }
}

#[tokio::test]
async fn the_agent_named_by_the_configuration_is_asked_and_none_is_if_it_says_so() {
    let sshd = Sshd::start("");
    let mut home = Home::knowing(&sshd);
    let agent = Agent::start(&mut home);
    sshd.authorize(&keygen(&home.path("key"), "ed25519", &[]));
    agent.add([home.path("key")]);
    let socket = home.user.agent.take().unwrap();
    home.log_in(&sshd, &format!("IdentityAgent {}", socket.display())).await;
    home.user.agent = Some(socket);
    assert!(matches!(home.refusal(&sshd, "IdentityAgent none").await, Error::NoKeyAccepted { .. }));
}

#[tokio::test]
async fn an_agent_that_is_gone_is_told_and_does_not_stand_in_the_way() {
    let sshd = Sshd::start("");
    let mut home = Home::knowing(&sshd);
    home.user.agent = Some("/nowhere/agent".into());
    let error = home.refusal(&sshd, "").await.to_string();
    assert!(error.contains("the agent at /nowhere/agent cannot be used"), "{error}");
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    home.log_in(&sshd, "").await;
}

#[tokio::test]
async fn a_certificate_in_the_agent_opens_the_door() {
    let sshd = Sshd::start("TrustedUserCAKeys @/ca.pub");
    keygen(&sshd.path("ca"), "ed25519", &[]);
    for (kind, more) in [("ed25519", &[][..]), ("rsa", &["-b", "2048"])] {
        let mut home = Home::knowing(&sshd);
        let agent = Agent::start(&mut home);
        let key = home.path("key");
        keygen(&key, kind, more);
        let (ca, public) = (sshd.path("ca"), home.path("key.pub"));
        run(
            "ssh-keygen",
            [
                "-q",
                "-s",
                ca.to_str().unwrap(),
                "-I",
                "id",
                "-n",
                &home.user.name,
                public.to_str().unwrap(),
            ],
        );
        // Adds the certificate beside it too.
        agent.add([&key]);
        fs::remove_file(&key).unwrap();
        assert!(home.log_in(&sshd, "").await.ends_with("in the agent"), "{kind}");
        // The certificate in a file, its key in the agent.
        let config = "CertificateFile ~/.ssh/key-cert.pub";
        assert!(home.log_in(&sshd, config).await.ends_with("key-cert.pub"), "{kind}");
    }
}

#[tokio::test]
async fn a_key_that_is_bound_to_this_server_can_be_used() {
    let sshd = Sshd::start("");
    let mut home = Home::knowing(&sshd);
    let agent = Agent::start(&mut home);
    sshd.authorize(&keygen(&home.path("key"), "ed25519", &[]));
    let (known, key) = (home.path("known_hosts"), home.path("key"));
    home.know("there", &sshd.host_key());
    home.know("elsewhere", &keygen(&home.path("other"), "ed25519", &[]));
    let add =
        |name: &str| agent.add(["-H", known.to_str().unwrap(), "-h", name, key.to_str().unwrap()]);
    add("elsewhere");
    fs::rename(&key, home.path("moved")).unwrap();
    assert!(matches!(home.refusal(&sshd, "").await, Error::NoKeyAccepted { .. }));
    fs::rename(home.path("moved"), &key).unwrap();
    agent.add(["-D"]);
    add("there");
    fs::remove_file(&key).unwrap();
    home.log_in(&sshd, "").await;
}

#[tokio::test]
async fn with_too_many_keys_in_the_agent_the_way_out_is_told_and_works() {
    let sshd = Sshd::start("MaxAuthTries 3");
    let mut home = Home::knowing(&sshd);
    let agent = Agent::start(&mut home);
    for number in 0..6 {
        let key = home.path(&format!("key{number}"));
        let public = keygen(&key, "ed25519", &[]);
        if number == 5 {
            sshd.authorize(&public);
        }
        agent.add([key]);
    }
    let error = home.refusal(&sshd, "").await;
    assert!(
        matches!(&error, Error::TooManyKeys { message, .. } if message.contains("Too many")),
        "{error}"
    );
    assert!(error.to_string().contains("IdentitiesOnly yes"));
    assert!(
        home.log_in(&sshd, "IdentitiesOnly yes\nIdentityFile ~/.ssh/key5")
            .await
            .ends_with("key5 in the agent")
    );
    // A named key of the agent goes before the others anyway.
    home.log_in(&sshd, "IdentityFile ~/.ssh/key5.pub").await;
}
