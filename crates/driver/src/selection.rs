//! Which snapshots a command works on.

use clap::Args;

use crate::environment::Environment;
use crate::report::snapshots::GroupKey;

/// `--host`, `--tag` and `--path`. With a snapshot's id they count only if it is `latest`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Which snapshots")]
pub struct SelectionArgs {
    /// Only snapshots of this host; repeat for several, empty for all [env: RESTIC_HOST]
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Vec<String>,

    /// Only snapshots with all of these tags; repeat for snapshots with either, empty for those without
    #[arg(long, value_name = "TAG[,TAG...]")]
    tag: Vec<String>,

    /// Only snapshots that contain this absolute path; repeat for those that contain all of them
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
}

/// What a snapshot must have to be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// One of these hosts, unless there is none.
    pub hosts: Vec<String>,
    /// All tags of one of these lists, unless there is none. The list `[""]` is for snapshots without
    /// any tag.
    pub tags: Vec<Vec<String>>,
    /// All of these paths.
    pub paths: Vec<String>,
}

impl SelectionArgs {
    /// With the default host from the environment.
    pub fn resolve(self, environment: &Environment) -> Selection {
        let mut hosts = self.host;
        if hosts.is_empty() {
            hosts.extend(environment.text("RESTIC_HOST"));
        }
        if hosts == [""] {
            hosts.clear();
        }
        Selection {
            hosts,
            tags: self.tag.iter().map(|list| tag_list(list)).collect(),
            paths: self.path,
        }
    }
}

impl Selection {
    /// Whether a snapshot with these properties is chosen.
    pub fn admits(&self, hostname: &str, tags: &[String], paths: &[String]) -> bool {
        let has_tags = |wanted: &Vec<String>| {
            wanted.iter().all(
                |tag| {
                    if tag.is_empty() { tags.is_empty() } else { tags.contains(tag) }
                },
            )
        };
        (self.hosts.is_empty() || self.hosts.iter().any(|host| host == hostname))
            && (self.tags.is_empty() || self.tags.iter().any(has_tags))
            && self.paths.iter().all(|path| paths.contains(path))
    }
}

/// The tags in a list with commas.
pub fn tag_list(text: &str) -> Vec<String> {
    text.split(',').map(|tag| tag.trim().to_owned()).collect()
}

/// What snapshots are grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBy {
    /// By host.
    pub host: bool,
    /// By what was backed up.
    pub paths: bool,
    /// By tags.
    pub tags: bool,
}

impl GroupBy {
    /// restic's default for a backup's parent.
    pub const HOST_AND_PATHS: Self = Self { host: true, paths: true, tags: false };

    /// Parses `host,paths,tags`; nothing means no groups.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut groups = Self::default();
        for word in text.split(',') {
            match word {
                "" => {}
                "host" | "hosts" => groups.host = true,
                "path" | "paths" => groups.paths = true,
                "tag" | "tags" => groups.tags = true,
                other => {
                    return Err(format!("cannot group by {other:?}, only by host, paths and tags"));
                }
            }
        }
        Ok(groups)
    }

    /// Whether there are groups at all.
    pub fn is_any(&self) -> bool {
        self.host || self.paths || self.tags
    }

    /// The group of a snapshot with these properties.
    pub fn key(&self, hostname: &str, tags: &[String], paths: &[String]) -> GroupKey {
        let sorted = |texts: &[String]| {
            let mut texts = texts.to_vec();
            texts.sort();
            texts
        };
        GroupKey {
            hostname: if self.host { hostname.to_owned() } else { String::new() },
            paths: self.paths.then(|| sorted(paths)),
            // A snapshot without tags has null for them, also where they are grouped by.
            tags: (self.tags && !tags.is_empty()).then(|| sorted(tags)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn args(host: &[&str], tag: &[&str], path: &[&str]) -> SelectionArgs {
        SelectionArgs { host: own(host), tag: own(tag), path: own(path) }
    }

    #[test]
    fn the_host_comes_from_the_environment_unless_given() {
        let environment = Environment::of(&[("RESTIC_HOST", "vm")]);
        let hosts = |host: &[&str]| args(host, &[], &[]).resolve(&environment).hosts;
        assert_eq!(hosts(&[]), ["vm"]);
        assert_eq!(hosts(&["a", "b"]), ["a", "b"]);
        assert_eq!(hosts(&[""]), [""; 0]);
        let nothing = Environment::of(&[]);
        assert_eq!(SelectionArgs::default().resolve(&nothing), Selection::default());
    }

    #[test]
    fn a_snapshot_must_meet_all_conditions() {
        let selection = args(&["a", "b"], &["x, y", "z"], &["/srv"]).resolve(&Environment::of(&[]));
        let admits =
            |host, tags: &[&str], paths: &[&str]| selection.admits(host, &own(tags), &own(paths));
        assert!(admits("a", &["y", "x", "w"], &["/etc", "/srv"]));
        assert!(admits("b", &["z"], &["/srv"]));
        assert!(!admits("c", &["z"], &["/srv"]));
        assert!(!admits("a", &["x"], &["/srv"]));
        assert!(!admits("a", &["z"], &["/srv/x"]));
    }

    #[test]
    fn an_empty_tag_is_for_snapshots_without_tags() {
        let selection = args(&[], &[""], &[]).resolve(&Environment::of(&[]));
        assert!(selection.admits("a", &[], &[]));
        assert!(!selection.admits("a", &own(&["x"]), &[]));
    }

    #[test]
    fn groups_are_named_in_singular_or_plural() {
        assert_eq!(GroupBy::parse("host,paths"), Ok(GroupBy::HOST_AND_PATHS));
        assert_eq!(GroupBy::parse(""), Ok(GroupBy::default()));
        let all = GroupBy { host: true, paths: true, tags: true };
        assert_eq!(GroupBy::parse("hosts,path,tag"), Ok(all));
        assert!(GroupBy::parse("foo").is_err());
    }

    #[test]
    fn a_groups_key_is_sorted() {
        let all = GroupBy::parse("host,paths,tags").unwrap();
        let key = all.key("h", &own(&["z", "a"]), &own(&["/srv", "/etc"]));
        assert_eq!(key.tags, Some(own(&["a", "z"])));
        assert_eq!(key.paths, Some(own(&["/etc", "/srv"])));
        assert_eq!(all.key("h", &[], &[]).tags, None);
        assert_eq!(GroupBy::default().key("h", &own(&["a"]), &own(&["/"])), GroupKey::default());
    }
}
