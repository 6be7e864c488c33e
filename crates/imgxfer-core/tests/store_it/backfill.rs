//! Headers are read again where their attributes are of another version of the catalogue.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::{Backfill, BackfillStep, Depot, PutOptions};
use imgxfer_core::dicom::{Attributes, CATALOGUE_VERSION, tags};
use imgxfer_core::ids::PeerId;
use imgxfer_core::sim::studies::{StudySpec, Syntax};
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{
    CheckOptions, Index, MemIndex, MemRecords, Provenance, RecordStore, Scope, SqliteIndex, Stale, StoredInstance,
    check, note, recover, retell,
};

use crate::told::{all, files, spoil_notes};

/// A store whose notes are those of a program with another catalogue, and its instances as this one knows them.
struct Old {
    records: MemRecords,
    fresh: Vec<StoredInstance>,
}

impl Old {
    fn new(files: &[Vec<u8>]) -> Self {
        let records = MemRecords::default();
        let depot = depot(&records, MemIndex::default());
        let mut fresh: Vec<StoredInstance> = Vec::new();
        for file in files {
            let entry = depot.put(file, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap().entry;
            let put = all(depot.index.as_ref(), &entry.study).into_iter().find(|i| i.entry == entry);
            fresh.push(put.unwrap());
        }
        spoil_notes(&records);
        // It kept patients' IDs alone, and no frames.
        let stale = fresh.iter().map(|instance| {
            let id = instance.attributes.patient_id();
            let attributes = Attributes::default().with(tags::PATIENT_ID, id);
            StoredInstance { attributes, frames: None, catalogue: CATALOGUE_VERSION + 1, ..instance.clone() }
        });
        let mut pack = records.create_pack(PeerId::SELF).unwrap();
        for note in note::committed(PeerId::SELF, UnixSeconds(5), None, &stale.collect::<Vec<_>>()) {
            pack.note(&note).unwrap();
        }
        Self { records, fresh }
    }

    /// The store with an index that is made from the packs.
    fn open(&self, index: impl Index + 'static) -> Depot {
        recover(&self.records, &index).unwrap();
        depot(&self.records, index)
    }

    /// Spoils the records of instances that are `chosen` in which chunks of such a class stand.
    fn spoil(&self, chosen: impl Fn(&StoredInstance) -> bool, class: impl Fn(ChunkClass) -> bool) {
        let chunks = self.fresh.iter().filter(|instance| chosen(instance));
        let chunks = chunks.flat_map(|instance| instance.entry.chunks.iter().zip(&instance.chunks));
        let records = chunks.filter(|(chunk, _)| class(chunk.class)).map(|(_, at)| at.record);
        for at in records.collect::<BTreeSet<_>>() {
            let end = usize::try_from(at.offset).unwrap() + usize::try_from(at.len).unwrap();
            self.records.edit_pack(at.pack, |bytes| bytes[end - 1] ^= 0x55);
        }
    }

    fn is_as_new(&self, depot: &Depot) -> bool {
        self.fresh.iter().all(|fresh| {
            let all = all(depot.index.as_ref(), &fresh.entry.study);
            all.iter().any(|is| {
                is.entry == fresh.entry && is.attributes == fresh.attributes && is.catalogue == CATALOGUE_VERSION
            })
        })
    }
}

fn depot(records: &MemRecords, index: impl Index + 'static) -> Depot {
    Depot::new(Arc::new(records.clone()), Arc::new(index), Registry::default())
}

/// Runs to the end. Returns how many were read and could not be.
fn run(depot: &Depot) -> (u64, usize) {
    let (mut backfill, mut sum) = (Backfill::default(), (0, 0));
    while let BackfillStep::Read { instances, unreadable } = backfill.step(depot).unwrap() {
        sum = (sum.0 + instances, sum.1 + unreadable.len());
    }
    sum
}

#[test]
fn headers_of_every_transfer_syntax_are_read_and_no_pixels() {
    let files: Vec<_> = (1..)
        .zip(Syntax::ALL)
        .map(|(seed, syntax)| {
            let spec = StudySpec::new(seed).with_instances(1, 1).with_size(64, 64).with_frames(3).with_syntax(syntax);
            spec.instance(1, 1).bytes
        })
        .collect();
    let old = Old::new(&files);
    let has_pixels = |instance: &StoredInstance| instance.entry.chunks.iter().any(|c| c.class == ChunkClass::Pixels);
    assert!(old.fresh.iter().filter(|instance| has_pixels(instance)).count() > 5);
    old.spoil(|_| true, |class| class == ChunkClass::Pixels);
    let depot = old.open(MemIndex::default());
    assert_eq!(run(&depot), (old.fresh.len() as u64, 0));
    assert!(old.is_as_new(&depot));
    for fresh in &old.fresh {
        let frames = fresh.frames.clone().filter(|frames| !frames.is_encapsulated());
        assert_eq!(all(depot.index.as_ref(), &fresh.entry.study)[0].frames, frames, "where the header says it");
    }
}

#[test]
fn it_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.db");
    let old = Old::new(&files(2, 90));
    let name = old.fresh[0].attributes.patient_name();
    let find = |depot: &Depot| {
        let search = Search::default().by(tags::PATIENT_NAME, name).unwrap();
        let answer = depot.find(&Scope::All, &search).unwrap();
        (answer.rows.len(), answer.incomplete)
    };
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let sound = |depot: &Depot| {
        let found = check(&depot.records, depot.index.as_ref(), &options, &mut |_| true).unwrap();
        assert!(found.findings.iter().all(|finding| !format!("{finding:?}").contains("Row")), "{found:?}");
    };
    {
        let depot = old.open(SqliteIndex::open(&file).unwrap());
        assert_eq!(depot.index.stale().unwrap(), Stale { left: 90, unreadable: 0 });
        assert_eq!(find(&depot), (0, true), "what an older program did not keep is not found, and that is said");
        sound(&depot);
        let first = Backfill::default().step(&depot).unwrap();
        assert_eq!(first, BackfillStep::Read { instances: 64, unreadable: Vec::new() });
        assert_eq!(find(&depot), (1, true), "more may be");
        sound(&depot);
    }
    let depot = old.open(SqliteIndex::open(&file).unwrap());
    assert_eq!(depot.index.stale().unwrap(), Stale { left: 26, unreadable: 0 });
    assert_eq!(run(&depot), (26, 0));
    assert_eq!(find(&depot), (1, false));
    assert!(old.is_as_new(&depot));
    sound(&depot);
    assert_eq!(retell(depot.records.as_ref(), depot.index.as_ref()).unwrap().instances, 0, "notes tell the same still");
    let row = depot.index.study(&Scope::All, &old.fresh[0].entry.study).unwrap().remove(0);
    assert_eq!(row.updated, UnixSeconds(5), "nothing of the study has changed");

