//! What every [`RecordStore`] must do.
#![expect(clippy::unwrap_used, reason = "a failing operation fails the test that runs the suite")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Sample, noise, peer, record_of};
use crate::clock::UnixSeconds;
use crate::codec::Registry;
use crate::dicom::ReadAt;
use crate::ids::{ChunkId, PackId};
use crate::store::{
    CheckOptions, ChunkAt, CommitBatch, Index, MemIndex, RecordAt, RecordCache, RecordStore, SpoolLimits, StoreError,
    StoredReader, check, collect, spool_chunks,
};

/// Puts stores through the contract of [`RecordStore`] and what is built on it. `make` returns an empty
/// store each time.
///
/// # Panics
/// When the store does not keep to the contract.
pub fn store_suite(make: &dyn Fn() -> Arc<dyn RecordStore>) {
    records_read_back(&*make());
    packs_are_listed_and_removed(&*make());
    scans_visit_every_record_in_order(&*make());
    wrong_places_are_refused(&*make());
    readers_and_writers_work_at_once(&make());
    instances_read_back(&make());
    shared_headers_are_decoded_once(&make());
    spool_is_found(&*make());
    only_unused_packs_are_collected(&*make());
    a_sound_store_checks_clean(&make());
}

fn records_read_back(store: &dyn RecordStore) {
    let mut pack = store.create_pack(peer(1)).unwrap();
    assert!(pack.is_empty(), "a new pack holds no record");
    let records = [
        record_of(&[b"x"]),
        record_of(&[b"one", b"two", b"three"]),
        record_of(&[&noise(1, 1 << 20)]),
        record_of(&[&[0; 1 << 20]]),
    ];
    let places: Vec<_> = records.iter().map(|r| pack.append(r).unwrap()).collect();
    assert!(!pack.is_empty(), "it holds records now");
    for (record, at) in records.iter().zip(&places) {
        assert_eq!(store.read(*at).unwrap(), *record, "readable before the sync");
    }
    pack.sync().unwrap();
    pack.sync().unwrap();
    let end = places.iter().map(|at| at.offset + u64::from(at.len)).max();
    assert_eq!(Some(pack.len()), end, "the length is the end of the last record");
    drop(pack);
    for (record, at) in records.iter().zip(&places) {
        assert_eq!(store.read(*at).unwrap(), *record, "readable after it");
    }
}

fn packs_are_listed_and_removed(store: &dyn RecordStore) {
    assert!(store.packs().unwrap().is_empty(), "a new store is empty");
    let mut first = store.create_pack(peer(1)).unwrap();
    let second = store.create_pack(peer(2)).unwrap();
    assert_ne!(first.id(), second.id(), "names differ");
    let at = first.append(&record_of(&[b"content"])).unwrap();
    first.sync().unwrap();
    let owners: HashMap<_, _> = store.packs().unwrap().iter().map(|p| (p.id, (p.owner, p.len))).collect();
    assert_eq!(owners[&first.id()], (peer(1), first.len()), "listed with owner and length");
    assert_eq!(owners[&second.id()].0, peer(2), "also while empty");
    drop((first, second));
    store.delete(at.pack).unwrap();
    store.delete(at.pack).unwrap();
    assert!(matches!(store.read(at), Err(StoreError::NoSuchPack(id)) if id == at.pack), "gone");
    assert!(matches!(store.scan(at.pack, true, &mut |_, _| {}), Err(StoreError::NoSuchPack(_))), "gone");
    assert_eq!(store.packs().unwrap().len(), 1, "the other stays");
}

fn scans_visit_every_record_in_order(store: &dyn RecordStore) {
    let mut pack = store.create_pack(peer(1)).unwrap();
    let empty = store.scan(pack.id(), true, &mut |_, _| {}).unwrap();
    assert_eq!(empty, pack.len(), "a new pack is whole");
    let records: Vec<_> = (0..40).map(|i| record_of(&[&noise(i, 500), b"and a second"])).collect();
    let places: Vec<_> = records.iter().map(|r| pack.append(r).unwrap()).collect();
    for check in [false, true] {
        let mut seen = Vec::new();
        let end = store.scan(pack.id(), check, &mut |at, header| seen.push((at, header.clone()))).unwrap();
        assert_eq!(end, pack.len(), "whole to the end");
        let expected: Vec<_> = places.iter().copied().zip(records.iter().map(|r| r.header().clone())).collect();
        assert_eq!(seen, expected, "each record, in order");
    }
}

