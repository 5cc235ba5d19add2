//! Packs: writing the header, reading it.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use one_restic_benches::data::random;
use one_restic_benches::index::id;
use restic_repo::BlobHandle;
use restic_repo::crypto::Key;
use restic_repo::pack::{self, PackBuilder};

/// Bytes of blobs in a pack: restic's 16 MiB, more or less.
const LENGTH: usize = 16 << 20;

/// A pack of so many blobs.
fn pack(blobs: usize, bytes: &[u8]) -> PackBuilder {
    let mut pack = PackBuilder::within(Vec::with_capacity(LENGTH));
    for (number, sealed) in (0..).zip(bytes.chunks_exact(LENGTH / blobs)) {
        pack.push(BlobHandle::data(id(number)), sealed, 2 * sealed.len() as u32)
            .expect("it is not too large");
    }
    pack
}

fn header(criterion: &mut Criterion) {
    let key = Key::random().expect("there is randomness");
    let bytes = random(LENGTH);
    let mut group = criterion.benchmark_group("pack");
    group.sample_size(20);
    // Of a disk image, and of small files.
    for blobs in [16, 4096] {
        group.throughput(Throughput::Bytes(LENGTH as u64));
        group.bench_function(BenchmarkId::new("fill and hash", blobs), |bencher| {
            bencher.iter_with_large_drop(|| pack(blobs, black_box(&bytes)));
        });
        group.throughput(Throughput::Elements(blobs as u64));
        for (name, verify) in [("write header", false), ("write header and verify", true)] {
            group.bench_function(BenchmarkId::new(name, blobs), |bencher| {
                bencher.iter_batched(
                    || pack(blobs, &bytes),
                    |pack| pack.finish(&key, verify),
                    BatchSize::PerIteration,
                );
            });
        }
        let pack = pack(blobs, &bytes).finish(&key, true).expect("it is not too large");
        let size = pack.bytes.len();
        let length = pack::header_length(&pack.bytes, size as u64).expect("a good pack") as usize;
        let end = size - pack::TRAILER_LENGTH;
        let sealed = &pack.bytes[end - length..end];
        group.bench_function(BenchmarkId::new("read header", blobs), |bencher| {
            bencher.iter(|| pack::parse_header(&key, black_box(sealed), (end - length) as u64));
        });
    }
}

criterion_group!(benches, header);
criterion_main!(benches);