    // With the index goes what was read: the packs tell what they told.
    let anew = old.open(SqliteIndex::open(&folder.path().join("anew.db")).unwrap());
    assert_eq!((anew.index.stale().unwrap().left, find(&anew)), (90, (0, true)));
    assert_eq!(run(&anew), (90, 0));
    assert_eq!(all(anew.index.as_ref(), &row.study), all(depot.index.as_ref(), &row.study));
    assert_eq!(anew.index.study(&Scope::All, &row.study).unwrap(), [row]);
}

#[test]
fn what_cannot_be_read_is_told_and_ends_nothing() {
    let old = Old::new(&[files(3, 1), files(4, 1), files(5, 1)].concat());
    let broken = old.fresh[1].entry.hash;
    old.spoil(|instance| instance.entry.hash == broken, |class| class != ChunkClass::Pixels);
    let depot = old.open(MemIndex::default());
    assert_eq!(run(&depot), (2, 1));
    assert_eq!(depot.index.stale().unwrap(), Stale { left: 0, unreadable: 1 });
    let answer = depot.find(&Scope::All, &Search::default()).unwrap();
    assert_eq!((answer.rows.len(), answer.incomplete), (3, false));
    assert_eq!(
        all(depot.index.as_ref(), &old.fresh[1].entry.study)[0].attributes.iter().len(),
        1,
        "it keeps what it had"
    );
    assert_eq!(depot.index.damaged(10).unwrap().len(), 1, "who sends it again heals it");
}

#[test]
fn where_something_stands_behind_the_pixels_all_is_walked_over() {
    let spec = StudySpec::new(6)
        .with_instances(1, 1)
        .with_size(64, 64)
        .with_frames(3)
        .with_syntax(Syntax::EncapsulatedBasicTable);
    let mut file = spec.instance(1, 1).bytes;
    // Data Set Trailing Padding (PS3.10 section 7.2).
    file.extend_from_slice(b"\xfc\xff\xfc\xffOB\0\0\x20\0\0\0");
    file.extend_from_slice(&[0; 32]);
    let old = Old::new(&[file]);
    let depot = old.open(MemIndex::default());
    assert_eq!(run(&depot), (1, 0));
    assert!(old.is_as_new(&depot));
    let frames = all(depot.index.as_ref(), &old.fresh[0].entry.study).remove(0).frames;
    assert!(frames.is_some() && frames == old.fresh[0].frames, "and with it come its frames");
}
