//! `tag` changes what the real restic changes, and says the same.

use restic_oracle::{Outcome, Program, Repo, Scratch, Version};
use restic_repo::Id;
use restic_repo::snapshot::Snapshot;

use crate::rewrite::snapshots;
use crate::{copy, locks, made_cheaply, one_restic};

async fn sample(scratch: &Scratch) -> Repo {
    let repo = scratch.repo("repo");
    let repository = made_cheaply(&repo).await;
    for (second, tags) in [&[][..], &["a"], &["b", "a", "b"], &["c"]].into_iter().enumerate() {
        let time = format!("2024-01-01T00:00:{second:02}Z").parse().unwrap();
        let snapshot = Snapshot {
            hostname: format!("vm-{}", second % 2),
            tags: tags.iter().map(ToString::to_string).collect(),
            ..Snapshot::new(time, Id::of(b"no tree"), vec!["/srv".to_owned()])
        };
        repository.save_snapshot(&snapshot).await.unwrap();
    }
    repo
}

const COMMANDS: [&[&str]; 9] = [
    &["--add=x,y", "--add=a"],
    &["--remove=b", "--add=c", "--json"],
    &["--remove=a,b,c", "--host=vm-0"],
    &["--set=new,tags", "latest"],
    &["--set=", "latest"],
    &["--set=s", "--tag=a", "--json"],
    &["--remove=nothing"],
    &["--remove=nothing", "--json"],
    &["--add=x", "cafe"],
];

/// What was said, without the names of new snapshots.
fn said(outcome: &Outcome) -> Vec<String> {
    let known = |line: &str| line.split("\"new_snapshot_id\"").next().map(str::to_owned);
    let mut lines: Vec<_> = outcome.text().lines().filter_map(known).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn tags_become_what_restic_makes_of_them() {
    let scratch = Scratch::new();
    let repo = sample(&scratch).await;
    let restic = Program::restic(Version::V0_19);
    for (number, command) in COMMANDS.iter().enumerate() {
        let theirs = copy(&repo, &format!("theirs-{number}"));
        let ours = copy(&repo, &format!("ours-{number}"));
        let arguments = [&["tag"], *command].concat();
        let they = restic.run(&theirs, &arguments);
        let we = one_restic().run(&ours, &arguments).exits(they.code.unwrap());
        assert_eq!(said(&we), said(&they), "{command:?}");
        assert_eq!(snapshots(&ours), snapshots(&theirs), "{command:?}");
        assert!(locks(&ours).is_empty());
    }
}

#[tokio::test]
async fn the_first_snapshot_is_named_through_all_changes() {
    let scratch = Scratch::new();
    let repo = sample(&scratch).await;
    let first = one_restic().run(&repo, ["snapshots", "--json", "latest"]).success().json();
    for tag in ["x", "y"] {
        one_restic().run(&repo, ["tag", "--add", tag, "latest"]).success();
    }
    let last = one_restic().run(&repo, ["snapshots", "--json", "latest"]).success().json();
    assert_eq!(last[0]["original"], first[0]["id"]);
    assert_eq!(snapshots(&repo).len(), 4);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    let repo = scratch.repo("none");
    for (arguments, said) in [
        (&["tag"][..], "Fatal: nothing to do!"),
        (&["tag", "--set=a", "--add=b"], "Fatal: --set and --add/--remove cannot be given"),
    ] {
        let outcome = one_restic().run(&repo, arguments).exits(1);
        assert!(outcome.complaint().starts_with(said), "{outcome}");
    }
}
