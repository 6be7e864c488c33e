//! What every [`Index`] must do.
#![expect(clippy::unwrap_used, reason = "a failing operation fails the test that runs the suite")]

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Sample, peer, study};
use crate::clock::UnixSeconds;
use crate::dicom::tags;
use crate::ids::{InstanceHash, ManifestRoot, PackId, PageHash, StudyUid};
use crate::store::{CommitBatch, Index, Scope, StoreError, StoredInstance, StudyQuery, StudyRow};

/// Puts indexes through the contract of [`Index`]. `make` returns an empty one each time.
///
/// # Panics
/// When the index does not keep to the contract.
pub fn index_suite(make: &dyn Fn() -> Arc<dyn Index>) {
    an_empty_index_knows_nothing(&*make());
    commits_are_found_and_idempotent(&*make());
    conflicts_are_kept_beside_each_other(&*make());
    instances_come_in_order_and_pages(&*make());
    scopes_hide_what_others_sent(&*make());
    damage_is_healed(&*make());
    doomed_packs_take_no_commit(&*make());
    notes_are_remembered(&*make());
    versions_are_published_once(&*make());
    queries_narrow(&*make());
    pages_belong_to_their_owner(&*make());
    packs_are_known(&*make());
    studies_can_be_walked(&*make());
    readers_see_whole_batches(&make());
}

fn commit(index: &dyn Index, at: i64, instances: Vec<StoredInstance>) {
    index.commit(&CommitBatch { instances, pages: Vec::new(), at: UnixSeconds(at), ..CommitBatch::default() }).unwrap();
}

fn rows(index: &dyn Index) -> Vec<StudyRow> {
    index.studies(&Scope::All, &StudyQuery::default()).unwrap()
}

