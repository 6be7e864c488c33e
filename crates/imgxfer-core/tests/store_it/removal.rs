//! What is removed is gone and stays gone, what stays is there, and room is given back, whatever fails and whenever:
//! with every write and sync of a removal and the compactions behind it failing in turn.

use imgxfer_core::depot::Compacted;
use imgxfer_core::ids::ChunkId;
use imgxfer_core::store::{StoreError, What};
use imgxfer_core::testing::faulty::Fault;
use imgxfer_core::testing::pair::Drive;
use imgxfer_core::testing::peer;

use crate::disk::{Contents, Disk, contents, pages};

/// Compacts every pack. Returns what became of each.
fn compact(disk: &Disk) -> Result<Vec<Compacted>, StoreError> {
    let depot = &disk.site.depot;
    let packs = depot.records.packs()?;
    packs.iter().map(|pack| depot.compact(pack.id, &mut |_| true)).collect()
}

/// All chunks that stand in packs, needed or not.
fn chunks(disk: &Disk) -> Vec<ChunkId> {
    let records = &disk.site.depot.records;
    let mut found = Vec::new();
    for pack in records.packs().unwrap() {
        let visit = &mut |_, header: &imgxfer_core::wire::record::RecordHeader| {
            found.extend(header.chunks.iter().map(|chunk| chunk.id));
        };
        records.scan(pack.id, false, visit).unwrap();
    }
    found
}

/// Removes an image of a study, and compacts, with one operation failing, if there are so many. Whether there are.
fn is_met(fault: Fault, nth: u64, seed: u64) -> bool {
    let (pages, all) = (pages(), contents(&pages()));
    let chance = seed * 7919 + nth * 3;
    let case = format!("{fault:?} at operation {nth}, seed {seed}");
    let mut disk = Disk::new(chance.is_multiple_of(2), true);
    let pushed = Drive::new(&disk.site, &pages, seed).unwatched().run();
    assert!(pushed.settled.is_some_and(|(_, complete)| complete));
    let image = pages[0][1].entry.clone();
    let mut left = all.clone();
    left.remove(image.hash.as_bytes());
    let remove = |disk: &Disk| disk.site.depot.remove(peer(1), &image.study, What::Contents(vec![image.hash]));
    disk.faults.arm(nth, fault);
    let removed = remove(&disk);
    let compacted = compact(&disk);
    let met = disk.faults.hit();
    assert!(met || (removed.is_ok() && compacted.is_ok()), "{case}: {removed:?} {compacted:?}");
    if !met || fault == Fault::PowerCut {
        disk.cut_power(chance);
    }
    let found = disk.look(&Contents::new(), &case);
    assert!(left.is_subset(&found) && found.is_subset(&all), "{case}: what stays is lost");
    assert!(removed.is_err() || found == left, "{case}: what was removed is back");
    // Without faults it comes to its end, and nothing of the image is anywhere.
    remove(&disk).unwrap();
    disk.kill();
    let done = compact(&disk).unwrap();
    assert!(done.iter().all(|done| matches!(done, Compacted::Gone { .. })), "{case}: {done:?}");
    let own: Vec<ChunkId> = image.chunks.iter().map(|chunk| chunk.id).collect();
    let others = pages.iter().flatten().filter(|item| item.entry.hash != image.hash);
    let shared: Vec<ChunkId> = others.flat_map(|item| &item.entry.chunks).map(|chunk| chunk.id).collect();
    let remains = chunks(&disk).into_iter().filter(|id| own.contains(id) && !shared.contains(id)).count();
    assert_eq!(remains, 0, "{case}: something of what was removed is left in a pack");
    disk.cut_power(chance + 1);
    assert_eq!(disk.look(&Contents::new(), &case), left, "{case}: at the end");
    // It may be sent again.
    let outcome = Drive::new(&disk.site, &pages, seed + 1).unwatched().run();
    assert!(outcome.settled.is_some_and(|(_, complete)| complete), "{case}: it cannot be sent again");
    assert_eq!(disk.look(&Contents::new(), &case), all, "{case}: sent again");
    met
}

fn fail_each_operation(fault: Fault, seeds: u64) {
    for seed in 0..seeds {
        let total = (0..).find(|nth| !is_met(fault, *nth, seed)).unwrap();
        eprintln!("{fault:?}, seed {seed}: {total} operations");
        assert!(total > 10, "{total}");
    }
}

#[test]
fn a_power_cut_at_any_operation_of_removal_and_compaction() {
    fail_each_operation(Fault::PowerCut, 2);
}

#[test]
fn a_failure_at_any_operation_of_removal_and_compaction() {
    for fault in [Fault::Medium, Fault::NoSpace, Fault::ShortWrite] {
        fail_each_operation(fault, 1);
    }
}
