//! COMMITTED means durable, whoever wrote the bytes and whatever has become of him: the real depot over a disk that
//! keeps what is live apart from what is durable.
//!
//! After each power cut the index is lost as well, and made anew from the packs: nothing may hang on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::receive::{DepotIntake, Intake};
use imgxfer_core::store::{Index, MemIndex, MemRecords, RecordStore, Scope, StoredReader, recover};
use imgxfer_core::testing::faulty::{Fault, Faults, FaultyRecords};
use imgxfer_core::testing::pair::{Drive, Item, Site};
use imgxfer_core::testing::{noise, peer, record_of};

use crate::harness::all_of;

const SEEDS: u64 = 40;

/// A site whose medium may fail.
fn site(faults: &Faults) -> (Site, FaultyRecords) {
    let records = FaultyRecords::new(faults.clone());
    let depot = Depot::new(Arc::new(records.clone()), Arc::new(MemIndex::default()), Registry::default());
    (Site { records: MemRecords::default(), depot, sender: peer(1) }, records)
}

fn study() -> Vec<Vec<Item>> {
    let file = |n: u64| Item::opaque(&noise(n, 700 + usize::try_from(n).unwrap() * 300), 400);
    vec![(0..3).map(file).collect(), (3..6).map(file).collect()]
}

fn hashes(pages: &[Vec<Item>]) -> BTreeSet<[u8; 32]> {
    pages.iter().flatten().map(|item| *item.entry.hash.as_bytes()).collect()
}

/// Starts on what a power cut left, without an index, and returns the contents of all instances, each read back whole.
fn after_power_cut(records: &FaultyRecords, seed: u64) -> BTreeSet<[u8; 32]> {
    records.restart(seed);
    let index = MemIndex::default();
    recover(records, &index).unwrap();
    let records: Arc<dyn RecordStore> = Arc::new(records.clone());
    let mut found = BTreeSet::new();
    for (_, study) in index.study_keys(None, 1000).unwrap() {
        for instance in all_of(&index, &study) {
            let hash = *instance.entry.hash.as_bytes();
            let reader = StoredReader::of(Arc::clone(&records), Registry::default(), instance).unwrap();
            reader.verify().unwrap_or_else(|e| panic!("seed {seed}: a committed instance is unreadable: {e}"));
            found.insert(hash);
        }
    }
    found
}

#[test]
fn what_an_interrupted_push_left_is_durable_before_the_next_one_is_acknowledged() {
    let pages = study();
    for seed in 0..SEEDS {
        let (site, records) = site(&Faults::default());
        // The process is killed in mid-push: what it wrote is in memory, and nobody has synced it.
        let _cut = Drive::new(&site, &pages, seed).cut_at(20 + seed).run();
        let outcome = Drive::new(&site, &pages, seed + 1).run();
        assert!(outcome.settled.is_some(), "seed {seed}: {outcome:?}");
        assert_eq!(after_power_cut(&records, seed), hashes(&pages), "seed {seed}: a receipt is broken");
    }
}

#[test]
fn what_is_committed_at_any_step_survives() {
    let pages = study();
    for seed in 0..SEEDS {
        for step in (0..120).step_by(7) {
            let (site, records) = site(&Faults::default());
            let outcome = Drive::new(&site, &pages, seed).cut_at(step).run();
            let of = |at: &imgxfer_core::manifest::InstanceAt| {
                *pages[usize::try_from(at.page).unwrap()][usize::try_from(at.place).unwrap()].entry.hash.as_bytes()
            };
            let acked: BTreeSet<_> = outcome.committed.iter().map(of).collect();
            let found = after_power_cut(&records, seed ^ step);
            assert!(acked.is_subset(&found), "seed {seed}, step {step}: something acknowledged is gone");
        }
    }
}

#[test]
fn what_a_running_transfer_has_written_is_durable_before_another_is_acknowledged() {
    let pages = study();
    for seed in 0..SEEDS {
        let (site, records) = site(&Faults::default());
        // A routine push has written all of it and committed nothing ...
        let routine = DepotIntake::new(&site.depot, site.sender, Scope::owner(site.sender)).unwrap();
        for item in pages.iter().flatten() {
            let chunks: Vec<_> = item.bytes.chunks(400).collect();
            routine.keep(&record_of(&chunks)).unwrap();
        }
        // ... when the same study is pushed at another priority.
        let outcome = Drive::new(&site, &pages, seed).run();
        assert_eq!(outcome.records, 0, "everything is found");
        assert_eq!(after_power_cut(&records, seed), hashes(&pages), "seed {seed}: a receipt is broken");
        drop(routine);
    }
}

#[test]
fn bytes_of_a_failed_sync_are_never_built_on() {
    let pages = study();
    for seed in 0..SEEDS {
        // Operations on this store: make a pack, append 6 records, sync.
        let faults = Faults::at(7, Fault::Medium);
        let (site, records) = site(&faults);
        let first = DepotIntake::new(&site.depot, site.sender, Scope::owner(site.sender)).unwrap();
        for item in pages.iter().flatten() {
            let chunks: Vec<_> = item.bytes.chunks(400).collect();
            first.keep(&record_of(&chunks)).unwrap();
        }
        first.commit(Vec::new(), Vec::new()).unwrap_err();
        assert!(faults.hit());
        drop(first);
        let outcome = Drive::new(&site, &pages, seed).run();
        assert!(outcome.records > 0, "it is sent again");
        assert_eq!(after_power_cut(&records, seed), hashes(&pages), "seed {seed}: a receipt is broken");
    }
}

#[test]
fn a_read_that_fails_once_costs_no_instance() {
    let pages = study();
    for nth in 0.. {
        let (site, records) = site(&Faults::default());
        records.fail_read(nth);
        let first = Drive::new(&site, &pages, nth).unwatched().run();
        if records.read_is_to_fail() {
            assert!(nth > 5, "{nth} reads");
            return;
        }
        assert_eq!(first.failed, [], "read {nth}: nothing is given up");
        // It was read again, or the sender is told to try later.
        let again = Drive::new(&site, &pages, nth).run();
        assert!(again.settled.is_some_and(|(_, complete)| complete), "read {nth}: {again:?}");
        assert_eq!(site.visible(), hashes(&pages), "read {nth}");
    }
}

#[test]
fn a_damaged_record_of_an_interrupted_push_is_sent_again() {
    let pages = study();
    for seed in 0..SEEDS {
        let site = Site::default();
        let _cut = Drive::new(&site, &pages, seed).cut_at(40 + seed).run();
        for pack in site.depot.records.packs().unwrap() {
            site.records.edit_pack(pack.id, |bytes| {
                // Somewhere in the last record's payload.
                if let Some(byte) = bytes.iter_mut().rev().nth(usize::try_from(seed * 7 % 300).unwrap()) {
                    *byte ^= 0x10;
                }
            });
        }
        let outcome = Drive::new(&site, &pages, seed + 1).run();
        assert!(outcome.settled.is_some_and(|(_, complete)| complete), "seed {seed}: {outcome:?}");
        assert_eq!(site.visible(), hashes(&pages), "seed {seed}");
    }
}
