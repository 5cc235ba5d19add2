//! Which snapshot is meant.

use std::cmp::Reverse;

use super::{GroupBy, Snapshot};
use crate::error::{Error, Result};
use crate::handle::FileType;
use crate::id::Id;
use crate::time::Timestamp;

/// Tags that a snapshot must all have.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TagList(pub Vec<String>);

impl TagList {
    /// Reads tags with commas between them; spaces around a tag do not count. The empty text is one empty
    /// tag, which stands for a snapshot without tags.
    pub fn parse(text: &str) -> Self {
        Self(text.split(',').map(|tag| tag.trim().to_owned()).collect())
    }

    /// All tags of several lists, without the empty ones: what a new snapshot gets.
    pub fn flatten(lists: &[Self]) -> Vec<String> {
        lists.iter().flat_map(|list| &list.0).filter(|tag| !tag.is_empty()).cloned().collect()
    }

    /// Whether the snapshot has all these tags. The empty tag fits a snapshot that has none.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        // As in restic, tags behind an empty one are not looked at where a snapshot has none.
        for tag in &self.0 {
            if tag.is_empty() && snapshot.tags.is_empty() {
                return true;
            }
            if !snapshot.tags.contains(tag) {
                return false;
            }
        }
        true
    }
}

/// Which snapshots are meant, by what they say of themselves. An empty list means any.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// Made on any of these machines.
    pub hosts: Vec<String>,
    /// Having all tags of any of these lists.
    pub tags: Vec<TagList>,
    /// Of all these paths, and maybe more. They are compared as texts, so they should be absolute and
    /// clean.
    pub paths: Vec<String>,
}

impl Filter {
    /// Whether this means all snapshots.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.tags.is_empty() && self.paths.is_empty()
    }

    /// Whether the snapshot is meant.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.hostname))
            && (self.tags.is_empty() || self.tags.iter().any(|tags| tags.matches(snapshot)))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
    }
}

/// The snapshot that a user means by `query`: "latest" for the newest one that the filter means, else an
/// id or the beginning of one, for which the filter does not count.
///
/// # Errors
///
/// [`Error::NoMatch`], [`Error::Ambiguous`].
pub fn resolve<'a>(
    snapshots: &'a [(Id, Snapshot)],
    filter: &Filter,
    query: &str,
) -> Result<&'a (Id, Snapshot)> {
    let file_type = FileType::Snapshot;
    let found = if query == "latest" {
        latest(snapshots, filter, None)
    } else {
        let wanted = find_id(file_type, snapshots.iter().map(|(id, _)| *id), query)?;
        snapshots.iter().find(|(id, _)| *id == wanted)
    };
    found.ok_or_else(|| Error::NoMatch { file_type, query: query.to_owned() })
}

/// The newest snapshot that the filter means, and that is not after a certain time. Of several of the
/// same time, the last of the list.
pub fn latest<'a>(
    snapshots: &'a [(Id, Snapshot)],
    filter: &Filter,
    not_after: Option<Timestamp>,
) -> Option<&'a (Id, Snapshot)> {
    snapshots
        .iter()
        .filter(|(_, snapshot)| not_after.is_none_or(|limit| snapshot.time <= limit))
        .filter(|(_, snapshot)| filter.matches(snapshot))
        .max_by_key(|(_, snapshot)| snapshot.time)
}

/// The snapshot that a new one, already filled but for its tree, can build upon: the newest of its group
/// that is not after it.
///
/// Unlike in the groups of [`group`](super::group()), more paths or tags than the new one's do no harm.
/// restic's default groups by host and paths.
pub fn parent_of<'a>(
    new: &Snapshot,
    snapshots: &'a [(Id, Snapshot)],
    by: GroupBy,
) -> Option<&'a (Id, Snapshot)> {
    let filter = Filter {
        hosts: if by.host { vec![new.hostname.clone()] } else { Vec::new() },
        tags: if by.tags { vec![TagList(new.tags.clone())] } else { Vec::new() },
        paths: if by.paths { new.paths.clone() } else { Vec::new() },
    };
    latest(snapshots, &filter, Some(new.time))
}

