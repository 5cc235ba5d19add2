//! What `forget` keeps is what the real restic keeps, and for the same reasons.

use std::collections::BTreeMap;

use restic_oracle::{Outcome, Program, Repo, Scratch, Version};
use restic_repo::Id;
use restic_repo::forget::{Count, GroupPlan, Policy, plan};
use restic_repo::progress::Silent;
use restic_repo::snapshot::{GroupBy, Snapshot, TagList, group};
use restic_repo::time::{Timestamp, Zone};
use serde_json::{Value, json};

use crate::{files, locks, made_cheaply, one_restic};

/// How many policies are tried in all, unless `POLICIES` says otherwise.
const POLICIES: usize = 45;
/// One history for each zone in which restic runs.
const ZONES: [&str; 3] = ["UTC", "Europe/Berlin", "America/New_York"];
/// A day in seconds.
const DAY: i64 = 86_400;
/// 2023-03-20T00:00:00Z, before summer time begins.
const SPRING: i64 = 1_679_270_400;
/// 2100-01-01T00:00:00Z.
const FUTURE: i64 = 4_102_444_800;

/// Numbers that are the same in every run: SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// Snapshots of several machines over three years: now many in an hour, now none in a month, from clocks
/// in all kinds of zones. Those of equal times are alike in all that a policy looks at, because restic
/// takes them in any order.
fn history(chance: &mut Chance, zone: &str) -> Vec<Snapshot> {
    let named = |name| Zone::named(name).unwrap_or_else(|| panic!("tzdata lacks {name}"));
    let home = named(zone);
    let zones = ["UTC", "Asia/Kathmandu", "Pacific/Auckland", "Europe/Berlin"].map(named);
    let mut snapshots: Vec<Snapshot> = Vec::new();
    let mut seconds = SPRING;
    for number in 0..250 {
        let pause = chance.pick(&[60, 1800, 3600, 3600, 7200, DAY, DAY, DAY, 3 * DAY, 20 * DAY]);
        seconds += 1 + chance.below(pause as u64) as i64;
        let made = if chance.one_in(40) { seconds + FUTURE - SPRING } else { seconds };
        let zone = if chance.one_in(3) { chance.pick(&[0, 1, 2, 3]) } else { 9 };
        let zone = zones.get(zone).unwrap_or(&home);
        // No moment comes twice by accident.
        let time = Timestamp::from_unix_in(made, number, zone);
        let paths = chance.pick(&[&["/srv"][..], &["/srv", "/etc"], &["/etc", "/srv"], &["/"]]);
        let tags = chance.pick(&[&[][..], &[], &["a"], &["b", "a"], &["a", "b"], &["c d"]]);
        let snapshot = Snapshot {
            hostname: chance.pick(&["vm-1", "vm-1", "vm-2", ""]).to_owned(),
            tags: texts(tags),
            ..Snapshot::new(time, Id::of(b"no tree"), texts(paths))
        };
        for twin in 0..chance.pick(&[1, 1, 1, 1, 1, 1, 2, 3]) {
            snapshots.push(Snapshot { username: format!("twin {twin}"), ..snapshot.clone() });
        }
    }
    snapshots
}

/// A policy, and the options that ask restic for it.
fn policy(chance: &mut Chance) -> (Policy, Vec<String>) {
    let mut policy = Policy::default();
    let mut options = Vec::new();
    let counts = [
        ("last", &mut policy.last),
        ("hourly", &mut policy.hourly),
        ("daily", &mut policy.daily),
        ("weekly", &mut policy.weekly),
        ("monthly", &mut policy.monthly),
        ("yearly", &mut policy.yearly),
    ];
    for (name, count) in counts {
        if chance.one_in(4) {
            let text = chance.pick(&["1", "2", "3", "5", "12", "40", "1000", "unlimited"]);
            *count = text.parse().unwrap();
            options.push(format!("--keep-{name}={text}"));
        }
    }
    let spans = [
        ("", &mut policy.within),
        ("-hourly", &mut policy.within_hourly),
        ("-daily", &mut policy.within_daily),
        ("-weekly", &mut policy.within_weekly),
        ("-monthly", &mut policy.within_monthly),
        ("-yearly", &mut policy.within_yearly),
    ];
    for (name, span) in spans {
        if chance.one_in(6) {
            let text =
                chance.pick(&["1h", "30h", "1d", "7d", "1m", "5m3d", "1y", "2y5m7d3h", "99y"]);
            *span = text.parse().unwrap();
            options.push(format!("--keep-within{name}={text}"));
        }
    }
    for list in ["a", "a,b", "", "c d", "x"] {
        if chance.one_in(12) {
            policy.tags.push(TagList::parse(list));
            options.push(format!("--keep-tag={list}"));
        }
    }
    if policy.is_empty() {
        (policy.last, options) = (Count::AtMost(3), vec!["--keep-last=3".to_owned()]);
    }
    (policy, options)
}

