//! What takes long to read is coded anew, and nothing is lost or changed, whatever fails and whenever: with every write and
//! sync of it failing in turn.

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::Level;
use imgxfer_core::depot::{Compacted, PutOptions};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{Provenance, StoreError};
use imgxfer_core::testing::faulty::Fault;

use crate::disk::{Contents, Disk};

/// Nothing is left of transfers that anybody would resume.
const NOTHING_LEFT: UnixSeconds = UnixSeconds(i64::MAX);

/// Codes every pack anew that the index lists. Returns what became of each.
fn recode(disk: &Disk) -> Result<Vec<Compacted>, StoreError> {
    let depot = &disk.site.depot;
    let slow = depot.slow()?;
    slow.iter().map(|(pack, _)| depot.recode(pack.id, NOTHING_LEFT, &mut |_| true)).collect()
}

/// Records that committed instances stand in and that take long to decode.
fn slow_records(disk: &Disk) -> usize {
    let depot = &disk.site.depot;
    let instances = disk.instances();
    let records = instances.iter().flat_map(|instance| &instance.chunks).map(|chunk| chunk.record);
    let is_slow = |at| {
        let record = depot.records.read(at).unwrap();
        depot.registry.is_slow(record.header().codec, record.payload(), record.header().raw_len())
    };
    records.filter(|at| is_slow(*at)).count()
}

/// Keeps three images as they come over a slow line. Returns their hashes.
fn keep(disk: &Disk) -> Contents {
    let mut options = PutOptions::of(Provenance::of("inbox:/in"));
    options.level = Level::COPPER;
    let study = StudySpec::new(5).with_instances(1, 3).with_size(48, 48);
    let put = |bytes: Vec<u8>| *disk.site.depot.put(&bytes, &options).unwrap().entry.hash.as_bytes();
    study.instances().map(|instance| put(instance.bytes)).collect()
}

/// Codes anew with one operation failing, if there are so many. Whether there are.
fn is_met(fault: Fault, nth: u64, seed: u64) -> bool {
    let chance = seed * 7919 + nth * 3;
    let case = format!("{fault:?} at operation {nth}, seed {seed}");
    let mut disk = Disk::new(chance.is_multiple_of(2), true);
    let all = keep(&disk);
    assert!(slow_records(&disk) > 0 && disk.instances().iter().all(|instance| instance.slow), "{case}");
    assert_eq!(disk.site.depot.slow().unwrap().len(), 1, "{case}");
    disk.faults.arm(nth, fault);
    let done = recode(&disk);
    let met = disk.faults.hit();
    assert!(met || done.as_ref().is_ok_and(|done| matches!(done[..], [Compacted::Gone { .. }])), "{case}: {done:?}");
    if !met || fault == Fault::PowerCut {
        disk.cut_power(chance);
    }
    assert_eq!(disk.look(&Contents::new(), &case), all, "{case}");
    assert!(met || slow_records(&disk) == 0, "{case}: something is still slow");
    // What was cut short goes on, on what the medium holds.
    disk.cut_power(chance + 5);
    for _ in 0..3 {
        let done = recode(&disk).unwrap();
        assert!(done.iter().all(|done| matches!(done, Compacted::Gone { .. } | Compacted::Fast)), "{case}: {done:?}");
    }
    let settled = |disk: &Disk, when: &str| {
        assert_eq!(disk.look(&Contents::new(), &case), all, "{case}, {when}");
        assert_eq!(slow_records(disk), 0, "{case}, {when}: something is still slow");
        assert!(disk.instances().iter().all(|instance| !instance.slow), "{case}, {when}");
        assert!(disk.site.depot.slow().unwrap().is_empty(), "{case}, {when}");
    };
    settled(&disk, "in the end");
    let again = keep(&disk);
    assert_eq!((again, disk.instances().len()), (all.clone(), 3), "{case}: the same again is known");
    met
}

fn fail_each_operation(fault: Fault, seeds: u64) {
    for seed in 0..seeds {
        let total = (0..).find(|nth| !is_met(fault, *nth, seed)).unwrap();
        eprintln!("{fault:?}, seed {seed}: {total} operations");
        assert!(total > 8, "{total}");
    }
}

#[test]
fn a_power_cut_at_any_operation_of_coding_anew() {
    fail_each_operation(Fault::PowerCut, 3);
}

#[test]
fn a_failure_at_any_operation_of_coding_anew() {
    for fault in [Fault::Medium, Fault::NoSpace, Fault::ShortWrite] {
        fail_each_operation(fault, 1);
    }
}
