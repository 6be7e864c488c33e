//! What every [`Index`] must answer: several hundred questions, beside a search that looks at everything.
#![expect(clippy::unwrap_used, reason = "a failing operation fails the test that runs the suite")]

use std::sync::Arc;

use super::{Sample, Seeded, peer};
use crate::clock::UnixSeconds;
use crate::dicom::{CATALOGUE_VERSION, Level, Tag, tags};
use crate::ids::{InstanceHash, ManifestRoot, PeerId, StudyUid};
use crate::store::search::{Answer, Cursor, Found, Search};
use crate::store::{
    CommitBatch, Index, InstancesOf, MemIndex, Order, Provenance, Publication, Refill, Removal, Scope, StoredInstance,
    What,
};
use crate::units::to_u64;

const NAMES: [&str; 12] = [
    "DOE^John",
    "Doe^Jane^^Dr",
    "Müller^Jörg",
    "MUELLER^Anna",
    "O'Neill^Sean",
    "Yamada^Tarou=山田^太郎",
    "山本^花子",
    "Wałęsa^Lech",
    "Ñandú^José",
    "van der Berg^Piet",
    "",
    "SMITH",
];
const SOURCES: [&str; 5] = ["inbox:/in", "inbox:/in/more", "ae:CT1", "user:anna", "ae:NEVER"];
const DESCRIPTIONS: [&str; 6] = ["CT Thorax", "ct THORAX with contrast", "MRI Head", "Mühle?", "50% *", ""];

/// Asks the index that `make` gives, filled with the same as one that looks at everything, the same questions.
/// `seed` decides which.
///
/// # Panics
/// When the two answer differently; the message repeats the seed and the question.
pub fn search_suite(make: &dyn Fn() -> Arc<dyn Index>, seed: u64) {
    let (index, naive) = (make(), MemIndex::default());
    let mut random = Seeded::new(seed);
    fill(&mut random, &[&*index, &naive]);
    super::index_suite::contradicts_nothing(&*index);
    for number in 0..400 {
        let search = question(&mut random);
        let by_owner = match random.below(4) {
            0 => Scope::All,
            1 => Scope::owners([peer(1), peer(2)]),
            _ => Scope::owner(peer(1)),
        };
        for scope in [by_owner, scope(&mut random)] {
            let values: Vec<_> = search.criteria.iter().map(|criterion| criterion.value.as_str()).collect();
            let named = (&search.studies, &search.series, &search.instances, &search.modalities);
            let asked = || format!("seed {seed}, question {number}: {scope:?} {search:?} {values:?} {named:?}");
            let expected = naive.find(&scope, &search).unwrap();
            let found = index.find(&scope, &search).unwrap();
            let keys = |answer: &Answer| answer.rows.iter().map(Found::cursor).collect::<Vec<_>>();
            assert_eq!(keys(&found), keys(&expected), "{}", asked());
            assert_eq!(found, expected, "{}", asked());
            if number % 16 == 0 {
                let whole = Search { limit: Search::default().limit, skip: 0, ..search.clone() };
                let expected = keys(&naive.find(&scope, &whole).unwrap());
                assert_eq!(paged(&*index, &scope, &whole), expected, "page by page: {}", asked());
            }
        }
    }
    for number in 0..90 {
        let scopes = [Scope::All, scope(&mut random), scope(&mut random), Scope::sources([SOURCES[0]])];
        scopes.iter().for_each(|scope| says_the_same(&*index, &naive, scope, &super::study(number)));
    }
}

/// The places of all rows, read three at a time.
fn paged(index: &dyn Index, scope: &Scope, search: &Search) -> Vec<Cursor> {
    let mut search = Search { limit: 3, ..search.clone() };
    let mut places = Vec::new();
    loop {
        let answer = index.find(scope, &search).unwrap();
        places.extend(answer.rows.iter().map(Found::cursor));
        search.after = places.last().cloned();
        if !answer.more {
            return places;
        }
    }
}

