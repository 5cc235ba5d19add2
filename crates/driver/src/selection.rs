//! Which snapshots a command works on.

use std::path::Path;

use clap::Args;
use restic_repo::snapshot::{Filter, GroupBy, TagList};

use crate::environment::Environment;
use crate::targets::absolute;

/// `--host`, `--tag` and `--path`. With a snapshot's id they count only if it is `latest`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectionArgs {
    /// Only snapshots of this host; repeat for several, empty for all [env: RESTIC_HOST]
    #[arg(short = 'H', long, value_name = "HOST", help_heading = "Which snapshots")]
    host: Vec<String>,

    /// Only snapshots with all of these tags; repeat for snapshots with either, empty for those without
    #[arg(long, value_name = "TAG[,TAG...]", help_heading = "Which snapshots")]
    tag: Vec<String>,

    /// Only snapshots that contain this absolute path; repeat for those that contain all of them
    #[arg(long, value_name = "PATH", help_heading = "Which snapshots")]
    path: Vec<String>,
}

impl SelectionArgs {
    /// With the default host from the environment.
    pub fn resolve(self, environment: &Environment) -> Filter {
        let mut hosts = self.host;
        if hosts.is_empty() {
            hosts.extend(environment.text("RESTIC_HOST"));
        }
        if hosts == [""] {
            hosts.clear();
        }
        let paths =
            self.path.iter().map(|path| absolute(Path::new(path)).to_string_lossy().into_owned());
        Filter {
            hosts,
            tags: self.tag.iter().map(|list| TagList::parse(list)).collect(),
            paths: paths.collect(),
        }
    }
}

/// Parses `host,paths,tags` or a part of it.
pub fn parse_group_by(text: &str) -> Result<GroupBy, String> {
    text.parse().map_err(|_| format!("cannot group by {text:?}, only by host, paths and tags"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(host: &[&str], tag: &[&str], path: &[&str]) -> SelectionArgs {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        SelectionArgs { host: own(host), tag: own(tag), path: own(path) }
    }

    #[test]
    fn the_host_comes_from_the_environment_unless_given() {
        let environment = Environment::of(&[("RESTIC_HOST", "vm")]);
        let hosts = |host: &[&str]| args(host, &[], &[]).resolve(&environment).hosts;
        assert_eq!(hosts(&[]), ["vm"]);
        assert_eq!(hosts(&["a", "b"]), ["a", "b"]);
        assert_eq!(hosts(&[""]), [""; 0]);
        assert!(SelectionArgs::default().resolve(&Environment::of(&[])).is_empty());
    }

    #[test]
    fn tags_come_in_lists_and_paths_are_made_absolute() {
        let filter =
            args(&[], &["x, y", ""], &["/srv/../etc/", "/"]).resolve(&Environment::of(&[]));
        assert_eq!(filter.tags, [TagList(vec!["x".into(), "y".into()]), TagList(vec!["".into()])]);
        assert_eq!(filter.paths, ["/etc", "/"]);
        let relative = args(&[], &[], &["a"]).resolve(&Environment::of(&[]));
        assert!(relative.paths[0].starts_with('/') && relative.paths[0].ends_with("/a"));
    }

    #[test]
    fn groups_have_known_names() {
        assert_eq!(parse_group_by("host,paths"), Ok(GroupBy::default()));
        assert!(parse_group_by("foo").unwrap_err().contains("only by host"));
    }
}
