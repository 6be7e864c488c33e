//! Putting, finding, reading parts and removing, in memory and in a folder.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the report")]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::dicom::{Level, scan, tags};
use crate::ids::{PeerId, StudyUid};
use crate::sim::studies::StudySpec;
use crate::store::search::Search;
use crate::store::{
    CheckOptions, CommitBatch, InstancesOf, MemIndex, MemRecords, Provenance, Scope, StoredInstance, What, check,
};
use crate::testing::{Sample, peer};

fn in_memory() -> Depot {
    Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default())
}

/// Files of a study with `instances` images.
fn files(seed: u64, instances: u32) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    StudySpec::new(seed).with_instances(1, instances).with_size(64, 64).write_to(folder.path()).unwrap();
    let paths = walkdir::WalkDir::new(folder.path()).sort_by_file_name().into_iter().map(Result::unwrap);
    paths.filter(|entry| entry.file_type().is_file()).map(|entry| std::fs::read(entry.path()).unwrap()).collect()
}

fn options() -> PutOptions {
    PutOptions::of(Provenance::of("inbox:/in"))
}

fn all(depot: &Depot, study: &StudyUid) -> Vec<StoredInstance> {
    depot.index.instances(&Scope::All, &InstancesOf::all_versions(study.clone()), None, 1000).unwrap()
}

