//! The conformance suite: every promise of [`Backend`], as a test that any backend can be put to.
//!
//! A crate that has a backend writes an async function that makes a new, empty [`Subject`], and calls
//! [`backend_suite!`](crate::backend_suite) with its name. If the files are in a folder of this machine
//! that tests can reach behind the backend's back, it calls
//! [`backend_folder_suite!`](crate::backend_folder_suite) too. The macros need tokio with `macros` and
//! `rt-multi-thread`.
//!
//! The functions of this module are the promises. They panic where one is not kept.

#![allow(clippy::unwrap_used)] // A suite is a test.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::Backend;
use super::BackendErrorKind::{NotFound, TooShort};
use super::Extent;
use crate::handle::{FileType, Handle};

pub use folders::*;
pub use subject::Subject;

use subject::{Sample, listed_types};

mod folders;
mod subject;

/// One test each for the promises that can be tested through a backend alone.
///
/// The argument is the path of an `async fn() -> Subject`.
#[macro_export]
macro_rules! backend_suite {
    ($subject:path) => {
        $crate::backend_suite! { @tests promises $subject =>
            an_empty_repository_can_be_made_twice
            files_of_every_type_come_back
            an_empty_file_comes_back
            a_large_file_comes_back
            ranges_are_exact
            a_range_past_the_end_is_too_short
            what_is_missing_is_not_found
            saving_again_changes_nothing
            the_config_is_replaced
            the_config_is_never_listed
            a_removed_file_can_be_saved_again
            many_saves_and_loads_at_once
            many_saves_of_one_file_at_once
            a_dropped_save_leaves_all_or_nothing
            dropped_calls_do_no_harm
        }
    };
    (@tests $module:ident $subject:path => $($promise:ident)+) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    $crate::backend::suite::$promise($subject().await).await;
                }
            )+
        }
    };
}

/// One test each for the promises about what others leave in a repository's folder.
///
/// The argument is the path of an `async fn() -> Subject`, made with
/// [`Subject::in_folder`](crate::backend::suite::Subject::in_folder).
#[macro_export]
macro_rules! backend_folder_suite {
    ($subject:path) => {
        $crate::backend_suite! { @tests promises_about_folders $subject =>
            the_layout_is_restics
            a_missing_folder_is_empty_and_made_when_needed
            a_missing_repository_is_not_made_by_a_save
            what_is_not_a_file_of_ours_is_not_listed
            a_file_of_another_length_is_replaced
            a_file_above_its_limit_is_not_loaded_whole
            saves_leave_no_temporary_files
        }
    };
}

/// `create` succeeds where there is a repository already, and takes nothing away. A new one is empty.
pub async fn an_empty_repository_can_be_made_twice(subject: Subject) {
    let subject = subject.created().await;
    for file_type in FileType::ALL {
        assert!(subject.list(file_type).await.is_empty(), "{file_type}");
    }
    let pack = Sample::new(FileType::Pack, 1, 1000);
    subject.save(&pack).await;
    subject.backend.create().await.unwrap();
    assert_eq!(subject.load(&pack).await, pack.data);
    assert!(subject.backend.properties().connections > 0);
    subject.backend.free_space().await.unwrap();
}

/// What is saved can be loaded, measured, listed and removed, whatever its type.
pub async fn files_of_every_type_come_back(subject: Subject) {
    let subject = subject.created().await;
    for file_type in FileType::ALL {
        let files = [1, 2, 3].map(|seed| Sample::new(file_type, seed, 1000 * seed as usize));
        for file in &files {
            subject.save(file).await;
            assert_eq!(subject.load(file).await, file.data);
            assert_eq!(subject.backend.stat(&file.handle).await.unwrap(), file.info().size);
        }
        if file_type == FileType::Config {
            subject.backend.remove(&Handle::CONFIG).await.unwrap();
            continue;
        }
        assert_eq!(subject.list(file_type).await, files.iter().map(Sample::info).collect());
        subject.backend.remove(&files[1].handle).await.unwrap();
        assert_eq!(subject.list(file_type).await, [&files[0], &files[2]].map(Sample::info).into());
        assert_eq!(subject.load(&files[2]).await, files[2].data);
    }
}

