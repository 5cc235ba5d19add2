use std::fs::Permissions;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use restic_oracle::SmallDisk;
use rustix::fs::Mode;

use super::BackendErrorKind::{NoSpace, NotFound, PermissionDenied, ReadOnly};
use super::folder::tolerate_unsupported;
use super::*;
use crate::backend::suite::Subject;
use crate::id::Id;

async fn subject() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    Subject::new(Arc::new(Local::new(&path))).in_folder(path).keeping(folder)
}

crate::backend_suite!(subject);
crate::backend_folder_suite!(subject);

const DATA: Bytes = Bytes::from_static(b"a pack");

fn pack() -> Handle {
    Handle::new(FileType::Pack, Id::of(&DATA))
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// Every name below a folder.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(self::names(&path));
        }
        names.push(path);
    }
    names
}

#[tokio::test]
async fn a_repository_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/there/yet");
    let local = Local::new(&path);
    local.create().await.unwrap();
    local.save(&Handle::CONFIG, DATA).await.unwrap();
    local.save(&pack(), DATA).await.unwrap();
    for folder in [path.clone(), path.join("keys"), path.join("data/ff")] {
        assert_eq!(mode(folder), 0o700);
    }
    assert_eq!(mode(path.join("config")), 0o400);
    assert_eq!(mode(path.join(pack().path())), 0o400);
}

#[tokio::test]
async fn a_config_that_a_group_may_read_lets_the_group_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let local = Local::new(path);
    local.save(&Handle::CONFIG, DATA).await.unwrap();
    fs::set_permissions(path.join("config"), Permissions::from_mode(0o440)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o2770)).unwrap();
    local.save(&pack(), DATA).await.unwrap();
    local.save(&Handle::CONFIG, DATA).await.unwrap();
    assert_eq!(mode(path.join(pack().path())), 0o440);
    assert_eq!(mode(path.join("config")), 0o440);
    assert_eq!(mode(path.join("data")), 0o770);
    assert_eq!(fs::metadata(path.join("data")).unwrap().mode() & 0o2000, 0o2000);
}

#[tokio::test]
async fn a_file_that_is_there_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path());
    let inode = || fs::metadata(folder.path().join(pack().path())).unwrap().ino();
    local.save(&pack(), DATA).await.unwrap();
    let first = inode();
    local.save(&pack(), DATA).await.unwrap();
    assert_eq!(inode(), first);
}

#[test]
fn temporary_files_have_restics_form() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path());
    let file = local.folder.temporary(&folder.path().join("name")).unwrap();
    let name = file.path().file_name().unwrap().to_str().unwrap();
    let digits = name.strip_prefix("name-tmp-").unwrap();
    assert!(digits.parse::<u64>().is_ok(), "{name}");
    assert_eq!(mode(file.path()), 0o600);
}

#[tokio::test]
async fn the_path_may_be_any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let name = std::ffi::OsString::from_vec(b"back\xffups \n".to_vec());
    let local = Local::new(folder.path().join(name));
    local.create().await.unwrap();
    local.save(&pack(), DATA).await.unwrap();
    assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
    assert!(local.properties().location.ends_with("back\u{fffd}ups \n"));
    assert!(local.free_space().await.unwrap().is_some_and(|bytes| bytes > 0));
}

#[tokio::test]
async fn a_pipe_under_a_files_name_is_an_error_and_no_wait() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path());
    local.create().await.unwrap();
    let path = folder.path().join(pack().path());
    let (fifo, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
    assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap_err().kind, Permanent);
    assert_eq!(local.stat(&pack()).await.unwrap_err().kind, Permanent);
    assert!(local.list(FileType::Pack).await.unwrap().is_empty());
    local.save(&pack(), DATA).await.unwrap();
    assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
}

