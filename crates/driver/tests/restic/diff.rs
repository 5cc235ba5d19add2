//! `diff`, compared with what the real restics say.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use restic_oracle::{Outcome, Program, Repo, Scratch, Version};

use crate::{init_cheaply, one_restic};

fn backup(repo: &Repo, folder: &Path) {
    let mut command = one_restic().command(repo);
    command.args(["backup", "--host", "test", folder.file_name().unwrap().to_str().unwrap()]);
    Outcome::of(command.current_dir(folder.parent().unwrap())).success();
}

/// Two snapshots that differ in every way that one can think of.
fn two_snapshots(scratch: &Scratch) -> (Repo, [String; 2]) {
    let repo = scratch.repo("repo");
    init_cheaply(&repo);
    let top = scratch.folder("top");
    let at = |name: &str| top.join(name);
    for folder in ["common/deep", "gone/deep", "changes", "becomes a file"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for file in ["common/deep/file", "gone/deep/file", "gone/a", "changes/edited", "changes/mode"] {
        fs::write(at(file), file).unwrap();
    }
    fs::write(at("becomes a link"), "file").unwrap();
    symlink("nowhere", at("gone/link")).unwrap();
    fs::write(at("umläut \u{1f600}"), vec![7; 3_000_000]).unwrap();
    backup(&repo, &top);
    fs::remove_dir_all(at("gone")).unwrap();
    fs::remove_dir(at("becomes a file")).unwrap();
    fs::write(at("becomes a file"), "new").unwrap();
    fs::remove_file(at("becomes a link")).unwrap();
    symlink("nowhere", at("becomes a link")).unwrap();
    fs::write(at("changes/edited"), "edited").unwrap();
    fs::set_permissions(at("changes/mode"), Permissions::from_mode(0o700)).unwrap();
    fs::create_dir_all(at("new/deep")).unwrap();
    fs::write(at("new/deep/file"), "new").unwrap();
    fs::write(at("umläut \u{1f600}"), vec![8; 3_000_000]).unwrap();
    backup(&repo, &top);
    let listed = one_restic().run(&repo, ["snapshots", "--json"]).success().json();
    let id = |n: usize| listed[n]["short_id"].as_str().unwrap().to_owned();
    (repo, [id(0), id(1)])
}

#[test]
fn differences_are_told_as_restic_does() {
    let scratch = Scratch::new();
    let (repo, [one, other]) = two_snapshots(&scratch);
    let inside = |id: &str, folder: &str| format!("{id}:top/{folder}");
    let pairs = [
        (one.clone(), other.clone()),
        (other.clone(), one.clone()),
        (one.clone(), one.clone()),
        (inside(&one, "changes"), inside(&other, "changes")),
        (one.clone(), "latest".to_owned()),
    ];
    for restic in [Version::V0_18, Version::V0_19].map(Program::restic) {
        for (one, other) in &pairs {
            for options in
                [&[][..], &["--metadata"], &["--json"], &["--json", "--metadata"], &["-q"]]
            {
                let arguments = [&["diff", one, other], options].concat();
                // Without its 0.18's message on the index.
                let theirs = restic.run(&repo, &arguments).success();
                let ours = one_restic().run(&repo, &arguments).success();
                assert_eq!(ours.text(), theirs.text(), "{}: {arguments:?}", restic.name);
            }
        }
    }
}

#[test]
fn what_cannot_be_compared_ends_with_1() {
    let scratch = Scratch::new();
    let (repo, [one, other]) = two_snapshots(&scratch);
    let nowhere = format!("{one}:nowhere");
    let restic = Program::restic(Version::V0_19);
    for arguments in
        [&[&*one][..], &[&*one, "ffffffff"], &[&*nowhere, &*other], &[&*one, &*other, &*one]]
    {
        for program in [&restic, &one_restic()] {
            program.run(&repo, [&["diff"], arguments].concat()).exits(1);
        }
    }
}
