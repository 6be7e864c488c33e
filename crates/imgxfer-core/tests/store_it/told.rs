//! What the index alone knows is told anew, and the index may be lost.

use std::sync::Arc;

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::{Depot, PutOptions};
use imgxfer_core::ids::StudyUid;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{
    Arrival, CheckOptions, CommitBatch, Finding, Index, InstancesOf, MemIndex, MemRecords, Provenance, RecordStore,
    Scope, StoredInstance, check, recover, retell,
};
use imgxfer_core::testing::{Sample, peer};

/// Files of one study.
pub(crate) fn files(seed: u64, instances: u32) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    StudySpec::new(seed).with_instances(1, instances).with_size(64, 64).write_to(folder.path()).unwrap();
    let paths = walkdir::WalkDir::new(folder.path()).sort_by_file_name().into_iter().map(Result::unwrap);
    paths.filter(|entry| entry.file_type().is_file()).map(|entry| std::fs::read(entry.path()).unwrap()).collect()
}

pub(crate) fn all(index: &dyn Index, study: &StudyUid) -> Vec<StoredInstance> {
    index.instances(&Scope::All, &InstancesOf::all_versions(study.clone()), None, 1000).unwrap()
}

fn came(index: &dyn Index, study: &StudyUid) -> Vec<Vec<Arrival>> {
    all(index, study).iter().map(|instance| index.arrivals(instance).unwrap()).collect()
}

/// Spoils every note.
pub(crate) fn spoil_notes(records: &MemRecords) {
    for pack in records.packs().unwrap() {
        let mut notes = Vec::new();
        let mut seen = |end: u64, bytes: &[u8]| {
            notes.push(usize::try_from(end).unwrap() - bytes.len() / 2);
            Ok(())
        };
        records.notes(pack.id, 0, &mut seen).unwrap();
        records.edit_pack(pack.id, |bytes| notes.iter().for_each(|at| bytes[*at] ^= 1));
    }
}

#[test]
fn what_is_told_anew_has_come_the_same_way() {
    let records = MemRecords::default();
    let index = Arc::new(MemIndex::default());
    let shared: Arc<dyn RecordStore> = Arc::new(records.clone());
    let depot = Depot::new(Arc::clone(&shared), Arc::clone(&index) as Arc<dyn Index>, Registry::default());
    let files = files(1, 3);
    let put =
        |file: &Vec<u8>, source: &str| depot.put(file, &PutOptions::of(Provenance::of(source))).unwrap().entry.study;
    let study = put(&files[0], "inbox:/in");
    for (file, source) in [(&files[0], "ae:CT"), (&files[1], "ae:CT"), (&files[2], "user:anna"), (&files[2], "ae:CT")] {
        put(file, source);
    }
    // One that a peer sent, and one of which a way is known that no note told.
    let mut pack = shared.create_pack(peer(1)).unwrap();
    let sent = Sample::new(peer(1), 9, 0, 1, 3000).append_to(pack.as_mut()).unwrap();
    index.commit(&CommitBatch { instances: vec![sent.clone()], ..CommitBatch::default() }).unwrap();
    let (at, provenance) = (UnixSeconds(77), Some(Provenance::of("inbox:/other")));
    let instances = vec![all(index.as_ref(), &study)[1].clone()];
    index.commit(&CommitBatch { instances, provenance, at, ..CommitBatch::default() }).unwrap();
    let before = (came(index.as_ref(), &study), all(index.as_ref(), &study));
    assert_eq!(before.0.iter().map(Vec::len).sum::<usize>(), 6);
    let told = retell(shared.as_ref(), index.as_ref()).unwrap();
    assert_eq!((told.instances, told.arrivals), (1, 1), "the peer's, and the way that was not told");
    spoil_notes(&records);
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let found = check(&shared, index.as_ref(), &options, &mut |_| true).unwrap();
    let untold = |finding: &Finding| match finding {
        Finding::Untold(untold) => Some((untold.instances, untold.arrivals)),
        _ => None,
    };
    assert_eq!(found.findings.iter().find_map(untold), Some((4, 6)));
    let told = retell(shared.as_ref(), index.as_ref()).unwrap();
    assert_eq!((told.instances, told.arrivals), (4, 6));
    assert!(retell(shared.as_ref(), index.as_ref()).unwrap().is_empty(), "once is enough");
    let anew = MemIndex::default();
    recover(shared.as_ref(), &anew).unwrap();
    assert_eq!((came(&anew, &study), all(&anew, &study)), before, "each way, when it was");
    assert_eq!(all(&anew, &sent.entry.study), std::slice::from_ref(&sent));
    assert!(anew.arrivals(&sent).unwrap().is_empty(), "its owner sent it");
}