fn all_of(index: &dyn Index, scope: &Scope, of: &StudyUid, page: usize) -> Vec<StoredInstance> {
    let mut all: Vec<StoredInstance> = Vec::new();
    loop {
        let more = index.instances(scope, of, all.last(), page).unwrap();
        assert!(more.len() <= page, "no more than asked for");
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn an_empty_index_knows_nothing(index: &dyn Index) {
    assert!(rows(index).is_empty(), "no studies");
    assert!(all_of(index, &Scope::All, &study(1), 10).is_empty(), "no instances");
    let hash = InstanceHash::from_bytes([1; 32]);
    assert_eq!(index.has(&Scope::All, &study(1), &[hash]).unwrap(), [false], "no content");
    assert_eq!(index.page(peer(1), &PageHash::from_bytes([1; 32])).unwrap(), None, "no pages");
    assert!(index.packs_in_use().unwrap().is_empty(), "no packs");
    assert!(index.study_keys(None, 10).unwrap().is_empty(), "nothing to walk over");
    index.commit(&CommitBatch::default()).unwrap();
    assert!(rows(index).is_empty(), "an empty batch adds nothing");
}

fn commits_are_found_and_idempotent(index: &dyn Index) {
    let samples: Vec<_> = (0..10).map(|sop| Sample::new(peer(1), 7, sop % 2, sop, 2500)).collect();
    let stored: Vec<_> = samples.iter().map(Sample::stored).collect();
    commit(index, 100, stored[..4].to_vec());
    let first = rows(index);
    assert_eq!(first.len(), 1, "one study");
    assert_eq!((first[0].instances, first[0].series, first[0].bytes), (4, 2, 10_000), "sums");
    assert_eq!(first[0].attributes, stored[0].attributes, "those of the first instance");
    assert_eq!(first[0].modalities, "CT\\SR", "sorted");
    assert_eq!(first[0].updated, UnixSeconds(100), "when it changed");
    commit(index, 200, stored[..4].to_vec());
    assert_eq!(rows(index), first, "the same again changes nothing");
    commit(index, 300, stored.clone());
    let row = &rows(index)[0];
    assert_eq!((row.instances, row.series, row.bytes, row.conflicts), (10, 2, 25_000, 0), "sums over batches");
    assert_eq!(row.attributes, stored[0].attributes, "still those of the first");
    // The same content at other places: the first stays.
    let mut moved = stored[0].clone();
    moved.chunks.iter_mut().for_each(|c| c.record.offset += 1_000_000);
    commit(index, 400, vec![moved]);
    let all = all_of(index, &Scope::All, &study(7), 100);
    assert!(all.contains(&stored[0]), "as it was first committed");
    let hashes: Vec<_> = stored.iter().map(|i| i.entry.hash).chain([InstanceHash::from_bytes([0; 32])]).collect();
    let mut expected = vec![true; 10];
    expected.push(false);
    assert_eq!(index.has(&Scope::All, &study(7), &hashes).unwrap(), expected, "one answer for each");
    assert_eq!(index.has(&Scope::All, &study(8), &hashes).unwrap(), vec![false; 11], "of this study alone");
}

fn conflicts_are_kept_beside_each_other(index: &dyn Index) {
    let with = |content: u8| {
        let mut sample = Sample::new(peer(1), 1, 0, 1, 100);
        sample.bytes[0] = content;
        sample.stored()
    };
    commit(index, 1, vec![with(1), with(2)]);
    assert_eq!((rows(index)[0].conflicts, rows(index)[0].instances), (1, 2), "both kept, one conflict");
    commit(index, 2, vec![with(3), with(2)]);
    assert_eq!((rows(index)[0].conflicts, rows(index)[0].instances), (1, 3), "a third is no second conflict");
    let mut elsewhere = with(4);
    elsewhere.entry.series = Sample::new(peer(1), 1, 5, 1, 1).entry().series;
    elsewhere.entry.sop_instance = Sample::new(peer(1), 1, 0, 2, 1).entry().sop_instance;
    let other = Sample::new(peer(1), 1, 0, 2, 50).stored();
    commit(index, 3, vec![elsewhere, other]);
    assert_eq!(rows(index)[0].conflicts, 2, "also when the series differs");
    let all = all_of(index, &Scope::All, &study(1), 2);
    assert_eq!(all.len(), 5, "every content is listed");
}

fn instances_come_in_order_and_pages(index: &dyn Index) {
    let mut stored = Vec::new();
    for series in [3, 1, 2] {
        for sop in [5, 11, 2, 7] {
            stored.push(Sample::new(peer(1), 1, series, sop, 10).stored());
            stored.push(Sample::new(peer(2), 1, series, sop, 10).stored());
        }
    }
    commit(index, 1, stored.clone());
    stored.sort_by_key(|i| (i.entry.series.clone(), i.entry.sop_instance.clone(), i.entry.hash, i.owner));
    for page in [1, 2, 3, 8, 100] {
        assert_eq!(all_of(index, &Scope::All, &study(1), page), stored, "in order, in pages of {page}");
    }
    assert!(index.instances(&Scope::All, &study(1), None, 0).unwrap().is_empty(), "none when none is asked for");
}

fn scopes_hide_what_others_sent(index: &dyn Index) {
    let mine = Sample::new(peer(1), 1, 0, 1, 10).stored();
    let theirs = Sample::new(peer(2), 1, 0, 2, 10).stored();
    commit(index, 1, vec![mine.clone(), theirs.clone()]);
    let hashes = [mine.entry.hash, theirs.entry.hash];
    for (scope, sees) in [
        (Scope::All, [true, true]),
        (Scope::Owners(vec![peer(1)]), [true, false]),
        (Scope::Owners(vec![peer(1), peer(2)]), [true, true]),
        (Scope::Owners(vec![peer(3)]), [false, false]),
        (Scope::Owners(vec![]), [false, false]),
    ] {
        assert_eq!(index.has(&scope, &study(1), &hashes).unwrap(), sees, "{scope:?}");
        let count = sees.iter().filter(|s| **s).count();
        assert_eq!(all_of(index, &scope, &study(1), 10).len(), count, "{scope:?}");
        assert_eq!(index.studies(&scope, &StudyQuery::default()).unwrap().len(), count, "{scope:?}");
    }
}

fn versions_are_published_once(index: &dyn Index) {
    let root = |n| ManifestRoot::from_bytes([n; 32]);
    let studies = [study(1), study(2)];
    index.begin(peer(1), &studies, UnixSeconds(1)).unwrap();
    assert!(rows(index).is_empty(), "no row before the first commit");
    commit(index, 2, vec![Sample::new(peer(1), 1, 0, 1, 10).stored(), Sample::new(peer(1), 2, 0, 1, 10).stored()]);
    index.begin(peer(1), &studies, UnixSeconds(2)).unwrap();
    assert!(rows(index).iter().all(|r| r.arriving && r.version == 0 && r.root.is_none()), "both arrive");
    assert_eq!(index.publish(peer(1), &studies, root(1), UnixSeconds(3)).unwrap(), [1, 1], "first version");
    index.end(peer(1), &studies).unwrap();
    assert!(rows(index).iter().all(|r| !r.arriving && r.root == Some(root(1))), "complete");
    let before = rows(index);
    assert_eq!(index.publish(peer(1), &studies, root(1), UnixSeconds(4)).unwrap(), [1, 1], "the same root");
    assert_eq!(rows(index), before, "changes nothing");
    index.begin(peer(1), &studies[..1], UnixSeconds(5)).unwrap();
    assert_eq!(rows(index).iter().filter(|r| r.arriving).count(), 1, "arriving again");
    index.begin(peer(1), &studies[..1], UnixSeconds(5)).unwrap();
    index.end(peer(1), &studies[..1]).unwrap();
    assert_eq!(rows(index).iter().filter(|r| r.arriving).count(), 1, "one of two transfers has ended");
    assert_eq!(index.publish(peer(1), &studies[..1], root(1), UnixSeconds(6)).unwrap(), [1], "nothing new in it");
    index.clear_arrivals().unwrap();
    assert!(rows(index).iter().all(|r| !r.arriving), "and not arriving any more");
    assert_eq!(index.publish(peer(1), &studies[..1], root(2), UnixSeconds(7)).unwrap(), [2], "second version");
    assert_eq!(index.publish(peer(2), &[study(9)], root(2), UnixSeconds(7)).unwrap(), [1], "one never heard of");
    assert_eq!(rows(index).iter().filter(|r| r.version == 2).count(), 1, "of that study alone");
}

fn queries_narrow(index: &dyn Index) {
    let stored: Vec<_> = (0..30).map(|n| Sample::new(peer(1), n, n, 1, 10).stored()).collect();
    commit(index, 1, stored.clone());
    let ask = |change: &dyn Fn(&mut StudyQuery)| {
        let mut query = StudyQuery::default();
        change(&mut query);
        index.studies(&Scope::All, &query).unwrap()
    };
    let everything = ask(&|_| {});
    assert_eq!(everything.len(), 30, "all");
    let order = everything.windows(2).all(|pair| {
        let date = |i: usize| pair[i].attributes.get(tags::STUDY_DATE);
        date(0) > date(1) || (date(0) == date(1) && pair[0].study < pair[1].study)
    });
    assert!(order, "newest first, then by UID");
    assert_eq!(ask(&|q| q.limit = Some(7)), everything[..7], "the first ones");
    assert_eq!(ask(&|q| q.study = Some(study(3))).len(), 1, "by study");
    assert_eq!(ask(&|q| q.patient_id = Some("P4".into())).len(), 1, "by patient");
    assert_eq!(ask(&|q| q.patient_id = Some("P".into())).len(), 0, "exactly");
    assert_eq!(ask(&|q| q.accession_number = Some("A5".into())).len(), 1, "by accession number");
    assert_eq!(ask(&|q| q.modality = Some("SR".into())).len(), 15, "by modality");
    assert_eq!(ask(&|q| q.modality = Some("S".into())).len(), 0, "a whole one");
    assert_eq!(ask(&|q| q.patient_id = Some("' OR 1=1 --".into())).len(), 0, "values are values");
    let date = stored[8].attributes.get(tags::STUDY_DATE).to_owned();
    let between = ask(&|q| (q.date_from, q.date_to) = (Some(date.clone()), Some(date.clone())));
    assert!(between.iter().all(|r| r.attributes.get(tags::STUDY_DATE) == date), "both ends belong to it");
    assert!(!between.is_empty(), "both ends belong to it");
    let later = ask(&|q| q.date_from = Some(date.clone())).len();
    let earlier = ask(&|q| q.date_to = Some(date.clone())).len();
    assert_eq!(later + earlier, 30 + between.len(), "the two halves meet");
    index.publish(peer(1), &[study(99)], ManifestRoot::from_bytes([9; 32]), UnixSeconds(2)).unwrap();
    assert_eq!(ask(&|q| q.date_to = Some("99991231".into())).len(), 30, "no date is before no date");
}

fn pages_belong_to_their_owner(index: &dyn Index) {
    let page = Bytes::from_static(b"encoded page");
    let hash = PageHash::from_bytes([5; 32]);
    let pages = vec![(hash, peer(1), page.clone())];
    let batch = CommitBatch { pages, ..CommitBatch::default() };
    index.commit(&batch).unwrap();
    index.commit(&batch).unwrap();
    assert_eq!(index.page(peer(1), &hash).unwrap(), Some(page), "there");
    assert_eq!(index.page(peer(2), &hash).unwrap(), None, "and not for another");
}

fn packs_are_known(index: &dyn Index) {
    let stored: Vec<_> = (1..4).map(|n| Sample::new(peer(1), n, 0, 1, 5000).stored()).collect();
    commit(index, 1, stored.clone());
    let expected: HashSet<_> = stored.iter().flat_map(|i| &i.chunks).map(|c| c.record.pack).collect();
    assert_eq!(index.packs_in_use().unwrap(), expected, "each pack");
    for instance in &stored {
        let end = instance.chunks.iter().map(|c| c.record.offset + u64::from(c.record.len)).max();
        assert_eq!(index.pack_extent(instance.chunks[0].record.pack).unwrap(), end, "to its last record");
    }
}

fn studies_can_be_walked(index: &dyn Index) {
    for n in 0..25 {
        commit(index, 1, vec![Sample::new(peer(u8::try_from(n % 3).unwrap()), n % 10, 0, n, 10).stored()]);
    }
    let expected: HashSet<_> = rows(index).into_iter().map(|r| (r.owner, r.study)).collect();
    let mut seen = Vec::new();
    loop {
        let more = index.study_keys(seen.last(), 4).unwrap();
        if more.is_empty() {
            break;
        }
        seen.extend(more);
    }
    assert_eq!(seen.len(), expected.len(), "each once");
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), expected, "all of them");
}