/// A file may have no bytes.
pub async fn an_empty_file_comes_back(subject: Subject) {
    let subject = subject.created().await;
    let file = Sample::new(FileType::Snapshot, 1, 0);
    subject.save(&file).await;
    assert_eq!(subject.load(&file).await.len(), 0);
    assert_eq!(subject.list(FileType::Snapshot).await, [file.info()].into());
    assert_eq!(subject.range(&file, 0, 0).await.unwrap().len(), 0);
}

/// A pack of 20 MiB comes back, and so does a range that is most of it.
pub async fn a_large_file_comes_back(subject: Subject) {
    let subject = subject.created().await;
    let file = Sample::new(FileType::Pack, 1, 20 << 20);
    subject.save(&file).await;
    assert!(subject.load(&file).await == file.data, "the whole file differs");
    let (offset, length) = (4321, 19 << 20);
    let range = subject.range(&file, offset as u64, length).await.unwrap();
    assert!(range == file.data[offset..offset + length], "the range differs");
}

/// A range is exactly the bytes that were asked for.
pub async fn ranges_are_exact(subject: Subject) {
    let subject = subject.created().await;
    let file = Sample::new(FileType::Pack, 1, 300_000);
    subject.save(&file).await;
    for (offset, length) in [
        (0, 1),
        (0, 300_000),
        (0, 0),
        (1, 299_999),
        (65_536, 32_768),
        (131_071, 2),
        (299_999, 1),
        (150_000, 0),
        (300_000, 0),
    ] {
        let range = subject.range(&file, offset as u64, length).await.unwrap();
        assert!(range == file.data[offset..offset + length], "{length} bytes from {offset}");
    }
}

/// A file that ends before the range is `TooShort`, whatever the numbers, and nothing is given.
pub async fn a_range_past_the_end_is_too_short(subject: Subject) {
    let subject = subject.created().await;
    let file = Sample::new(FileType::Pack, 1, 1000);
    subject.save(&file).await;
    for (offset, length) in [
        (0, 1001),
        (999, 2),
        (1000, 1),
        (1001, 0),
        (u64::MAX, 1),
        (u64::MAX, 0),
        (1, usize::MAX),
        (0, usize::MAX),
        (u64::MAX, usize::MAX),
    ] {
        let error = subject.range(&file, offset, length).await.unwrap_err();
        assert_eq!(error.kind, TooShort, "{length} bytes from {offset}: {error}");
        assert_eq!(error.handle, Some(file.handle));
    }
}

/// Every operation on a missing file says `NotFound`, and which file.
pub async fn what_is_missing_is_not_found(subject: Subject) {
    let subject = subject.created().await;
    for file_type in FileType::ALL {
        let file = Sample::new(file_type, 1, 10);
        let backend = &subject.backend;
        for error in [
            backend.load(&file.handle, Extent::Whole).await.unwrap_err(),
            subject.range(&file, 0, 10).await.unwrap_err(),
            subject.range(&file, 0, 0).await.unwrap_err(),
            backend.stat(&file.handle).await.unwrap_err(),
            backend.remove(&file.handle).await.unwrap_err(),
        ] {
            assert_eq!(error.kind, NotFound, "{error}");
            assert_eq!(error.handle, Some(file.handle), "{error}");
        }
    }
}

/// Saving what is there already succeeds.
pub async fn saving_again_changes_nothing(subject: Subject) {
    let subject = subject.created().await;
    for file_type in FileType::ALL {
        let file = Sample::new(file_type, 1, 1000);
        subject.save(&file).await;
        subject.save(&file).await;
        assert_eq!(subject.load(&file).await, file.data);
    }
}

/// A config is replaced by another of the same length, and by longer and shorter ones.
pub async fn the_config_is_replaced(subject: Subject) {
    let subject = subject.created().await;
    for (seed, length) in [(1, 155), (2, 155), (3, 1000), (4, 10)] {
        let config = Sample::new(FileType::Config, seed, length);
        subject.save(&config).await;
        assert_eq!(subject.load(&config).await, config.data);
        assert_eq!(subject.backend.stat(&config.handle).await.unwrap(), length as u64);
    }
}

/// The config has no name, so there is nothing to list.
pub async fn the_config_is_never_listed(subject: Subject) {
    let subject = subject.created().await;
    subject.save(&Sample::new(FileType::Config, 1, 155)).await;
    for file_type in FileType::ALL {
        assert!(subject.list(file_type).await.is_empty(), "{file_type}");
    }
}

