//! Makes one host's configuration of the values that were found.

use std::path::PathBuf;
use std::time::Duration;

use super::expand::Tokens;
use super::reader::{Value, Values};
use super::{
    AlgorithmList, Algorithms, Asked, Checking, ConfigError, Family, HostConfig, KeyFile, Place,
    jump, value,
};
use crate::location::is_host;
use crate::user::User;

/// The key files that are tried if none is named, in OpenSSH's order. Those in tokens of hardware
/// (`id_ecdsa_sk`) are left out: they work through an agent.
const KEY_FILES: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// The least number of bits of an RSA key; OpenSSH's.
const RSA_BITS: u32 = 1024;

pub(super) fn resolve(
    values: Values,
    asked: &Asked<'_>,
    me: &User,
) -> Result<HostConfig, ConfigError> {
    refuse(&values)?;

    let early = Tokens { host: Some(asked.host), ..Tokens::default() };
    let host = parse(&values, "hostname", |word| {
        let host = early.expand(word)?;
        if is_host(&host) { Ok(host) } else { Err(format!("{host} is not a host name")) }
    })?;
    let host = host.unwrap_or_else(|| asked.host.to_owned());
    let configured = parse(&values, "port", value::port)?;
    let port = asked.port.or(configured).unwrap_or(22);
    let user =
        asked.user.or(values.word("user").map(|(user, _)| user)).unwrap_or(&me.name).to_owned();
    let alias_tokens = Tokens {
        host: Some(&host),
        original: Some(asked.host),
        port: Some(port),
        remote_user: Some(&user),
        me: Some(me),
        alias: None,
    };
    let host_key_alias = parse(&values, "hostkeyalias", |word| alias_tokens.expand(word))?;
    let tokens =
        Tokens { alias: Some(host_key_alias.as_deref().unwrap_or(asked.host)), ..alias_tokens };

    let path = |word: &str| tokens.expand_path(word);
    let agent = match values.word("identityagent") {
        None | Some(("SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK", _)) => me.agent.clone(),
        Some((word, _)) if word.eq_ignore_ascii_case("none") => None,
        Some((word, place)) if word.starts_with('$') && !word.starts_with("${") => {
            return Err(place.error("of the environment, only SSH_AUTH_SOCK can name the agent"));
        }
        Some((word, place)) => Some(path(word).map_err(|problem| place.error(problem))?),
    };
    let jump_tokens = Tokens {
        host: Some(&host),
        original: Some(asked.host),
        port: Some(port),
        remote_user: Some(&user),
        ..Tokens::default()
    };
    let jumps = match &values.way {
        Some(("proxyjump", line)) => {
            in_place(line, |word| jump::parse(&jump_tokens.expand(word)?))?
        }
        _ => Vec::new(),
    };

    let named = each_path(&values, "identityfile", &path)?;
    let identities = match named {
        None => KEY_FILES
            .iter()
            .map(|name| KeyFile { path: me.ssh_folder().join(name), named: false })
            .collect(),
        Some(paths) => paths.into_iter().map(|path| KeyFile { path, named: true }).collect(),
    };
    let certificates = each_path(&values, "certificatefile", &path)?.unwrap_or_default();

    let known = |keyword: &str, usual: [PathBuf; 2]| match values.first.get(keyword) {
        None => Ok(usual.to_vec()),
        Some(line) => list_of_paths(line, &path),
    };
    let users = me.ssh_folder();
    let list = |keyword| values.word(keyword).map(|(word, _)| AlgorithmList::parse(word));
    let algorithms = Algorithms {
        ciphers: list("ciphers"),
        macs: list("macs"),
        key_exchange: list("kexalgorithms"),
        host_keys: list("hostkeyalgorithms"),
        public_keys: list("pubkeyacceptedalgorithms"),
        ca_signatures: list("casignaturealgorithms"),
    };

    Ok(HostConfig {
        user_known_hosts: known(
            "userknownhostsfile",
            [users.join("known_hosts"), users.join("known_hosts2")],
        )?,
        global_known_hosts: known(
            "globalknownhostsfile",
            ["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()],
        )?,
        original: asked.host.to_owned(),
        port,
        identities,
        identities_only: parse(&values, "identitiesonly", value::yes_or_no)?.unwrap_or(false),
        certificates,
        agent,
        hash_known_hosts: parse(&values, "hashknownhosts", value::yes_or_no)?.unwrap_or(false),
        checking: parse(&values, "stricthostkeychecking", checking)?.unwrap_or(Checking::Strict),
        connect_timeout: parse(&values, "connecttimeout", time_or_none)?.flatten(),
        alive_interval: parse(&values, "serveraliveinterval", value::time)?,
        alive_count_max: parse(&values, "serveralivecountmax", value::number)?,
        jumps,
        family: parse(&values, "addressfamily", family)?.unwrap_or(Family::Any),
        bind_address: parse(&values, "bindaddress", |word| {
            word.parse().map_err(|_| format!("{word} is not an IP address"))
        })?,
        required_rsa_bits: parse(&values, "requiredrsasize", value::number)?.unwrap_or(RSA_BITS),
        algorithms,
        host_key_alias: host_key_alias.clone(),
        host: host.clone(),
        user: user.clone(),
    })
}

/// What would change the connection, and is not done here.
fn refuse(values: &Values) -> Result<(), ConfigError> {
    for (keyword, value) in &values.refused {
        if !value.words.is_empty() {
            let problem =
                format!("{keyword} {} is not possible with this program", value.words.join(" "));
            return Err(value.place.error(problem));
        }
    }
    if let Some(("proxycommand", value)) = &values.way
        && !value.words.first().is_some_and(|word| word.eq_ignore_ascii_case("none"))
    {
        return Err(value.place.error(
            "ProxyCommand is not possible, for this program starts no other: use ProxyJump, or give the \
             host another name in this file without it",
        ));
    }
    if let Some((methods, place)) = values.word("preferredauthentications")
        && !methods.split(',').any(|method| method == "publickey")
    {
        return Err(place
            .error("PreferredAuthentications leaves out publickey, the only way to log in here"));
    }
    Ok(())
}

fn parse<T>(
    values: &Values,
    keyword: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    values
        .word(keyword)
        .map(|(word, place)| read(word).map_err(|problem| place.error(problem)))
        .transpose()
}

fn in_place<T>(
    line: &Value,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let word = line.words.first().map(String::as_str).unwrap_or_default();
    read(word).map_err(|problem| line.place.error(problem))
}

/// All paths of a keyword that adds up, none twice; nothing if there is no such line. `none` is no path.
fn each_path(
    values: &Values,
    keyword: &str,
    path: &impl Fn(&str) -> Result<PathBuf, String>,
) -> Result<Option<Vec<PathBuf>>, ConfigError> {
    let lines: Vec<_> = values.each.iter().filter(|(name, _)| *name == keyword).collect();
    let mut paths = Vec::new();
    for (_, line) in &lines {
        if line.words.first().is_some_and(|word| word.eq_ignore_ascii_case("none")) {
            continue;
        }
        let path = in_place(line, path)?;
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Ok((!lines.is_empty()).then_some(paths))
}

fn list_of_paths(
    line: &Value,
    path: &impl Fn(&str) -> Result<PathBuf, String>,
) -> Result<Vec<PathBuf>, ConfigError> {
    let none = |word: &&String| !word.eq_ignore_ascii_case("none");
    let error = |place: &Place, problem: String| place.error(problem);
    line.words
        .iter()
        .filter(none)
        .map(|word| path(word).map_err(|problem| error(&line.place, problem)))
        .collect()
}

fn checking(word: &str) -> Result<Checking, String> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "true" | "ask" => Ok(Checking::Strict),
        "accept-new" => Ok(Checking::AcceptNew),
        "no" | "false" | "off" => Ok(Checking::Off),
        _ => Err(format!("{word} is none of yes, accept-new, no, ask")),
    }
}

fn family(word: &str) -> Result<Family, String> {
    match word.to_ascii_lowercase().as_str() {
        "any" => Ok(Family::Any),
        "inet" => Ok(Family::Inet),
        "inet6" => Ok(Family::Inet6),
        _ => Err(format!("{word} is none of any, inet, inet6")),
    }
}

/// `none` is to leave it to the system, which has a limit of its own; so has this program.
fn time_or_none(word: &str) -> Result<Option<Duration>, String> {
    if word.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    Ok(Some(value::time(word)?).filter(|time| !time.is_zero()))
}
