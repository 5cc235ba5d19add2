//! Lists of snapshots.

use std::path::Path;

use restic_repo::Id;
use restic_repo::snapshot::{Group, GroupKey, Snapshot};
use restic_repo::time::{Timestamp, Zone};
use serde::Serialize;

use crate::environment::Environment;
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
    /// Why it is kept, where that is asked for.
    pub reasons: Vec<String>,
    /// How many bytes were read for it, if its summary says so (restic 0.17 and later write one).
    pub size: Option<u64>,
}

impl Row {
    /// The row of a snapshot, with its time on the clocks of `zone`.
    pub fn new((id, snapshot): &(Id, Snapshot), zone: &Zone) -> Self {
        Self {
            id: id.short(),
            time: snapshot.time.in_zone(zone).date_time(),
            hostname: snapshot.hostname.clone(),
            tags: snapshot.tags.clone(),
            paths: snapshot.paths.clone(),
            reasons: Vec::new(),
            size: snapshot.summary.as_ref().map(|summary| summary.total_bytes_processed),
        }
    }
}

/// A snapshot in one line, as restic names it in `ls` and `restore`.
pub fn describe((id, snapshot): &(Id, Snapshot)) -> String {
    format!(
        "snapshot {} of [{}] at {} by {}@{}",
        id.short(),
        snapshot.paths.join(" "),
        go_time(&snapshot.time),
        snapshot.username,
        snapshot.hostname
    )
}

/// A time as Go prints it: `2026-11-22 20:21:32.440560693 +0000 UTC`.
pub fn go_time(time: &Timestamp) -> String {
    let fraction = match time.subsec_nanoseconds() {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    let minutes = time.offset() / 60;
    let offset = format!("{:+03}{:02}", minutes / 60, (minutes % 60).abs());
    let zone = if minutes == 0 { "UTC" } else { &offset };
    format!("{}{fraction} {offset} {zone}", time.date_time())
}

/// What the zone of this machine is called below a table.
pub fn zone_name(environment: &Environment) -> String {
    match environment.raw("TZ") {
        None if Path::new("/etc/localtime").exists() => "local time".to_owned(),
        None => "UTC".to_owned(),
        Some(name) => {
            let name = name.to_string_lossy();
            let name = name.strip_prefix(':').unwrap_or(&name);
            Zone::named(name).map_or("UTC", |_| name).to_owned()
        }
    }
}

/// A table of snapshots, the oldest first as they are given. `zone` names the zone of the times.
pub fn table(rows: &[Row], compact: bool, zone: &str) -> String {
    let has_size = rows.iter().any(|row| row.size.is_some());
    let has_reasons = !compact && rows.iter().any(|row| !row.reasons.is_empty());
    let mut header = match compact {
        true => vec!["ID", "Time", "Host", "Tags  "],
        false => vec!["ID", "Time", "Host      ", "Tags      "],
    };
    if has_reasons {
        header.push("Reasons");
    }
    if !compact {
        header.push("Paths");
    }
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
        if has_reasons {
            cells.push(row.reasons.join("\n"));
        }
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

/// The line above a group's table; none if all snapshots are in one group.
pub fn header(key: &GroupKey) -> Option<String> {
    let mut shared = Vec::new();
    if !key.hostname.is_empty() {
        shared.push(format!("host [{}]", key.hostname));
    }
    if let Some(tags) = &key.tags {
        shared.push(format!("tags [{}]", tags.join(", ")));
    }
    if let Some(paths) = &key.paths {
        shared.push(format!("paths [{}]", paths.join(", ")));
    }
    (!shared.is_empty()).then(|| format!("snapshots for ({}):", shared.join(", ")))
}

/// A snapshot as `snapshots --json` shows it: all its own fields, and its id.
#[derive(Debug, Serialize)]
pub struct WithId<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    id: Id,
    short_id: String,
}

impl<'a> From<&'a (Id, Snapshot)> for WithId<'a> {
    fn from((id, snapshot): &'a (Id, Snapshot)) -> Self {
        Self { snapshot, id: *id, short_id: id.short() }
    }
}

