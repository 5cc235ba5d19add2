use proptest::prelude::*;

use super::*;

fn location(user: &str, host: &str, port: u16, path: &str) -> Location {
    Location {
        user: Some(user.to_owned()).filter(|user| !user.is_empty()),
        host: host.into(),
        port: Some(port).filter(|&port| port != 0),
        path: path.into(),
    }
}

#[test]
fn both_forms_are_read_as_restic_reads_them() {
    for (text, expected) in [
        ("sftp:host:repo", location("", "host", 0, "repo")),
        ("sftp:user@host:/srv/repo", location("user", "host", 0, "/srv/repo")),
        ("sftp:user@host:dir/../repo//x/", location("user", "host", 0, "repo/x")),
        ("sftp:user@domain@host:repo", location("user@domain", "host", 0, "repo")),
        ("sftp:host:", location("", "host", 0, ".")),
        ("sftp:host:a:b", location("", "host", 0, "a:b")),
        ("sftp:host:a@b", location("", "host", 0, "a@b")),
        ("sftp:host:/a@b:c", location("", "host", 0, "/a@b:c")),
        ("sftp:[2001:db8::1]:repo", location("", "2001:db8::1", 0, "repo")),
        ("sftp:user@[::1]:/repo", location("user", "::1", 0, "/repo")),
        ("sftp:host:[x]", location("", "host", 0, "[x]")),
        ("sftp://host/repo", location("", "host", 0, "repo")),
        ("sftp://user@host:2222/repo", location("user", "host", 2222, "repo")),
        ("sftp://user@host:2222//srv/repo", location("user", "host", 2222, "/srv/repo")),
        ("sftp://host//../../repo", location("", "host", 0, "/repo")),
        ("sftp://host/../../repo", location("", "host", 0, "../../repo")),
        ("sftp://host/", location("", "host", 0, ".")),
        ("sftp://host:/repo", location("", "host", 0, "repo")),
        ("sftp://user@domain@host/repo", location("user@domain", "host", 0, "repo")),
        ("sftp://user%40domain@host/a%20b", location("user@domain", "host", 0, "a b")),
        ("sftp://[::1]:22//repo", location("", "::1", 22, "/repo")),
        ("sftp://[fe80::1%25eth0]/repo", location("", "fe80::1%eth0", 0, "repo")),
    ] {
        assert_eq!(Location::parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_location_is_refused_with_the_reason() {
    use LocationError::*;
    for (text, reason) in [
        ("", NotSftp),
        ("/srv/repo", NotSftp),
        ("sftp:", Path),
        ("sftp:host", Path),
        ("sftp://host", Path),
        ("sftp::repo", Host),
        ("sftp:///repo", Host),
        ("sftp://:22/repo", Host),
        ("sftp:@host:repo", User),
        ("sftp://@host/repo", User),
        ("sftp:user@-oProxyCommand=x:repo", Host),
        ("sftp:ho st:repo", Host),
        ("sftp:$(x):repo", Host),
        ("sftp://[::1/repo", Brackets),
        ("sftp:[::1:repo", Brackets),
        ("sftp:[::1]repo", Path),
        ("sftp://[::1]x/repo", Host),
        ("sftp://host:0/repo", Port),
        ("sftp://host:65536/repo", Port),
        ("sftp://host:+22/repo", Port),
        ("sftp://host:22:22/repo", Port),
        ("sftp:host:~/repo", Tilde),
        ("sftp://host/~/repo", Tilde),
        ("sftp://host/%zz", Escape),
        ("sftp://host/%2", Escape),
        ("sftp://host/a?b", Escape),
        ("sftp://host/a#b", Escape),
        ("sftp://host/%FF", Characters),
        ("sftp:host:a\0b", Characters),
        ("sftp://host/a%0Ab", Characters),
    ] {
        assert_eq!(Location::parse(text), Err(reason), "{text}");
    }
}

#[test]
fn a_password_is_refused_and_never_shown() {
    for text in [
        "sftp://user:geheim@host/repo",
        "sftp://user:geheim@host:22//repo",
        "sftp://user:ge@heim@host/repo",
        "sftp://:geheim@host/repo",
        "sftp:user:geheim@host:repo",
        "sftp:user:geheim@host:/repo",
    ] {
        let error = Location::parse(text).unwrap_err();
        assert_eq!(error, LocationError::Password, "{text}");
        assert!(!format!("{error} {error:?}").contains("heim"));
        assert!(error.to_string().contains("passwords are not used"));
    }
}

#[test]
fn a_location_is_shown_in_the_shorter_form_where_that_can_say_it() {
    for (text, shown) in [
        ("sftp:user@host:/srv/repo", "sftp:user@host:/srv/repo"),
        ("sftp://host//srv/repo", "sftp:host:/srv/repo"),
        ("sftp://host:2222//srv/repo", "sftp://host:2222//srv/repo"),
        ("sftp:[::1]:repo", "sftp://[::1]/repo"),
        ("sftp://user%40domain@host/a?", ""),
    ] {
        if let Ok(location) = Location::parse(text) {
            assert_eq!(location.to_string(), shown, "{text}");
        } else {
            assert!(shown.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_the_same(
        user in proptest::option::of("[ -~]{1,8}"),
        host in "[a-z0-9.:_%-]{1,10}",
        port in proptest::option::of(1..=u16::MAX),
        path in "(/|)[ -~ä/.]{0,12}",
    ) {
        let location = Location { user, host, port, path: clean(&path) };
        if is_host(&location.host) && !location.path.starts_with('~') {
            prop_assert_eq!(Location::parse(&location.to_string()), Ok(location));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(sftp:(//)?)?[a@:/\\[\\]%~ä?#.0-9]{0,24}") {
        if let Ok(location) = Location::parse(&text) {
            prop_assert_eq!(Location::parse(&location.to_string()), Ok(location));
        }
    }
}
