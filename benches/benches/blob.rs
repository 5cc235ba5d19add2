//! A blob's way: sealing and opening alone, and with compression and its hash.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use one_restic_benches::data::{mixed, random};
use restic_repo::codec::{Decoder, Encoder};
use restic_repo::crypto::Key;
use restic_repo::{BlobHandle, Compression, Id};

/// Of a small file, or a tree; and of a disk image.
const SIZES: [(&str, usize); 2] = [("16 KiB", 16 << 10), ("1 MiB", 1 << 20)];

fn key() -> Key {
    Key::random().expect("there is randomness")
}

fn crypto(criterion: &mut Criterion) {
    let key = key();
    let mut group = criterion.benchmark_group("crypto");
    for (name, size) in SIZES {
        let plaintext = random(size);
        let sealed = key.seal(&plaintext).expect("there is randomness");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("seal", name), |bencher| {
            bencher.iter(|| key.seal(black_box(&plaintext)));
        });
        let mut opened = Vec::new();
        group.bench_function(BenchmarkId::new("open", name), |bencher| {
            bencher.iter(|| key.open_into(black_box(&sealed), &mut opened));
        });
    }
}

fn codec(criterion: &mut Criterion) {
    let key = key();
    let mut group = criterion.benchmark_group("codec");
    for (name, size) in SIZES {
        let plaintext = mixed(size);
        let handle = BlobHandle::data(Id::of(&plaintext));
        group.throughput(Throughput::Bytes(size as u64));
        let mut sealed = Vec::new();
        for (mode, verify) in [("encode", false), ("encode and verify", true)] {
            let mut encoder = Encoder::new(key.clone(), 2, Compression::Auto, verify)
                .expect("there is memory for zstd");
            group.bench_function(BenchmarkId::new(mode, name), |bencher| {
                bencher.iter(|| encoder.encode(handle, black_box(&plaintext), &mut sealed));
            });
        }
        let mut decoder = Decoder::new(key.clone()).expect("there is memory for zstd");
        let mut decoded = Vec::new();
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| decoder.decode(handle, black_box(&sealed), size as u32, &mut decoded));
        });
        assert_eq!(decoded, plaintext, "the bench measures failures");
    }
}

criterion_group!(benches, crypto, codec);
criterion_main!(benches);
