//! A backup datastore: a folder of repositories on a server, and how to treat them.

use std::fmt;

use restic_repo::Compression;
use restic_repo::prune::MaxUnused;
use restic_sftp::Location;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::global::{GlobalArgs, Settings};
use crate::opennebula::attribute::{Attributes, invalid};
use crate::opennebula::element::Element;
use crate::password::Secret;
use crate::size;

/// The user on the server if none is named.
const DEFAULT_USER: &str = "oneadmin";

/// An environment variable that names a file to be used instead of the usual `ssh_config` files.
pub const SSH_CONFIG: &str = "ONE_RESTIC_SSH_CONFIG";

/// A backup datastore.
#[derive(Clone, Debug)]
pub struct Datastore {
    /// Its number.
    pub id: u64,
    /// The folder of its repositories, on the server.
    pub base_path: String,
    /// The server.
    pub server: String,
    /// Whom to be there.
    pub user: String,
    /// The password of its repositories.
    pub password: Secret,
    /// The hosts that may read disks in place of the VMs' own.
    pub bridges: Vec<String>,
    /// Bytes a second, in each direction.
    pub bandwidth: Option<u64>,
    /// How hard to compress.
    pub compression: Compression,
    /// Transfers at a time.
    pub connections: Option<usize>,
    /// Threads that compute.
    pub workers: Option<usize>,
    /// Whether upstream would look for unused space in the file systems of merged disks; without effect here.
    pub sparsify: bool,
    /// How much to clean up when snapshots are removed.
    pub prune: restic_repo::prune::Options,
    /// What a backup may take of its host.
    pub confinement: Confinement,
    /// Whether this program may work on the server itself, which takes a repository's key there.
    pub near: bool,
}

/// What a backup may take of the host it runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// `nice`, 0 to 19.
    pub nice: Option<u8>,
    /// The priority among the disk's users of the best effort class, 0 to 7.
    pub ionice: Option<u8>,
    /// Per cent of one processor.
    pub cpu_quota: Option<u64>,
    /// Reads from the disk a second.
    pub max_riops: Option<u64>,
    /// Writes to the disk a second.
    pub max_wiops: Option<u64>,
    /// MiB of memory.
    pub memory_max_mb: Option<u64>,
}

impl Datastore {
    /// Reads a `DATASTORE` of OpenNebula's, with its secrets decrypted.
    pub fn parse(datastore: Element<'_>) -> Result<Self> {
        let attributes = Attributes::of(datastore);
        if let Some(backend) = attributes.text("RESTIC_BACKEND")
            && !backend.eq_ignore_ascii_case("sftp")
        {
            return Err(invalid("RESTIC_BACKEND", backend, "SFTP, the one that this driver knows"));
        }
        let server = attributes.required("RESTIC_SFTP_SERVER")?;
        if !is_host(server) {
            return Err(invalid("RESTIC_SFTP_SERVER", server, "the name or address of a host"));
        }
        let user = attributes.text("RESTIC_SFTP_USER").unwrap_or(DEFAULT_USER);
        if !is_user(user) {
            return Err(invalid("RESTIC_SFTP_USER", user, "the name of a user"));
        }
        Ok(Self {
            id: datastore.required_number("ID")?,
            base_path: base_path(datastore.required("BASE_PATH")?)?,
            server: server.to_owned(),
            user: user.to_owned(),
            password: Secret::new(unquoted(attributes.required("RESTIC_PASSWORD")?)),
            bridges: bridges(&attributes)?,
            bandwidth: bandwidth(&attributes)?,
            compression: compression(&attributes)?,
            connections: positive(&attributes, "RESTIC_CONNECTIONS")?,
            workers: positive(&attributes, "RESTIC_MAXPROC")?,
            sparsify: attributes.flag("RESTIC_SPARSIFY", false)?,
            prune: restic_repo::prune::Options {
                max_unused: max_unused(&attributes)?,
                max_repack: max_repack(&attributes)?,
                ..Default::default()
            },
            confinement: Confinement::parse(&attributes)?,
            near: attributes.flag("RESTIC_NEAR", true)?,
        })
    }

