//! What any [`Index`] must know of packs: what stands in them, what nobody needs of them, and which of them go.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test")]

use super::{Sample, peer, study};
use crate::clock::UnixSeconds;
use crate::ids::{ManifestRoot, PackId, StudyUid};
use crate::store::{CommitBatch, Index, Order, Publication, RecordAt, Removal, StoreError, StoredInstance, What};

const PACK: PackId = PackId::from_bytes([0x42; 16]);
const OTHER: PackId = PackId::from_bytes([0x43; 16]);

/// One instance of a study of its own, in a pack.
fn sample(number: u64, order: u64) -> StoredInstance {
    let mut stored = Sample::new(peer(1), number, 0, 1, 3000).stored();
    for chunk in &mut stored.chunks {
        chunk.record = RecordAt { pack: PACK, offset: chunk.record.offset + number * 100_000, ..chunk.record };
    }
    StoredInstance { order: Order(order), ..stored }
}

fn commit(index: &dyn Index, instances: Vec<StoredInstance>) -> Result<(), StoreError> {
    index.commit(&CommitBatch { instances, newest: true, ..CommitBatch::default() }).map(drop)
}

fn remove(index: &dyn Index, number: u64, order: u64) {
    let (owner, study, at) = (peer(1), study(number), UnixSeconds(1));
    index.remove(&Removal { owner, study, what: What::All, at, order: Order(order) }).unwrap();
}

/// The studies of what stands in the pack.
fn standing(index: &dyn Index) -> Vec<StudyUid> {
    let mut studies = Vec::new();
    index.visit_pack(PACK, &mut |instance| studies.push(instance.entry.study.clone())).unwrap();
    studies.sort();
    studies
}

fn bytes(instance: &StoredInstance) -> u64 {
    instance.chunks.iter().map(|chunk| u64::from(chunk.record.len)).sum()
}

pub(super) fn packs_go_when_nothing_stands_in_them(index: &dyn Index) {
    let stored: Vec<_> = (1..4).map(|number| sample(number, number)).collect();
    commit(index, stored.clone()).unwrap();
    index.note(PACK, 900_000).unwrap();
    assert_eq!(standing(index), [study(1), study(2), study(3)]);
    assert!(index.wasteful(10).unwrap().is_empty() && !index.doom(PACK).unwrap());
    remove(index, 1, 10);
    assert_eq!(index.wasteful(10).unwrap(), [(PACK, bytes(&stored[0]))], "what was removed is waste");
    assert!(!index.doom(PACK).unwrap(), "others stand in it");
    commit(index, vec![stored[0].clone()]).unwrap();
    assert_eq!(index.wasteful(10).unwrap(), [(PACK, 2 * bytes(&stored[0]))], "so is what comes too late");
    index.set_waste(PACK, 7).unwrap();
    assert_eq!(index.wasteful(10).unwrap(), [(PACK, 7)], "somebody has counted");
    remove(index, 2, 11);
    let mut moved = stored[2].clone();
    moved.chunks.iter_mut().for_each(|chunk| chunk.record.pack = OTHER);
    commit(index, vec![moved]).unwrap();
    let waste = 7 + bytes(&stored[1]) + bytes(&stored[2]);
    assert_eq!(index.wasteful(1).unwrap(), [(PACK, waste)], "and what an instance has left");
    assert!(!index.doom(OTHER).unwrap(), "it stands there");
    assert!(index.doom(PACK).unwrap(), "whatever its notes tell");
    let late = StoredInstance { order: Order(12), ..sample(4, 12) };
    assert!(matches!(commit(index, vec![late.clone()]), Err(StoreError::NoSuchPack(pack)) if pack == PACK));
    index.spare(PACK).unwrap();
    assert!(!index.is_doomed(PACK).unwrap());
    assert_eq!(index.noted(PACK).unwrap(), Some(900_000), "it stays as it was");
    assert!(index.doom(PACK).unwrap());
    index.forget(PACK).unwrap();
    assert!(index.is_doomed(PACK).unwrap(), "for those who read of it before");
    assert_eq!((index.noted(PACK).unwrap().unwrap_or(0), standing(index).len()), (0, 0));
    assert!(index.wasteful(10).unwrap().is_empty());
    assert!(commit(index, vec![late]).is_err());
    index.forget_running().unwrap();
    assert!(!index.is_doomed(PACK).unwrap(), "at the start nothing is about to go");
}

pub(super) fn versions_are_told_in_any_order(index: &dyn Index) {
    commit(index, vec![sample(1, 1)]).unwrap();
    let root = |n| ManifestRoot::from_bytes([n; 32]);
    let publish = |n: u8, order| {
        let (owner, studies, at) = (peer(1), vec![study(1)], UnixSeconds(1));
        let publication = Publication { owner, studies, root: root(n), at, order: Order(order), stated: Vec::new() };
        index.publish(&publication).unwrap()
    };
    let row = || index.study(&crate::store::Scope::All, &study(1)).unwrap().pop();
    assert_eq!((publish(1, 2), publish(2, 5)), (vec![1], vec![2]));
    assert_eq!(publish(1, 2), [2], "an old one that is told once more changes nothing");
    assert_eq!(row().unwrap().root, Some(root(2)));
    assert_eq!(index.owned_bytes(peer(1)).unwrap(), 3000);
    remove(index, 1, 6);
    assert_eq!((index.owned_bytes(peer(1)).unwrap(), index.owned_bytes(peer(2)).unwrap()), (0, 0));
    assert_eq!(publish(2, 5), [0], "nor does it come back with what was removed");
    assert!(row().is_none());
    commit(index, vec![sample(1, 7)]).unwrap();
    assert_eq!(publish(2, 8), [1], "what is sent again begins anew");
}
