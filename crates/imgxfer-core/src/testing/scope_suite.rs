//! What every [`Index`] must do with scopes that name sources.
#![expect(clippy::unwrap_used, reason = "a failing operation fails the test that runs the suite")]

use std::collections::BTreeSet;

use super::{Sample, Seeded, peer, study};
use crate::clock::UnixSeconds;
use crate::dicom::{Level, tags};
use crate::ids::{InstanceHash, ManifestRoot, PeerId, StudyUid};
use crate::store::search::{Answer, Found, Search};
use crate::store::{
    CommitBatch, Held, Index, InstancesOf, MemIndex, Order, Provenance, Publication, Refill, Removal, Scope,
    StoredInstance, StudyRow, What,
};

const A: &str = "inbox:/a";
const B: &str = "ae:B";

fn bring(index: &dyn Index, source: &str, at: i64, instances: &[StoredInstance]) {
    bring_with(index, &Provenance::of(source), at, instances);
}

fn bring_with(index: &dyn Index, provenance: &Provenance, at: i64, instances: &[StoredInstance]) {
    let (instances, provenance, at) = (instances.to_vec(), Some(provenance.clone()), UnixSeconds(at));
    index.commit(&CommitBatch { instances, provenance, at, ..CommitBatch::default() }).unwrap();
}

/// The site's own instance, of a patient and with another content for each `content`, that comes as number `order`.
fn own(sop: u64, content: u8, patient: &str, order: u64) -> StoredInstance {
    let mut sample = Sample::new(PeerId::SELF, 1, sop % 2, sop, 100);
    sample.bytes[0] = content;
    let attributes = sample.stored().attributes.with(tags::PATIENT_ID, patient);
    let attributes = attributes.with(tags::STUDY_DESCRIPTION, format!("of {patient}"));
    StoredInstance { order: Order(order), ..sample.stored_with(attributes) }
}

fn rows(index: &dyn Index, scope: &Scope) -> Vec<StudyRow> {
    index.study(scope, &study(1)).unwrap()
}

fn hashes(index: &dyn Index, scope: &Scope) -> Vec<InstanceHash> {
    let all = index.instances(scope, &InstancesOf::study(study(1)), None, 100).unwrap();
    assert!(all.iter().all(|instance| instance.current), "each is current for who asks");
    all.iter().map(|instance| instance.entry.hash).collect()
}

fn patients(row: &StudyRow) -> Vec<(String, u64)> {
    row.patients.iter().map(|patient| (patient.attributes.patient_id().to_owned(), patient.instances)).collect()
}

fn by_patient(index: &dyn Index, scope: &Scope, id: &str) -> usize {
    index.find(scope, &Search::default().by(tags::PATIENT_ID, id).unwrap()).unwrap().rows.len()
}