/// What is compared of a group: everything of a snapshot but which of its twins it is.
fn essence(array: &Value) -> BTreeMap<String, Value> {
    let snapshot =
        |snapshot: &Value| json!([snapshot["time"], snapshot["tags"], snapshot["paths"]]);
    let list =
        |list: &Value| list.as_array().map(|list| list.iter().map(snapshot).collect::<Vec<_>>());
    let group = |group: &Value| {
        let reasons = group["reasons"].as_array().map(|reasons| {
            let reason = |reason: &Value| json!([snapshot(&reason["snapshot"]), reason["matches"]]);
            reasons.iter().map(reason).collect::<Vec<_>>()
        });
        let key = json!([group["host"], group["paths"], group["tags"]]).to_string();
        (key, json!([list(&group["keep"]), list(&group["remove"]), reasons]))
    };
    array.as_array().unwrap().iter().map(group).collect()
}

/// Our plan in the form of restic's JSON, as far as it is compared.
fn as_json(groups: &[GroupPlan<'_>]) -> Value {
    let list = |list: Vec<Value>| if list.is_empty() { Value::Null } else { Value::Array(list) };
    let snapshot = |(_, snapshot): &(Id, Snapshot)| {
        let Snapshot { time, tags, paths, .. } = snapshot;
        let tags = if tags.is_empty() { Value::Null } else { json!(tags) };
        json!({ "time": time, "tags": tags, "paths": paths })
    };
    let group = |GroupPlan { key, verdict }: &GroupPlan<'_>| {
        let keep = verdict.keep.iter().map(|kept| snapshot(kept.snapshot)).collect();
        let remove = verdict.remove.iter().map(|entry| snapshot(entry)).collect();
        let reason = |kept: &restic_repo::forget::Kept<'_>| json!({ "snapshot": snapshot(kept.snapshot), "matches": kept.reasons });
        json!({
            "host": key.hostname, "paths": key.paths, "tags": key.tags,
            "keep": list(keep), "remove": list(remove),
            "reasons": list(verdict.keep.iter().map(reason).collect()),
        })
    };
    groups.iter().map(group).collect()
}

/// The snapshots as restic takes them: paths sorted, tags too where they make groups.
fn as_restic_takes_them(snapshots: &[(Id, Snapshot)], by: GroupBy) -> Vec<(Id, Snapshot)> {
    let mut snapshots = snapshots.to_vec();
    for (_, snapshot) in &mut snapshots {
        snapshot.paths.sort();
        if by.tags {
            snapshot.tags.sort();
        }
    }
    snapshots
}

fn dry(program: &Program, repo: &Repo, zone: &str, options: &[String]) -> Outcome {
    let mut command = program.command(repo);
    command.env("TZ", zone).args(["forget", "--dry-run", "--no-lock"]).args(options);
    Outcome::of(&mut command)
}

#[tokio::test]
async fn policies_keep_what_restic_keeps_for_the_same_reasons() {
    let number = std::env::var("POLICIES").ok().map(|text| text.parse().unwrap());
    let number: usize = number.unwrap_or(POLICIES).div_ceil(ZONES.len());
    let restic = Program::restic(Version::V0_18);
    let (mut compared, mut refused) = (0, 0);
    for (seed, zone) in ZONES.into_iter().enumerate() {
        let mut chance = Chance(seed as u64);
        let scratch = Scratch::new();
        let repo = scratch.repo("repo");
        let repository = made_cheaply(&repo).await;
        for snapshot in history(&mut chance, zone) {
            repository.save_snapshot(&snapshot).await.unwrap();
        }
        let snapshots = repository.readable_snapshots(&Silent).await.unwrap();
        for _ in 0..number {
            let (policy, mut options) = policy(&mut chance);
            let by = chance.pick(&["host,paths", "host", "paths", "tags", "host,tags", ""]);
            options.extend(["--json".to_owned(), format!("--group-by={by}")]);
            let by = by.parse().unwrap();
            let snapshots = as_restic_takes_them(&snapshots, by);
            let zone_here = Zone::named(zone).unwrap();
            let groups = group(&snapshots, by);
            let ours = plan(groups, &policy, false, Timestamp::now(), &zone_here);
            let theirs = dry(&restic, &repo, zone, &options);
            match ours {
                Ok(groups) => {
                    let (ours, theirs) =
                        (essence(&as_json(&groups)), essence(&theirs.success().json()));
                    assert_eq!(ours, theirs, "{policy} in {zone}: {options:?}");
                    compared += snapshots.len();
                }
                Err(error) => {
                    let theirs = theirs.exits(1);
                    let said = "refusing to delete last snapshot of snapshot group";
                    assert!(error.to_string().contains(said), "{error}");
                    assert!(theirs.complaint().contains(said), "{theirs}");
                    refused += 1;
                }
            }
        }
    }
    println!(
        "{} policies, {refused} of them refused by both, {compared} decisions on snapshots",
        number * ZONES.len()
    );
    assert!(compared > 0);
}