/// A removed file is gone, and can come back.
pub async fn a_removed_file_can_be_saved_again(subject: Subject) {
    let subject = subject.created().await;
    for file_type in listed_types() {
        let file = Sample::new(file_type, 1, 1000);
        for _ in 0..2 {
            subject.save(&file).await;
            assert_eq!(subject.list(file_type).await, [file.info()].into());
            subject.backend.remove(&file.handle).await.unwrap();
            assert!(subject.list(file_type).await.is_empty());
            assert_eq!(subject.backend.stat(&file.handle).await.unwrap_err().kind, NotFound);
        }
        subject.save(&file).await;
        assert_eq!(subject.load(&file).await, file.data);
    }
}

/// Forty callers at once do not disturb each other.
pub async fn many_saves_and_loads_at_once(subject: Subject) {
    let subject = Arc::new(subject.created().await);
    let mut callers = tokio::task::JoinSet::new();
    for seed in 0..40 {
        let subject = subject.clone();
        callers.spawn(async move {
            let file = Sample::new(FileType::Pack, seed, 50_000 + seed as usize);
            subject.save(&file).await;
            assert!(subject.load(&file).await == file.data, "the whole file differs");
            let range = subject.range(&file, 20_000, 30_000).await.unwrap();
            assert!(range == file.data[20_000..50_000], "the range differs");
            file.info()
        });
    }
    let saved: BTreeSet<_> = callers.join_all().await.into_iter().collect();
    assert_eq!(saved.len(), 40);
    assert_eq!(subject.list(FileType::Pack).await, saved);
}

/// Several who save one file all succeed, and whoever loads it meanwhile gets all of it or nothing.
pub async fn many_saves_of_one_file_at_once(subject: Subject) {
    let subject = Arc::new(subject.created().await);
    let file = Sample::new(FileType::Index, 1, 1 << 20);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (subject, file) = (subject.clone(), file.clone());
        callers.spawn(async move {
            match subject.backend.load(&file.handle, Extent::Whole).await {
                Ok(data) => assert!(data == file.data, "a part was loaded"),
                Err(error) => assert_eq!(error.kind, NotFound, "{error}"),
            }
            subject.save(&file).await;
            assert!(subject.load(&file).await == file.data, "the file differs");
        });
    }
    callers.join_all().await;
    assert_eq!(subject.list(FileType::Index).await, [file.info()].into());
}

/// Whenever a save is dropped, the file is not there or whole, and can be saved afterwards.
pub async fn a_dropped_save_leaves_all_or_nothing(subject: Subject) {
    let subject = subject.created().await;
    let mut files = Vec::new();
    for seed in 0..20 {
        let file = Sample::new(FileType::Pack, seed, 1 << 20);
        let save = subject.backend.save(&file.handle, file.data.clone());
        let _ = tokio::time::timeout(Duration::from_micros(seed * 250), save).await;
        match subject.backend.load(&file.handle, Extent::Whole).await {
            Ok(data) => assert!(data == file.data, "a part is left"),
            Err(error) => assert_eq!(error.kind, NotFound, "{error}"),
        }
        files.push(file);
    }
    let all: BTreeSet<_> = files.iter().map(Sample::info).collect();
    assert!(subject.list(FileType::Pack).await.is_subset(&all));
    for file in &files {
        subject.save(file).await;
        assert!(subject.load(file).await == file.data, "the file differs");
    }
    assert_eq!(subject.list(FileType::Pack).await, all);
}

/// Loads, lists and others can be dropped, and what follows is right.
pub async fn dropped_calls_do_no_harm(subject: Subject) {
    let subject = subject.created().await;
    let file = Sample::new(FileType::Pack, 1, 1 << 20);
    subject.save(&file).await;
    let backend = &subject.backend;
    for round in 0..20 {
        let after = Duration::from_micros(round * 50);
        let _ = tokio::time::timeout(after, backend.load(&file.handle, Extent::Whole)).await;
        let _ = tokio::time::timeout(after, backend.list(FileType::Pack)).await;
        let _ = tokio::time::timeout(after, backend.stat(&file.handle)).await;
        let _ = tokio::time::timeout(after, subject.range(&file, 1000, 1000)).await;
        let _ = tokio::time::timeout(after, backend.create()).await;
    }
    assert!(subject.load(&file).await == file.data, "the file differs");
    assert_eq!(subject.range(&file, 1000, 10).await.unwrap(), file.data[1000..1010]);
    assert_eq!(subject.list(FileType::Pack).await, [file.info()].into());
}