fn wrong_places_are_refused(store: &dyn RecordStore) {
    let mut pack = store.create_pack(peer(1)).unwrap();
    let at = pack.append(&record_of(&[&noise(1, 3000)])).unwrap();
    pack.append(&record_of(&[&noise(2, 3000)])).unwrap();
    for wrong in [
        RecordAt { offset: at.offset + 1, ..at },
        RecordAt { offset: u64::MAX, ..at },
        RecordAt { offset: u64::MAX - 100, len: 50, ..at },
        RecordAt { len: at.len + 1, ..at },
        RecordAt { len: at.len - 1, ..at },
        RecordAt { len: 0, ..at },
        RecordAt { len: u32::MAX, ..at },
    ] {
        assert!(matches!(store.read(wrong), Err(StoreError::Damaged { .. })), "{wrong:?} holds no record");
    }
    let nowhere = RecordAt { pack: PackId::from_bytes([0xee; 16]), ..at };
    assert!(matches!(store.read(nowhere), Err(StoreError::NoSuchPack(_))), "no such pack");
}

fn readers_and_writers_work_at_once(store: &Arc<dyn RecordStore>) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut pack = store.create_pack(peer(thread)).unwrap();
                for i in 0..20 {
                    let record = record_of(&[&noise(u64::from(thread) << 32 | i, 2000)]);
                    let at = pack.append(&record).unwrap();
                    assert_eq!(store.read(at).unwrap(), record, "each sees its own");
                    store.packs().unwrap();
                }
                pack.sync().unwrap();
            });
        }
    });
    let packs = store.packs().unwrap();
    assert_eq!(packs.len(), 4, "one pack for each writer");
    for pack in packs {
        let mut count = 0;
        store.scan(pack.id, true, &mut |_, _| count += 1).unwrap();
        assert_eq!(count, 20, "each record is there");
    }
}

fn instances_read_back(store: &Arc<dyn RecordStore>) {
    let mut pack = store.create_pack(peer(1)).unwrap();
    for len in [0, 1, 999, 1000, 1001, 25_000] {
        let sample = Sample::new(peer(1), 1, 1, 1, len);
        let stored = sample.append_to(&mut *pack).unwrap();
        let cache = RecordCache::new(RecordCache::BYTES_ALONE);
        let reader = StoredReader::of(Arc::clone(store), Registry::default(), stored.clone()).unwrap();
        let reader = reader.with_cache(cache.clone());
        for step in [1, 7, 1000, 4096, 30_000] {
            let mut out = vec![0; len];
            let steps = out.chunks_mut(step).zip((0..).step_by(step));
            steps.for_each(|(part, offset)| reader.read_exact_at(offset, part).unwrap());
            assert_eq!(out, sample.bytes, "the same bytes in steps of {step}");
        }
        assert_eq!(cache.decoded(), u64::try_from(stored.chunks.len()).unwrap(), "each record decoded once");
        reader.verify().unwrap();
        let mut beyond = [0; 1];
        let error = reader.read_exact_at(reader.len(), &mut beyond).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "nothing behind the end");
        let mut wrong = stored;
        if let [first, second, ..] = &mut wrong.chunks[..] {
            std::mem::swap(first, second);
            let reader = StoredReader::of(Arc::clone(store), Registry::default(), wrong).unwrap();
            reader.chunk(0).unwrap_err();
        }
    }
}

fn shared_headers_are_decoded_once(store: &Arc<dyn RecordStore>) {
    let samples: Vec<_> = (0..200).map(|sop| Sample::new(peer(1), 1, 1, sop, 300)).collect();
    let mut pack = store.create_pack(peer(1)).unwrap();
    let all: Vec<_> = samples.iter().map(|s| s.bytes.as_slice()).collect();
    let record = pack.append(&record_of(&all)).unwrap();
    let cache = RecordCache::new(RecordCache::BYTES_SHARED);
    for (slot, sample) in (0..).zip(&samples) {
        let places = vec![ChunkAt { record, slot }];
        let reader = StoredReader::new(Arc::clone(store), Registry::default(), sample.entry(), places).unwrap();
        reader.with_cache(cache.clone()).verify().unwrap();
    }
    assert_eq!(cache.decoded(), 1, "one record, decoded once");
}

