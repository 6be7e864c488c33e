//! Nothing that the index says is committed is ever unreadable, whatever fails and whenever.

use std::sync::Arc;

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::Registry;
use imgxfer_core::ids::{InstanceHash, ManifestRoot};
use imgxfer_core::store::{
    CheckOptions, CommitBatch, Index, RecordStore, Scope, SpoolLimits, StoreError, StoredInstance, StoredReader, check,
    spool_chunks,
};
use imgxfer_core::testing::faulty::{Fault, Faults, FaultyIndex, FaultyRecords};
use imgxfer_core::testing::{Sample, peer, study};

const PAGES: u64 = 4;
const PER_PAGE: u64 = 3;

/// Receives one study as a receiver does: append, sync, commit; page by page. What it has
/// acknowledged is in `acked`, also when it fails.
fn receive(records: &dyn RecordStore, index: &dyn Index, acked: &mut Vec<InstanceHash>) -> Result<(), StoreError> {
    index.begin(peer(1), &[study(1)], UnixSeconds(1))?;
    let mut pack = records.create_pack(peer(1))?;
    for page in 0..PAGES {
        let sample = |i| Sample::new(peer(1), 1, page, i, 1700);
        let instances = (0..PER_PAGE).map(|i| sample(i).append_to(&mut *pack)).collect::<Result<Vec<_>, _>>()?;
        pack.sync()?;
        let hashes: Vec<_> = instances.iter().map(|i| i.entry.hash).collect();
        index.commit(&CommitBatch { instances, ..CommitBatch::default() })?;
        acked.extend(hashes);
    }
    index.publish(peer(1), &[study(1)], ManifestRoot::from_bytes([1; 32]), UnixSeconds(2))?;
    Ok(())
}

fn committed(index: &dyn Index) -> Vec<StoredInstance> {
    index.instances(&Scope::All, &study(1), None, 1000).unwrap()
}

/// Everything that the index lists can be read, and everything acknowledged is listed.
fn assert_sound(records: &Arc<dyn RecordStore>, index: &dyn Index, acked: &[InstanceHash], case: &str) {
    let listed = committed(index);
    for instance in &listed {
        let reader = StoredReader::of(Arc::clone(records), Registry::default(), instance.clone()).unwrap();
        reader.verify().unwrap_or_else(|e| panic!("{case}: a committed instance is unreadable: {e}"));
    }
    let is_listed = |hash: &InstanceHash| listed.iter().any(|i| i.entry.hash == *hash);
    assert!(acked.iter().all(is_listed), "{case}: something acknowledged is gone");
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = check(records, index, &options, &mut |_| true).unwrap();
    assert!(!report.findings.iter().any(imgxfer_core::store::Finding::is_loss), "{case}: {report:?}");
}

/// Runs the receiver with each of its operations failing in turn, and returns how many there are.
fn fail_each_operation(fault: Fault, lucky: bool, seeds: u64) -> u64 {
    for nth in 0.. {
        for seed in 0..seeds {
            let case = format!("{fault:?} at operation {nth}, lucky {lucky}, seed {seed}");
            let faults = Faults::at(nth, fault);
            let store = FaultyRecords::new(faults.clone());
            let index = FaultyIndex::new(faults.clone(), lucky);
            let records: Arc<dyn RecordStore> = Arc::new(store.clone());
            let mut acked = Vec::new();
            let result = receive(&*records, &index, &mut acked);
            if !faults.hit() {
                result.unwrap_or_else(|e| panic!("{case}: {e}"));
                return nth;
            }
            assert!(result.is_err(), "{case}: a failure went unnoticed");
            assert_sound(&records, &index, &acked, &case);
            store.restart(seed.wrapping_mul(7919) ^ nth);
            assert_sound(&records, &index, &acked, &case);
            // Looking for spool in what is left must not fail; the next attempt finishes.
            spool_chunks(&*records, &index, &peer(1), SpoolLimits::default(), &mut |_| Ok(true)).unwrap();
            receive(&*records, &index, &mut acked).unwrap_or_else(|e| panic!("{case}: no recovery: {e}"));
            store.restart(seed);
            assert_sound(&records, &index, &acked, &case);
            assert_eq!(committed(&index).len(), 12, "{case}: all there after the second attempt");
        }
    }
    unreachable!("the loop ends when no operation is left to fail")
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let operations = fail_each_operation(Fault::PowerCut, false, 40);
    assert_eq!(operations, fail_each_operation(Fault::PowerCut, true, 40));
    // begin, create, 4 x (6 appends, sync, commit), publish
    assert_eq!(operations, 1 + 1 + PAGES * (PER_PAGE * 2 + 2) + 1);
}

#[test]
fn a_failure_at_any_operation_loses_nothing_acknowledged() {
    for fault in [Fault::Medium, Fault::NoSpace, Fault::ShortWrite] {
        fail_each_operation(fault, false, 10);
    }
}

/// The model must catch a receiver that is wrong, or it proves nothing.
#[test]
fn a_receiver_that_does_not_sync_is_caught() {
    let mut caught = 0;
    for seed in 0..100 {
        let store = FaultyRecords::new(Faults::default());
        let index = FaultyIndex::new(Faults::default(), false);
        let mut pack = store.create_pack(peer(1)).unwrap();
        let instance = Sample::new(peer(1), 1, 1, 1, 5000).append_to(&mut *pack).unwrap();
        index.commit(&CommitBatch { instances: vec![instance], ..CommitBatch::default() }).unwrap();
        store.restart(seed);
        let records: Arc<dyn RecordStore> = Arc::new(store);
        let instance = committed(&index).remove(0);
        caught += u32::from(StoredReader::of(records, Registry::default(), instance).unwrap().verify().is_err());
    }
    assert!(caught > 80, "caught in {caught} of 100 power cuts");
}
