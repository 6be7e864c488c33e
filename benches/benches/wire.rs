//! What the protocol's own bytes cost: pages, records and messages.
#![allow(missing_docs, reason = "a bench has no readers but its own")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::incompressible;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::codec::CodecId;
use imgxfer_core::ids::ChunkId;
use imgxfer_core::manifest::Page;
use imgxfer_core::testing::{Sample, peer};
use imgxfer_core::wire::message::{Body, Committed, Need};
use imgxfer_core::wire::record::{Record, RecordChunk};

fn pages(c: &mut Criterion) {
    let instances = (0..256).map(|sop| Sample::new(peer(1), 1, 1, sop, 3_000).entry()).collect();
    let page = Page { instances };
    let encoded = page.encode();
    let mut group = c.benchmark_group("page of 256 instances");
    group.throughput(Throughput::Elements(256));
    group.bench_function("encode", |b| b.iter(|| black_box(&page).encode()));
    group.bench_function("decode", |b| b.iter(|| Page::decode(black_box(&encoded))));
    group.finish();
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    for (name, chunks, chunk_len) in [("one of 512KiB", 1, 512 << 10), ("256 of 2KiB", 256, 2 << 10)] {
        let raw = incompressible(chunks * chunk_len);
        let list: Vec<_> = raw
            .chunks(chunk_len)
            .map(|chunk| RecordChunk { id: ChunkId::of(chunk), len: u32::try_from(chunk.len()).unwrap_or(0) })
            .collect();
        let encode = || Record::encode(CodecId::STORE, ChunkClass::Pixels, &list, &raw);
        let bytes: Bytes = encode().bytes().clone();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("encode/{name}"), |b| b.iter(encode));
        group.bench_function(format!("decode/{name}"), |b| b.iter(|| Record::decode(black_box(&bytes).clone())));
    }
    group.finish();
}

fn messages(c: &mut Criterion) {
    let messages = [
        ("need of 1,000 chunks", Body::Need(Need { index: 7, bitmap: vec![0xff; 125].into() })),
        ("committed in 100 runs", Body::Committed(Committed { runs: (0..300).collect() })),
    ];
    let mut group = c.benchmark_group("message");
    for (name, body) in messages {
        let bytes = Bytes::from(body.clone().into_bytes());
        group.bench_function(format!("encode/{name}"), |b| b.iter(|| black_box(&body).clone().into_bytes()));
        group.bench_function(format!("decode/{name}"), |b| b.iter(|| Body::from_bytes(black_box(&bytes).clone())));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = pages, records, messages
}
criterion_main!(benches);