/// Whether both say the same of a study to who sees what is within `scope`.
fn says_the_same(index: &dyn Index, naive: &dyn Index, scope: &Scope, study: &StudyUid) {
    assert_eq!(index.study(scope, study).unwrap(), naive.study(scope, study).unwrap(), "{scope:?} {study}");
    let all = naive.instances(&Scope::All, &InstancesOf::all_versions(study.clone()), None, 1000).unwrap();
    for of in [InstancesOf::study(study.clone()), InstancesOf::all_versions(study.clone())] {
        let expected = naive.instances(scope, &of, None, 1000).unwrap();
        let mut found: Vec<StoredInstance> = Vec::new();
        loop {
            let page = index.instances(scope, &of, found.last(), 4).unwrap();
            found.extend(page.iter().cloned());
            if page.len() < 4 {
                break;
            }
        }
        assert_eq!(found, expected, "{scope:?} {study} {:?}", of.versions);
    }
    let hashes: Vec<InstanceHash> = all.iter().map(|instance| instance.entry.hash).collect();
    assert_eq!(index.has(scope, study, &hashes).unwrap(), naive.has(scope, study, &hashes).unwrap(), "{scope:?}");
    for sop in all.iter().map(|instance| &instance.entry.sop_instance) {
        assert_eq!(index.studies_with(scope, sop).unwrap(), naive.studies_with(scope, sop).unwrap(), "{scope:?}");
    }
}

/// A scope that names sources.
fn scope(random: &mut Seeded) -> Scope {
    let owners = [peer(1), peer(2)].into_iter().filter(|_| random.below(4) == 0).collect::<Vec<_>>();
    let sources = SOURCES.iter().filter(|_| random.below(3) == 0).copied().collect::<Vec<_>>();
    Scope::owners(owners).with_sources(sources).with_sources([SOURCES[random.below(SOURCES.len())]])
}

fn pick<'a>(random: &mut Seeded, list: &[&'a str]) -> &'a str {
    list[random.below(list.len())]
}

fn study_of(number: usize) -> u64 {
    to_u64(number)
}

/// An instance whose attributes are drawn at random; those of one study are mostly alike.
fn instance(random: &mut Seeded, owner: PeerId, study: u64, series: u64, sop: u64) -> StoredInstance {
    let mut of_study = Seeded::new(study * 7919 + u64::from(random.below(8) == 0));
    let mut sample = Sample::new(owner, study, series, sop, 200);
    sample.bytes[0] = u8::try_from(random.below(3)).unwrap();
    let date = format!("20{:02}{:02}{:02}", 20 + of_study.below(5), 1 + of_study.below(12), 1 + of_study.below(27));
    let attributes = sample
        .stored()
        .attributes
        .with(tags::PATIENT_NAME, pick(&mut of_study, &NAMES))
        .with(tags::PATIENT_ID, pick(&mut of_study, &["P1", "P2", "p1", "P*", "0012", "123456", ""]))
        .with(tags::PATIENT_BIRTH_DATE, pick(&mut of_study, &["19600101", "19991231", ""]))
        .with(tags::STUDY_DATE, if of_study.below(9) == 0 { String::new() } else { date })
        .with(tags::STUDY_TIME, pick(&mut of_study, &["101500", "235959.5", "08", ""]))
        .with(tags::STUDY_DESCRIPTION, pick(&mut of_study, &DESCRIPTIONS))
        .with(tags::REFERRING_PHYSICIAN_NAME, pick(&mut of_study, &NAMES))
        .with(tags::ACCESSION_NUMBER, format!("A{}", study % 40))
        .with(tags::MODALITY, pick(random, &["CT", "MR", "SR"]))
        .with(tags::SERIES_DESCRIPTION, pick(random, &["axial", "Scout", ""]))
        .with(tags::BODY_PART_EXAMINED, pick(random, &["CHEST", "HEAD", ""]))
        .with(tags::NUMBER_OF_FRAMES, pick(random, &["1", "30", ""]));
    StoredInstance { cut: random.below(12) == 0, ..sample.stored_with(attributes) }
}