#[tokio::test]
async fn a_save_that_fails_leaves_no_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path());
    // A file cannot take the name of a folder.
    let path = folder.path().join(pack().path());
    fs::create_dir_all(&path).unwrap();
    assert_eq!(local.save(&pack(), DATA).await.unwrap_err().kind, Permanent);
    assert_eq!(names(path.parent().unwrap()), [path]);
}

#[test]
fn a_dropped_save_leaves_no_temporary_file() {
    for round in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let pack = pack();
            let mut save = local.save(&pack, vec![1; round << 20].into());
            let _ = futures_util::poll!(&mut save);
        });
        // Waits for what has begun.
        drop(runtime);
        let files = names(folder.path());
        let temporary = files.iter().any(|path| path.to_string_lossy().contains("-tmp-"));
        assert!(!temporary, "{files:?}");
        if let Ok(found) = fs::metadata(folder.path().join(pack().path())) {
            assert_eq!(found.len(), (round as u64) << 20);
        }
    }
}

#[tokio::test]
async fn a_missing_repository_has_no_free_space() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path().join("missing"));
    assert_eq!(local.free_space().await.unwrap_err().kind, NotFound);
}

#[test]
fn what_the_system_says_is_understood() {
    for (errno, kind) in [
        (Errno::NOENT, NotFound),
        (Errno::NOSPC, NoSpace),
        (Errno::DQUOT, NoSpace),
        (Errno::ROFS, ReadOnly),
        (Errno::ACCESS, PermissionDenied),
        (Errno::PERM, PermissionDenied),
        (Errno::NOTDIR, Permanent),
        (Errno::NAMETOOLONG, Permanent),
        (Errno::FBIG, Permanent),
        (Errno::IO, BackendErrorKind::Transient),
        (Errno::STALE, BackendErrorKind::Transient),
        (Errno::TIMEDOUT, BackendErrorKind::Transient),
    ] {
        assert_eq!(Failure::from(errno).of("save", None).kind, kind, "{errno:?}");
    }
    for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS] {
        tolerate_unsupported(Err(errno.into())).unwrap();
    }
    tolerate_unsupported(Err(Errno::IO.into())).unwrap_err();
}

#[tokio::test]
async fn a_full_disk_is_told_and_left_without_a_temporary_file() {
    let Some(disk) = SmallDisk::mount("size=2m,mode=700") else { return };
    let local = Local::new(disk.path());
    local.create().await.unwrap();
    local.save(&pack(), DATA).await.unwrap();
    let large = Bytes::from(vec![1; 3 << 20]);
    let handle = Handle::new(FileType::Pack, Id::of(&large));
    let before = names(disk.path());
    assert_eq!(local.save(&handle, large).await.unwrap_err().kind, NoSpace);
    assert_eq!(names(disk.path()), before);
    assert!(local.free_space().await.unwrap().is_some_and(|bytes| bytes > 1 << 20));
    assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
}

#[tokio::test]
async fn a_disk_without_room_for_names_is_told() {
    let Some(disk) = SmallDisk::mount("size=2m,nr_inodes=4") else { return };
    let local = Local::new(disk.path());
    assert_eq!(local.create().await.unwrap_err().kind, NoSpace);
    assert_eq!(local.save(&pack(), DATA).await.unwrap_err().kind, NoSpace);
}

#[tokio::test]
async fn a_read_only_disk_is_told_and_can_be_read() {
    let Some(disk) = SmallDisk::mount("size=2m") else { return };
    let local = Local::new(disk.path());
    local.save(&pack(), DATA).await.unwrap();
    disk.make_read_only();
    let other = Handle::new(FileType::Key, pack().id);
    assert_eq!(local.save(&other, DATA).await.unwrap_err().kind, ReadOnly);
    assert_eq!(local.remove(&pack()).await.unwrap_err().kind, ReadOnly);
    assert_eq!(local.load(&pack(), Extent::Whole).await.unwrap(), DATA);
    // Nothing has to be written for it.
    local.save(&pack(), DATA).await.unwrap();
}
