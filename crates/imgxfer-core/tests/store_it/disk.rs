//! A site on a disk that forgets: packs in a model that keeps what is live apart from what is durable, the index in a real
//! SQLite file whose log a power cut tears.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::dicom::Level;
use imgxfer_core::ids::StudyUid;
use imgxfer_core::send::{DepotSource, FetchOrder, Selection, Source, SourceItem};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{
    CheckOptions, Finding, InstancesOf, MemRecords, RecordStore, Scope, SqliteIndex, StoredInstance, Versions, check,
    recover,
};
use imgxfer_core::testing::faulty::{Faults, FaultyIndex, FaultyRecords};
use imgxfer_core::testing::pair::{Item, Site};
use imgxfer_core::testing::{noise, peer};

/// Contents, by their hashes.
pub(crate) type Contents = BTreeSet<[u8; 32]>;

/// Two pages: three images of one study, and three files that are not DICOM.
pub(crate) fn pages() -> Vec<Vec<Item>> {
    let study = StudySpec::new(5).with_instances(1, 3).with_size(16, 16);
    let images = study.instances().map(|instance| Item::dicom(instance.bytes)).collect();
    let file = |n: u64| Item::opaque(&noise(n, 700 + usize::try_from(n).unwrap() * 300), 400);
    vec![images, (0..3).map(file).collect()]
}

pub(crate) fn contents(pages: &[Vec<Item>]) -> Contents {
    pages.iter().flatten().map(|item| *item.entry.hash.as_bytes()).collect()
}

/// The disk of one site, and the process that runs on it.
pub(crate) struct Disk {
    root: tempfile::TempDir,
    pub(crate) records: FaultyRecords,
    pub(crate) faults: Faults,
    /// Whether an index write that a power cut meets is in the log.
    lucky: bool,
    starts: u32,
    pub(crate) site: Site,
}

impl Disk {
    /// An empty one, and a process that has just started.
    pub(crate) fn new(lucky: bool, syncs: bool) -> Self {
        let faults = Faults::default();
        let make = if syncs { FaultyRecords::new } else { FaultyRecords::without_syncs };
        let records = make(faults.clone());
        let root = tempfile::tempdir().unwrap();
        let site = start(&records, &faults, lucky, &index_in(root.path(), 0));
        Self { root, records, faults, lucky, starts: 0, site }
    }

    /// The process is killed, and another starts: all that was written is there, durable or not.
    pub(crate) fn kill(&mut self) {
        self.restart(usize::MAX);
    }

    /// The power goes, and another process starts without faults on what `seed` leaves: of packs what was synced and
    /// any of the rest; of the index nothing, an earlier state or the last one.
    pub(crate) fn cut_power(&mut self, seed: u64) {
        self.records.restart(seed);
        let log = std::fs::metadata(log_of(&index_in(self.root.path(), self.starts))).map_or(0, |log| log.len());
        let kept = usize::try_from(log).unwrap();
        match seed % 4 {
            0 => self.restart(0),
            1 => self.restart(kept),
            _ => self.restart(usize::from_le_bytes(noise(seed, 8).try_into().unwrap()) % (kept + 1)),
        }
    }

    /// Starts a process on the index with so many bytes of its log; without any index, when that is none.
    fn restart(&mut self, log_kept: usize) {
        let old = index_in(self.root.path(), self.starts);
        self.starts += 1;
        let new = index_in(self.root.path(), self.starts);
        // Before the old process closes its database in order.
        if log_kept > 0 {
            std::fs::copy(&old, &new).unwrap();
            if let Ok(mut log) = std::fs::read(log_of(&old)) {
                log.truncate(log_kept);
                std::fs::write(log_of(&new), log).unwrap();
            }
        }
        self.site = start(&self.records, &self.faults, self.lucky, &new);
    }

    /// Contents of all instances that a reader sees, each pulled from the depot and compared as a whole; and the
    /// check finds nothing lost. Left out is what `damaged` stands in.
    pub(crate) fn look(&self, damaged: &Contents, case: &str) -> Contents {
        let depot = &self.site.depot;
        let mut found = Contents::new();
        let everything = Search { level: Level::Instance, ..Search::default() };
        let wanted = Selection { what: everything, versions: Versions::All, order: FetchOrder::AsKept };
        let mut source = DepotSource::new(depot, Scope::All, wanted).unwrap();
        while let Some(item) = source.as_mut().and_then(|source| source.next_item().unwrap()) {
            let SourceItem::Instance(instance) = item else { panic!("{case}: {item:?}") };
            let hash = *instance.entry.hash.as_bytes();
            if damaged.contains(&hash) {
                continue;
            }
            let mut whole = blake3::Hasher::new();
            for (number, chunk) in instance.entry.chunks.iter().enumerate() {
                let mut bytes = vec![0; usize::try_from(chunk.len).unwrap()];
                let read = instance.content.read_chunk(number, &mut bytes);
                read.unwrap_or_else(|e| panic!("{case}: a committed instance is unreadable: {e}"));
                whole.update(&bytes);
            }
            assert_eq!(*whole.finalize().as_bytes(), hash, "{case}: a committed instance is another");
            found.insert(hash);
        }
        let losses = self.losses();
        assert!(losses.is_subset(damaged), "{case}: the check finds losses");
        found
    }

    /// What a check finds to be lost, and notes as such.
    pub(crate) fn losses(&self) -> Contents {
        let options = CheckOptions { read_data: true, ..CheckOptions::default() };
        let Depot { records, index, .. } = &self.site.depot;
        let report = check(records, index.as_ref(), &options, &mut |_| true).unwrap();
        let lost = report.findings.iter().filter_map(|finding| match finding {
            Finding::Instance { hash, .. } => Some(*hash.as_bytes()),
            _ => None,
        });
        lost.collect()
    }

    /// All instances as the index has them.
    pub(crate) fn instances(&self) -> Vec<StoredInstance> {
        let index = &self.site.depot.index;
        let keys = index.study_keys(None, 1000).unwrap();
        let all = |study: &StudyUid| InstancesOf::all_versions(study.clone());
        keys.iter().flat_map(|(_, study)| index.instances(&Scope::All, &all(study), None, 1000).unwrap()).collect()
    }
}

fn start(records: &FaultyRecords, faults: &Faults, lucky: bool, index: &Path) -> Site {
    let index = SqliteIndex::open_for(index, records.store_id()).unwrap();
    recover(records, &index).unwrap();
    let index = FaultyIndex::over(Arc::new(index), faults.clone(), lucky);
    let depot = Depot::new(Arc::new(records.clone()), Arc::new(index), Registry::default());
    Site { records: MemRecords::default(), depot, sender: peer(1) }
}

fn index_in(root: &Path, start: u32) -> PathBuf {
    root.join(format!("index-{start}.db"))
}

fn log_of(index: &Path) -> PathBuf {
    let mut name = index.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
