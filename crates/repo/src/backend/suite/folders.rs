//! The promises about what others leave in a repository's folder.

use std::fs;

use super::subject::{Sample, Subject, listed_types};
use crate::backend::BackendErrorKind::{NotFound, TooLarge};
use crate::backend::Extent;
use crate::handle::FileType;

/// Files are where restic looks for them.
pub async fn the_layout_is_restics(subject: Subject) {
    let subject = subject.created().await;
    for folder in ["keys", "locks", "snapshots", "index", "data/00", "data/7f", "data/ff"] {
        assert!(subject.folder().join(folder).is_dir(), "{folder}");
    }
    assert_eq!(fs::read_dir(subject.folder().join("data")).unwrap().count(), 256);
    for file_type in FileType::ALL {
        let file = Sample::new(file_type, 1, 100);
        subject.save(&file).await;
        assert_eq!(fs::read(subject.folder().join(file.handle.path())).unwrap(), file.data);
    }
}

/// Folders that were never made, or were removed, are empty, and a save makes the one that it needs.
pub async fn a_missing_folder_is_empty_and_made_when_needed(subject: Subject) {
    fs::create_dir_all(subject.folder()).unwrap();
    for file_type in listed_types() {
        let file = Sample::new(file_type, 1, 1000);
        assert!(subject.list(file_type).await.is_empty());
        assert_eq!(subject.backend.stat(&file.handle).await.unwrap_err().kind, NotFound);
        subject.save(&file).await;
        assert_eq!(subject.load(&file).await, file.data);
        assert_eq!(subject.list(file_type).await, [file.info()].into());
    }
}

/// Where the repository's own folder is missing, a disk is not mounted, and nothing may be stored.
pub async fn a_missing_repository_is_not_made_by_a_save(subject: Subject) {
    let subject = subject.created().await;
    fs::remove_dir_all(subject.folder()).unwrap();
    for file_type in FileType::ALL {
        let file = Sample::new(file_type, 1, 1000);
        let error = subject.backend.save(&file.handle, file.data.clone()).await.unwrap_err();
        assert_eq!(error.kind, NotFound, "{error}");
    }
    assert!(!subject.folder().exists());
}

/// Foreign names, temporary files, folders, links and packs in the wrong place are passed over, and
/// left alone.
pub async fn what_is_not_a_file_of_ours_is_not_listed(subject: Subject) {
    let subject = subject.created().await;
    for file_type in listed_types() {
        let file = Sample::new(file_type, 1, 1000);
        subject.save(&file).await;
        let path = subject.folder().join(file.handle.path());
        let folder = path.parent().unwrap();
        // Ids that would be at home in this folder.
        let id = |last: &str| format!("{}{last:0>62}", &file.handle.id.to_hex()[..2]);
        let strays = [
            format!("{}-tmp-4711", file.handle.id),
            format!("{}-restic-temp-{}", file.handle.id, "0f".repeat(16)),
            id("")[..63].to_owned(),
            id("") + "0",
            id("A"),
            id("g"),
            ".nfs0001".to_owned(),
            "README".to_owned(),
        ];
        for stray in &strays {
            fs::write(folder.join(stray), "not ours").unwrap();
        }
        fs::create_dir(folder.join(id("d"))).unwrap();
        std::os::unix::fs::symlink(&path, folder.join(id("e"))).unwrap();
        if file_type == FileType::Pack {
            let data = subject.folder().join("data");
            let wrong = if file.handle.id.as_bytes()[0] == 0 { "01" } else { "00" };
            for place in ["", wrong, "deeper", "AB"] {
                fs::create_dir_all(data.join(place)).unwrap();
                fs::write(data.join(place).join(id("f")), "where it is not found").unwrap();
            }
        }
        assert_eq!(subject.list(file_type).await, [file.info()].into(), "{file_type}");
        for stray in &strays {
            assert_eq!(fs::read(folder.join(stray)).unwrap(), b"not ours");
        }
    }
}

/// A file that is there with another length is not what it should be, and a save makes it so.
pub async fn a_file_of_another_length_is_replaced(subject: Subject) {
    let subject = subject.created().await;
    for file_type in listed_types() {
        for planted in [0, 1, 999, 1001, 5000] {
            let file = Sample::new(file_type, planted, 1000);
            let path = subject.folder().join(file.handle.path());
            fs::write(&path, vec![0; planted as usize]).unwrap();
            subject.save(&file).await;
            assert_eq!(subject.load(&file).await, file.data, "{file_type} of {planted} bytes");
        }
    }
}

/// However large a file pretends to be, no more is read than its type allows; ranges of it can be.
pub async fn a_file_above_its_limit_is_not_loaded_whole(subject: Subject) {
    let subject = subject.created().await;
    for file_type in FileType::ALL {
        let handle = Sample::new(file_type, 1, 100).handle;
        let size = file_type.size_limit() + 1;
        let path = subject.folder().join(handle.path());
        fs::File::create(path).unwrap().set_len(size).unwrap();
        let error = subject.backend.load(&handle, Extent::Whole).await.unwrap_err();
        assert_eq!(error.kind, TooLarge, "{error}");
        assert_eq!(subject.backend.stat(&handle).await.unwrap(), size);
        let end = Extent::Range { offset: size - 10, length: 10 };
        assert_eq!(subject.backend.load(&handle, end).await.unwrap(), [0; 10][..]);
    }
}

/// After saves that were not dropped there are only the files themselves.
pub async fn saves_leave_no_temporary_files(subject: Subject) {
    let subject = subject.created().await;
    for file_type in FileType::ALL {
        let file = Sample::new(file_type, 1, 1000);
        subject.save(&file).await;
        subject.save(&file).await;
        let path = subject.folder().join(file.handle.path());
        let folder = path.parent().unwrap();
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let names: Vec<_> = files
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(names, [path.file_name().unwrap()]);
    }
}