fn fill(random: &mut Seeded, indexes: &[&dyn Index]) {
    let mut order = 0;
    let mut own: Vec<StoredInstance> = Vec::new();
    for number in 0..90 {
        let owner = [peer(1), peer(2), peer(3), PeerId::SELF, PeerId::SELF, PeerId::SELF][random.below(6)];
        let mut instances = Vec::new();
        for _ in 0..10 {
            order += 1;
            let study = study_of(if owner == PeerId::SELF { random.below(50) } else { random.below(90) });
            let (series, sop) = (to_u64(random.below(3)), to_u64(random.below(4)));
            let catalogue = CATALOGUE_VERSION - u16::from(random.below(4) == 0);
            let one = instance(random, owner, study, series, sop);
            instances.push(StoredInstance { order: Order(order), catalogue, ..one });
        }
        let at = UnixSeconds(number);
        let provenance = (owner == PeerId::SELF && random.below(8) > 0).then(|| provenance(random));
        let batch = CommitBatch { instances, provenance, at, ..CommitBatch::default() };
        indexes.iter().for_each(|index| drop(index.commit(&batch).unwrap()));
        if owner == PeerId::SELF {
            own.extend_from_slice(&batch.instances);
        }
        again(random, indexes, &own, number);
        order += 1;
        change(random, indexes, &batch, Order(order));
        refill(random, indexes);
    }
}

/// One of few sources, with particulars that differ.
fn provenance(random: &mut Seeded) -> Provenance {
    let about = [("address", "10.0.0.1"), ("address", "10.0.0.2")][random.below(2)];
    let about = vec![(about.0.to_owned(), about.1.to_owned())];
    Provenance { about, ..Provenance::of(SOURCES[random.below(SOURCES.len() - 1)]) }
}

/// Some of what belongs to the site itself comes again by another way, or is told to have come earlier.
fn again(random: &mut Seeded, indexes: &[&dyn Index], own: &[StoredInstance], number: i64) {
    if own.is_empty() {
        return;
    }
    let instances = (0..random.below(8)).map(|_| own[random.below(own.len())].clone()).collect();
    let at = UnixSeconds(number - i64::try_from(random.below(20)).unwrap());
    let batch = CommitBatch { instances, provenance: Some(provenance(random)), at, ..CommitBatch::default() };
    indexes.iter().for_each(|index| drop(index.commit(&batch).unwrap()));
}

/// Reads headers of a study again, and finds something else in them.
fn refill(random: &mut Seeded, indexes: &[&dyn Index]) {
    let mut refills = Vec::new();
    for stale in indexes[0].stale_instances(random.below(8)).unwrap() {
        let StoredInstance { attributes, catalogue, .. } = instance(random, peer(1), 1, 1, 1);
        refills.push(match random.below(5) {
            0 => Refill::Unreadable(stale),
            _ => Refill::Read(StoredInstance { attributes, catalogue, ..stale }),
        });
    }
    indexes.iter().for_each(|index| index.refill(&refills).unwrap());
    assert!(indexes.windows(2).all(|pair| pair[0].stale().unwrap() == pair[1].stale().unwrap()));
}

/// Publishes or removes something of a batch.
fn change(random: &mut Seeded, indexes: &[&dyn Index], batch: &CommitBatch, order: Order) {
    let first = &batch.instances[random.below(batch.instances.len())];
    let (owner, study, at) = (first.owner, first.entry.study.clone(), batch.at);
    match random.below(6) {
        0 => {
            let what = if random.below(2) == 0 { What::All } else { What::Contents(vec![first.entry.hash]) };
            let removal = Removal { owner, study, what, at, order };
            let removed: Vec<_> = indexes.iter().map(|index| index.remove(&removal).unwrap()).collect();
            assert!(removed.windows(2).all(|pair| pair[0] == pair[1]), "both remove the same");
        }
        1..4 => {
            let stated = stated(indexes, &Scope::owner(owner), &study, random);
            let root = ManifestRoot::from_bytes([u8::try_from(order.0 % 251).unwrap(); 32]);
            let publication = Publication { owner, studies: vec![study], root, at, order, stated };
            indexes.iter().for_each(|index| drop(index.publish(&publication).unwrap()));
        }
        _ => {}
    }
}

