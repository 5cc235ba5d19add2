//! Lists of snapshots.

use restic_repo::Id;
use serde::Serialize;

use crate::report::number;
use crate::report::table::Table;

/// What a table shows of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The short id.
    pub id: String,
    /// When it was made, in local time: `2026-11-22 20:21:31`.
    pub time: String,
    /// The host it was made on.
    pub hostname: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What was backed up.
    pub paths: Vec<String>,
    /// How many bytes were read for it, if its summary says so (restic 0.17 and later write one).
    pub size: Option<u64>,
}

/// A table of snapshots, the oldest first as they are given. `zone` names the zone of the times.
pub fn table(rows: &[Row], compact: bool, zone: &str) -> String {
    let has_size = rows.iter().any(|row| row.size.is_some());
    let mut header = match compact {
        true => vec!["ID", "Time", "Host", "Tags  "],
        false => vec!["ID", "Time", "Host      ", "Tags      ", "Paths"],
    };
    if has_size {
        header.push("Size");
    }
    let mut table = Table::new(&header);
    if !compact && rows.iter().any(|row| row.paths.len() > 1) {
        table.space_rows();
    }
    for row in rows {
        let tags = row.tags.join(if compact { "\n" } else { "," });
        let mut cells = vec![row.id.clone(), row.time.clone(), row.hostname.clone(), tags];
        if !compact {
            cells.push(row.paths.join("\n"));
        }
        if has_size {
            cells.push(row.size.map(number::bytes).unwrap_or_default());
        }
        table.row(cells);
    }
    table.footer(format!("Timestamps shown in {zone}"));
    table.footer(format!("{} snapshots", rows.len()));
    table.render()
}

/// What the snapshots of one group have in common. A field is null where they are not grouped by it, or
/// have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GroupKey {
    /// The host; empty if not grouped by it.
    pub hostname: String,
    /// The paths, sorted.
    pub paths: Option<Vec<String>>,
    /// The tags, sorted.
    pub tags: Option<Vec<String>>,
}

impl GroupKey {
    /// The line above a group's table; none if all snapshots are in one group.
    pub fn header(&self) -> Option<String> {
        let mut shared = Vec::new();
        if !self.hostname.is_empty() {
            shared.push(format!("host [{}]", self.hostname));
        }
        if let Some(tags) = &self.tags {
            shared.push(format!("tags [{}]", tags.join(", ")));
        }
        if let Some(paths) = &self.paths {
            shared.push(format!("paths [{}]", paths.join(", ")));
        }
        (!shared.is_empty()).then(|| format!("snapshots for ({}):", shared.join(", ")))
    }
}

/// A snapshot as `snapshots --json` shows it: all its own fields, and its id.
#[derive(Debug, Serialize)]
pub struct WithId<S> {
    /// The snapshot as it is stored.
    #[serde(flatten)]
    pub snapshot: S,
    /// Its id.
    pub id: Id,
    /// The first eight digits of it.
    pub short_id: String,
}

impl<S> WithId<S> {
    /// This snapshot with its id.
    pub fn new(snapshot: S, id: Id) -> Self {
        Self { snapshot, id, short_id: id.short() }
    }
}

/// A group as `snapshots --json --group-by` shows it.
#[derive(Debug, Serialize)]
pub struct Group<S> {
    /// What its snapshots have in common.
    pub group_key: GroupKey,
    /// They themselves.
    pub snapshots: Vec<WithId<S>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;

    fn row(id: &str, time: &str, tags: &[&str], paths: &[&str]) -> Row {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Row {
            id: id.into(),
            time: format!("2026-11-22 {time}"),
            hostname: "vm".into(),
            tags: own(tags),
            paths: own(paths),
            size: Some(3896),
        }
    }

    fn three() -> Vec<Row> {
        vec![
            row("b462b719", "20:21:31", &[], &["/srv/src"]),
            row("a7643b13", "20:21:31", &["x", "y", "z"], &["/srv/src/a", "/srv/src/d"]),
            row("ccb712f3", "20:21:32", &[], &["/srv/src"]),
        ]
    }

    #[test]
    fn the_table_is_restics() {
        assert_eq!(
            table(&three(), false, "local time"),
            "\
ID        Time                 Host        Tags        Paths       Size
----------------------------------------------------------------------------
b462b719  2026-11-22 20:21:31  vm                      /srv/src    3.805 KiB

a7643b13  2026-11-22 20:21:31  vm          x,y,z       /srv/src/a  3.805 KiB
                                                       /srv/src/d

ccb712f3  2026-11-22 20:21:32  vm                      /srv/src    3.805 KiB
----------------------------------------------------------------------------
Timestamps shown in local time
3 snapshots
"
        );
    }

    #[test]
    fn the_compact_table_is_restics() {
        assert_eq!(
            table(&three(), true, "UTC"),
            "\
ID        Time                 Host  Tags    Size
------------------------------------------------------
b462b719  2026-11-22 20:21:31  vm            3.805 KiB
a7643b13  2026-11-22 20:21:31  vm    x       3.805 KiB
                                     y
                                     z
ccb712f3  2026-11-22 20:21:32  vm            3.805 KiB
------------------------------------------------------
Timestamps shown in UTC
3 snapshots
"
        );
    }

    #[test]
    fn without_any_summary_there_is_no_size() {
        let mut rows = three();
        rows.iter_mut().for_each(|row| row.size = None);
        assert!(
            table(&rows, false, "UTC")
                .starts_with("ID        Time                 Host        Tags        Paths\n")
        );
    }

    #[test]
    fn groups_say_what_they_share() {
        let own = |text: &str| Some(vec![text.to_owned()]);
        let all = GroupKey { hostname: "vm".into(), paths: own("/srv"), tags: own("x") };
        assert_eq!(
            all.header().as_deref(),
            Some("snapshots for (host [vm], tags [x], paths [/srv]):")
        );
        assert_eq!(GroupKey::default().header(), None);
    }

    #[test]
    fn json_has_the_id_behind_the_snapshots_own_fields() {
        #[derive(Serialize)]
        struct Stored {
            time: &'static str,
            paths: [&'static str; 1],
        }
        let stored = Stored { time: "2026-11-22T19:19:16+01:00", paths: ["/srv"] };
        let key = GroupKey { hostname: "h".into(), ..GroupKey::default() };
        let group = Group { group_key: key, snapshots: vec![WithId::new(&stored, Id::of(b""))] };
        let id = Id::of(b"");
        assert_eq!(
            String::from_utf8(json::line(&[group])).unwrap(),
            format!(
                "[{{\"group_key\":{{\"hostname\":\"h\",\"paths\":null,\"tags\":null}},\
                 \"snapshots\":[{{\"time\":\"2026-11-22T19:19:16+01:00\",\"paths\":[\"/srv\"],\
                 \"id\":\"{id}\",\"short_id\":\"e3b0c442\"}}]}}]\n"
            )
        );
    }
}