/// A group as `snapshots --json --group-by` shows it.
#[derive(Debug, Serialize)]
pub struct JsonGroup<'a> {
    group_key: &'a GroupKey,
    snapshots: Vec<WithId<'a>>,
}

impl<'a> From<&'a Group<'a>> for JsonGroup<'a> {
    fn from(group: &'a Group<'a>) -> Self {
        let snapshots = group.snapshots.iter().map(|&entry| entry.into()).collect();
        Self { group_key: &group.key, snapshots }
    }
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
            reasons: Vec::new(),
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
            header(&all).as_deref(),
            Some("snapshots for (host [vm], tags [x], paths [/srv]):")
        );
        assert_eq!(header(&GroupKey::default()), None);
    }

    /// A snapshot of restic 0.19.1, as `snapshots --json` shows it.
    const SAMPLE: &str = r#"{"time":"2026-11-22T19:19:16.296493531+01:00","tree":"f01d0cdf5a1f80759cd579163cbd3c9c8ebb2e81c96155e47dddd2148aa5d5c4","paths":["/srv/js/src"],"hostname":"h","username":"root","tags":["t1"],"program_version":"restic 0.19.1","summary":{"backup_start":"2026-11-22T19:19:16.296493531+01:00","backup_end":"2026-11-22T19:19:16.986668456+01:00","files_new":3,"files_changed":0,"files_unmodified":0,"dirs_new":5,"dirs_changed":0,"dirs_unmodified":0,"data_blobs":3,"tree_blobs":6,"data_added":7909,"data_added_packed":2153,"total_files_processed":3,"total_bytes_processed":5005},"id":"cd5ba5b6ab5fc64d5b45cdf2c2abc1a2e6437ddc4915281239b3953905551152","short_id":"cd5ba5b6"}"#;

    fn sample() -> (Id, Snapshot) {
        let (stored, id) = SAMPLE.split_once(",\"id\":\"").unwrap();
        let snapshot = Snapshot::decode(format!("{stored}}}").as_bytes()).unwrap();
        (id[..64].parse().unwrap(), snapshot)
    }

    #[test]
    fn json_has_the_id_behind_the_snapshots_own_fields() {
        let snapshots = [sample()];
        let line = json::line(&[WithId::from(&snapshots[0])]);
        assert_eq!(String::from_utf8(line).unwrap(), format!("[{SAMPLE}]\n"));
        let by = restic_repo::snapshot::GroupBy { host: true, paths: false, tags: false };
        let groups = restic_repo::snapshot::group(&snapshots, by);
        let groups: Vec<_> = groups.iter().map(JsonGroup::from).collect();
        assert_eq!(
            String::from_utf8(json::line(&groups)).unwrap(),
            format!(
                "[{{\"group_key\":{{\"hostname\":\"h\",\"paths\":null,\"tags\":null}},\
                 \"snapshots\":[{SAMPLE}]}}]\n"
            )
        );
    }

    #[test]
    fn a_snapshot_is_named_in_one_line() {
        assert_eq!(
            describe(&sample()),
            "snapshot cd5ba5b6 of [/srv/js/src] at 2026-11-22 19:19:16.296493531 +0100 +0100 by root@h"
        );
        let time = |text: &str| go_time(&serde_json::from_value(text.into()).unwrap());
        assert_eq!(time("2024-01-03T00:00:00Z"), "2024-01-03 00:00:00 +0000 UTC");
        assert_eq!(time("2024-01-03T00:00:00.5-03:30"), "2024-01-03 00:00:00.5 -0330 -0330");
    }

    #[test]
    fn the_zone_is_named_as_go_does() {
        let name = |value: &str| zone_name(&Environment::of(&[("TZ", value)]));
        assert_eq!(name("UTC"), "UTC");
        assert_eq!(name(""), "UTC");
        assert_eq!(name("No/Where"), "UTC");
    }

    #[test]
    fn a_snapshot_makes_a_row() {
        let row = Row::new(&sample(), &Zone::UTC);
        assert_eq!((row.id.as_str(), row.time.as_str()), ("cd5ba5b6", "2026-11-22 18:19:16"));
        assert_eq!((row.hostname.as_str(), row.size), ("h", Some(5005)));
    }
}
