//! A backup that goes well, and those that cannot.

use restic_oracle::data;

use crate::site::{HOST, Site};

#[test]
fn a_backup_is_made_on_the_host_and_restic_finds_it_where_and_as_upstream_puts_it() {
    let site = Site::new();
    let disk = data::ctr(b"disk", (3 << 20) + 5);
    let folder = site.lay_out(5, &disk);
    let outcome = site.back_up(5).success();
    let printed = String::from_utf8(outcome.stdout.clone()).unwrap();
    println!("{outcome}");
    let [snapshot] = &site.snapshots("5")[..] else { panic!("one snapshot is there") };
    let short = &snapshot["id"].as_str().unwrap()[..8];
    assert_eq!(printed, format!("{short} 3 raw\n"));
    let path = |name: &str| folder.join(name).display().to_string();
    assert_eq!(snapshot["paths"], serde_json::json!([path("disk.0.0"), path("vm.xml")]));
    assert_eq!(snapshot["tags"], serde_json::json!(["one-5"]));
    assert_eq!(site.restic("5", &["dump", short, &path("disk.0.0")]).success().stdout, disk);
    site.restic("5", &["check", "--read-data"]).success();
    assert!(site.locks("5").is_empty());
    // What was said is for the log of the VM.
    for line in outcome.complaint().lines() {
        assert!(line.starts_with("INFO: 5 "), "{line}");
    }
    assert!(outcome.complaint().contains(short), "{outcome} on {HOST}");
}
