//! All keywords, and what becomes of each.

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Begins a block for hosts.
    Host,
    /// Begins a block with conditions.
    Match,
    /// Reads other files.
    Include,
    /// Names keywords that need not be known.
    IgnoreUnknown,
    /// One value; the first one wins.
    One,
    /// A list of values on one line; the first line wins.
    List,
    /// A value that adds to those before.
    Each,
    /// A way to the host. There are two keywords for that, and the first of either wins.
    Way,
    /// What does not concern a connection like ours, or only makes it less strict.
    PassedOver,
    /// What would change the connection and is not done here, unless it has one of these values.
    Refused(&'static [&'static str]),
}

/// What becomes of a keyword, in lower case; nothing if there is no such keyword.
pub(super) fn look_up(keyword: &str) -> Option<Keyword> {
    Some(match keyword {
        "host" => Keyword::Host,
        "match" => Keyword::Match,
        "include" => Keyword::Include,
        "ignoreunknown" => Keyword::IgnoreUnknown,

        "hostname"
        | "port"
        | "user"
        | "identitiesonly"
        | "identityagent"
        | "hostkeyalias"
        | "stricthostkeychecking"
        | "hashknownhosts"
        | "connecttimeout"
        | "serveraliveinterval"
        | "serveralivecountmax"
        | "addressfamily"
        | "bindaddress"
        | "ciphers"
        | "macs"
        | "kexalgorithms"
        | "hostkeyalgorithms"
        | "pubkeyacceptedalgorithms"
        | "pubkeyacceptedkeytypes"
        | "casignaturealgorithms"
        | "requiredrsasize"
        | "preferredauthentications"
        | "tag" => Keyword::One,
        "userknownhostsfile" | "globalknownhostsfile" => Keyword::List,
        "identityfile" | "certificatefile" => Keyword::Each,
        "proxyjump" | "proxycommand" => Keyword::Way,

        "pubkeyauthentication" => Keyword::Refused(&["yes", "true", "unbound", "host-bound"]),
        "canonicalizehostname" => Keyword::Refused(&["no", "false", "none"]),
        "nohostauthenticationforlocalhost" => Keyword::Refused(&["no", "false"]),
        "knownhostscommand" | "pkcs11provider" | "smartcarddevice" | "revokedhostkeys"
        | "bindinterface" | "refuseconnection" => Keyword::Refused(&["none"]),

        _ if PASSED_OVER.contains(&keyword) => Keyword::PassedOver,
        _ => return None,
    })
}

/// What concerns terminals, shells, forwarding, other ways to log in and messages; what is only asked
/// of `ssh` when it adds to its records; and keywords that OpenSSH itself passes over by now.
///
/// `CheckHostIP`, `VerifyHostKeyDNS` and `UpdateHostKeys` are here because leaving them out is at most
/// stricter. `Compression` is here because everything sent is compressed and encrypted already.
const PASSED_OVER: &[&str] = &[
    "addkeystoagent",
    "batchmode",
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    "challengeresponseauthentication",
    "channeltimeout",
    "checkhostip",
    "clearallforwardings",
    "compression",
    "compressionlevel",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapiclientidentity",
    "gssapidelegatecredentials",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "hostbasedacceptedalgorithms",
    "hostbasedauthentication",
    "hostbasedkeytypes",
    "ipqos",
    "kbdinteractiveauthentication",
    "kbdinteractivedevices",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "passwordauthentication",
    "permitlocalcommand",
    "permitremoteopen",
    "proxyusefdpass",
    "rekeylimit",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "securitykeyprovider",
    "sendenv",
    "sessiontype",
    "setenv",
    "skeyauthentication",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "verifyhostkeydns",
    "versionaddendum",
    "visualhostkey",
    "warnweakcrypto",
    "xauthlocation",
    // Gone from OpenSSH.
    "afstokenpassing",
    "cipher",
    "fallbacktorsh",
    "globalknownhostsfile2",
    "identityfile2",
    "kerberosauthentication",
    "kerberostgtpassing",
    "protocol",
    "rhostsauthentication",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "useprivilegedport",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_has_one_meaning() {
        for (at, keyword) in PASSED_OVER.iter().enumerate() {
            assert_eq!(look_up(keyword), Some(Keyword::PassedOver), "{keyword}");
            assert!(!PASSED_OVER[..at].contains(keyword), "{keyword} twice");
        }
        assert_eq!(look_up("hostnam"), None);
    }
}
