//! How fast files are cut: the search alone, the search with what is skipped, and the reading.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use one_restic_benches::data::random;
use restic_repo::chunker::{
    Chunk, Chunker, Cutter, FileSource, MAX_SIZE, MIN_SIZE, Polynomial, ReadSource, is_zero,
};

const POLYNOMIAL: Polynomial = Polynomial(0x3da3358b4dc173);

fn variants() -> Vec<(&'static str, Chunker)> {
    Chunker::variants(POLYNOMIAL).expect("restic made this polynomial")
}

/// Every position of bytes without a cut, in steps that are warm in the cache.
fn search(criterion: &mut Criterion) {
    const STEP: usize = 128 << 10;
    let bytes = vec![1; MIN_SIZE + STEP];
    let mut group = criterion.benchmark_group("search");
    group.throughput(Throughput::Bytes(STEP as u64));
    for (name, chunker) in variants() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| chunker.find(black_box(&bytes), MIN_SIZE + 1));
        });
    }
    group.finish();
}

/// Random bytes, with the least size of each chunk skipped.
fn cut(criterion: &mut Criterion) {
    let bytes = random(64 << 20);
    let mut group = criterion.benchmark_group("cut random bytes in memory");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.sample_size(20);
    for (name, chunker) in variants() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut rest = black_box(bytes.as_slice());
                while !rest.is_empty() {
                    let end = chunker.find(rest, 0).unwrap_or(rest.len().min(MAX_SIZE));
                    rest = &rest[end..];
                }
            });
        });
    }
    group.finish();
}

/// The whole of what threads wait for each other for: reading and cutting.
fn read(criterion: &mut Criterion) {
    let chunker = Arc::new(Chunker::new(POLYNOMIAL).expect("restic made this polynomial"));
    let mut group = criterion.benchmark_group("read and cut");
    group.sample_size(20);

    let size = 64 << 20;
    group.throughput(Throughput::Bytes(size as u64));
    let mut buffer = Vec::new();
    for (name, bytes) in [("random", random(size)), ("zeros", vec![0; size])] {
        group.bench_function(format!("{name} in memory"), |bencher| {
            bencher.iter(|| {
                let mut cutter = Cutter::new(ReadSource(bytes.as_slice()), chunker.clone());
                while let Some(chunk) = cutter.next(&mut buffer).expect("memory can be read") {
                    black_box(chunk.size());
                }
            });
        });
        let file = tempfile::NamedTempFile::new().expect("there is a place for temporary files");
        std::fs::write(file.path(), &bytes).expect("there is space");
        group.bench_function(format!("{name} in a file"), |bencher| {
            bencher.iter(|| {
                let file = file.reopen().expect("it is there");
                let mut cutter = Cutter::new(FileSource::new(file), chunker.clone());
                while let Some(chunk) = cutter.next(&mut buffer).expect("it can be read") {
                    black_box(chunk.size());
                }
            });
        });
    }

    let hole = tempfile::tempfile().expect("there is a place for temporary files");
    hole.set_len(size as u64).expect("a hole takes no space");
    group.bench_function("hole", |bencher| {
        bencher.iter(|| {
            let hole = hole.try_clone().expect("there are descriptors left");
            let mut cutter = Cutter::new(FileSource::new(hole), chunker.clone());
            while let Some(Chunk::Zeros(count)) = cutter.next(&mut buffer).expect("can be read") {
                black_box(count);
            }
        });
    });
    group.finish();
}

fn zeros(criterion: &mut Criterion) {
    let bytes = vec![0; MIN_SIZE];
    let mut group = criterion.benchmark_group("is it zero?");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("zeros", |bencher| bencher.iter(|| is_zero(black_box(&bytes))));
    group.finish();
}

criterion_group!(benches, search, cut, read, zeros);
criterion_main!(benches);