    /// Where one of its repositories is.
    pub fn location(&self, repository: &RepositoryId) -> Location {
        Location { path: format!("{}/{repository}", self.base_path), ..self.folder() }
    }

    /// The server without the brackets that an address may have.
    pub fn host(&self) -> &str {
        self.server.trim_matches(['[', ']'])
    }

    /// The folder of all its repositories.
    pub fn folder(&self) -> Location {
        Location {
            user: Some(self.user.clone()),
            host: self.host().to_owned(),
            port: None,
            path: self.base_path.clone(),
        }
    }

    /// How to work with one of its repositories.
    pub fn settings(
        &self,
        repository: &RepositoryId,
        environment: &Environment,
    ) -> Result<Settings> {
        let common = self.common_settings(environment)?;
        let location = Some(self.location(repository).to_string());
        Ok(Settings { access: Access { location, ..common.access }, ..common })
    }

    /// How to work with its server, whatever the repository.
    pub fn common_settings(&self, environment: &Environment) -> Result<Settings> {
        // The variables that restic knows are an operator's, and not meant for datastores.
        let defaults = Settings::resolve(GlobalArgs::default(), &Environment::of(&[]))?;
        let mut options = defaults.options;
        if let Some(connections) = self.connections {
            options.insert("sftp.connections".to_owned(), connections.to_string());
        }
        if let Some(file) = environment.text(SSH_CONFIG) {
            options.insert("sftp.config".to_owned(), file);
        }
        Ok(Settings {
            access: Access { password: Some(self.password.clone()), ..defaults.access },
            limit_upload: self.bandwidth,
            limit_download: self.bandwidth,
            compression: self.compression,
            workers: self.workers,
            options,
            ..defaults
        })
    }
}

impl Confinement {
    fn parse(attributes: &Attributes<'_>) -> Result<Self> {
        let up_to = |name, most: u8| {
            let found: Option<u8> = attributes.number(name, "a number that makes sense there")?;
            match (found, attributes.text(name)) {
                (Some(number), Some(text)) if number > most => {
                    Err(invalid(name, text, &format!("a number from 0 to {most}")))
                }
                (found, _) => Ok(found),
            }
        };
        let number = |name| attributes.number(name, "a number");
        Ok(Self {
            nice: up_to("RESTIC_NICE", 19)?,
            ionice: up_to("RESTIC_IONICE", 7)?,
            cpu_quota: number("RESTIC_CPU_QUOTA")?,
            max_riops: number("RESTIC_MAX_RIOPS")?,
            max_wiops: number("RESTIC_MAX_WIOPS")?,
            memory_max_mb: number("RESTIC_MEMORY_MAX_MB")?,
        })
    }
}

/// The name of a repository in a datastore: the number of the VM that it is for, or `job_` and that of a
/// backup job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryId(String);

impl RepositoryId {
    /// The repository of a backup job, or of a VM that has none.
    pub fn new(vm: u64, job: Option<u64>) -> Self {
        Self(job.map_or_else(|| vm.to_string(), |job| format!("job_{job}")))
    }

