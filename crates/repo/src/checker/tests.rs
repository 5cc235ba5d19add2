use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::*;
use crate::backend::fault::{Fault, Operation, Rule};
use crate::backend::mem::Mem;
use crate::backend::{Backend, BackendErrorKind};
use crate::blob::{BlobHandle, BlobType};
use crate::error::Error;
use crate::handle::{FileType, Handle};
use crate::index::PackBlobs;
use crate::node::{Node, NodeType};
use crate::progress::{Phase, Silent, Warning};
use crate::workshop::{Workshop, data, file, folder, noise, raw_tree, tree};

mod affected;
mod headers;
mod indexes;
mod meanwhile;
mod options;
mod packs;
mod read_data;
mod snapshots;
mod storage;

/// A sound repository: two files, one of them in a folder, in two data packs and one tree pack.
struct Sound {
    shop: Workshop,
    snapshot: Id,
    root: Id,
    sub: Id,
    first: PackBlobs,
    second: PackBlobs,
    trees: PackBlobs,
    index: Id,
}

impl Sound {
    async fn new() -> Self {
        let shop = Workshop::new().await;
        let blobs = || [data(noise(1, 50_000)), data(b"text".repeat(1000)), data(noise(2, 300))];
        let [one, two, three] = blobs();
        let sub = tree(vec![file("inner", &[&three])]);
        let root = tree(vec![file("a", &[&one, &two]), folder("sub", &sub)]);
        let (sub_id, root_id) = (sub.handle.id, root.handle.id);
        let first = shop.pack([one, two]);
        let second = shop.pack([three]);
        let trees = shop.pack([sub, root]);
        let index = shop.index([first.clone(), second.clone(), trees.clone()]).await;
        let snapshot = shop.snapshot(root_id).await;
        Self { shop, snapshot, root: root_id, sub: sub_id, first, second, trees, index }
    }

    /// Stores another index in place of the one there is.
    async fn reindex(&self, packs: impl IntoIterator<Item = PackBlobs>) {
        self.shop.repository.remove(FileType::Index, self.index).await.unwrap();
        self.shop.index(packs).await;
    }

    async fn remove(&self, file_type: FileType, id: Id) {
        self.shop.repository.remove(file_type, id).await.unwrap();
    }

    fn alter(&self, file_type: FileType, id: Id, change: impl FnOnce(&mut Vec<u8>)) {
        self.shop.mem.alter(&Handle::new(file_type, id), change);
    }

    async fn check(&self) -> Report {
        checked(&self.shop, Options::default()).await
    }

    async fn check_data(&self) -> Report {
        checked(&self.shop, reading()).await
    }
}

fn reading() -> Options {
    Options { read_data: ReadData::All, ..Options::default() }
}

async fn checked(shop: &Workshop, options: Options) -> Report {
    check(&shop.repository, &options, Arc::new(Silent)).await.unwrap()
}

/// The only problem.
fn only(report: &Report) -> &Problem {
    assert_eq!(report.errors, 1, "{:?}", report.problems);
    assert!(!report.is_sound());
    &report.problems[0]
}

#[track_caller]
fn assert_sound(report: &Report) {
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!(report.hints.is_empty(), "{:?}", report.hints);
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

fn faulty(sound: &Sound) -> (Arc<Fault<Mem>>, Repository) {
    let fault = Arc::new(Fault::new(sound.shop.mem.clone()));
    (Arc::clone(&fault), sound.shop.repository.with_backend(fault))
}

/// Remembers what it is told.
#[derive(Default)]
struct Watch {
    problems: Mutex<Vec<String>>,
    advanced: Mutex<Vec<(Phase, u64)>>,
}

impl Watch {
    fn advanced(&self, phase: Phase) -> u64 {
        let advanced = self.advanced.lock().unwrap();
        advanced.iter().filter(|(of, _)| *of == phase).map(|(_, amount)| amount).sum()
    }
}

impl Progress for Watch {
    fn advance(&self, phase: Phase, amount: u64) {
        self.advanced.lock().unwrap().push((phase, amount));
    }

    fn warn(&self, warning: &Warning<'_>) {
        let Warning::Problem(problem) = warning else { panic!("{warning:?}") };
        self.problems.lock().unwrap().push(problem.to_string());
    }
}

#[tokio::test]
async fn a_sound_repository_has_no_problems_and_everything_was_looked_at() {
    let sound = Sound::new().await;
    let report = sound.check().await;
    assert_sound(&report);
    assert!(!report.suggest_prune && !report.suggest_repair_index);
    let counts = (report.index_files, report.packs, report.snapshots, report.trees);
    assert_eq!((counts, report.packs_read), ((1, 3, 1, 2), 0));

    let report = sound.check_data().await;
    assert_sound(&report);
    let size = [&sound.first, &sound.second, &sound.trees].map(PackBlobs::file_size).iter().sum();
    assert_eq!((report.packs_read, report.bytes_read), (3, size));
}

#[tokio::test]
async fn an_empty_repository_is_sound() {
    assert_sound(&checked(&Workshop::new().await, reading()).await);
}

#[tokio::test]
async fn repositories_of_version_1_are_checked_as_well() {
    let shop = Workshop::of_version(1).await;
    let blob = data(noise(1, 1000));
    let node = file("a", &[&blob]);
    shop.index([shop.pack([blob])]).await;
    shop.snapshot_of(vec![node]).await;
    let report = checked(&shop, reading()).await;
    assert_sound(&report);
    assert_eq!(report.packs_read, 2);
}