fn readers_see_whole_batches(index: &Arc<dyn Index>) {
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for batch in 0..40u64 {
                let sample = |sop| Sample::new(peer(1), 1, 0, batch * 5 + sop, 20).stored();
                commit(&**index, 1, (0..5).map(sample).collect());
            }
        });
        while !writer.is_finished() {
            if let Some(row) = rows(&**index).first() {
                assert_eq!(row.instances % 5, 0, "all of a batch or none");
                assert_eq!(row.bytes, row.instances * 20, "sums and counts agree");
            }
            assert_eq!(all_of(&**index, &Scope::All, &study(1), 1000).len() % 5, 0, "all of a batch or none");
        }
    });
    assert_eq!(rows(&**index)[0].instances, 200, "all there in the end");
}

fn damage_is_healed(index: &dyn Index) {
    let instances: Vec<_> = (0..4).map(|sop| Sample::new(peer(1), 1, 0, sop, 3000).stored()).collect();
    commit(index, 1, instances.clone());
    commit(index, 1, vec![Sample::new(peer(1), 2, 0, 9, 3000).stored()]);
    let rotten = instances[2].chunks[1].record;
    let hashes: Vec<_> = instances.iter().map(|i| i.entry.hash).collect();
    let hit = instances.iter().filter(|i| i.chunks.iter().any(|c| c.record == rotten)).count();
    assert_eq!(index.note_damage(&study(2), &[rotten]).unwrap(), 0, "nothing of that study stands there");
    assert!(index.damage(&study(2)).unwrap().is_empty());
    assert_eq!(index.note_damage(&study(1), &[rotten]).unwrap(), u64::try_from(hit).unwrap());
    assert_eq!(index.note_damage(&study(1), &[rotten]).unwrap(), 0, "known already");
    assert_eq!(index.damage(&study(1)).unwrap(), [rotten].into(), "remembered");
    assert_eq!(index.damaged(10).unwrap().len(), hit);
    let has = index.has(&Scope::All, &study(1), &hashes).unwrap();
    assert!(!has[2], "what is damaged does not count as there");
    let told =
        |proven| CommitBatch { instances: vec![instances[2].clone()], newest: true, proven, ..CommitBatch::default() };
    index.commit(&told(false)).unwrap();
    assert!(!index.has(&Scope::All, &study(1), &hashes).unwrap()[2], "a note that is read again makes nothing whole");
    index.commit(&told(true)).unwrap();
    assert!(index.has(&Scope::All, &study(1), &hashes).unwrap()[2], "read back where it stands");
    assert_eq!(index.note_damage(&study(1), &[rotten]).unwrap(), 1, "damaged again");
    let mut again = instances[2].clone();
    again.chunks[1].record.pack = PackId::from_bytes([0x77; 16]);
    commit(index, 2, vec![again.clone()]);
    assert!(index.has(&Scope::All, &study(1), &hashes).unwrap()[2], "healed");
    assert_eq!(index.damaged(10).unwrap().len(), hit - 1);
    let all = all_of(index, &Scope::All, &study(1), 10);
    assert_eq!(all.len(), 4, "and there once");
    assert!(all.contains(&again), "where it stands now");
    assert!(index.pack_extent(PackId::from_bytes([0x77; 16])).unwrap().is_some());
}

