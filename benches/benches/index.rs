//! The index: reading files, building tables, looking up, writing files.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use one_restic_benches::index::{Shape, id};
use restic_repo::index::{Builder, Index, IndexFile};
use restic_repo::{BlobHandle, Id};

fn files(c: &mut Criterion) {
    let file = Shape::of_full_files(1, 500).file(0);
    let plaintext = file.encode();
    let mut group = c.benchmark_group("file");
    group.throughput(Throughput::Bytes(plaintext.len() as u64));
    group.bench_function("encode", |b| b.iter(|| black_box(&file).encode()));
    group.bench_function("decode", |b| b.iter(|| IndexFile::decode(Id::default(), &plaintext)));
    group.bench_function("add to a builder", |b| {
        b.iter_batched_ref(
            || Builder::new(2),
            |builder| builder.add_file(Id::default(), &plaintext),
            BatchSize::LargeInput,
        );
    });
    // A space is enough to leave the quick way.
    let spaced = [b" ".as_slice(), &plaintext].concat();
    group.bench_function("decode, the slow way", |b| {
        b.iter(|| IndexFile::decode(Id::default(), &spaced));
    });
}

fn builder(shape: Shape) -> Builder {
    let builder = Builder::new(2);
    for file in 0..shape.files {
        builder.add_file(id(u64::from(file)), &shape.file(file).encode()).expect("a good file");
    }
    builder
}

fn tables(c: &mut Criterion) {
    let shape = Shape::of_full_files(8, 100);
    let mut group = c.benchmark_group("table");
    group.throughput(Throughput::Elements(shape.blobs() as u64));
    group.sample_size(10);
    group.bench_function("finish", |b| {
        b.iter_batched(|| builder(shape), Builder::finish, BatchSize::LargeInput);
    });
    let index = builder(shape).finish();
    group.bench_function("all packs", |b| b.iter(|| index.packs().iter().count()));
    group.bench_function("pack sizes", |b| b.iter(|| index.pack_sizes().count()));
}

fn lookups(c: &mut Criterion) {
    let shape = Shape::of_full_files(8, 100);
    let index = builder(shape).finish();
    let mut known: Vec<BlobHandle> = shape.handles().collect();
    known.sort_by_key(|blob| blob.id.as_bytes()[31]);
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1));
    let mut next = known.iter().cycle();
    group.bench_function("hit", |b| {
        b.iter(|| index.lookup(next.next().expect("a cycle has no end")).next());
    });
    let mut number = u64::MAX / 8;
    group.bench_function("miss", |b| {
        b.iter(|| {
            number += 1;
            index.contains(&BlobHandle::data(id(number)))
        });
    });
    let empty = Index::default();
    group.bench_function("claim", |b| {
        b.iter(|| {
            number += 1;
            empty.claim(&BlobHandle::data(id(number)))
        });
    });
}

criterion_group!(benches, files, tables, lookups);
criterion_main!(benches);