fn bytes_of(depot: &Depot, instance: StoredInstance) -> Vec<u8> {
    use crate::dicom::ReadAt as _;
    let reader = depot.reader(instance).unwrap();
    let mut bytes = vec![0; usize::try_from(reader.len()).unwrap()];
    reader.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_put_is_found_and_read_back() {
    let depot = in_memory();
    let files = files(1, 3);
    for file in &files {
        let put = depot.put(file, &options()).unwrap();
        assert_eq!(put.outcome, PutOutcome::Stored);
        assert_eq!(depot.put(file, &options()).unwrap().outcome, PutOutcome::Known, "the same again");
    }
    let scanned = scan(&files[0]).unwrap();
    let identity = scanned.identity.clone().unwrap();
    let stored = all(&depot, &identity.study);
    assert_eq!(stored.len(), 3);
    let mut read: Vec<_> = stored.iter().map(|instance| bytes_of(&depot, instance.clone())).collect();
    let mut expected = files;
    read.sort();
    expected.sort();
    assert_eq!(read, expected, "byte for byte");
    let search = Search::default().by(tags::PATIENT_ID, scanned.attributes.patient_id()).unwrap();
    let found = depot.find(&Scope::All, &search).unwrap().rows;
    assert_eq!((found.len(), found[0].study.instances), (1, 3));
    assert_eq!(found[0].study.owners[0].owner, PeerId::SELF, "it is the site's own");
    let instances = Search { level: Level::Instance, ..Search::study(identity.study) };
    assert_eq!(depot.find(&Scope::All, &instances).unwrap().rows.len(), 3);
}

#[test]
fn another_file_meta_group_is_an_alias() {
    let depot = in_memory();
    let file = files(2, 1).remove(0);
    depot.put(&file, &options()).unwrap();
    let mut alias = file.clone();
    // The preamble belongs to the file meta group's chunk.
    alias[5] ^= 1;
    let drop = PutOptions { aliases: Aliases::Drop, ..options() };
    assert_eq!(depot.put(&alias, &drop).unwrap().outcome, PutOutcome::SameContent);
    let study = scan(&file).unwrap().identity.unwrap().study;
    assert_eq!(all(&depot, &study).len(), 1, "nothing is stored for it");
    assert_eq!(depot.put(&alias, &options()).unwrap().outcome, PutOutcome::Stored, "unless the file is wanted");
    let row = &depot.index.study(&Scope::All, &study).unwrap()[0];
    assert_eq!((row.instances, row.contents, row.conflicts), (1, 2, 0), "and that is no conflict");
}

#[test]
fn what_is_no_image_is_refused_or_opaque() {
    let depot = in_memory();
    let text = b"not DICOM at all".to_vec();
    assert!(matches!(depot.put(&text, &options()), Err(PutError::NotDicom(_))));
    let opaque = PutOptions { opaque: Some(b"letter.txt".to_vec()), ..options() };
    let put = depot.put(&text, &opaque).unwrap();
    assert_eq!(put.entry.name, b"letter.txt");
    assert_eq!(bytes_of(&depot, all(&depot, &put.entry.study).remove(0)), text);
}

#[test]
fn callers_are_committed_together_and_each_is_there() {
    let depot = in_memory();
    let files = files(3, 40);
    std::thread::scope(|threads| {
        for part in files.chunks(10) {
            let depot = &depot;
            threads.spawn(move || part.iter().for_each(|file| drop(depot.put(file, &options()).unwrap())));
        }
    });
    let study = scan(&files[0]).unwrap().identity.unwrap().study;
    assert_eq!(all(&depot, &study).len(), 40);
    let orders: BTreeSet<_> = all(&depot, &study).iter().map(|instance| instance.order).collect();
    assert_eq!(orders.len(), 40, "each has a place of its own in the order of things");
}

#[test]
fn a_frame_is_its_own_bytes() {
    let depot = in_memory();
    let folder = tempfile::tempdir().unwrap();
    StudySpec::new(4).with_instances(1, 1).with_size(32, 48).with_frames(7).write_to(folder.path()).unwrap();
    let path = walkdir::WalkDir::new(folder.path()).into_iter().map(Result::unwrap).find(|e| e.file_type().is_file());
    let file = std::fs::read(path.unwrap().path()).unwrap();
    let put = depot.put(&file, &options()).unwrap();
    let instance = all(&depot, &put.entry.study).remove(0);
    let table = instance.frames.clone().unwrap();
    assert_eq!(table.len(), 7);
    for frame in 0..7 {
        let range = table.range(frame).unwrap();
        let expected = &file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert_eq!(depot.frame(instance.clone(), frame).unwrap(), expected, "frame {frame}");
    }
    assert!(matches!(depot.frame(instance, 7), Err(FrameError::NoSuchFrame)));
}

#[test]
fn what_is_removed_stays_removed_after_any_loss_of_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Depot::open(folder.path(), FsOptions::default(), Registry::default()).unwrap();
    let files = files(5, 4);
    let study = scan(&files[0]).unwrap().identity.unwrap().study;
    let forget_index = || {
        for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            if file.file_name().to_string_lossy().starts_with("index.db") {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
    };
    let older = folder.path().join("older.db");
    {
        let (depot, _) = open();
        files.iter().for_each(|file| drop(depot.put(file, &options()).unwrap()));
    }
    std::fs::copy(folder.path().join("index.db"), &older).unwrap();
    {
        let (depot, _) = open();
        let one = all(&depot, &study).remove(0);
        let removed = depot.remove(PeerId::SELF, &study, What::Contents(vec![one.entry.hash])).unwrap();
        assert_eq!(removed.instances, 1);
        assert_eq!(all(&depot, &study).len(), 3);
    }
    forget_index();
    assert_eq!(all(&open().0, &study).len(), 3, "the index is made anew from the packs");
    forget_index();
    std::fs::copy(&older, folder.path().join("index.db")).unwrap();
    {
        let (depot, _) = open();
        assert_eq!(all(&depot, &study).len(), 3, "an older index is brought up to date");
        depot.remove(PeerId::SELF, &study, What::All).unwrap();
        assert!(all(&depot, &study).is_empty());
    }
    forget_index();
    {
        let (depot, _) = open();
        assert!(all(&depot, &study).is_empty());
        assert_eq!(depot.put(&files[0], &options()).unwrap().outcome, PutOutcome::Stored, "it may be sent again");
    }
    forget_index();
    assert_eq!(all(&open().0, &study).len(), 1);
}

/// Everything that a depot shows: bytes, order, ways of arrival, and versions.
fn shown(depot: &Depot) -> Vec<String> {
    let mut shown = Vec::new();
    let mut after = None;
    loop {
        let keys = depot.index.study_keys(after.as_ref(), 10).unwrap();
        let Some(last) = keys.last() else { return shown };
        after = Some(last.clone());
        for (owner, study) in &keys {
            let mine = Scope::owner(*owner);
            let row = depot.index.study(&mine, study).unwrap().remove(0);
            shown.push(format!("{study} v{} {:?} {} {}", row.version, row.root, row.instances, row.bytes));
            for source in ["inbox:/in", "inbox:/other"] {
                let came = depot.index.study(&Scope::sources([source]), study).unwrap().pop();
                let came = came.map(|row| (row.version, row.contents, row.bytes, row.patients, row.updated));
                shown.push(format!("{study} {source} {came:?}"));
            }
            let of = InstancesOf::all_versions(study.clone());
            for instance in depot.index.instances(&mine, &of, None, 1000).unwrap() {
                let ways = depot.index.arrivals(&instance).unwrap();
                let StoredInstance { order, stated, current, .. } = instance.clone();
                let hash = blake3::hash(&bytes_of(depot, instance));
                shown.push(format!("{hash} {order:?} {stated:?} {current} {ways:?}"));
            }
        }
    }
}

fn compact_all(depot: &Depot) -> Vec<Compacted> {
    let packs = depot.records.packs().unwrap();
    packs.iter().map(|pack| depot.compact(pack.id, &mut |_| true).unwrap()).collect()
}

#[test]
fn what_stays_is_moved_out_of_records_that_it_shares_with_what_is_removed() {
    let depot = in_memory();
    let mut pack = depot.records.create_pack(peer(1)).unwrap();
    let samples: Vec<_> = (0..4).map(|sop| Sample::new(peer(1), 1, 1, sop, 3000)).collect();
    let stored = Sample::append_together(&samples, &mut *pack).unwrap();
    pack.sync().unwrap();
    drop(pack);
    let batch = CommitBatch { instances: stored.clone(), ..CommitBatch::default() };
    depot.index.commit(&batch).unwrap();
    let record = stored[0].chunks[0].record;
    assert!(stored.iter().all(|instance| instance.chunks[0].record == record), "shared");
    let study = stored[0].entry.study.clone();
    let before: Vec<_> = stored[1..].iter().map(|instance| bytes_of(&depot, instance.clone())).collect();
    depot.remove(peer(1), &study, What::Contents(vec![stored[0].entry.hash])).unwrap();
    let left = all(&depot, &study);
    assert_eq!(left.len(), 3);
    for instance in &left {
        assert_ne!(instance.chunks[0].record, record);
        let now = depot.records.read(instance.chunks[0].record).unwrap();
        let gone = stored[0].entry.chunks[0].id;
        assert!(now.header().chunks.iter().all(|chunk| chunk.id != gone), "nothing of what was removed is in it");
    }
    assert_eq!(left.iter().map(|instance| bytes_of(&depot, instance.clone())).collect::<Vec<_>>(), before);
}

#[test]
fn compaction_gives_room_back_and_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Depot::open(folder.path(), FsOptions::default(), Registry::default()).unwrap().0;
    let (first, second) = (files(6, 12), files(7, 3));
    let gone = scan(&first[0]).unwrap().identity.unwrap().study;
    let stays = scan(&second[0]).unwrap().identity.unwrap().study;
    {
        let depot = open();
        for file in first.iter().chain(&second) {
            depot.put(file, &options()).unwrap();
        }
        depot.put(&second[0], &PutOptions::of(Provenance::of("inbox:/other"))).unwrap();
    }
    let depot = open();
    depot.remove(PeerId::SELF, &gone, What::All).unwrap();
    let before = shown(&depot);
    let bytes = || depot.records.packs().unwrap().iter().map(|pack| pack.len).sum::<u64>();
    let room = bytes();
    let wasteful = depot.wasteful(2).unwrap();
    assert_eq!(wasteful.len(), 1, "more than half of the pack is waste");
    let held = depot.hold(wasteful[0].0.id);
    assert_eq!(depot.compact(wasteful[0].0.id, &mut |_| true).unwrap(), Compacted::InUse);
    drop(held);
    let packs = depot.records.packs().unwrap().len();
    assert_eq!(depot.compact(wasteful[0].0.id, &mut |_| false).unwrap(), Compacted::Stopped);
    assert_eq!(depot.records.packs().unwrap().len(), packs, "nothing is left of it");
    assert_eq!(shown(&depot), before);
    let reader = depot.reader(all(&depot, &stays).remove(0)).unwrap();
    assert_eq!(depot.compact(wasteful[0].0.id, &mut |_| true).unwrap(), Compacted::InUse, "it is being read");
    drop(reader);
    let stale = all(&depot, &stays);
    let done = compact_all(&depot);
    assert!(done.iter().any(|done| matches!(done, Compacted::Gone { .. })), "{done:?}");
    assert!(bytes() < room / 2, "{} of {room} bytes are left", bytes());
    assert_eq!(shown(&depot), before);
    assert!(depot.wasteful(2).unwrap().is_empty(), "nothing is left to do");
    for instance in stale {
        let reader = depot.reader(instance).unwrap();
        assert!(reader.verify().is_ok(), "one who knows where it stood still finds it");
    }
    let report = check(&depot.records, depot.index.as_ref(), &CheckOptions::default(), &mut |_| true).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    drop(depot);
    for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        if file.file_name().to_string_lossy().starts_with("index.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let (depot, report) = Depot::open(folder.path(), FsOptions::default(), Registry::default()).unwrap();
    assert_eq!(shown(&depot), before, "the packs tell the same");
    assert_eq!(report.instances_missing, 0, "what has been moved is not missing");
    assert_eq!(depot.put(&first[0], &options()).unwrap().outcome, PutOutcome::Stored, "it may come again");
}

#[test]
fn what_is_seen_by_its_source_alone_is_not_removed() {
    let depot = in_memory();
    let file = &files(11, 1)[0];
    let study = depot.put(file, &options()).unwrap().entry.study;
    depot.put(file, &PutOptions::of(Provenance::of("inbox:/other"))).unwrap();
    let sent = Sample::new(peer(1), 1, 1, 1, 100).stored();
    depot.index.commit(&CommitBatch { instances: vec![sent.clone()], ..CommitBatch::default() }).unwrap();
    let unwanted = Unwanted::study(study.clone());
    let by_source = Scope::owner(peer(1)).with_sources(["inbox:/in"]);
    assert_eq!(depot.count_unwanted(&by_source, &unwanted).unwrap().0, 1, "it is seen");
    assert!(matches!(depot.remove_within(&by_source, &unwanted), Err(RemoveError::BySource)));
    assert_eq!(all(&depot, &study).len(), 1, "and stays");
    let nothing = depot.remove_within(&Scope::sources(["inbox:/else"]), &unwanted).unwrap();
    assert_eq!(nothing.instances, 0, "what is not seen is not there");
    let theirs = Unwanted::study(sent.entry.study);
    assert_eq!(depot.remove_within(&by_source, &theirs).unwrap().instances, 1, "what an owner in scope has goes");
    assert_eq!(depot.remove_within(&Scope::owner(PeerId::SELF), &unwanted).unwrap().instances, 1);
    assert!(all(&depot, &study).is_empty());
}

#[test]
fn a_count_tells_of_what_is_seen_alone() {
    let depot = in_memory();
    let files = files(12, 5);
    let study = depot.put(&files[0], &options()).unwrap().entry.study;
    for file in &files[1..] {
        depot.put(file, &PutOptions::of(Provenance::of("inbox:/other"))).unwrap();
    }
    let count = |scope: &Scope| depot.count_unwanted(scope, &Unwanted::study(study.clone())).unwrap();
    let len = |files: &[Vec<u8>]| files.iter().map(|file| u64::try_from(file.len()).unwrap()).sum::<u64>();
    assert_eq!(count(&Scope::sources(["inbox:/in"])), (1, len(&files[..1])));
    assert_eq!(count(&Scope::sources(["inbox:/other"])), (4, len(&files[1..])));
    assert_eq!(count(&Scope::All), (5, len(&files)));
}

#[test]
fn the_ways_by_which_a_study_came_are_summed_up() {
    let depot = in_memory();
    let files = files(13, 3);
    let study = depot.put(&files[0], &options()).unwrap().entry.study;
    let other = PutOptions::of(Provenance::of("inbox:/other"));
    files.iter().for_each(|file| drop(depot.put(file, &other).unwrap()));
    let ways = depot.ways(&study).unwrap();
    let told: Vec<_> = ways.iter().map(|way| (way.provenance.source.as_str(), way.contents)).collect();
    assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), [("inbox:/in", 1), ("inbox:/other", 3)].into());
    assert!(ways.iter().all(|way| way.first <= way.newest) && ways.is_sorted_by_key(|way| way.first));
    assert!(depot.ways(&crate::testing::study(99)).unwrap().is_empty());
}