/// Two sources brought instances of two patients into one study.
pub(super) fn a_study_is_what_came_by_the_sources(index: &dyn Index) {
    let (first, second) = ([own(1, 1, "P1", 1), own(2, 1, "P1", 2)], [own(3, 1, "P2", 3)]);
    bring(index, A, 10, &first);
    bring(index, B, 20, &second);
    let studies = vec![study(1)];
    let root = ManifestRoot::from_bytes([1; 32]);
    let (owner, at, order) = (PeerId::SELF, UnixSeconds(30), Order(9));
    index.publish(&Publication { owner, studies: studies.clone(), root, at, order, stated: Vec::new() }).unwrap();
    index.begin(PeerId::SELF, &studies, UnixSeconds(40)).unwrap();
    for (scope, of, came) in [(Scope::sources([A]), &first[..], 10), (Scope::sources([B]), &second[..], 20)] {
        let id = of[0].attributes.patient_id();
        let row = rows(index, &scope).pop().unwrap();
        let count = of.len().try_into().unwrap();
        assert_eq!(patients(&row), [(id.to_owned(), count)], "no other patient");
        assert_eq!(row.attributes.get(tags::STUDY_DESCRIPTION), format!("of {id}"));
        assert_eq!((row.instances, row.contents, row.bytes), (count, count, 100 * count));
        assert_eq!((row.version, row.arriving, row.root, row.published), (0, false, None, Order(0)), "of the whole");
        assert_eq!((row.updated, row.first), (UnixSeconds(came), of[0].order));
        let expected: BTreeSet<_> = of.iter().map(|instance| instance.entry.hash).collect();
        assert_eq!(hashes(index, &scope).into_iter().collect::<BTreeSet<_>>(), expected);
        let other = if id == "P1" { "P2" } else { "P1" };
        assert_eq!((by_patient(index, &scope, id), by_patient(index, &scope, other)), (1, 0), "found by its own");
    }
    for scope in [Scope::sources([A, B]), Scope::sources([B, A]).with_sources(["user:none"])] {
        let row = rows(index, &scope).pop().unwrap();
        let all = rows(index, &Scope::owner(PeerId::SELF)).pop().unwrap();
        assert_eq!(row, StudyRow { updated: UnixSeconds(20), ..all }, "all of it");
        assert_eq!((row.version, row.root), (1, Some(root)));
    }
    for scope in [Scope::none(), Scope::sources(["inbox:/A"]), Scope::sources(["inbox:"]), Scope::owner(peer(1))] {
        assert!(rows(index, &scope).is_empty() && hashes(index, &scope).is_empty(), "{scope:?}");
        assert!(index.find(&scope, &Search::default()).unwrap().rows.is_empty(), "{scope:?}");
        let sop = &first[0].entry.sop_instance;
        assert!(index.studies_with(&scope, sop).unwrap().is_empty(), "{scope:?}");
    }
    let with = |scope: &Scope, instance: &StoredInstance| {
        index.studies_with(scope, &instance.entry.sop_instance).unwrap().len()
    };
    assert_eq!((with(&Scope::sources([A]), &first[0]), with(&Scope::sources([A]), &second[0])), (1, 0));
}

/// The same content came by two sources; and two contents of one SOP Instance UID, by one source each.
pub(super) fn what_is_current_is_so_among_what_is_seen(index: &dyn Index) {
    let (old, new) = (own(1, 1, "P1", 1), own(1, 2, "P2", 2));
    bring(index, A, 10, std::slice::from_ref(&old));
    bring(index, B, 20, std::slice::from_ref(&new));
    let (a, b, both) = (Scope::sources([A]), Scope::sources([B]), Scope::sources([A, B]));
    let has = |scope: &Scope| index.has(scope, &study(1), &[old.entry.hash, new.entry.hash]).unwrap();
    assert_eq!(hashes(index, &a), [old.entry.hash]);
    assert_eq!(hashes(index, &b), [new.entry.hash], "which is not current for the site");
    assert_eq!(has(&a), [Held::Current, Held::Absent]);
    assert_eq!(has(&b), [Held::Absent, Held::Current]);
    assert_eq!(has(&both), [Held::Current, Held::Older]);
    assert_eq!(
        (rows(index, &a)[0].conflicts, rows(index, &b)[0].conflicts, rows(index, &both)[0].conflicts),
        (0, 0, 1)
    );
    assert_eq!((by_patient(index, &b, "P2"), by_patient(index, &b, "P1"), by_patient(index, &both, "P2")), (1, 0, 0));
    // Another way, and by the same source with other particulars.
    let about = vec![("address".to_owned(), "10.0.0.1".to_owned())];
    bring_with(index, &Provenance { about, ..Provenance::of(B) }, 40, &[old.clone(), new.clone()]);
    assert_eq!(hashes(index, &b), [old.entry.hash], "both are seen now");
    assert_eq!(rows(index, &b)[0].contents, 2, "each once");
    assert_eq!(rows(index, &b)[0].updated, UnixSeconds(40));
    assert_eq!(rows(index, &a)[0].updated, UnixSeconds(10), "another way says nothing to who does not see it");
    bring(index, A, 5, std::slice::from_ref(&old));
    assert_eq!(rows(index, &a)[0].updated, UnixSeconds(5), "an arrival that is told of late");
    // Another owner had it first.
    let theirs = StoredInstance { owner: peer(1), order: Order(0), ..own(1, 3, "P3", 0) };
    index.commit(&CommitBatch { instances: vec![theirs.clone()], ..CommitBatch::default() }).unwrap();
    let mixed = Scope::owner(peer(1)).with_sources([A]);
    let found = index.find(&mixed, &Search::default()).unwrap().rows;
    let counts = (found[0].study.owners.len(), found[0].study.instances, found[0].study.contents);
    assert_eq!((found.len(), counts), (1, (2, 1, 2)));
    assert_eq!(hashes(index, &mixed), [theirs.entry.hash]);
    let (owner, order) = (PeerId::SELF, Order(50));
    let what = What::Contents(vec![old.entry.hash]);
    index.remove(&Removal { owner, study: study(1), what, at: UnixSeconds(60), order }).unwrap();
    assert!(rows(index, &a).is_empty());
    assert_eq!(hashes(index, &b), [new.entry.hash]);
}

