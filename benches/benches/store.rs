//! What it costs to keep things: records on disk, rows in the index, and finding both again.
//!
//! Disk times are those of the folder that `TMPDIR` names; `raw` beside them is the same bytes and the
//! same syncs without a store.
#![allow(missing_docs, reason = "a bench has no readers but its own")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::io::Write as _;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::incompressible;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::dicom::tags;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{
    CommitBatch, FsOptions, FsRecords, Index, InstancesOf, MemIndex, RecordStore, Scope, SpoolLimits, SqliteIndex,
    StoredInstance, spool_chunks,
};
use imgxfer_core::testing::{Sample, peer, record_of, study};

/// Bytes between two syncs.
const GROUP_BYTES: usize = 16 << 20;
const RECORD_BYTES: usize = 512 << 10;

fn records_at(folder: &Path) -> FsRecords {
    FsRecords::open(folder, FsOptions::default()).unwrap()
}

fn append(c: &mut Criterion) {
    let record = record_of(&[&incompressible(RECORD_BYTES)]);
    let count = GROUP_BYTES / RECORD_BYTES;
    let folder = tempfile::tempdir().unwrap();
    let store = records_at(&folder.path().join("store"));
    let mut group = c.benchmark_group("append 16MiB and sync");
    group.sample_size(10).throughput(Throughput::Bytes((count * record.bytes().len()) as u64));
    group.bench_function("raw", |b| {
        b.iter(|| {
            let mut file = std::fs::File::create(folder.path().join("raw")).unwrap();
            (0..count).for_each(|_| file.write_all(record.bytes()).unwrap());
            file.sync_data().unwrap();
        });
    });
    group.bench_function("pack", |b| {
        b.iter(|| {
            let mut pack = store.create_pack(peer(1)).unwrap();
            for _ in 0..count {
                pack.append(&record).unwrap();
            }
            pack.sync().unwrap();
            store.delete(pack.id()).unwrap();
        });
    });
    group.finish();
}

fn spool(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let store = records_at(folder.path());
    let mut pack = store.create_pack(peer(1)).unwrap();
    let count = 2_000;
    for seed in 0..count {
        let chunk = imgxfer_core::testing::noise(seed, 32 << 10);
        pack.append(&record_of(&[&chunk])).unwrap();
    }
    pack.sync().unwrap();
    let index = MemIndex::default();
    let mut group = c.benchmark_group("spool scan");
    group.sample_size(10).throughput(Throughput::Elements(count));
    group.bench_function("2,000 records in 64MiB", |b| {
        b.iter(|| spool_chunks(&store, &index, &peer(1), SpoolLimits::default(), &mut |_| Ok(true)).unwrap());
    });
    group.finish();
}

fn batch(first: u64, count: u64) -> CommitBatch {
    let instances: Vec<StoredInstance> =
        (first..first + count).map(|sop| Sample::new(peer(1), 1, 1, sop, 2_000).stored()).collect();
    CommitBatch { instances, pages: Vec::new(), at: UnixSeconds(0), ..CommitBatch::default() }
}

fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit 256 instances");
    group.sample_size(10).throughput(Throughput::Elements(256));
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteIndex::open(&folder.path().join("index")).unwrap();
    let memory = MemIndex::default();
    for (name, index) in [("memory", &memory as &dyn Index), ("sqlite", &sqlite)] {
        let mut next = 0;
        let mut fresh = || {
            next += 256;
            batch(next, 256)
        };
        group.bench_function(name, |b| {
            b.iter_batched(&mut fresh, |batch| index.commit(&batch).unwrap(), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn query(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let index = SqliteIndex::open(&folder.path().join("index")).unwrap();
    for first in (0..10_000).step_by(1_000) {
        let instances = (first..first + 1_000).map(|number| Sample::new(peer(1), number, 1, 1, 100).stored()).collect();
        index
            .commit(&CommitBatch { instances, pages: Vec::new(), at: UnixSeconds(0), ..CommitBatch::default() })
            .unwrap();
    }
    let large = 20_000;
    let stored: Vec<_> = (0..1_000).map(|sop| Sample::new(peer(1), large, 1, sop, 100).stored()).collect();
    let hashes: Vec<_> = stored.iter().take(256).map(|instance| instance.entry.hash).collect();
    index
        .commit(&CommitBatch { instances: stored, pages: Vec::new(), at: UnixSeconds(0), ..CommitBatch::default() })
        .unwrap();
    let scope = Scope::owner(peer(1));

    let mut group = c.benchmark_group("sqlite with 10,000 studies");
    group.sample_size(10);
    group.bench_function("has 256 of one study", |b| b.iter(|| index.has(&scope, &study(large), &hashes).unwrap()));
    group.bench_function("instances, 256 of one study", |b| {
        b.iter(|| index.instances(&scope, &InstancesOf::study(study(large)), None, 256).unwrap());
    });
    let by = |tag, value| Search::default().by(tag, value).unwrap();
    let questions = [
        ("study by uid", Search::study(study(77))),
        ("study by accession number", by(tags::ACCESSION_NUMBER, "A77")),
        ("studies by a part of the name", by(tags::PATIENT_NAME, "*patient 77*")),
        ("100 newest", Search { limit: 100, ..Search::default() }),
        ("all", Search::default()),
    ];
    for (name, search) in questions {
        group.bench_function(name, |b| b.iter(|| index.find(&scope, &search).unwrap()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default();
    targets = append, spool, commit, query
}
criterion_main!(benches);