#[test]
fn compacting_again_and_again_loses_nothing() {
    let depot = in_memory();
    for file in files(8, 6) {
        depot.put(&file, &options()).unwrap();
    }
    let before = shown(&depot);
    for _ in 0..3 {
        assert!(compact_all(&depot).iter().all(|done| matches!(done, Compacted::Gone { .. })));
        assert_eq!(shown(&depot), before);
    }
}

#[test]
fn a_check_beside_a_compaction_finds_nothing_wrong() {
    let depot = in_memory();
    for file in files(9, 3).iter().chain(&files(10, 3)) {
        depot.put(file, &options()).unwrap();
    }
    let mut compacted = false;
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = check(&depot.records, depot.index.as_ref(), &options, &mut |_| {
        if !std::mem::replace(&mut compacted, true) {
            assert!(compact_all(&depot).iter().all(|done| matches!(done, Compacted::Gone { .. })));
        }
        true
    });
    let report = report.unwrap();
    assert!(compacted && report.findings.is_empty(), "{report:?}");
    assert_eq!(report.instances, 6);
}

/// An instance of seven frames, kept as it comes over a slow line, and its file.
fn slow_to_read(depot: &Depot) -> (StudyUid, Vec<u8>) {
    let study = StudySpec::new(4).with_instances(1, 1).with_size(64, 96).with_frames(7);
    let file = study.instances().next().unwrap().bytes;
    let put = depot.put(&file, &PutOptions { level: crate::codec::Level::COPPER, ..options() }).unwrap();
    (put.entry.study, file)
}

