//! How fast a byte is named, beside how fast it is copied: BLAKE3 over chunks as a transfer has them.
#![allow(missing_docs, reason = "a bench has no readers but its own")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::incompressible;
use imgxfer_core::ids::ChunkId;

fn hash(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash");
    for (name, len) in [("64KiB", 64 << 10), ("1MiB", 1 << 20)] {
        let bytes = incompressible(len);
        let mut copy = vec![0; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("memcpy", name), |b| {
            b.iter(|| black_box(&mut copy).copy_from_slice(black_box(&bytes)));
        });
        group.bench_function(BenchmarkId::new("chunk_id", name), |b| b.iter(|| ChunkId::of(black_box(&bytes))));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = hash
}
criterion_main!(benches);