fn stated(indexes: &[&dyn Index], scope: &Scope, study: &StudyUid, random: &mut Seeded) -> Vec<(u32, InstanceHash)> {
    let all = indexes[0].instances(scope, &InstancesOf::all_versions(study.clone()), None, 100).unwrap();
    all.iter().filter(|_| random.below(2) == 0).map(|instance| (0, instance.entry.hash)).collect()
}

fn question(random: &mut Seeded) -> Search {
    let level = [Level::Study, Level::Study, Level::Series, Level::Instance][random.below(4)];
    let mut search = Search { level, ..Search::default() };
    for _ in 0..=random.below(3) {
        let (tag, value) = criterion(random);
        search = search.clone().by(tag, &value).unwrap_or(search);
    }
    search.count = random.below(4) == 0;
    if random.below(3) == 0 {
        search.limit = u32::try_from(1 + random.below(12)).unwrap();
        search.skip = u32::try_from(random.below(4)).unwrap();
    }
    search
}

fn criterion(random: &mut Seeded) -> (Tag, String) {
    const PATTERNS: [&str; 12] =
        ["*a*", "*oe*", "D*", "*n^J*", "?OE^*", "*田*", "*山*太*", "*", "müller*", "*^*", "*zzz*", "山*"];
    let name = |random: &mut Seeded| match random.below(2) {
        0 => pick(random, &NAMES).to_owned(),
        _ => pick(random, &PATTERNS).to_owned(),
    };
    match random.below(14) {
        0 | 1 => (tags::PATIENT_NAME, name(random)),
        2 => (tags::PATIENT_ID, pick(random, &["P1", "p*", "*2*", "0012", "nobody", "P?"]).to_owned()),
        3 => (
            tags::STUDY_DATE,
            pick(random, &["2021-", "-20221231", "20210101-20231231", "20220505"]).replace("2021-", "20210101-"),
        ),
        4 => (tags::STUDY_DESCRIPTION, pick(random, &["*thorax*", "MRI*", "*h*", "mühle?", "50% *", "*e*"]).to_owned()),
        5 => (tags::REFERRING_PHYSICIAN_NAME, name(random)),
        6 => (tags::ACCESSION_NUMBER, format!("A{}", random.below(40))),
        7 => (tags::MODALITIES_IN_STUDY, pick(random, &["CT", "MR\\SR", "XX"]).to_owned()),
        8 => (tags::STUDY_INSTANCE_UID, super::study(study_of(random.below(90))).to_string()),
        9 => (tags::PATIENT_BIRTH_DATE, pick(random, &["19600101", "19990101-", "20200101"]).to_owned()),
        10 => (tags::SERIES_DESCRIPTION, pick(random, &["axial", "*o*"]).to_owned()),
        11 => (tags::BODY_PART_EXAMINED, pick(random, &["CHEST", "CHEST\\HEAD"]).to_owned()),
        12 => (tags::STUDY_TIME, pick(random, &["10", "0800-1100", "2359-"]).to_owned()),
        _ => {
            let sample =
                Sample::new(peer(1), study_of(random.below(90)), to_u64(random.below(3)), to_u64(random.below(4)), 1);
            match random.below(2) {
                0 => (tags::SERIES_INSTANCE_UID, sample.entry().series.to_string()),
                _ => (tags::SOP_INSTANCE_UID, sample.entry().sop_instance.to_string()),
            }
        }
    }
}