/// The one id that begins with `prefix`, which may be of any length, also none.
///
/// # Errors
///
/// [`Error::NoMatch`], [`Error::Ambiguous`].
pub fn find_id(file_type: FileType, ids: impl IntoIterator<Item = Id>, prefix: &str) -> Result<Id> {
    let mut matches = ids.into_iter().filter(|id| id.to_hex().starts_with(prefix));
    let query = || prefix.to_owned();
    let Some(found) = matches.next() else {
        return Err(Error::NoMatch { file_type, query: query() });
    };
    match matches.count() {
        0 => Ok(found),
        others => Err(Error::Ambiguous { file_type, query: query(), count: others + 1 }),
    }
}

/// Splits "id:/sub/folder" at the first colon; the folder is empty if there is none.
pub fn split_subfolder(query: &str) -> (&str, &str) {
    query.split_once(':').unwrap_or((query, ""))
}

/// Sorts the newest to the front. Those of the same time are sorted by id, so the order is always the same.
pub fn sort_newest_first(snapshots: &mut [(Id, Snapshot)]) {
    snapshots.sort_by_key(|(id, snapshot)| (Reverse(snapshot.time), *id));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, second: u8) -> Id {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes[1] = second;
        Id::from_bytes(bytes)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    /// Made at this second of 2024, on this host, with these tags, of these paths.
    fn snapshot(second: u8, host: &str, tags: &[&str], paths: &[&str]) -> Snapshot {
        let time = format!("2024-01-01T00:00:{second:02}Z").parse().unwrap();
        Snapshot {
            hostname: host.to_owned(),
            tags: texts(tags),
            ..Snapshot::new(time, Id::default(), texts(paths))
        }
    }

    fn matches(tags: &[&str], lists: &[&str]) -> bool {
        let tags = snapshot(0, "h", tags, &[]);
        let lists = lists.iter().map(|list| TagList::parse(list)).collect();
        Filter { tags: lists, ..Filter::default() }.matches(&tags)
    }

    #[test]
    fn tag_lists_are_alternatives_of_tags_that_must_all_be_there() {
        assert!(matches(&["a", "b"], &[]));
        assert!(matches(&["a", "b"], &["a"]));
        assert!(matches(&["a", "b"], &[" b , a "]));
        assert!(!matches(&["a", "b"], &["a,c"]));
        assert!(matches(&["a", "b"], &["a,c", "b"]));
        assert!(matches(&[], &[""]));
        assert!(!matches(&["a"], &[""]));
        assert!(!matches(&[], &["a"]));
        assert!(matches(&[], &["a", ""]));
    }

    #[test]
    fn new_snapshots_get_all_tags_but_the_empty() {
        let lists = ["b,a", "", "a, ,c"].map(TagList::parse);
        assert_eq!(TagList::flatten(&lists), ["b", "a", "a", "c"]);
    }

    #[test]
    fn any_host_and_all_paths_must_match() {
        let snapshot = snapshot(0, "h", &[], &["/b", "/a"]);
        let filter = |hosts: &[&str], paths: &[&str]| Filter {
            hosts: texts(hosts),
            paths: texts(paths),
            ..Filter::default()
        };
        for (hosts, paths) in [(&[][..], &[][..]), (&["x", "h"], &["/a"]), (&["h"], &["/a", "/b"])]
        {
            assert!(filter(hosts, paths).matches(&snapshot), "{hosts:?} {paths:?}");
        }
        for (hosts, paths) in [(&["x"][..], &[][..]), (&[], &["/"]), (&["h"], &["/a", "/c"])] {
            assert!(!filter(hosts, paths).matches(&snapshot), "{hosts:?} {paths:?}");
        }
        assert!(filter(&[], &[]).is_empty());
        assert!(!filter(&["h"], &[]).is_empty());
    }

    #[test]
    fn the_latest_is_the_newest_and_of_equals_the_last() {
        let snapshots = [
            (id(1, 0), snapshot(2, "h", &[], &[])),
            (id(2, 0), snapshot(3, "h", &[], &[])),
            (id(3, 0), snapshot(3, "h", &[], &[])),
            (id(4, 0), snapshot(1, "g", &[], &[])),
        ];
        let any = Filter::default();
        assert_eq!(latest(&snapshots, &any, None).unwrap().0, id(3, 0));
        let limit = snapshot(2, "", &[], &[]).time;
        assert_eq!(latest(&snapshots, &any, Some(limit)).unwrap().0, id(1, 0));
        let other = Filter { hosts: texts(&["g"]), ..Filter::default() };
        assert_eq!(resolve(&snapshots, &other, "latest").unwrap().0, id(4, 0));
        let nobody = Filter { hosts: texts(&["x"]), ..Filter::default() };
        assert!(matches!(resolve(&snapshots, &nobody, "latest"), Err(Error::NoMatch { .. })));
        // An explicit id needs no filter.
        assert_eq!(resolve(&snapshots, &nobody, "02").unwrap().0, id(2, 0));
    }

    #[test]
    fn a_prefix_of_any_length_names_a_file_if_it_names_one_only() {
        let ids = [id(0xab, 0xc0), id(0xab, 0xd0), id(0x01, 0)];
        let find = |prefix: &str| find_id(FileType::Key, ids, prefix);
        assert_eq!(find("0").unwrap(), ids[2]);
        assert_eq!(find("abc").unwrap(), ids[0]);
        assert_eq!(find(&ids[1].to_hex()).unwrap(), ids[1]);
        assert!(matches!(find("ab"), Err(Error::Ambiguous { count: 2, .. })));
        assert!(matches!(find(""), Err(Error::Ambiguous { count: 3, .. })));
        for unknown in ["b", "ABC", "abcé", &format!("{}0", ids[0]), "latest"] {
            assert!(matches!(find(unknown), Err(Error::NoMatch { .. })), "{unknown}");
        }
        assert_eq!(find_id(FileType::Key, [ids[0]], "").unwrap(), ids[0]);
        // restic would say here that it found nothing.
        assert_eq!(find_id(FileType::Key, [Id::default()], "00").unwrap(), Id::default());
    }

    #[test]
    fn a_folder_stands_behind_the_first_colon() {
        assert_eq!(split_subfolder("latest"), ("latest", ""));
        assert_eq!(split_subfolder("latest:"), ("latest", ""));
        assert_eq!(split_subfolder("ab:/c:d"), ("ab", "/c:d"));
    }

    #[test]
    fn a_parent_has_at_least_the_paths_of_the_new_one_and_is_not_younger() {
        let snapshots = [
            (id(1, 0), snapshot(1, "h", &["t"], &["/a", "/b"])),
            (id(2, 0), snapshot(2, "h", &[], &["/a"])),
            (id(3, 0), snapshot(3, "g", &["t", "u"], &["/a"])),
            (id(4, 0), snapshot(9, "h", &["t"], &["/a"])),
        ];
        let parent = |new: &Snapshot, by: &str| {
            parent_of(new, &snapshots, by.parse().unwrap()).map(|(id, _)| id.as_bytes()[0])
        };
        let new = snapshot(4, "h", &["t"], &["/a"]);
        assert_eq!(parent(&new, "host,paths"), Some(2));
        assert_eq!(parent(&new, ""), Some(3));
        assert_eq!(parent(&new, "tags"), Some(3));
        assert_eq!(parent(&new, "host,tags"), Some(1));
        let more = snapshot(4, "h", &[], &["/b", "/a"]);
        assert_eq!(parent(&more, "host,paths"), Some(1));
        assert_eq!(parent(&more, "tags"), Some(3), "no tags are a part of any");
        assert_eq!(parent(&snapshot(4, "h", &[], &["/c"]), "host,paths"), None);
        assert_eq!(parent(&snapshot(0, "h", &[], &["/a"]), "host,paths"), None);
        assert_eq!(parent(&snapshot(9, "h", &[], &["/a"]), "host,paths"), Some(4));
    }

    #[test]
    fn the_newest_sort_to_the_front() {
        let mut snapshots = [(2, 1), (1, 1), (3, 2)]
            .map(|(name, second)| (id(name, 0), snapshot(second, "h", &[], &[])));
        sort_newest_first(&mut snapshots);
        assert_eq!(snapshots.map(|(id, _)| id.as_bytes()[0]), [3, 1, 2]);
    }
}
