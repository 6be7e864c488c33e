//! What finding out who an instance is costs: the header scan that each file meets first, by kind of file. A scan
//! does not read pixels, so files a second count, not bytes. Beside it the read of as many bytes as the header has.
#![allow(missing_docs, reason = "a bench has no readers but its own")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::{ct, mr, real_files, small};
use imgxfer_core::dicom::scan;
use imgxfer_core::sim::studies::{StudySpec, Syntax};

/// Files of one kind.
struct Kind {
    name: String,
    files: Vec<Vec<u8>>,
}

fn of(name: &str, spec: &StudySpec) -> Kind {
    Kind { name: name.to_owned(), files: spec.instances().map(|instance| instance.bytes).collect() }
}

/// Every way in which a file may be written that costs the scanner something of its own.
fn kinds() -> Vec<Kind> {
    let cine = mr(1).with_size(64, 64).with_frames(500);
    let mut kinds = vec![
        of("ct explicit", &ct(16)),
        of("ct implicit", &ct(16).with_syntax(Syntax::Implicit)),
        of("ct big endian", &ct(16).with_syntax(Syntax::BigEndian)),
        of("ct deflated", &ct(4).with_syntax(Syntax::Deflated)),
        of("small", &small(64)),
        of("500 frames", &cine),
        of("500 frames, fragments without a table", &cine.clone().with_syntax(Syntax::Encapsulated)),
        of("500 frames, fragments with a table", &cine.with_syntax(Syntax::EncapsulatedExtendedTable)),
    ];
    let files = real_files(64, 64 << 20);
    if !files.is_empty() {
        kinds.push(Kind { name: "real".to_owned(), files });
    }
    kinds
}

fn scans(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for kind in kinds() {
        group.throughput(Throughput::Elements(kind.files.len() as u64));
        group.bench_function(BenchmarkId::new("scan", &kind.name), |b| {
            b.iter(|| kind.files.iter().filter(|file| scan(black_box(*file)).is_ok()).count());
        });
    }
    group.finish();
}

/// The least that a scan could cost: looking at 4 KiB, which is what a header takes.
fn bound(c: &mut Criterion) {
    let header = vec![7_u8; 4 << 10];
    let mut copy = header.clone();
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bound: memcpy of 4 KiB", |b| {
        b.iter(|| black_box(&mut copy).copy_from_slice(black_box(&header)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = scans, bound
}
criterion_main!(benches);
