//! A pack that a crash has cut or torn anywhere: what a whole note in it says is there, and nothing else is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::ids::PackId;
use imgxfer_core::store::{
    FsOptions, FsRecords, Index, InstancesOf, MemIndex, MemRecords, Note, RecordStore, Scope, StoredReader, recover,
};
use imgxfer_core::testing::pair::{Drive, Item, Site};
use imgxfer_core::testing::{noise, peer};

use crate::disk::{Contents, contents};
use crate::options;

/// A store with one pack, and what the pack says.
struct Packed {
    folder: tempfile::TempDir,
    id: PackId,
    file: PathBuf,
    bytes: Vec<u8>,
    /// Where each *committed* note ends, and the contents that it names.
    notes: Vec<(usize, Contents)>,
    /// Where each record and note ends.
    ends: Vec<usize>,
}

/// Small, so that there are few prefixes.
fn pages() -> Vec<Vec<Item>> {
    let file = |n: u64| Item::opaque(&noise(n, 40 + 20 * usize::try_from(n).unwrap()), 50);
    vec![(0..2).map(file).collect(), (2..4).map(file).collect()]
}

fn site(folder: &Path) -> Site {
    let (depot, _) = Depot::open(folder, options(), Registry::default()).unwrap();
    Site { records: MemRecords::default(), depot, sender: peer(1) }
}

fn packed() -> Packed {
    let folder = tempfile::tempdir().unwrap();
    let pages = pages();
    let mut notes = Vec::new();
    let mut ends = Vec::new();
    let pack = {
        let site = site(folder.path());
        // A seed with which the intake commits more than once.
        let outcome = Drive::new(&site, &pages, 3).unwatched().run();
        assert!(outcome.settled.is_some(), "{outcome:?}");
        let packs = site.depot.records.packs().unwrap();
        assert_eq!(packs.len(), 1);
        let records = &site.depot.records;
        let mut read = |end: u64, bytes: &[u8]| {
            let end = usize::try_from(end).unwrap();
            ends.push(end);
            if let Note::Committed { instances, .. } = Note::decode(bytes).unwrap() {
                notes.push((end, instances.iter().map(|i| *i.entry.hash.as_bytes()).collect()));
            }
            Ok(())
        };
        records.notes(packs[0].id, 0, &mut read).unwrap();
        let mut read = |at: imgxfer_core::store::RecordAt, _: &_| {
            ends.push(usize::try_from(at.offset + u64::from(at.len)).unwrap());
        };
        records.scan(packs[0].id, true, &mut read).unwrap();
        packs[0].id
    };
    assert!(notes.len() > 1, "{} notes", notes.len());
    ends.sort_unstable();
    eprintln!("{} records and notes, {} of them commits", ends.len(), notes.len());
    let file = folder.path().join(format!("packs/{:02x}/{pack}.pack", pack.as_bytes()[0]));
    let bytes = std::fs::read(&file).unwrap();
    Packed { folder, id: pack, file, bytes, notes, ends }
}

impl Packed {
    /// What a pack of these bytes has to give.
    fn expected(&self, bytes: &[u8]) -> Contents {
        let same = bytes.iter().zip(&self.bytes).take_while(|(a, b)| a == b).count();
        let whole = self.notes.iter().filter(|(end, _)| *end <= same);
        whole.flat_map(|(_, contents)| contents).copied().collect()
    }

    /// Opens the store without its index on a pack of these bytes, as a daemon does.
    fn open(&self, bytes: &[u8]) -> Site {
        std::fs::write(&self.file, bytes).unwrap();
        for beside in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(self.folder.path().join(format!("index.db{beside}"))));
        }
        site(self.folder.path())
    }
}

/// Contents of all instances, each read back whole.
fn visible(records: &Arc<dyn RecordStore>, index: &dyn Index, case: &str) -> Contents {
    let mut found = Contents::new();
    for (_, study) in index.study_keys(None, 1000).unwrap() {
        for instance in index.instances(&Scope::All, &InstancesOf::all_versions(study), None, 1000).unwrap() {
            let hash = *instance.entry.hash.as_bytes();
            let reader = StoredReader::of(Arc::clone(records), Registry::default(), instance).unwrap();
            reader.verify().unwrap_or_else(|e| panic!("{case}: a committed instance is unreadable: {e}"));
            found.insert(hash);
        }
    }
    found
}

#[test]
fn each_prefix_of_a_pack_gives_what_its_notes_say() {
    let packed = packed();
    let options = FsOptions { read_only: true, ..options() };
    let file = std::fs::File::options().write(true).open(&packed.file).unwrap();
    for len in (0..=packed.bytes.len()).rev() {
        file.set_len(len.try_into().unwrap()).unwrap();
        let records: Arc<dyn RecordStore> = Arc::new(FsRecords::open(packed.folder.path(), options).unwrap());
        let index = MemIndex::default();
        let report = recover(records.as_ref(), &index).unwrap();
        let case = format!("{len} of {} bytes", packed.bytes.len());
        assert_eq!((report.instances_missing, report.notes_damaged), (0, 0), "{case}");
        assert_eq!(visible(&records, &index, &case), packed.expected(&packed.bytes[..len]), "{case}");
    }
}

#[test]
fn each_torn_tail_of_a_pack_gives_what_its_notes_say() {
    let packed = packed();
    let (pages, all) = (pages(), contents(&pages()));
    let mut cases = 0;
    for (number, end) in (0u64..).zip(&packed.ends) {
        for (kind, at) in (0u64..).zip([*end, end - 1, end - 9, end - 40]) {
            let mut bytes = packed.bytes[..at].to_vec();
            let torn = noise(number * 4 + kind, 300);
            match (number + kind) % 3 {
                // What was allocated and not written, for less and for more than was appended.
                0 => bytes.resize(packed.bytes.len() + 5000, 0),
                1 => bytes.extend_from_slice(&torn),
                // Later parts of it were written, and this one was not; but no commit whose records are not durable.
                _ => {
                    bytes.extend_from_slice(&torn[..30]);
                    let next = packed.notes.iter().map(|(end, _)| *end).find(|end| *end > at);
                    let until = next.unwrap_or(packed.bytes.len()) - 1;
                    bytes.extend_from_slice(packed.bytes.get(at + 30..until).unwrap_or_default());
                }
            }
            let case = format!("torn at {at}, way {}", (number + kind) % 3);
            let site = packed.open(&bytes);
            let Depot { records, index, .. } = &site.depot;
            assert_eq!(visible(records, index.as_ref(), &case), packed.expected(&bytes), "{case}");
            // The next push builds on it.
            if kind == 0 {
                let outcome = Drive::new(&site, &pages, number).unwatched().run();
                assert!(outcome.settled.is_some_and(|(_, complete)| complete), "{case}: {outcome:?}");
                assert_eq!(visible(records, index.as_ref(), &case), all, "{case}");
                let others = records.packs().unwrap().into_iter().filter(|pack| pack.id != packed.id);
                others.for_each(|pack| records.delete(pack.id).unwrap());
            }
            cases += 1;
        }
    }
    eprintln!("torn {cases} times");
}
