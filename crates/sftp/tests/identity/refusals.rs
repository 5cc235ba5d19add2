use restic_repo::backend::BackendErrorKind;
use restic_sftp::{Error, Location};

use super::sshd::{Home, Sshd, keygen};

#[tokio::test]
async fn without_any_key_the_error_says_how_to_get_one() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    let error = home.refusal(&sshd, "").await;
    assert_eq!(error.kind(), BackendErrorKind::Authentication);
    assert!(error.to_string().contains("ssh-keygen"), "{error}");
}

#[tokio::test]
async fn a_refused_key_is_named_with_the_user() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    keygen(&home.path("id_ed25519"), "ed25519", &[]);
    let error = home.refusal(&sshd, "").await;
    let text = error.to_string();
    assert!(matches!(error, Error::NoKeyAccepted { .. }));
    assert!(text.contains(&format!("the user {}", home.user.name)), "{text}");
    assert!(text.contains("id_ed25519 was refused") && text.contains("authorized_keys"), "{text}");
}

#[tokio::test]
async fn a_server_that_wants_passwords_only_is_told_apart() {
    let sshd = Sshd::start("PubkeyAuthentication no\nPasswordAuthentication yes");
    let home = Home::knowing(&sshd);
    keygen(&home.path("id_ed25519"), "ed25519", &[]);
    let error = home.refusal(&sshd, "").await.to_string();
    assert!(
        error.contains("it allows only password, and this program logs in with keys"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_wants_two_keys_gets_two() {
    let sshd = Sshd::start("AuthenticationMethods publickey,publickey");
    let home = Home::knowing(&sshd);
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let error = home.refusal(&sshd, "").await;
    assert!(matches!(error, Error::MoreAsked { .. }), "{error}");
    sshd.authorize(&keygen(&home.path("id_ecdsa"), "ecdsa", &[]));
    assert!(home.log_in(&sshd, "").await.contains(", then "));
}

#[tokio::test]
async fn a_server_that_wants_a_password_as_well_is_told() {
    let sshd = Sshd::start("AuthenticationMethods publickey,password\nPasswordAuthentication yes");
    let home = Home::knowing(&sshd);
    sshd.authorize(&keygen(&home.path("id_ed25519"), "ed25519", &[]));
    let error = home.refusal(&sshd, "").await;
    assert!(error.to_string().contains("asks for more (password)"), "{error}");
}

#[tokio::test]
async fn the_user_is_the_locations_then_the_configurations_then_ones_own() {
    let sshd = Sshd::start("");
    let home = Home::knowing(&sshd);
    keygen(&home.path("id_ed25519"), "ed25519", &[]);
    let user = |error| match error {
        Error::NoKeyAccepted { user, .. } => user,
        error => panic!("{error}"),
    };
    assert_eq!(user(home.refusal(&sshd, "").await), home.user.name);
    assert_eq!(user(home.refusal(&sshd, "User configured").await), "configured");
    let location = Location::parse(&format!("sftp://named@127.0.0.1:{}/x", sshd.port)).unwrap();
    let connector = home.connector_to(&location, "User configured").unwrap();
    assert_eq!(user(connector.connect().await.unwrap_err()), "named");
}