/// A source's own view of a study may have another date than the study has.
pub(super) fn a_part_has_its_place_by_its_own_date(index: &dyn Index) {
    let dated = |number: u64, sop: u64, date: &str, order: u64| {
        let sample = Sample::new(PeerId::SELF, number, 0, sop, 100);
        let attributes = sample.stored().attributes.with(tags::STUDY_DATE, date);
        StoredInstance { order: Order(order), ..sample.stored_with(attributes) }
    };
    for number in 1..9 {
        let date = format!("2020010{number}");
        bring(index, A, 1, &[dated(number, 1, &date, number), dated(number, 2, "20010101", number + 20)]);
        bring(index, B, 2, &[dated(number, 3, &format!("2030010{}", 9 - number), number + 40)]);
    }
    let found = |scope: &Scope, search: Search| -> Vec<(String, StudyUid)> {
        let rows = index.find(scope, &search).unwrap().rows;
        rows.iter().map(|found| (found.study.date.clone(), found.study.study.clone())).collect()
    };
    let all = |date: &dyn Fn(u64) -> String| -> Vec<(String, StudyUid)> {
        let mut all: Vec<_> = (1..9).map(|number| (date(number), study(number))).collect();
        all.sort_by(|x, y| (&y.0, &x.1).cmp(&(&x.0, &y.1)));
        all
    };
    let (a, b, both) = (Scope::sources([A]), Scope::sources([B]), Scope::sources([A, B]));
    assert_eq!(found(&a, Search::default()), all(&|_| "20010101".to_owned()), "the newest that came by it");
    for scope in [&b, &both] {
        let expected = all(&|number| format!("2030010{}", 9 - number));
        assert_eq!(found(scope, Search::default()), expected);
        let mut pages = Vec::new();
        let mut search = Search { limit: 3, count: true, ..Search::default() };
        loop {
            let answer = index.find(scope, &search).unwrap();
            assert_eq!(answer.total, Some(8));
            search.after = answer.rows.last().map(Found::cursor);
            pages.extend(answer.rows.iter().map(|found| (found.study.date.clone(), found.study.study.clone())));
            if !answer.more {
                break;
            }
        }
        assert_eq!(pages, expected, "page by page");
    }
    let between =
        |scope: &Scope, range: &str| found(scope, Search::default().by(tags::STUDY_DATE, range).unwrap()).len();
    assert_eq!((between(&a, "20200101-20201231"), between(&both, "20200101-20201231")), (0, 0), "spoken over");
    assert_eq!((between(&a, "20010101"), between(&b, "20300103-20300105")), (8, 3));
    // Headers are read again.
    let all_of = InstancesOf::all_versions(study(1));
    let read = index.instances(&b, &all_of, None, 1).unwrap().remove(0);
    let attributes = read.attributes.clone().with(tags::STUDY_DATE, "19990909");
    index.refill(&[Refill::Read(StoredInstance { attributes, ..read })]).unwrap();
    assert_eq!(found(&b, Search::default()).last(), Some(&("19990909".to_owned(), study(1))));
}