fn spool_is_found(store: &dyn RecordStore) {
    let index = MemIndex::default();
    let mut committed = store.create_pack(peer(1)).unwrap();
    let instance = Sample::new(peer(1), 1, 1, 1, 5000).append_to(&mut *committed).unwrap();
    index.commit(&CommitBatch { instances: vec![instance], ..CommitBatch::default() }).unwrap();
    let mut spool = store.create_pack(peer(1)).unwrap();
    let wanted = [noise(1, 700), noise(2, 800)];
    let record = spool.append(&record_of(&[&wanted[0], &wanted[1]])).unwrap();
    let mut foreign = store.create_pack(peer(2)).unwrap();
    foreign.append(&record_of(&[&noise(3, 900)])).unwrap();
    let found = spool_chunks(store, &index, &peer(1), SpoolLimits::default(), &mut |_| Ok(true)).unwrap();
    assert_eq!(found.get(&ChunkId::of(&wanted[0])), Some(&(ChunkAt { record, slot: 0 }, 700)));
    assert_eq!(found.get(&ChunkId::of(&wanted[1])), Some(&(ChunkAt { record, slot: 1 }, 800)));
    // What is committed may be found as well, since new packs are read whatever the index says of them.
    assert!(found.values().all(|(at, _)| at.record.pack != foreign.id()), "nothing of another owner's");
    let limits = SpoolLimits { chunks_max: 1, ..SpoolLimits::default() };
    assert_eq!(spool_chunks(store, &index, &peer(1), limits, &mut |_| Ok(true)).unwrap().len(), 1, "bounded");
}

fn only_unused_packs_are_collected(store: &dyn RecordStore) {
    let index = MemIndex::default();
    let mut packs = Vec::new();
    for sop in 0..3 {
        let mut pack = store.create_pack(peer(1)).unwrap();
        let instance = Sample::new(peer(1), 1, 1, sop, 2000).append_to(&mut *pack).unwrap();
        pack.sync().unwrap();
        packs.push((pack.id(), instance));
    }
    let instances = vec![packs[0].1.clone()];
    index.commit(&CommitBatch { instances, ..CommitBatch::default() }).unwrap();
    let held = |pack: &PackId| *pack == packs[1].0;
    let none = collect(store, &index, &held, UnixSeconds(0)).unwrap();
    assert_eq!(none.packs_removed, 0, "all are too young");
    let report = collect(store, &index, &held, UnixSeconds(i64::MAX)).unwrap();
    assert_eq!((report.packs_removed, report.packs_in_use, report.packs_spared), (1, 1, 1), "one of each kind");
    let left: HashSet<_> = store.packs().unwrap().iter().map(|p| p.id).collect();
    assert_eq!(left, HashSet::from([packs[0].0, packs[1].0]), "the right one went");
}

fn a_sound_store_checks_clean(store: &Arc<dyn RecordStore>) {
    let index = MemIndex::default();
    let mut pack = store.create_pack(peer(1)).unwrap();
    let sample = |sop| Sample::new(peer(1), sop % 3, sop % 2, sop, 4000);
    let instances: Vec<_> = (0..20).map(|sop| sample(sop).append_to(&mut *pack).unwrap()).collect();
    pack.sync().unwrap();
    let id = pack.id();
    drop(pack);
    index.commit(&CommitBatch { instances, ..CommitBatch::default() }).unwrap();
    for read_data in [false, true] {
        let options = CheckOptions { read_data, ..CheckOptions::default() };
        let report = check(store, &index, &options, &mut |_| true).unwrap();
        assert!(report.is_clean(), "nothing to find: {report:?}");
        assert_eq!((report.packs, report.records, report.studies, report.instances), (1, 80, 3, 20), "all seen");
        assert_eq!(report.instance_bytes, 80_000, "all bytes seen");
    }
    store.delete(id).unwrap();
    for read_data in [false, true] {
        let options = CheckOptions { read_data, ..CheckOptions::default() };
        let report = check(store, &index, &options, &mut |_| true).unwrap();
        let lost = report.findings.iter().filter(|f| f.is_loss()).count();
        assert_eq!(lost, 20, "a missing pack is found, and each instance in it named");
    }
}