/// Makes a repository with a few snapshots that no two of which are alike.
async fn small(scratch: &Scratch) -> Repo {
    let repo = scratch.repo("repo");
    let repository = made_cheaply(&repo).await;
    for (number, (time, host, tags)) in [
        ("2024-01-01T10:00:00Z", "vm", &["a", "b"][..]),
        ("2024-01-01T11:00:00Z", "vm", &[]),
        ("2024-01-02T10:00:00+01:00", "vm", &["a"]),
        ("2024-02-02T10:00:00Z", "vm", &[]),
        ("2100-02-02T10:00:00Z", "vm", &["<&>"]),
    ]
    .into_iter()
    .enumerate()
    {
        let paths = if number == 3 { &["/srv", "/etc"][..] } else { &["/etc", "/srv"] };
        let snapshot = Snapshot {
            hostname: host.to_owned(),
            tags: texts(tags),
            ..Snapshot::new(time.parse().unwrap(), Id::of(b"no tree"), texts(paths))
        };
        repository.save_snapshot(&snapshot).await.unwrap();
    }
    repo
}

const COMMANDS: [&[&str]; 11] = [
    &["--keep-last=2"],
    &["-l", "1", "-d", "1", "-y", "unlimited", "--keep-tag=a,b"],
    &["-H", "3", "-w", "2", "-m", "9", "--keep-within", "1d", "--compact"],
    &["--keep-within-daily=1y", "--keep-tag=a", "--keep-tag=x", "-c", "-v"],
    &["--keep-daily=2", "--group-by=tags,host", "--tag=a", "-v"],
    &["--unsafe-allow-remove-all", "--tag=a", "--group-by="],
    &["--keep-last=3", "--host=nobody"],
    &["--keep-last=1", "--quiet"],
    &["latest"],
    &["latest", "--keep-last=1", "--host=nobody"],
    &["cafe"],
];

#[tokio::test]
async fn tables_and_json_are_restics() {
    let scratch = Scratch::new();
    let repo = small(&scratch).await;
    let restic = Program::restic(Version::V0_19);
    for command in COMMANDS {
        for json in [false, true] {
            let mut options = texts(command);
            options.extend(json.then(|| "--json".to_owned()));
            let theirs = dry(&restic, &repo, "UTC", &options);
            let ours = dry(&one_restic(), &repo, "UTC", &options).exits(theirs.code.unwrap());
            // Only we say which repository it is.
            let opened = |line: &&str| !line.starts_with("repository ");
            let ours_said: Vec<_> = ours.text().lines().filter(opened).collect();
            let they_said: Vec<_> = theirs.text().lines().collect();
            assert_eq!(ours_said, they_said, "{options:?}");
            assert_eq!(ours.stderr.is_empty(), theirs.stderr.is_empty(), "{ours}{theirs}");
        }
    }
}

const REFUSED: [(&[&str], &str); 9] = [
    (&[], "no policy was specified"),
    (&["--unsafe-allow-remove-all"], "--unsafe-allow-remove-all is not allowed unless"),
    (&["--keep-tag=never"], "refusing to delete last snapshot of snapshot group \"host vm, path"),
    (&["--keep-last=-1"], "keep-last"),
    (&["--keep-within=1w"], "keep-within"),
    (&["--keep-within=-1d"], ""),
    (&["--keep-within=3"], "keep-within"),
    (&["--no-lock", "--keep-last=1"], "--no-lock is only applicable"),
    (&["--group-by=size", "--keep-last=1"], ""),
];

#[tokio::test]
async fn what_restic_refuses_is_refused_and_nothing_is_removed() {
    let scratch = Scratch::new();
    let repo = small(&scratch).await;
    let before = files(&repo.location);
    for (options, said) in REFUSED {
        for program in [Program::restic(Version::V0_19), one_restic()] {
            let outcome = program.run(&repo, [&["forget"], options].concat()).exits(1);
            assert!(outcome.complaint().contains(said), "{outcome}");
        }
    }
    assert_eq!(files(&repo.location), before);
}

fn ids(program: &Program, repo: &Repo) -> Vec<String> {
    let listed = program.run(repo, ["snapshots", "--json"]).success().json();
    let id = |snapshot: &Value| snapshot["id"].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_the_rest_is_not() {
    let scratch = Scratch::new();
    let repo = small(&scratch).await;
    let restic = Program::restic(Version::V0_18);
    let before = ids(&restic, &repo);
    one_restic().run(&repo, ["forget", "--keep-last=3", "--dry-run"]).success();
    assert_eq!(ids(&restic, &repo), before);
    one_restic().run(&repo, ["forget", "--keep-last=3"]).success();
    assert_eq!(ids(&restic, &repo), before[2..]);
    one_restic().run(&repo, ["forget", &before[2][..8], &before[3], "cafe"]).success();
    assert_eq!(ids(&restic, &repo), before[4..]);
    assert!(locks(&repo).is_empty());
}

#[tokio::test]
async fn what_cannot_be_removed_ends_with_3() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let repo = small(&scratch).await;
    let folder = repo.location.join("snapshots");
    let permit = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&folder, permissions).unwrap();
    };
    permit(0o500);
    let probe = std::fs::write(folder.join("probe"), "");
    // Root is not stopped by permissions.
    let code = if probe.is_ok() { 0 } else { 3 };
    one_restic().run(&repo, ["forget", "--keep-last=1"]).exits(code);
    permit(0o700);
}
