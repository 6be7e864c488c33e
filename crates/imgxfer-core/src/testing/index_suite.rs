//! What every [`Index`] must do.
#![expect(clippy::unwrap_used, reason = "a failing operation fails the test that runs the suite")]

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Sample, pack_suite, peer, scope_suite, study};
use crate::chunk::ChunkClass;
use crate::clock::UnixSeconds;
use crate::dicom::{Attributes, CATALOGUE_VERSION, Level, tags};
use crate::ids::{ChunkId, InstanceHash, ManifestRoot, PackId, PageHash, PeerId, StandardUid, StudyUid};
use crate::manifest::ChunkEntry;
use crate::store::search::{Answer, Found, Search};
use crate::store::{
    CommitBatch, Held, Index, InstancesOf, Order, Provenance, Publication, Refill, Removal, Scope, Stale, StoreError,
    StoredInstance, StudyRow, What,
};

/// Puts indexes through the contract of [`Index`]. `make` returns an empty one each time.
///
/// # Panics
/// When the index does not keep to the contract.
pub fn index_suite(make: &dyn Fn() -> Arc<dyn Index>) {
    let tests: [fn(&dyn Index); 26] = [
        an_empty_index_knows_nothing,
        commits_are_found_and_idempotent,
        conflicts_are_kept_beside_each_other,
        instances_come_in_order_and_pages,
        scopes_hide_what_others_sent,
        damage_is_healed,
        doomed_packs_take_no_commit,
        pack_suite::packs_go_when_nothing_stands_in_them,
        pack_suite::versions_are_told_in_any_order,
        notes_are_remembered,
        versions_are_published_once,
        queries_narrow,
        one_content_is_current,
        an_alias_is_no_conflict,
        patients_of_a_study_are_all_there,
        what_is_removed_does_not_come_back,
        ways_by_which_instances_came_are_kept,
        scope_suite::a_study_is_what_came_by_the_sources,
        scope_suite::what_is_current_is_so_among_what_is_seen,
        scope_suite::a_part_has_its_place_by_its_own_date,
        scope_suite::what_is_not_seen_leaves_no_trace,
        stale_attributes_are_read_again,
        newer_attributes_come_with_what_is_sent_again,
        pages_belong_to_their_owner,
        packs_are_known,
        studies_can_be_walked,
    ];
    for test in tests {
        let index = make();
        test(&*index);
        contradicts_nothing(&*index);
    }
    readers_see_whole_batches(&make());
}

/// Whatever was done to an index, what it keeps beside instances is what they say.
pub(super) fn contradicts_nothing(index: &dyn Index) {
    for (owner, study) in index.study_keys(None, 10_000).unwrap() {
        assert_eq!(index.contradictions(owner, &study).unwrap(), <[&str; 0]>::default(), "{study}");
    }
}

fn commit(index: &dyn Index, at: i64, instances: Vec<StoredInstance>) {
    index.commit(&CommitBatch { instances, pages: Vec::new(), at: UnixSeconds(at), ..CommitBatch::default() }).unwrap();
}

/// The row of each owner's study.
fn rows(index: &dyn Index) -> Vec<StudyRow> {
    let keys = index.study_keys(None, 10_000).unwrap();
    keys.iter().flat_map(|(owner, study)| index.study(&Scope::owner(*owner), study).unwrap()).collect()
}

fn publish(index: &dyn Index, owner: u8, studies: &[StudyUid], root: ManifestRoot, at: i64) -> Vec<u64> {
    let order = index.reserve(1).unwrap().first;
    let (owner, studies, at) = (peer(owner), studies.to_vec(), UnixSeconds(at));
    index.publish(&Publication { owner, studies, root, at, order, stated: Vec::new() }).unwrap()
}

