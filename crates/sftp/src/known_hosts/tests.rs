use std::process::Command;

use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

use super::*;

const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn lines(text: &str, name: &str) -> Vec<(usize, Marker)> {
    parse(text.as_bytes(), Path::new("kh"), name)
        .iter()
        .map(|record| (record.line, record.marker))
        .collect()
}

#[test]
fn names_patterns_ports_and_markers_are_read() {
    let text = format!(
        "# comment\n\nhost,10.0.0.7 {ED} a comment here\n\
         [host]:2222\t{tab} comment\n*.example.org,!bad.example.org {ED}\n\
         @cert-authority *.example.org {ED}\n@revoked * {ED}\n@other host {ED}\n\t host {ED}\r",
        tab = ED.replace(' ', "\t"),
    );
    let revoked = (7, Marker::Revoked);
    assert_eq!(lines(&text, "host"), [(3, Marker::Key), revoked, (9, Marker::Key)]);
    assert_eq!(lines(&text, "HOST"), lines(&text, "host"));
    assert_eq!(lines(&text, "10.0.0.7"), [(3, Marker::Key), revoked]);
    assert_eq!(lines(&text, "[host]:2222"), [(4, Marker::Key), revoked]);
    assert_eq!(lines(&text, "a.example.org"), [(5, Marker::Key), (6, Marker::Authority), revoked]);
    assert_eq!(lines(&text, "bad.example.org"), [(6, Marker::Authority), revoked]);
    assert_eq!(lines(&text, "other"), [revoked]);
}

#[test]
fn broken_lines_are_skipped_and_the_others_count() {
    for broken in [
        "host",
        "host ssh-ed25519",
        "host ssh-ed25519 AAAA",
        "host ssh-ed25519 !!!!",
        "host ecdsa-sha2-nistp256 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
        "host 1024 35 123456789",
        "@revoked",
        "|1|x|y ssh-ed25519 AAAA",
        "|1| ssh-ed25519 AAAA",
        "|2|AAAA|AAAA ssh-ed25519 AAAA",
    ] {
        assert_eq!(lines(&format!("{broken}\nhost {ED}"), "host"), [(2, Marker::Key)], "{broken}");
    }
}

#[test]
fn openssh_finds_what_was_added_and_so_do_we() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".ssh/known_hosts");
    let key = PublicKey::from_openssh(ED).unwrap();
    for (name, hashed) in [("plain", false), ("[hashed]:2222", true), ("::1", true)] {
        add(&path, name, &key, hashed).unwrap();
        let found =
            Command::new("ssh-keygen").arg("-F").arg(name).arg("-f").arg(&path).output().unwrap();
        assert!(found.status.success(), "ssh-keygen does not find {name}");
        assert_eq!(read(&path, name).unwrap().len(), 1, "{name}");
        assert_eq!(std::fs::read_to_string(&path).unwrap().contains(name), !hashed);
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn what_openssh_hashed_is_found_and_what_it_does_not_find_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    let names = ["host", "[host]:2222", "10.0.0.7", "a.example.org", "::1"];
    let text: String = names.iter().map(|name| format!("{name} {ED}\n")).collect();
    std::fs::write(&path, text + "*.wild.org,!not.wild.org " + ED + "\n@revoked gone " + ED + "\n")
        .unwrap();
    let hashed = Command::new("ssh-keygen").arg("-H").arg("-f").arg(&path).output().unwrap();
    assert!(hashed.status.success());
    assert!(std::fs::read_to_string(&path).unwrap().contains("|1|"));
    for name in
        names.into_iter().chain(["other", "x.wild.org", "not.wild.org", "[host]:22", "gone", "hos"])
    {
        let found =
            Command::new("ssh-keygen").arg("-F").arg(name).arg("-f").arg(&path).output().unwrap();
        assert_eq!(!read(&path, name).unwrap().is_empty(), found.status.success(), "{name}");
    }
}

#[test]
fn a_line_is_added_below_a_last_line_without_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    std::fs::write(&path, format!("one {ED}")).unwrap();
    add(&path, "two", &PublicKey::from_openssh(ED).unwrap(), false).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("one {ED}\ntwo {ED}\n"));
}

#[test]
fn dev_null_is_a_file_without_records_that_takes_all() {
    let null = Path::new("/dev/null");
    add(null, "host", &PublicKey::from_openssh(ED).unwrap(), false).unwrap();
    assert_eq!(read(null, "host").unwrap(), []);
}

#[test]
fn a_missing_file_has_no_records_and_an_unreadable_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read(&folder.path().join("none"), "host").unwrap(), []);
    assert!(read(folder.path(), "host").is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse(&bytes, Path::new("kh"), "host");
    }

    #[test]
    fn a_hashed_name_fits_itself_alone(name in "[a-z0-9.:\\[\\]]{1,20}", other in "[a-z]{1,20}") {
        let hash = hashed::hash(&name).unwrap();
        prop_assert!(hashed::fits(&name, &hash));
        prop_assert_eq!(hashed::fits(&other, &hash), other == name);
    }
}
