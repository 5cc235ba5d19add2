//! A folder to back up that has one of everything.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::data::{ctr, lines, write_sparse};
use crate::tree::Powers;

/// Fills an empty folder with files, names, links, modes, times and attributes of all kinds, about
/// 5 MiB of them; what takes more than an ordinary user's powers is put in where they suffice.
pub fn write(folder: &Path) {
    let powers = Powers::here(folder);
    files(&sub(folder, "files"));
    names(&sub(folder, "names"));
    links(&sub(folder, "links"), powers);
    modes(&sub(folder, "modes"), powers);
    times(&sub(folder, "times"));
    attributes(&sub(folder, "attributes"), powers);
    special(&sub(folder, "special"), powers);
    fs::create_dir(folder.join("empty")).expect("a new folder");
    fs::create_dir_all(folder.join("deep/a/b/c/d/e/f/g/h")).expect("new folders");
}

fn sub(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).expect("a new folder in an empty one");
    path
}

fn files(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| put(&folder.join(name), bytes);
    write("empty", b"");
    write("one-byte", b"x");
    write("noise", &ctr(b"noise", 3 << 20));
    write("text", &lines("text", 1_500_017));
    write("shortest-chunk", &ctr(b"chunk", 512 << 10));
    write("zeros", &vec![0; (512 << 10) + 1]);
    let piece = ctr(b"piece", 4096);
    write_sparse(
        &folder.join("sparse"),
        6 << 20,
        &[((3 << 20) + 777, &piece), ((6 << 20) - 3, b"end")],
    )
    .expect("a new file");
    for number in 0..100 {
        write(&format!("many-{number:03}"), format!("file {number}\n").as_bytes());
    }
}

fn names(folder: &Path) {
    let long = "a".repeat(255);
    let names: [&[u8]; 31] = [
        "ünïcödé-файл-文件-😀".as_bytes(),
        "decomposed-e\u{301}".as_bytes(),
        b"less<more>&amp;",
        b"quote\"double",
        b"quote'single",
        b"back\\slash",
        b"new\nline",
        b"tab\tand\rreturn",
        b"control\x01\x1b\x7f",
        b"bell\x07back\x08feed\x0cvertical\x0b",
        b" leading and trailing ",
        b"-dash",
        b"--help",
        b"*?[glob]",
        b"$HOME `id`; true",
        b"\\u00e9",
        b"\\xff",
        b"%41%2f",
        "no-break\u{a0}space".as_bytes(),
        "zero\u{200d}width".as_bytes(),
        "line\u{2028}paragraph\u{2029}".as_bytes(),
        "mark\u{feff}".as_bytes(),
        "private\u{e000}".as_bytes(),
        "replacement-\u{fffd}".as_bytes(),
        "next-line-\u{85}".as_bytes(),
        "unassigned-\u{10ffff}".as_bytes(),
        b"latin1-\xe9\xff",
        b"cut-short-\xc3",
        b"surrogate-\xed\xa0\x80",
        b"mixed-\xc3\xa9-\xe9",
        long.as_bytes(),
    ];
    for name in names {
        put(&folder.join(OsStr::from_bytes(name)), name);
    }
}

fn links(folder: &Path, powers: Powers) {
    let targets: [(&str, &[u8]); 5] = [
        ("relative", b"../files/text"),
        ("absolute", b"/etc/hostname"),
        ("dangling", b"no/such/<target>&\"x\""),
        ("to-folder", b"../files"),
        ("no-utf8", b"target-\xff\xfe\xe9"),
    ];
    for (name, target) in targets {
        symlink(OsStr::from_bytes(target), folder.join(name)).expect("a new link");
        touch(&folder.join(name), 1_600_000_000, 7);
    }
    if powers.ownership {
        std::os::unix::fs::lchown(folder.join("absolute"), Some(12345), Some(54321))
            .expect("we have the power");
    }
    put(&folder.join("hard-1"), b"one file, three names");
    let other = sub(folder, "other");
    for name in [folder.join("hard-2"), other.join("hard-3")] {
        fs::hard_link(folder.join("hard-1"), name).expect("a new link");
    }
}

fn modes(folder: &Path, powers: Powers) {
    let modes = [("set-user", 0o4755), ("set-group", 0o2755), ("all", 0o7777), ("plain", 0o640)];
    for (name, mode) in modes {
        put(&folder.join(name), name.as_bytes());
        fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).expect("our file");
    }
    for (name, mode) in [("sticky", 0o1777), ("group", 0o2775), ("private", 0o700)] {
        let path = sub(folder, name);
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("our folder");
    }
    if powers.ownership {
        put(&folder.join("owned"), b"owned by nobody known");
        chown(folder.join("owned"), Some(12345), Some(54321)).expect("we have the power");
        // A file that its owner may not read cannot be backed up by its owner.
        put(&folder.join("none"), b"secret");
        fs::set_permissions(folder.join("none"), Permissions::from_mode(0o000)).expect("our file");
    }
}

fn times(folder: &Path) {
    let times = [
        ("whole-second", 1_500_000_000, 0),
        ("one-nanosecond", 1_500_000_000, 1),
        ("tenth", 1_500_000_000, 100_000_000),
        ("epoch", 0, 0),
        ("before-1970", -31_536_001, 999_999_999),
        ("year-2100", 4_102_444_800, 5),
        ("summer", 1_720_000_000, 0),
    ];
    for (name, seconds, nanoseconds) in times {
        put(&folder.join(name), b"");
        touch(&folder.join(name), seconds, nanoseconds);
    }
}

fn attributes(folder: &Path, powers: Powers) {
    let file = folder.join("file");
    put(&file, b"x");
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty())
            .expect("an attribute that can be set");
    };
    set(&file, "user.binary", b"\0\xff<bin>&");
    set(&file, "user.empty", b"");
    set(&file, "user.ünï", b"u");
    if powers.trusted_xattrs {
        set(&file, "trusted.name", b"t");
    }
    set(folder, "user.folder", b"f");
}

fn special(folder: &Path, powers: Powers) {
    let make = |name: &str, kind, device| {
        let path = folder.join(name);
        rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device)
            .expect("a new node");
        touch(&path, 1_600_000_000, 0);
    };
    make("pipe", FileType::Fifo, 0);
    if powers.devices {
        make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        make("block", FileType::BlockDevice, rustix::fs::makedev(259, 300));
    }
}

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("our file");
}

#[cfg(test)]
mod tests {
    use crate::{Program, Scratch, Tree, Version};

    /// 0.14 loses the bytes of a link's target that is no UTF-8.
    #[test]
    fn restic_0_18_and_0_19_bring_back_all_of_it() {
        let scratch = Scratch::new();
        let source = scratch.folder("source");
        super::write(&source);
        let tree = Tree::of(&source);
        for version in [Version::V0_18, Version::V0_19] {
            let restic = Program::restic(version);
            let repo = scratch.repo(version.name());
            restic.run(&repo, ["init"]).success();
            restic.run(&repo, ["backup", source.to_str().unwrap()]).success();
            let target = scratch.folder(&format!("restored-{}", version.name()));
            restic
                .run(&repo, ["restore", "latest", "--target", target.to_str().unwrap()])
                .success();
            tree.assert_same(&Tree::of(&target.join(source.strip_prefix("/").unwrap())));
        }
    }
}