fn all_of(index: &dyn Index, scope: &Scope, of: &StudyUid, page: usize) -> Vec<StoredInstance> {
    let mut all: Vec<StoredInstance> = Vec::new();
    loop {
        let more = index.instances(scope, &InstancesOf::all_versions(of.clone()), all.last(), page).unwrap();
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
    assert_eq!(index.has(&Scope::All, &study(1), &[hash]).unwrap(), [Held::Absent], "no content");
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
    let of_study = |level| stored[0].attributes.of_level(level);
    assert_eq!(first[0].attributes, of_study(Level::Study), "those of its instances");
    assert_eq!(first[0].patients.len(), 1, "one patient");
    assert_eq!(first[0].patients[0].attributes, of_study(Level::Patient));
    assert_eq!(first[0].patients[0].instances, 4);
    assert_eq!(first[0].modalities, ["CT", "SR"], "sorted");
    assert_eq!(first[0].updated, UnixSeconds(100), "when it changed");
    commit(index, 200, stored[..4].to_vec());
    assert_eq!(rows(index), first, "the same again changes nothing");
    commit(index, 300, stored.clone());
    let row = &rows(index)[0];
    assert_eq!((row.instances, row.series, row.bytes, row.conflicts), (10, 2, 25_000, 0), "sums over batches");
    // The same content at other places: the first stays.
    let mut moved = stored[0].clone();
    moved.chunks.iter_mut().for_each(|c| c.record.offset += 1_000_000);
    commit(index, 400, vec![moved]);
    let all = all_of(index, &Scope::All, &study(7), 100);
    assert!(all.contains(&stored[0]), "as it was first committed");
    let hashes: Vec<_> = stored.iter().map(|i| i.entry.hash).chain([InstanceHash::from_bytes([0; 32])]).collect();
    let mut expected = vec![Held::Current; 10];
    expected.push(Held::Absent);
    assert_eq!(index.has(&Scope::All, &study(7), &hashes).unwrap(), expected, "one answer for each");
    assert_eq!(index.has(&Scope::All, &study(8), &hashes).unwrap(), vec![Held::Absent; 11], "of this study alone");
}

fn conflicts_are_kept_beside_each_other(index: &dyn Index) {
    let with = |content: u8| {
        let mut sample = Sample::new(peer(1), 1, 0, 1, 100);
        sample.bytes[0] = content;
        sample.stored()
    };
    commit(index, 1, vec![with(1), with(2)]);
    assert_eq!((rows(index)[0].conflicts, rows(index)[0].contents), (1, 2), "both kept, one conflict");
    commit(index, 2, vec![with(3), with(2)]);
    assert_eq!((rows(index)[0].conflicts, rows(index)[0].contents), (1, 3), "a third is no second conflict");
    let mut elsewhere = with(4);
    elsewhere.entry.series = Sample::new(peer(1), 1, 5, 1, 1).entry().series;
    elsewhere.entry.sop_instance = Sample::new(peer(1), 1, 0, 2, 1).entry().sop_instance;
    let other = Sample::new(peer(1), 1, 0, 2, 50).stored();
    commit(index, 3, vec![elsewhere, other]);
    assert_eq!(rows(index)[0].conflicts, 2, "also when the series differs");
    assert_eq!(index.totals().unwrap().conflicts, 2, "and in all");
    assert_eq!((rows(index)[0].instances, rows(index)[0].contents), (2, 5), "two instances");
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
    assert!(
        index.instances(&Scope::All, &InstancesOf::study(study(1)), None, 0).unwrap().is_empty(),
        "none when none is asked for"
    );
}

fn scopes_hide_what_others_sent(index: &dyn Index) {
    let mine = Sample::new(peer(1), 1, 0, 1, 10).stored();
    let theirs = Sample::new(peer(2), 1, 0, 2, 10).stored();
    commit(index, 1, vec![mine.clone(), theirs.clone()]);
    let hashes = [mine.entry.hash, theirs.entry.hash];
    for (scope, sees) in [
        (Scope::All, [true, true]),
        (Scope::owner(peer(1)), [true, false]),
        (Scope::owners([peer(1), peer(2)]), [true, true]),
        (Scope::owner(peer(3)), [false, false]),
        (Scope::none(), [false, false]),
    ] {
        let held = sees.map(|sees| if sees { Held::Current } else { Held::Absent });
        assert_eq!(index.has(&scope, &study(1), &hashes).unwrap(), held, "{scope:?}");
        let count = sees.iter().filter(|s| **s).count();
        assert_eq!(all_of(index, &scope, &study(1), 10).len(), count, "{scope:?}");
        let found = index.find(&scope, &Search::default()).unwrap().rows;
        assert_eq!(found.iter().map(|found| found.study.owners.len()).sum::<usize>(), count, "{scope:?}");
        assert_eq!(found.len(), count.min(1), "one study, whoever sees it");
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
    assert_eq!(publish(index, 1, &studies, root(1), 3), [1, 1], "first version");
    index.end(peer(1), &studies).unwrap();
    assert!(rows(index).iter().all(|r| !r.arriving && r.root == Some(root(1))), "complete");
    let before = rows(index);
    assert_eq!(publish(index, 1, &studies, root(1), 4), [1, 1], "the same root");
    let told = rows(index)[0].published;
    let before: Vec<_> = before.into_iter().map(|row| StudyRow { published: told, ..row }).collect();
    assert_eq!(rows(index), before, "changes nothing but when it was told");
    index.begin(peer(1), &studies[..1], UnixSeconds(5)).unwrap();
    assert_eq!(rows(index).iter().filter(|r| r.arriving).count(), 1, "arriving again");
    index.begin(peer(1), &studies[..1], UnixSeconds(5)).unwrap();
    index.end(peer(1), &studies[..1]).unwrap();
    assert_eq!(rows(index).iter().filter(|r| r.arriving).count(), 1, "one of two transfers has ended");
    assert_eq!(publish(index, 1, &studies[..1], root(1), 6), [1], "nothing new in it");
    index.forget_running().unwrap();
    assert!(rows(index).iter().all(|r| !r.arriving), "and not arriving any more");
    assert_eq!(publish(index, 1, &studies[..1], root(2), 7), [2], "second version");
    assert_eq!(publish(index, 2, &[study(9)], root(2), 7), [1], "one never heard of");
    assert_eq!(rows(index).iter().filter(|r| r.version == 2).count(), 1, "of that study alone");
}

fn queries_narrow(index: &dyn Index) {
    let stored: Vec<_> = (0..30).map(|n| Sample::new(peer(1), n, n, 1, 10).stored()).collect();
    commit(index, 1, stored.clone());
    let find = |search: Search| index.find(&Scope::All, &search).unwrap();
    let ask = |tag, value: &str| find(Search::default().by(tag, value).unwrap()).rows;
    let everything = find(Search::default()).rows;
    assert_eq!(everything.len(), 30, "all");
    assert!(everything.is_sorted_by_key(|row| (std::cmp::Reverse(row.study.date.clone()), row.study.study.clone())));
    let some = find(Search { limit: 7, count: true, ..Search::default() });
    assert_eq!((&some.rows[..], some.more, some.total), (&everything[..7], true, Some(30)), "the first ones");
    let behind = find(Search { after: Some(some.rows[6].cursor()), ..Search::default() });
    assert_eq!((&behind.rows[..], behind.more), (&everything[7..], false), "and those behind them");
    assert_eq!(find(Search { skip: 28, ..Search::default() }).rows, everything[28..], "passed over");
    assert_eq!(find(Search::study(study(3))).rows.len(), 1, "by study");
    assert_eq!(ask(tags::PATIENT_ID, "P4").len(), 1, "by patient");
    assert_eq!(ask(tags::PATIENT_ID, "P").len(), 0, "exactly");
    assert_eq!(ask(tags::PATIENT_ID, "*2*").len(), 12, "by a part");
    assert_eq!(ask(tags::PATIENT_NAME, "test^PATIENT 1?").len(), 10, "whatever the case");
    assert_eq!(ask(tags::ACCESSION_NUMBER, "A5").len(), 1, "by accession number");
    assert_eq!(ask(tags::MODALITIES_IN_STUDY, "SR").len(), 15, "by modality");
    assert_eq!(ask(tags::MODALITIES_IN_STUDY, "S").len(), 0, "a whole one");
    assert_eq!(ask(tags::MODALITIES_IN_STUDY, "SR\\CT").len(), 30, "one of several");
    assert_eq!(ask(tags::PATIENT_ID, "' OR 1=1 --").len(), 0, "values are values");
    let date = stored[8].attributes.get(tags::STUDY_DATE).to_owned();
    let between = ask(tags::STUDY_DATE, &format!("{date}-{date}"));
    assert!(between.iter().all(|row| row.study.date == date) && !between.is_empty(), "both ends belong to it");
    let later = ask(tags::STUDY_DATE, &format!("{date}-")).len();
    let earlier = ask(tags::STUDY_DATE, &format!("-{date}")).len();
    assert_eq!(later + earlier, 30 + between.len(), "the two halves meet");
    publish(index, 1, &[study(99)], ManifestRoot::from_bytes([9; 32]), 2);
    assert_eq!(ask(tags::STUDY_DATE, "-99991231").len(), 30, "no date is before no date");
    let series = find(Search { level: Level::Series, ..Search::default() }).rows;
    assert_eq!(series.len(), 30, "a series each");
    let instance = Search { level: Level::Instance, ..Search::default() };
    let one = find(instance.by(tags::SOP_INSTANCE_UID, stored[7].entry.sop_instance.as_str()).unwrap()).rows;
    let hash = |row: &Found| row.instance.as_ref().map(|instance| instance.hash);
    assert_eq!(one.iter().map(hash).collect::<Vec<_>>(), [Some(stored[7].entry.hash)], "by SOP Instance UID alone");
}

/// An instance of one SOP Instance UID with another content for each `content`, that comes as number `order`.
fn content(owner: u8, content: u8, order: u64) -> StoredInstance {
    let mut sample = Sample::new(peer(owner), 1, 0, 1, 100);
    sample.bytes[0] = content;
    let name = format!("Name^{content}");
    let attributes = sample.stored().attributes.with(tags::PATIENT_NAME, name);
    StoredInstance { order: Order(order), ..sample.stored_with(attributes) }
}

fn one_content_is_current(index: &dyn Index) {
    let first = content(1, 1, 1);
    let second = content(1, 2, 2);
    commit(index, 1, vec![first.clone(), second.clone()]);
    let current = |scope: &Scope| -> Vec<StoredInstance> {
        index.instances(scope, &InstancesOf::study(study(1)), None, 10).unwrap()
    };
    let hashes = |all: &[StoredInstance]| all.iter().map(|i| i.entry.hash).collect::<Vec<_>>();
    let has = |instance: &StoredInstance| index.has(&Scope::All, &study(1), &[instance.entry.hash]).unwrap()[0];
    let name = || rows(index)[0].patients[0].attributes.patient_name().to_owned();
    assert_eq!(hashes(&current(&Scope::All)), [first.entry.hash], "the first, where none is stated");
    assert_eq!((has(&first), has(&second), name()), (Held::Current, Held::Older, "Name^1".to_owned()));
    let root = |n| ManifestRoot::from_bytes([n; 32]);
    let state = |instance: &StoredInstance, n: u8| Publication {
        owner: peer(1),
        studies: vec![study(1)],
        root: root(n),
        at: UnixSeconds(9),
        order: Order(u64::from(n)),
        stated: vec![(0, instance.entry.hash)],
    };
    assert_eq!(index.publish(&state(&second, 10)).unwrap(), [1]);
    assert_eq!((has(&first), has(&second), name()), (Held::Older, Held::Current, "Name^2".to_owned()), "stated");
    assert_eq!(index.publish(&state(&first, 11)).unwrap(), [2]);
    assert_eq!((has(&first), has(&second), name()), (Held::Current, Held::Older, "Name^1".to_owned()), "back again");
    let cut = StoredInstance { cut: true, ..content(1, 3, 12) };
    assert_eq!(index.commit(&CommitBatch { instances: vec![cut.clone()], ..CommitBatch::default() }).unwrap(), [0]);
    index.publish(&state(&cut, 13)).unwrap();
    assert_eq!((has(&first), has(&cut)), (Held::Current, Held::Older), "whole before cut");
    let all = index.instances(&Scope::All, &InstancesOf::all_versions(study(1)), None, 10).unwrap();
    assert_eq!(all.len(), 3, "all are kept");
    assert_eq!(all.iter().filter(|i| i.current).count(), 1);
    assert_eq!((rows(index)[0].instances, rows(index)[0].contents, rows(index)[0].conflicts), (1, 3, 1));
    // Another owner's: who had it first counts.
    let theirs = content(2, 9, 20);
    commit(index, 3, vec![theirs.clone()]);
    assert_eq!(hashes(&current(&Scope::All)), [first.entry.hash], "between owners the first stays");
    assert_eq!(hashes(&current(&Scope::owner(peer(2)))), [theirs.entry.hash], "each sees its own");
    let merged = &index.find(&Scope::All, &Search::default()).unwrap().rows;
    assert_eq!(merged.len(), 1, "one study");
    let found = &merged[0].study;
    assert_eq!((found.owners.len(), found.instances, found.contents, found.conflicts), (2, 1, 4, 1), "both owners'");
    assert_eq!(found.shown().patient_name(), "Name^1", "as the first owner has it");
}

fn an_alias_is_no_conflict(index: &dyn Index) {
    let plain = content(1, 1, 1);
    let mut alias = content(1, 1, 2);
    alias.entry.hash = InstanceHash::from_bytes([7; 32]);
    alias.entry.chunks.insert(0, ChunkEntry { id: ChunkId::of(b"meta"), len: 4, class: ChunkClass::Meta });
    alias.entry.len += 4;
    alias.chunks.insert(0, plain.chunks[0]);
    let mut variant = content(1, 2, 3);
    variant.entry.transfer_syntax = Some(StandardUid::new("1.2.840.10008.1.2").unwrap());
    commit(index, 1, vec![plain, alias, variant]);
    assert_eq!((rows(index)[0].contents, rows(index)[0].conflicts), (3, 0));
    commit(index, 2, vec![content(1, 3, 4)]);
    assert_eq!((rows(index)[0].contents, rows(index)[0].conflicts), (4, 1));
}

fn patients_of_a_study_are_all_there(index: &dyn Index) {
    let of = |sop, id: &str, order| {
        let sample = Sample::new(peer(1), 1, 0, sop, 100);
        let attributes = sample.stored().attributes.with(tags::PATIENT_ID, id);
        StoredInstance { order: Order(order), ..sample.stored_with(attributes) }
    };
    commit(index, 1, vec![of(1, "A", 1), of(2, "B", 2), of(3, "B", 3)]);
    let ids = |found: &Found| {
        let ids = found.study.patients.iter().map(|p| (p.attributes.patient_id().to_owned(), p.instances));
        ids.collect::<Vec<_>>()
    };
    for id in ["A", "B"] {
        let rows = index.find(&Scope::All, &Search::default().by(tags::PATIENT_ID, id).unwrap()).unwrap().rows;
        assert_eq!(rows.len(), 1, "found by each");
        assert_eq!(ids(&rows[0]), [("A".to_owned(), 1), ("B".to_owned(), 2)], "and both are told");
        let instances = Search { level: Level::Instance, ..Search::default() }.by(tags::PATIENT_ID, id).unwrap();
        let rows = index.find(&Scope::All, &instances).unwrap().rows;
        assert_eq!(rows.len(), if id == "A" { 1 } else { 2 }, "of that patient alone");
    }
    assert_eq!(rows(index)[0].series, 1);
}

fn what_is_removed_does_not_come_back(index: &dyn Index) {
    let instances: Vec<_> = (1..5)
        .map(|sop| StoredInstance { order: Order(sop), ..Sample::new(peer(1), 1, sop % 2, sop, 3000).stored() })
        .collect();
    commit(index, 1, instances.clone());
    let other = Sample::new(peer(2), 1, 0, 1, 3000).stored();
    commit(index, 1, vec![StoredInstance { order: Order(6), ..other }]);
    index.note_damage(&study(1), &[instances[0].chunks[0].record]).unwrap();
    let (owner, study_uid, at) = (peer(1), study(1), UnixSeconds(5));
    let some = What::Contents(vec![instances[2].entry.hash]);
    let one = Removal { owner, study: study_uid.clone(), what: some, at, order: Order(10) };
    let removed = index.remove(&one).unwrap();
    assert_eq!((removed.instances, removed.bytes, removed.records.len()), (1, 3000, 3));
    let mine = Scope::owner(peer(1));
    assert_eq!(all_of(index, &mine, &study(1), 10).len(), 3);
    assert_eq!(index.study(&mine, &study(1)).unwrap()[0].instances, 3, "sums follow");
    assert_eq!(index.remove(&one).unwrap(), Default::default(), "removing again changes nothing");
    commit(index, 2, vec![instances[2].clone()]);
    assert_eq!(all_of(index, &mine, &study(1), 10).len(), 3, "an older note does not bring it back");
    let whole = Removal { owner, study: study_uid, what: What::All, at, order: Order(20) };
    assert_eq!(index.remove(&whole).unwrap().instances, 3);
    assert!(index.study(&mine, &study(1)).unwrap().is_empty(), "no row is left");
    assert_eq!(all_of(index, &Scope::All, &study(1), 10).len(), 1, "another owner's stays");
    commit(index, 2, instances.clone());
    assert!(index.study(&mine, &study(1)).unwrap().is_empty(), "nothing comes back");
    assert_eq!(index.removals(0, 10).unwrap(), [one, whole.clone()], "both are remembered");
    assert_eq!(index.removals(10, 10).unwrap(), [whole], "behind the first");
    let again = StoredInstance { order: Order(21), ..instances[1].clone() };
    commit(index, 3, vec![again]);
    assert_eq!(all_of(index, &mine, &study(1), 10).len(), 1, "what is sent again is there again");
    let answer = index.find(&mine, &Search::default().by(tags::PATIENT_ID, "P1").unwrap()).unwrap();
    assert_eq!(answer.rows.len(), 1, "and is found");
    assert!(index.reserve(1).unwrap().first > Order(21), "what comes next comes later");
}

fn ways_by_which_instances_came_are_kept(index: &dyn Index) {
    let instances: Vec<_> = (1..4)
        .map(|sop| StoredInstance { order: Order(sop), ..Sample::new(PeerId::SELF, 1, 0, sop, 100).stored() })
        .collect();
    let by = |provenance: &Provenance, at: i64, instances: &[StoredInstance]| {
        let (provenance, at, instances) = (Some(provenance.clone()), UnixSeconds(at), instances.to_vec());
        index.commit(&CommitBatch { instances, provenance, at, ..CommitBatch::default() }).unwrap();
    };
    let inbox = Provenance::of("inbox:/in");
    let ae = Provenance { about: vec![("address".to_owned(), "10.0.0.1".to_owned())], ..Provenance::of("ae:CT") };
    by(&inbox, 20, &instances[..2]);
    by(&ae, 30, &instances[1..2]);
    by(&inbox, 10, &instances[1..2]);
    by(&inbox, 40, &instances[1..2]);
    commit(index, 50, instances[2..].to_vec());
    let came = |instance: &StoredInstance| -> Vec<(i64, Provenance)> {
        index.arrivals(instance).unwrap().into_iter().map(|arrival| (arrival.at.0, arrival.provenance)).collect()
    };
    assert_eq!(came(&instances[0]), [(20, inbox.clone())]);
    assert_eq!(came(&instances[1]), [(10, inbox.clone()), (30, ae)], "each way once, when it came so first");
    assert!(came(&instances[2]).is_empty(), "nothing was said of it");
    assert!(came(&Sample::new(peer(1), 1, 0, 1, 100).stored()).is_empty(), "another owner's");
    let (owner, what) = (PeerId::SELF, What::Contents(vec![instances[1].entry.hash]));
    index.remove(&Removal { owner, study: study(1), what, at: UnixSeconds(60), order: Order(10) }).unwrap();
    by(&inbox, 5, &instances[1..2]);
    assert!(came(&instances[1]).is_empty(), "what is removed came by no way");
    by(&inbox, 70, &[StoredInstance { order: Order(11), ..instances[1].clone() }]);
    assert_eq!(came(&instances[1]), [(70, inbox)], "what is put again came anew");
}

/// What an older program knew of an instance: no description of its study, and another patient.
fn stale_of(instance: &StoredInstance) -> StoredInstance {
    let old = Attributes::default().with(tags::PATIENT_ID, "OLD").with(tags::INSTANCE_NUMBER, "77");
    StoredInstance { attributes: old, catalogue: CATALOGUE_VERSION - 1, ..instance.clone() }
}

fn stale_attributes_are_read_again(index: &dyn Index) {
    let of = |owner: u8, study: u64, sop: u64, content: u8, order: u64| {
        let mut sample = Sample::new(peer(owner), study, sop % 2, sop, 100);
        sample.bytes[0] = content;
        let attributes = sample.stored().attributes.with(tags::STUDY_DESCRIPTION, format!("Of {content}"));
        StoredInstance { order: Order(order), ..sample.stored_with(attributes) }
    };
    // Two contents of one SOP Instance UID, and a study that is not stale.
    let fresh = [of(1, 1, 1, 0, 1), of(1, 1, 1, 1, 2), of(1, 1, 2, 1, 3), of(1, 1, 3, 1, 4), of(2, 2, 1, 1, 5)];
    let old: Vec<_> = fresh.iter().map(stale_of).collect();
    commit(index, 1, vec![of(1, 3, 1, 1, 6)]);
    assert_eq!(
        (index.stale().unwrap(), index.find(&Scope::All, &Search::default()).unwrap().incomplete),
        (Stale::default(), false)
    );
    commit(index, 2, old.clone());
    let root = ManifestRoot::from_bytes([3; 32]);
    let stated = vec![(0, old[1].entry.hash)];
    let order = index.reserve(1).unwrap().first;
    let (owner, studies, at) = (peer(1), vec![study(1)], UnixSeconds(3));
    index.publish(&Publication { owner, studies, root, at, order, stated }).unwrap();
    let find = |tag, value: &str| index.find(&Scope::All, &Search::default().by(tag, value).unwrap()).unwrap();
    assert_eq!(index.stale().unwrap(), Stale { left: 5, unreadable: 0 });
    let answer = find(tags::STUDY_DESCRIPTION, "of *");
    assert_eq!((answer.rows.len(), answer.incomplete), (1, true), "what is old is not found by what is new");
    let before = rows(index);
    let unreadable = &old[3];
    let mut tried = Vec::new();
    loop {
        let stale = index.stale_instances(2).unwrap();
        if stale.is_empty() {
            break;
        }
        assert!(stale.len() <= 2 && stale.iter().all(|i| i.entry.study == stale[0].entry.study), "of one study");
        tried.extend(stale.iter().map(|instance| instance.entry.hash));
        let refill = |instance: StoredInstance| {
            let at = old.iter().position(|known| known.entry == instance.entry).unwrap();
            let StoredInstance { attributes, catalogue, .. } = fresh[at].clone();
            match instance.entry == unreadable.entry {
                true => Refill::Unreadable(instance),
                false => Refill::Read(StoredInstance { attributes, catalogue, ..instance }),
            }
        };
        index.refill(&stale.into_iter().map(refill).collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(tried.iter().collect::<HashSet<_>>().len(), 5, "each once");
    assert_eq!(tried.len(), 5, "each once");
    assert_eq!(index.stale().unwrap(), Stale { left: 0, unreadable: 1 });
    let answer = find(tags::STUDY_DESCRIPTION, "of *");
    assert_eq!((answer.rows.len(), answer.incomplete), (3, false));
    let patients = |answer: &Answer| -> Vec<(String, u64)> {
        let of_first = answer.rows[0].study.patients.iter();
        of_first.map(|patient| (patient.attributes.patient_id().to_owned(), patient.instances)).collect()
    };
    let of_first = index.find(&Scope::All, &Search::study(study(1))).unwrap();
    assert_eq!(patients(&of_first), [("OLD".to_owned(), 1), ("P1".to_owned(), 2)], "what is unreadable keeps its own");
    assert_eq!(find(tags::PATIENT_ID, "P2").rows.len(), 1, "by a key");
    assert_eq!(find(tags::PATIENT_ID, "OLD").rows.len(), 1, "and not by what is gone");
    for (was, is) in before.iter().zip(rows(index)) {
        let kept = |row: &StudyRow| {
            let sums = (row.series, row.instances, row.contents, row.conflicts, row.bytes, row.version, row.root);
            (row.study.clone(), row.owner, row.first, sums, row.arriving, row.updated)
        };
        assert_eq!(kept(was), kept(&is), "nothing else changes");
    }
    for (fresh, old) in fresh.iter().zip(&old) {
        let of = Scope::owner(fresh.owner);
        let all = all_of(index, &of, &fresh.entry.study, 10);
        let is = all.iter().find(|instance| instance.entry == fresh.entry).unwrap();
        let expected = if old == unreadable { old } else { fresh };
        assert_eq!(
            (&is.attributes, is.catalogue, is.order),
            (&expected.attributes, expected.catalogue, expected.order)
        );
    }
    index.refill(&[Refill::Read(of(1, 9, 1, 1, 1)), Refill::Unreadable(of(1, 9, 1, 1, 1))]).unwrap();
    assert!(index.study(&Scope::All, &study(9)).unwrap().is_empty(), "what is not there is passed over");
}

fn newer_attributes_come_with_what_is_sent_again(index: &dyn Index) {
    let fresh: Vec<_> = (1..4)
        .map(|sop| StoredInstance { order: Order(sop), ..Sample::new(peer(1), 1, 0, sop, 100).stored() })
        .collect();
    let old: Vec<_> = fresh.iter().map(stale_of).collect();
    commit(index, 1, old.clone());
    index.refill(&[Refill::Unreadable(old[0].clone())]).unwrap();
    let mut moved = old[1].clone();
    moved.chunks[0].record.offset += 5000;
    index.refill(&[Refill::Unreadable(moved)]).unwrap();
    assert_eq!(index.stale().unwrap(), Stale { left: 2, unreadable: 1 }, "it stands elsewhere by now");
    commit(index, 2, fresh[..2].to_vec());
    assert_eq!(index.stale().unwrap(), Stale { left: 1, unreadable: 0 });
    commit(index, 3, fresh.clone());
    assert_eq!(index.stale().unwrap(), Stale::default());
    commit(index, 4, old);
    assert_eq!(index.stale().unwrap(), Stale::default(), "and older ones do not come back");
    assert_eq!(all_of(index, &Scope::All, &study(1), 10), fresh);
    let found = index.find(&Scope::All, &Search::default().by(tags::PATIENT_ID, "P1").unwrap()).unwrap();
    assert_eq!(found.rows[0].study.patients[0].instances, 3);
    let instances = [fresh[2].entry.hash].to_vec();
    let (owner, what, at) = (peer(1), What::Contents(instances), UnixSeconds(5));
    index.remove(&Removal { owner, study: study(1), what, at, order: Order(9) }).unwrap();
    assert_eq!(rows(index)[0].patients[0].instances, 2, "sums are right behind it");
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
    assert_eq!(has[2], Held::Absent, "what is damaged does not count as there");
    let told =
        |proven| CommitBatch { instances: vec![instances[2].clone()], newest: true, proven, ..CommitBatch::default() };
    index.commit(&told(false)).unwrap();
    assert_eq!(
        index.has(&Scope::All, &study(1), &hashes).unwrap()[2],
        Held::Absent,
        "a note that is read again makes nothing whole"
    );
    index.commit(&told(true)).unwrap();
    assert_eq!(index.has(&Scope::All, &study(1), &hashes).unwrap()[2], Held::Current, "read back where it stands");
    assert_eq!(index.note_damage(&study(1), &[rotten]).unwrap(), 1, "damaged again");
    let mut again = instances[2].clone();
    again.chunks[1].record.pack = PackId::from_bytes([0x77; 16]);
    commit(index, 2, vec![again.clone()]);
    assert_eq!(index.has(&Scope::All, &study(1), &hashes).unwrap()[2], Held::Current, "healed");
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
