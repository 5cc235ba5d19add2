//! Every recorded call, once more.
//!
//! Snapshots that were removed before the repositories were saved are stood in for by others: what differs by
//! that is said in [`STAND_INS`].

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::front_end::{Ended, FrontEnd};
use crate::oned::Oned;
use crate::recording::{self, Call, Recording};

/// Snapshots that are no more, and those in their places.
const STAND_INS: [(&str, &str); 9] = [
    ("66c01fd7", "3ca42df5"),
    ("656950ef", "3ca42df5"),
    ("b132bf66", "712770e0"),
    ("3feebbe9", "ca6964ef"),
    ("a82ecfeb", "02961853"),
    ("edade278", "712770e0"),
    ("63d274e3", "ca6964ef"),
    ("0efe8f14", "02961853"),
    ("34950d5d", "7ea1e40e"),
];

/// The files in them, where they have others than those that are no more; and where ours are right and those
/// of the recording are not: without an increment given, the disks are those of the newest.
const PATHS: [(&str, &str, &str); 5] = [
    ("restore/incremental_id2_name_noip", "backup/disk.0.2", "backup/disk.0.1"),
    ("restore/incremental_last", "backup/disk.0.3", "backup/disk.0.4"),
    ("restore/disk_id_nonic", "100/2/backup/disk.0.0", "100/1/backup/disk.0.4"),
    ("restore/tm_local_latest_of_unflattened_chain", "backup/disk.0.0", "backup/disk.0.1"),
    ("ls/tm_local_latest", "backup/disk.0.0", "backup/disk.0.1"),
];

fn stand_in(text: &str) -> String {
    STAND_INS.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

fn expected(name: &str, text: &str) -> String {
    let paths = PATHS.iter().filter(|(case, ..)| *case == name);
    paths.fold(stand_in(text), |text, (_, old, new)| text.replace(old, new))
}

/// The number of the datastore of a message, or of a URL, that is on S3.
fn is_s3(case: &Recording) -> bool {
    case.name.contains("/s3_")
}

fn play(front_end: &FrontEnd, case: &Recording, oned: Option<&Oned>) -> Ended {
    let stdin = stand_in(&front_end.adapt(&case.stdin));
    let stdin = match case.is_encoded {
        true => BASE64_STANDARD.encode(stdin),
        false => stdin,
    };
    let arguments: Vec<_> = case.arguments.iter().map(|argument| stand_in(argument)).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    front_end.run(&case.action, &arguments, stdin.as_bytes(), oned)
}

#[test]
fn ls_tells_where_the_disks_are() {
    let front_end = FrontEnd::new();
    for case in recording::of("ls") {
        println!("{}", case.name);
        let ended = play(&front_end, &case, None);
        if case.name.contains("incr4_other_repo") {
            // Increment 4 is whole. Only the one behind it is elsewhere.
            let disks = "{\"0\":\"restic://102//4:02961853/var/lib/one/datastores/100/1/backup/disk.0.4\"}\n";
            assert_eq!(ended.success(), disks);
            continue;
        }
        assert_eq!(ended.success(), expected(&case.name, &case.stdout), "{}", case.name);
    }
}

#[test]
fn stat_tells_how_large_disks_are() {
    let front_end = FrontEnd::new();
    for case in recording::of("stat") {
        println!("{}", case.name);
        let ended = play(&front_end, &case, None);
        match case.code {
            255 => assert!(ended.error().contains("XML"), "{ended:?}"),
            _ if is_s3(&case) => assert!(ended.error().contains("RESTIC_BACKEND"), "{ended:?}"),
            _ => assert_eq!(ended.success(), case.stdout, "{}", case.name),
        }
    }
}

/// As in OpenNebula 6.6, where nothing comes on standard input.
#[test]
fn the_message_may_be_the_first_argument() {
    let front_end = FrontEnd::new();
    let cases = recording::of("stat");
    let case = cases.iter().find(|case| case.name == "stat/tm_local_chain2").unwrap();
    let message = BASE64_STANDARD.encode(front_end.adapt(&case.stdin));
    let ended = front_end.run("stat", &[&message, "2"], b"", None);
    assert_eq!(ended.success(), case.stdout);
}

#[test]
fn monitor_tells_how_full_the_server_is() {
    let front_end = FrontEnd::new();
    for case in recording::of("monitor") {
        println!("{}", case.name);
        if case.name.ends_with("ok_first") {
            std::fs::remove_dir_all(front_end.base()).unwrap();
        }
        let ended = play(&front_end, &case, None);
        if case.code != 0 || is_s3(&case) {
            ended.error();
            continue;
        }
        let numbers = |text: &str| {
            let lines = text.lines().map(|line| line.split_once('=').unwrap());
            let lines = lines.map(|(name, number)| {
                (name.to_owned(), number.strip_suffix('M').unwrap().parse::<u64>().unwrap())
            });
            lines.collect::<Vec<_>>()
        };
        let (ours, theirs) = (numbers(ended.success()), numbers(&case.stdout));
        let names = |numbers: &[(String, u64)]| {
            numbers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&ours), names(&theirs));
        assert!(front_end.base().is_dir(), "the folder was not made");
        let df =
            std::process::Command::new("df").arg("-PBM").arg(front_end.base()).output().unwrap();
        let df = String::from_utf8(df.stdout).unwrap();
        let df: Vec<_> = df.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(format!("{}M", ours[1].1), df[1], "the total is not that of df");
        let (used, of_df) = (ours[0].1, df[2].trim_end_matches('M').parse::<u64>().unwrap());
        assert!(used.abs_diff(of_df) < 4096, "{used} {of_df}"); // others write meanwhile
    }
}