fn doomed_packs_take_no_commit(index: &dyn Index) {
    let instance = Sample::new(peer(1), 1, 0, 1, 100).stored();
    let pack = instance.chunks[0].record.pack;
    assert!(index.doom(pack).unwrap(), "nothing stands in it");
    assert!(index.is_doomed(pack).unwrap());
    assert!(index.doom(pack).unwrap(), "after a crash between the mark and the removal");
    let batch = CommitBatch { instances: vec![instance], ..CommitBatch::default() };
    assert!(matches!(index.commit(&batch), Err(StoreError::NoSuchPack(named)) if named == pack));
    assert!(rows(index).is_empty() && index.pack_extent(pack).unwrap().is_none(), "nothing is recorded");
    index.spare(pack).unwrap();
    assert!(!index.is_doomed(pack).unwrap());
    index.commit(&batch).unwrap();
    assert!(!index.doom(pack).unwrap(), "it is in use");
    assert!(!index.is_doomed(pack).unwrap());
}

fn notes_are_remembered(index: &dyn Index) {
    let first = Sample::new(peer(1), 1, 0, 1, 100).stored();
    let pack = PackId::from_bytes([0x55; 16]);
    assert_eq!(index.noted(pack).unwrap(), None);
    let note = Some((pack, 700));
    index.commit(&CommitBatch { instances: vec![first.clone()], note, ..CommitBatch::default() }).unwrap();
    assert_eq!(index.noted(pack).unwrap(), Some(700));
    assert!(!index.doom(pack).unwrap(), "a pack with a note is in use");
    index.note(pack, 900).unwrap();
    index.note(pack, 800).unwrap();
    assert_eq!(index.noted(pack).unwrap(), Some(900), "never back");
    let mut newer = first.clone();
    newer.chunks[0].record.offset += 1000;
    commit(index, 1, vec![newer.clone()]);
    assert_eq!(all_of(index, &Scope::All, &study(1), 10), [first], "what is there stays");
    index.commit(&CommitBatch { instances: vec![newer.clone()], newest: true, ..CommitBatch::default() }).unwrap();
    assert_eq!(all_of(index, &Scope::All, &study(1), 10), [newer], "unless the batch is newer");
}
