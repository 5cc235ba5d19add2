//! SHA-256, of what the cache holds and of what it does not.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use one_restic_benches::data::random;
use restic_repo::Id;

const SIZE: usize = 1 << 20;
/// More than any cache holds, in bytes.
const MEMORY: usize = 256 << 20;

fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("SHA-256");
    group.throughput(Throughput::Bytes(SIZE as u64));

    let hot = random(SIZE);
    group.bench_function("hot", |bencher| bencher.iter(|| Id::of(black_box(&hot))));

    let memory = random(MEMORY);
    let mut cold = memory.chunks_exact(SIZE).cycle();
    group.bench_function("cold", |bencher| {
        bencher.iter(|| Id::of(black_box(cold.next().expect("a cycle has no end"))));
    });

    // As a backup does it: read once, hashed while it is still in the cache.
    let mut buffer = vec![0; SIZE];
    group.bench_function("just copied", |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(cold.next().expect("a cycle has no end"));
            Id::of(black_box(&buffer))
        });
    });
}

criterion_group!(benches, hash);
criterion_main!(benches);
