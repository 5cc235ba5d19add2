//! Servers that do not let us do what we want: is that said, and what kind of failure is it?

use std::fs;
use std::path::Path;

use restic_oracle::{SmallDisk, Sshd, SshdOptions};
use restic_repo::backend::BackendErrorKind::{
    Authentication, NoSpace, PermissionDenied, ReadOnly, Transient,
};
use restic_repo::backend::{Backend, Extent};
use restic_repo::{FileType, Handle};
use restic_sftp::Options;

use crate::testbed::{Testbed, Told, files, sample};

fn pack(seed: u64, length: usize) -> (Handle, bytes::Bytes) {
    let (id, data) = sample(seed, length);
    (Handle::new(FileType::Pack, id), data)
}

#[tokio::test]
async fn a_server_that_only_lets_read_is_told_and_can_be_read() {
    let testbed = Testbed::with(&SshdOptions::internal("-R"));
    let (handle, data) = pack(1, 100_000);
    let path = testbed.path().join(handle.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, &data).unwrap();
    let sftp = testbed.sftp().await;
    assert_eq!(sftp.load(&handle, Extent::Whole).await.unwrap(), data);
    assert_eq!(sftp.list(FileType::Pack).await.unwrap().len(), 1);
    let (other, data) = pack(2, 1000);
    assert_eq!(sftp.save(&other, data).await.unwrap_err().kind, PermissionDenied);
    assert_eq!(sftp.remove(&handle).await.unwrap_err().kind, PermissionDenied);
}

#[tokio::test]
async fn a_server_without_sftp_is_told_with_a_remedy() {
    let testbed = Testbed::with(&SshdOptions::without_sftp());
    let error = testbed.direct(&testbed.path(), Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("Subsystem in sshd_config"), "{error}");
    assert!(!error.kind().is_transient());
}

#[tokio::test]
async fn a_key_that_is_not_let_in_is_told_at_once() {
    let testbed = Testbed::new();
    let told = Told::default();
    let sftp = testbed.proxied(told.impatient()).await.unwrap();
    sftp.create().await.unwrap();
    // Who was let in once, need not be let in again.
    fs::write(testbed.server.folder().join("user_key.pub"), "").unwrap();
    testbed.proxy.cut();
    let (handle, data) = pack(1, 1000);
    let error = sftp.save(&handle, data).await.unwrap_err();
    assert_eq!(error.kind, Authentication, "{error}");
    assert_eq!(testbed.proxy.connections(), 2, "it was tried once");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let testbed = Testbed::new();
    testbed.proxy.refuse(true);
    let error = testbed.proxied(Options::default()).await.unwrap_err();
    assert_eq!(error.kind(), Transient, "{error}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_left_without_a_temporary_file() {
    let Some(disk) = SmallDisk::mount("size=2m,mode=700") else { return };
    let testbed = Testbed::new();
    let sftp = testbed.direct(disk.path(), Options::default()).await.unwrap();
    sftp.create().await.unwrap();
    let (small, small_data) = pack(1, 1000);
    sftp.save(&small, small_data.clone()).await.unwrap();
    let before = files(disk.path());
    let (large, data) = pack(2, 3 << 20);
    let error = sftp.save(&large, data).await.unwrap_err();
    assert_eq!(error.kind, NoSpace, "{error}");
    assert_eq!(files(disk.path()), before);
    assert!(sftp.free_space().await.unwrap().is_some_and(|bytes| bytes > 1 << 20));
    assert_eq!(sftp.load(&small, Extent::Whole).await.unwrap(), small_data);
}

#[tokio::test]
async fn a_disk_without_room_for_names_is_told() {
    let Some(disk) = SmallDisk::mount("size=2m,nr_inodes=4") else { return };
    let testbed = Testbed::new();
    let sftp = testbed.direct(disk.path(), Options::default()).await.unwrap();
    let error = sftp.create().await.unwrap_err();
    assert_eq!(error.kind, NoSpace, "{error}");
    let (handle, data) = pack(1, 1000);
    assert_eq!(sftp.save(&handle, data).await.unwrap_err().kind, NoSpace);
}

#[tokio::test]
async fn a_read_only_disk_is_told_and_can_be_read() {
    let Some(disk) = SmallDisk::mount("size=2m") else { return };
    let testbed = Testbed::new();
    let sftp = testbed.direct(disk.path(), Options::default()).await.unwrap();
    let (handle, data) = pack(1, 1000);
    sftp.save(&handle, data.clone()).await.unwrap();
    disk.make_read_only();
    let (other, other_data) = pack(2, 1000);
    let error = sftp.save(&other, other_data).await.unwrap_err();
    assert_eq!(error.kind, ReadOnly, "{error}");
    assert_eq!(sftp.remove(&handle).await.unwrap_err().kind, ReadOnly);
    assert_eq!(sftp.load(&handle, Extent::Whole).await.unwrap(), data);
}

#[tokio::test]
async fn a_user_who_is_locked_into_a_folder_has_a_repository_there() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can lock a user into a folder");
        return;
    }
    // All folders above it must belong to root alone; /tmp does not.
    let root = tempfile::tempdir_in("/run").unwrap();
    fs::create_dir(root.path().join("srv")).unwrap();
    let lock = format!("ChrootDirectory {}", root.path().display());
    let options = SshdOptions::internal("").line(lock).line("ForceCommand internal-sftp");
    let testbed = Testbed::around(Sshd::with(&options));
    let sftp = testbed.direct(Path::new("/srv/repo"), Options::default()).await.unwrap();
    sftp.create().await.unwrap();
    let (handle, data) = pack(1, 1000);
    sftp.save(&handle, data.clone()).await.unwrap();
    assert_eq!(fs::read(root.path().join("srv/repo").join(handle.path())).unwrap(), data);
}