    /// Whether it is that of a backup job.
    pub fn is_of_job(&self) -> bool {
        self.0.starts_with("job_")
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A folder on the server, without the double slashes that OpenNebula writes.
fn base_path(text: &str) -> Result<String> {
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let is_clean = !parts.is_empty() && !parts.contains(&"..") && !text.contains(char::is_control);
    if !text.starts_with('/') || !is_clean {
        return Err(Failure::new(format_args!(
            "the datastore has BASE_PATH {text:?}, which is no absolute path"
        )));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Whether a text can be the name or address of a host, and no option of a program.
pub fn is_host(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._:[]%".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_part)
}

fn is_user(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "-._+$".contains(c);
    !text.starts_with('-') && text.chars().all(is_part)
}

/// One pair of quotes around a password is not part of it.
fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}

fn bridges(attributes: &Attributes<'_>) -> Result<Vec<String>> {
    let Some(text) = attributes.text("BRIDGE_LIST") else { return Ok(Vec::new()) };
    let bridges: Vec<_> = unquoted(text).split_whitespace().map(str::to_owned).collect();
    match bridges.iter().all(|bridge| is_host(bridge)) {
        true => Ok(bridges),
        false => Err(invalid("BRIDGE_LIST", text, "a list of hosts")),
    }
}

/// In KiB a second; as with restic, 0 is no limit.
fn bandwidth(attributes: &Attributes<'_>) -> Result<Option<u64>> {
    let kibibytes: Option<u64> = attributes.number("RESTIC_BWLIMIT", "a number of KiB a second")?;
    Ok(kibibytes.filter(|&rate| rate > 0).map(|rate| rate.saturating_mul(1024)))
}

fn compression(attributes: &Attributes<'_>) -> Result<Compression> {
    let mode = attributes.parsed("RESTIC_COMPRESSION", "auto, off or max", |text| {
        Some(match text.to_ascii_lowercase().as_str() {
            "auto" => Compression::Auto,
            "off" => Compression::Off,
            "max" => Compression::Max,
            _ => return None,
        })
    })?;
    Ok(mode.unwrap_or(Compression::Auto))
}

/// A number from 1 on; less stands for the default.
fn positive(attributes: &Attributes<'_>, name: &str) -> Result<Option<usize>> {
    Ok(attributes.number(name, "a number")?.filter(|&number| number > 0))
}

fn max_repack(attributes: &Attributes<'_>) -> Result<Option<u64>> {
    attributes.parsed("RESTIC_PRUNE_MAX_REPACK", "a size like 500M or 2G", |text| {
        text.starts_with(|c: char| c.is_ascii_digit()).then(|| size::parse(text).ok()).flatten()
    })
}

fn max_unused(attributes: &Attributes<'_>) -> Result<MaxUnused> {
    let expected = "a size like 500M, a share like 5%, or unlimited";
    let limit = attributes.parsed("RESTIC_PRUNE_MAX_UNUSED", expected, |text| {
        let begins_well = text.starts_with(|c: char| c.is_ascii_digit()) || text == "unlimited";
        begins_well
            .then(|| text.parse().ok().or_else(|| size::parse(text).ok().map(MaxUnused::Bytes)))
            .flatten()
    })?;
    Ok(limit.unwrap_or(MaxUnused::Bytes(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opennebula::element;

    fn datastore(template: &str) -> Result<Datastore> {
        let text = format!(
            "<DATASTORE><ID>102</ID><BASE_PATH>/var/lib/one//datastores/102</BASE_PATH><TEMPLATE>\
             <RESTIC_PASSWORD>geheim</RESTIC_PASSWORD>\
             {template}</TEMPLATE></DATASTORE>"
        );
        let document = element::parse(&text).unwrap();
        Datastore::parse(Element::top(&document))
    }

    const SERVER: &str = "<RESTIC_SFTP_SERVER>backup.example</RESTIC_SFTP_SERVER>";

    fn with(attribute: &str, value: &str) -> Result<Datastore> {
        datastore(&format!("{SERVER}<{attribute}>{value}</{attribute}>"))
    }

    #[test]
    fn little_is_needed_and_the_rest_has_defaults() {
        let found = datastore(SERVER).unwrap();
        assert_eq!((found.id, found.user.as_str()), (102, "oneadmin"));
        assert_eq!(found.base_path, "/var/lib/one/datastores/102");
        assert_eq!(found.password.reveal(), "geheim");
        assert_eq!(found.compression, Compression::Auto);
        assert_eq!(found.prune.max_unused, MaxUnused::Bytes(0));
        assert_eq!(found.confinement, Confinement::default());
        assert_eq!((found.connections, found.workers, found.bandwidth), (None, None, None));
        assert!(found.near && !found.sparsify);
        assert!(!format!("{found:?}").contains("geheim"));
        let missing = datastore("").unwrap_err();
        assert!(missing.message().contains("no RESTIC_SFTP_SERVER"), "{missing}");
    }

    #[test]
    fn repositories_are_where_upstream_puts_them() {
        let found = datastore(SERVER).unwrap();
        let of_vm = found.location(&RepositoryId::new(5, None)).to_string();
        assert_eq!(of_vm, "sftp:oneadmin@backup.example:/var/lib/one/datastores/102/5");
        let of_job = found.location(&RepositoryId::new(5, Some(7))).to_string();
        assert_eq!(of_job, "sftp:oneadmin@backup.example:/var/lib/one/datastores/102/job_7");
        let found = with("RESTIC_SFTP_USER", "backup").unwrap();
        let found = Datastore { server: "fe80::1".into(), ..found };
        let location = found.location(&RepositoryId::new(5, None)).to_string();
        let location = Location::parse(&location).unwrap();
        assert_eq!(location.host, "fe80::1");
        assert_eq!(location.path, "/var/lib/one/datastores/102/5");
    }

    #[test]
    fn attributes_are_what_operators_mean() {
        assert_eq!(with("RESTIC_COMPRESSION", "OFF").unwrap().compression, Compression::Off);
        assert_eq!(with("RESTIC_BWLIMIT", "100").unwrap().bandwidth, Some(102_400));
        assert_eq!(with("RESTIC_BWLIMIT", "0").unwrap().bandwidth, None);
        assert_eq!(with("RESTIC_CONNECTIONS", "8").unwrap().connections, Some(8));
        assert_eq!(with("RESTIC_MAXPROC", "-1").unwrap().workers, None);
        assert_eq!(with("RESTIC_NICE", "10").unwrap().confinement.nice, Some(10));
        assert_eq!(with("RESTIC_NICE", "-1").unwrap().confinement.nice, None);
        assert_eq!(with("RESTIC_PRUNE_MAX_REPACK", "2G").unwrap().prune.max_repack, Some(2 << 30));
        assert_eq!(with("BRIDGE_LIST", "\"host1 host2\"").unwrap().bridges, ["host1", "host2"]);
        let unlimited = with("RESTIC_PRUNE_MAX_UNUSED", "unlimited").unwrap().prune.max_unused;
        assert_eq!(unlimited, MaxUnused::Unlimited);
        assert!(with("RESTIC_SPARSIFY", "yes").unwrap().sparsify);
        assert!(!with("RESTIC_NEAR", "no").unwrap().near);
        assert!(with("RESTIC_BACKEND", "SFTP").is_ok());
    }

    #[test]
    fn a_wrong_value_gives_one_sentence_that_names_it() {
        for (attribute, value) in [
            ("RESTIC_COMPRESSION", "zip"),
            ("RESTIC_BWLIMIT", "fast"),
            ("RESTIC_CONNECTIONS", "5x"),
            ("RESTIC_NICE", "20"),
            ("RESTIC_IONICE", "8"),
            ("RESTIC_CPU_QUOTA", "half"),
            ("RESTIC_PRUNE_MAX_REPACK", "-1"),
            ("RESTIC_PRUNE_MAX_REPACK", "2G; reboot"),
            ("RESTIC_PRUNE_MAX_UNUSED", "some"),
            ("RESTIC_PRUNE_MAX_UNUSED", "5%%"),
            ("RESTIC_SPARSIFY", "perhaps"),
            ("RESTIC_NEAR", "sometimes"),
            ("RESTIC_BACKEND", "S3"),
            ("RESTIC_SFTP_USER", "-oProxyCommand=x"),
            ("RESTIC_SFTP_USER", "a b"),
            ("BRIDGE_LIST", "host1;reboot"),
        ] {
            let failure = with(attribute, value).unwrap_err();
            assert!(failure.message().contains(attribute), "{attribute}: {failure}");
        }
        for server in ["-x", "a b", "$(id)", "a'b", "a@b"] {
            let server = format!("<RESTIC_SFTP_SERVER>{server}</RESTIC_SFTP_SERVER>");
            assert!(datastore(&server).is_err(), "{server}");
        }
        for path in ["relative", "/a/../b", "/", "/a\tb"] {
            assert!(base_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn one_pair_of_quotes_is_no_part_of_a_password() {
        for (text, password) in [("'a'", "a"), ("\"a\"", "a"), ("''a''", "'a'"), ("'a", "'a")] {
            assert_eq!(unquoted(text), password);
        }
    }
}
