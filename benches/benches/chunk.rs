//! What reading the structure of a file and cutting it costs, a byte of the file.
#![allow(missing_docs, reason = "a bench has no readers but its own")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::{ct, incompressible, mr, small};
use imgxfer_core::chunk::cut;
use imgxfer_core::dicom::scan;
use imgxfer_core::sim::studies::Syntax;

fn structure(c: &mut Criterion) {
    let files = [
        ("ct", ct(1).instance(1, 1)),
        ("mr", mr(1).instance(1, 1)),
        ("tiny", small(1).instance(1, 1)),
        ("ct-multiframe", ct(1).with_frames(40).instance(1, 1)),
        ("ct-fragments", ct(1).with_frames(40).with_syntax(Syntax::EncapsulatedBasicTable).instance(1, 1)),
    ];
    let mut group = c.benchmark_group("structure");
    for (name, file) in &files {
        let bytes = file.bytes.as_slice();
        let found = scan(&bytes).ok();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("scan", name), |b| b.iter(|| scan(black_box(&bytes))));
        group.bench_function(BenchmarkId::new("cut", name), |b| b.iter(|| cut(black_box(&bytes), found.as_ref())));
    }
    group.finish();
}

fn content(c: &mut Criterion) {
    let bytes = incompressible(16 << 20);
    let mut group = c.benchmark_group("fastcdc");
    group.sample_size(10).throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("16MiB", |b| b.iter(|| cut(black_box(&bytes.as_slice()), None)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = structure, content
}
criterion_main!(benches);