#[test]
fn restore_makes_images_and_a_template() {
    let front_end = FrontEnd::new();
    for case in recording::of("restore") {
        println!("{}", case.name);
        let oned = Oned::start(case.calls.clone());
        let ended = play(&front_end, &case, Some(&oned));
        if is_s3(&case) {
            assert!(ended.error().contains("RESTIC_BACKEND"), "{ended:?}");
            continue;
        }
        let made = |method: &str| method.ends_with(".allocate");
        let wanted: Vec<_> = case
            .calls
            .iter()
            .filter(|call| made(&call.method))
            .map(|Call { method, arguments, .. }| {
                let arguments = arguments.iter().map(|text| expected(&case.name, text));
                (method.clone(), arguments.collect::<Vec<_>>())
            })
            .collect();
        let asked = oned.asked();
        let asked: Vec<_> =
            asked.into_iter().map(|asked| (asked.method, asked.arguments)).collect();
        assert_eq!(asked, wanted, "{}: {ended:?}", case.name);
        match case.name.as_str() {
            "restore/error_image_name_taken" => assert_eq!(
                ended.error(),
                "Error restoring disk image: [one.image.allocate] Error allocating a new image. NAME is \
                 already taken by IMAGE 23."
            ),
            "restore/error_snapshot_in_other_repo" => {
                let error = ended.error();
                assert!(error.contains("Backup does not contain any disks"), "{error}");
                assert!(error.contains("95fcea88") && error.contains("job_N"), "{error}");
            }
            "restore/error_malformed_stdin" => {
                ended.error();
            }
            _ => assert_eq!(ended.success(), case.stdout, "{}", case.name),
        }
    }
}

#[test]
fn images_are_made_in_the_name_of_the_user() {
    let front_end = FrontEnd::new();
    let cases = recording::of("restore");
    let case = cases.iter().find(|case| case.name.ends_with("as_user_alice")).unwrap();
    let oned = Oned::start(case.calls.clone());
    play(&front_end, case, Some(&oned)).success();
    for asked in oned.asked() {
        assert!(asked.body.contains("<string>serveradmin:alice:"), "{}", asked.body);
    }
}

#[test]
fn the_downloader_prints_commands_for_a_shell() {
    let front_end = FrontEnd::new();
    for case in recording::of("restic_downloader") {
        println!("{}", case.name);
        // Others were at work at the same time.
        let call = case.calls.iter().find(|call| call.method == "one.datastore.info").unwrap();
        let answer = adapt_answer(&front_end, &call.answer);
        let oned = Oned::start(vec![Call { answer, ..call.clone() }]);
        let ended = play(&front_end, &case, Some(&oned));
        if is_s3(&case) {
            assert!(ended.error().contains("RESTIC_BACKEND"), "{ended:?}");
            continue;
        }
        let url = stand_in(&case.arguments[0]);
        let program = env!("CARGO_BIN_EXE_one-restic");
        assert_eq!(
            ended.success(),
            format!("command=\"'{program}' datastore stream '{url}'\"\nclean_command=\"true\"\n"),
            "{}",
            case.name
        );
        let asked = oned.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!((&asked[0].method, &asked[0].arguments), (&call.method, &call.arguments));
    }
}

/// The description of a datastore in an answer, with the server of this test in it.
pub fn adapt_answer(front_end: &FrontEnd, answer: &str) -> String {
    let document = roxmltree::Document::parse(answer).unwrap();
    let text = document.descendants().find(|node| node.has_tag_name("string")).unwrap();
    let adapted = front_end.adapt(text.text().unwrap());
    let escaped = adapted.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    crate::oned::success(&format!("<string>{escaped}</string>"))
}

#[test]
fn actions_of_other_datastores_are_refused_as_ever() {
    let front_end = FrontEnd::new();
    for action in ["cp", "clone", "mkfs", "snap_delete", "snap_revert", "snap_flatten"] {
        let case = recording::of(action).remove(0);
        let ended = play(&front_end, &case, None);
        assert_eq!(ended.code, Some(case.code));
        assert_eq!(ended.stderr, format!("{action}: Operation not supported\n"));
    }
}