fn frames_of(depot: &Depot, study: &StudyUid) -> Vec<Vec<u8>> {
    let instance = all(depot, study).remove(0);
    (0..7).map(|frame| depot.frame(instance.clone(), frame).unwrap()).collect()
}

#[test]
fn what_takes_long_to_read_is_coded_anew_and_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Depot::open(folder.path(), FsOptions::default(), Registry::default()).unwrap().0;
    let depot = open();
    let (study, file) = slow_to_read(&depot);
    let fast = files(3, 2);
    fast.iter().for_each(|file| drop(depot.put(file, &options()).unwrap()));
    let (before, frames) = (shown(&depot), frames_of(&depot, &study));
    assert!(all(&depot, &study)[0].slow);
    let slow = depot.slow().unwrap();
    assert_eq!((slow.len(), slow[0].1), (1, 1));
    let pack = slow[0].0.id;
    let long_ago = UnixSeconds(0);
    let reader = depot.reader(all(&depot, &study).remove(0)).unwrap();
    assert_eq!(depot.recode(pack, long_ago, &mut |_| true).unwrap(), Compacted::InUse, "it is being read");
    drop(reader);
    assert_eq!(depot.recode(pack, long_ago, &mut |_| false).unwrap(), Compacted::Stopped);
    assert_eq!(shown(&depot), before);
    let done = depot.recode(pack, long_ago, &mut |_| true).unwrap();
    assert!(matches!(done, Compacted::Gone { .. }), "{done:?}");
    let is_so = |depot: &Depot| {
        assert_eq!((shown(depot), frames_of(depot, &study)), (before.clone(), frames.clone()));
        assert!(depot.slow().unwrap().is_empty() && !all(depot, &study)[0].slow);
        for at in all(depot, &study)[0].chunks.iter().map(|chunk| chunk.record) {
            let record = depot.records.read(at).unwrap();
            assert!(!depot.registry.is_slow(record.header().codec, record.payload(), record.header().raw_len()));
        }
        let options = CheckOptions { read_data: true, ..CheckOptions::default() };
        let report = check(&depot.records, depot.index.as_ref(), &options, &mut |_| true).unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
    };
    is_so(&depot);
    assert_eq!(depot.put(&file, &options()).unwrap().outcome, PutOutcome::Known, "the same again");
    drop(depot);
    for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        if file.file_name().to_string_lossy().starts_with("index.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let depot = open();
    assert_eq!(frames_of(&depot, &study), frames, "the packs tell the same");
    assert!(depot.slow().unwrap().is_empty());
}

