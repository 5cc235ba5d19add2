use std::fs;
use std::os::unix::fs::PermissionsExt;

use restic_sftp::Error;

use super::sshd::{Home, Sshd, keygen, run};

#[tokio::test]
async fn every_kind_of_key_file_opens_the_door() {
    let sshd = Sshd::start("");
    for (name, kind, more) in [
        ("id_ed25519", "ed25519", &[][..]),
        ("id_ecdsa", "ecdsa", &["-b", "256"]),
        ("id_ecdsa", "ecdsa", &["-b", "384"]),
        ("id_ecdsa", "ecdsa", &["-b", "521"]),
        ("id_rsa", "rsa", &["-b", "2048"]),
        ("id_rsa", "rsa", &["-b", "2048", "-m", "PEM"]),
        ("id_rsa", "rsa", &["-b", "2048", "-m", "PKCS8"]),
        ("id_ecdsa", "ecdsa", &["-m", "PKCS8"]),
    ] {
        let home = Home::knowing(&sshd);
        sshd.authorize(&keygen(&home.path(name), kind, more));
        // The public half is not needed.
        fs::remove_file(home.path(&format!("{name}.pub"))).unwrap();
        assert_eq!(
            home.log_in(&sshd, "").await,
            home.path(name).to_str().unwrap(),
            "{kind} {more:?}"
        );
    }
}

#[tokio::test]
async fn rsa_is_used_with_either_hash_of_sha2_and_never_with_sha1() {
    for hash in ["rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"] {
        let sshd = Sshd::start(&format!("PubkeyAcceptedAlgorithms {hash}"));
        let home = Home::knowing(&sshd);
        sshd.authorize(&keygen(&home.path("id_rsa"), "rsa", &["-b", "2048"]));
        let result = home.connect(&sshd, &format!("PubkeyAcceptedAlgorithms {hash}")).await;
        match hash {
            "ssh-rsa" => {
                assert!(result.unwrap_err().to_string().contains("leaves out RSA with SHA-2"))
            }
            _ => assert!(result.unwrap().facts.login.ends_with("id_rsa")),
        }
    }
}

#[tokio::test]
async fn a_named_key_file_is_used_and_the_usual_ones_are_not() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    keygen(&home.path("other"), "ed25519", &[]);
    let error = home.refusal(&sshd, "IdentityFile ~/.ssh/other").await;
    assert!(matches!(&error, Error::NoKeyAccepted { tried, .. } if tried.len() == 1), "{error}");
    home.log_in(&sshd, "IdentityFile ~/.ssh/other\nIdentityFile %d/.ssh/id_ed25519").await;
}

#[tokio::test]
async fn an_encrypted_key_is_named_and_ssh_add_too_and_whether_it_would_do() {
    let sshd = Sshd::start("");
    for (kind, more) in
        [("ed25519", &["-N", "geheim"][..]), ("rsa", &["-N", "geheim", "-m", "PEM", "-b", "2048"])]
    {
        let home = Home::knowing(&sshd);
        let file = home.path(&format!("id_{kind}"));
        let public = keygen(&file, kind, more);
        let error = home.refusal(&sshd, "").await.to_string();
        assert!(error.contains("was refused"), "{error}");
        sshd.authorize(&public);
        let error = home.refusal(&sshd, "").await.to_string();
        assert!(
            error.contains(&format!(
                "would be accepted, but is encrypted: run ssh-add {}",
                file.display()
            )),
            "{error}"
        );
        // Another key may still do.
        sshd.authorize(&keygen(&home.path("id_ecdsa"), "ecdsa", &[]));
        assert!(home.log_in(&sshd, "").await.ends_with("id_ecdsa"));
    }
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_not_used() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    fs::set_permissions(home.path("id_ed25519"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = home.refusal(&sshd, "").await.to_string();
    assert!(error.contains("can be read by others") && error.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn broken_and_missing_key_files_are_told_and_do_not_stand_in_the_way() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    home.write(
        "id_rsa",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n",
    );
    let config =
        "IdentityFile ~/.ssh/id_rsa\nIdentityFile ~/.ssh/gone\nIdentityFile ~/.ssh/id_ed25519";
    let error = home.refusal(&sshd, config).await.to_string();
    assert!(
        error.contains("id_rsa cannot be used") && error.contains("gone does not exist"),
        "{error}"
    );
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    home.log_in(&sshd, config).await;
}

#[tokio::test]
async fn a_certificate_opens_the_door_whether_it_lies_beside_its_key_or_is_named() {
    let sshd = Sshd::start("TrustedUserCAKeys @/ca.pub\nAuthorizedPrincipalsFile none");
    keygen(&sshd.path("ca"), "ed25519", &[]);
    for (kind, more) in [("ed25519", &[][..]), ("rsa", &["-b", "2048"]), ("ecdsa", &[])] {
        let home = Home::knowing(&sshd);
        let key = home.path(&format!("id_{kind}"));
        keygen(&key, kind, more);
        let ca = sshd.path("ca");
        let sign = [
            "-q",
            "-s",
            ca.to_str().unwrap(),
            "-I",
            "id",
            "-n",
            &home.user.name,
            &format!("{}.pub", key.display()),
        ];
        run("ssh-keygen", sign);
        assert!(home.log_in(&sshd, "").await.ends_with("-cert.pub"), "{kind}");
        fs::rename(home.path(&format!("id_{kind}-cert.pub")), home.path("named")).unwrap();
        let error = home.refusal(&sshd, "").await;
        assert!(matches!(error, Error::NoKeyAccepted { .. }), "{error}");
        assert!(
            home.log_in(&sshd, "CertificateFile ~/.ssh/named").await.ends_with("named"),
            "{kind}"
        );
    }
}
