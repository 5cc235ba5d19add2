//! Who may do what with a repository's files, and what is left behind in its folders.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use restic_oracle::SshdOptions;
use restic_repo::backend::{Backend, Extent};
use restic_repo::{FileType, Handle};
use restic_sftp::Options;

use crate::testbed::{Testbed, files, sample};

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn a_repository_is_its_owners_alone_whatever_the_servers_umask() {
    for umask in ["0000", "0022", "0277"] {
        let testbed = Testbed::with(&SshdOptions::internal(&format!("-u {umask}")));
        let path = testbed.path().join("not/there/yet");
        let sftp = testbed.direct(&path, Options::default()).await.unwrap();
        sftp.create().await.unwrap();
        let (id, data) = sample(1, 1000);
        let pack = Handle::new(FileType::Pack, id);
        sftp.save(&Handle::CONFIG, data.clone()).await.unwrap();
        sftp.save(&pack, data).await.unwrap();
        for folder in [path.clone(), path.join("keys"), path.join("data/ff")] {
            assert_eq!(mode(folder), 0o700, "umask {umask}");
        }
        assert_eq!(mode(path.join("config")), 0o400);
        assert_eq!(mode(path.join(pack.path())), 0o400);
    }
}

#[tokio::test]
async fn a_config_that_a_group_may_read_lets_the_group_in() {
    let testbed = Testbed::new();
    let path = testbed.path();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o2770)).unwrap();
    fs::write(path.join("config"), "config").unwrap();
    fs::set_permissions(path.join("config"), Permissions::from_mode(0o440)).unwrap();
    let sftp = testbed.sftp().await;
    let (id, data) = sample(1, 1000);
    let pack = Handle::new(FileType::Pack, id);
    sftp.save(&pack, data.clone()).await.unwrap();
    sftp.save(&Handle::CONFIG, data).await.unwrap();
    assert_eq!(mode(path.join(pack.path())), 0o440);
    assert_eq!(mode(path.join("config")), 0o440);
    assert_eq!(mode(path.join("data")), 0o2770, "files made in it belong to the group too");
}

#[tokio::test]
async fn a_path_may_have_any_characters_and_be_relative() {
    let testbed = Testbed::new();
    let path = testbed.path().join("back ups \u{e9}\n'\"*");
    let sftp = testbed.direct(&path, Options::default()).await.unwrap();
    sftp.create().await.unwrap();
    let (id, data) = sample(1, 1000);
    let key = Handle::new(FileType::Key, id);
    sftp.save(&key, data.clone()).await.unwrap();
    assert_eq!(fs::read(path.join(key.path())).unwrap(), data);
    assert!(sftp.free_space().await.unwrap().is_some_and(|bytes| bytes > 0));
}

#[tokio::test]
async fn a_save_that_fails_or_is_dropped_leaves_no_temporary_file() {
    let testbed = Testbed::new();
    let sftp = testbed.sftp().await;
    sftp.create().await.unwrap();
    // A file cannot take the name of a folder.
    let (id, data) = sample(1, 1000);
    let blocked = Handle::new(FileType::Key, id);
    fs::create_dir(testbed.path().join(blocked.path())).unwrap();
    sftp.save(&blocked, data).await.unwrap_err();
    assert_eq!(files(&testbed.path()), Vec::<String>::new());

    for round in 0..30 {
        let (id, data) = sample(round, 3 << 20);
        let pack = Handle::new(FileType::Pack, id);
        let after = std::time::Duration::from_micros(round * 700);
        let _ = tokio::time::timeout(after, sftp.save(&pack, data)).await;
    }
    sftp.tidied().await;
    let left = files(&testbed.path());
    assert!(!left.iter().any(|name| name.contains("-restic-temp-")), "{left:?}");
}

#[tokio::test]
async fn a_pipe_under_a_files_name_is_an_error_and_no_wait() {
    let testbed = Testbed::new();
    let sftp = testbed.sftp().await;
    sftp.create().await.unwrap();
    let (id, data) = sample(1, 1000);
    let pack = Handle::new(FileType::Pack, id);
    let pipe = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, testbed.path().join(pack.path()), pipe, mode, 0).unwrap();
    let error = sftp.load(&pack, Extent::Whole).await.unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    assert!(sftp.list(FileType::Pack).await.unwrap().is_empty());
    sftp.save(&pack, data.clone()).await.unwrap();
    assert_eq!(sftp.load(&pack, Extent::Whole).await.unwrap(), data);
}

#[tokio::test]
async fn hundreds_of_files_at_once_do_not_run_into_the_limit_of_open_files() {
    let testbed = Testbed::new();
    let options = Options { connections: 300, ..Options::default() };
    let sftp = testbed.direct(&testbed.path(), options).await.unwrap();
    sftp.create().await.unwrap();
    let samples: Vec<_> = (0..300).map(|seed| sample(seed, 70_000)).collect();
    let save = samples.iter().map(|(id, data)| {
        let pack = Handle::new(FileType::Pack, *id);
        let (sftp, data) = (&sftp, data.clone());
        async move {
            sftp.save(&pack, data.clone()).await.unwrap();
            assert_eq!(sftp.load(&pack, Extent::Whole).await.unwrap(), data);
        }
    });
    futures_util::future::join_all(save).await;
    assert_eq!(sftp.list(FileType::Pack).await.unwrap().len(), 300);
}