#[test]
fn what_is_slow_is_known_to_an_index_that_is_made_anew() {
    let records = Arc::new(MemRecords::default());
    let depot = Depot::new(Arc::<MemRecords>::clone(&records), Arc::new(MemIndex::default()), Registry::default());
    slow_to_read(&depot);
    let anew = MemIndex::default();
    recover(records.as_ref(), &anew).unwrap();
    assert_eq!(anew.slow(10).unwrap(), depot.index.slow(10).unwrap());
    assert_eq!(anew.slow(10).unwrap().len(), 1);
    // A check misses it where it is not.
    anew.set_slow(anew.slow(1).unwrap()[0].0, 0).unwrap();
    let records: Arc<dyn RecordStore> = records;
    let report = check(&records, &anew, &CheckOptions::default(), &mut |_| true).unwrap();
    let is_row = |finding: &crate::store::Finding| matches!(finding, crate::store::Finding::Row { .. });
    assert!(report.findings.iter().any(is_row), "{report:?}");
}

#[test]
fn what_an_interrupted_transfer_left_is_not_lost_for_speed() {
    let depot = in_memory();
    slow_to_read(&depot);
    let pack = depot.slow().unwrap()[0].0.id;
    let left = crate::testing::record_of(&[b"left by an interrupted transfer"]);
    depot.own.append(depot.records.as_ref(), &Default::default(), &left).unwrap();
    assert_eq!(depot.recode(pack, UnixSeconds(0), &mut |_| true).unwrap(), Compacted::InUse);
    let later = UnixSeconds(i64::MAX);
    assert!(matches!(depot.recode(pack, later, &mut |_| true).unwrap(), Compacted::Gone { .. }), "nobody comes for it");
}