/// What is seen of an index by some sources is what one says that was told of nothing else.
pub(super) fn what_is_not_seen_leaves_no_trace(index: &dyn Index) {
    const SOURCES: [&str; 3] = [A, B, "user:c"];
    let scopes: Vec<Vec<&str>> = (1..8usize)
        .map(|set| SOURCES.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0).map(|(_, s)| *s).collect())
        .collect();
    let alone: Vec<MemIndex> = scopes.iter().map(|_| MemIndex::default()).collect();
    let mut random = Seeded::new(11);
    let mut told: Vec<StoredInstance> = Vec::new();
    for order in 1..160u64 {
        let source = SOURCES[random.below(3)];
        let instance = if told.is_empty() || random.below(4) > 0 {
            let mut sample = Sample::new(
                PeerId::SELF,
                u64::try_from(random.below(6)).unwrap(),
                u64::try_from(random.below(2)).unwrap(),
                u64::try_from(random.below(3)).unwrap(),
                100,
            );
            // Of one SOP Instance UID, some contents that differ.
            sample.bytes[1] = u8::try_from(order).unwrap();
            let patient = ["P1", "P2", "山田"][random.below(3)];
            let date = ["20200101", "20210101", ""][random.below(3)];
            let attributes = sample.stored().attributes.with(tags::PATIENT_ID, patient).with(tags::STUDY_DATE, date);
            let attributes = attributes.with(tags::MODALITY, ["CT", "MR"][random.below(2)]);
            let cut = random.below(5) == 0;
            StoredInstance { order: Order(order), cut, ..sample.stored_with(attributes) }
        } else {
            told[random.below(told.len())].clone()
        };
        told.push(instance.clone());
        bring(index, source, 1, std::slice::from_ref(&instance));
        for (_, alone) in scopes.iter().zip(&alone).filter(|(scope, _)| scope.contains(&source)) {
            bring(alone, source, 1, std::slice::from_ref(&instance));
        }
        if random.below(12) == 0 {
            let (owner, at) = (PeerId::SELF, UnixSeconds(9));
            let what = What::Contents(vec![instance.entry.hash]);
            // Told later than all that is told here.
            let order = Order(order + 1_000);
            let removal = Removal { owner, study: instance.entry.study.clone(), what, at, order };
            index.remove(&removal).unwrap();
            alone.iter().for_each(|alone| drop(alone.remove(&removal).unwrap()));
            told.retain(|known| known.entry.hash != instance.entry.hash);
        }
    }
    for (sources, alone) in scopes.iter().zip(&alone) {
        let scope = Scope::sources(sources.iter().copied());
        for level in [Level::Study, Level::Series, Level::Instance] {
            let everything = Search { level, count: true, ..Search::default() };
            let some = [(tags::PATIENT_ID, "P2"), (tags::PATIENT_ID, "*田*"), (tags::MODALITIES_IN_STUDY, "MR")];
            let some = some.map(|(tag, value)| everything.clone().by(tag, value).unwrap());
            for search in some.iter().chain([&everything]) {
                let seen = index.find(&scope, search).unwrap();
                let expected = alone.find(&Scope::All, search).unwrap();
                assert_eq!(bare(seen), bare(expected), "{scope:?} {search:?}");
            }
        }
    }
}

/// An answer without what says when something was told.
fn bare(mut answer: Answer) -> Answer {
    for row in &mut answer.rows {
        std::sync::Arc::make_mut(&mut row.study).updated = UnixSeconds(0);
    }
    answer
}
