//! A site's store: records and index together, and the two ways through it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::files::opaque_uids;
use super::intake::{Intake, Staged};
use super::scratch;
use super::source::{Content, Source, SourceInstance, SourceItem, Totals};
use crate::chunk;
use crate::clock::UnixSeconds;
use crate::codec::{PixelShape, Registry};
use crate::dicom::{self, Attributes};
use crate::ids::{ChunkId, ManifestRoot, PackId, PageHash, PeerId, StudyUid};
use crate::manifest::{InstanceEntry, Page};
use crate::proto::{Lookup, VerifyJob};
use crate::store::{
    ChunkAt, CommitBatch, Index, InstanceError, PackWriter, RecordAt, RecordCache, RecordStore, Scope, SpoolLimits,
    StoreError, StoredInstance, StoredReader, spool_chunks,
};
use crate::units::to_usize;
use crate::wire::message::FailCode;
use crate::wire::record::Record;

/// A pack is closed, and another begun, at this length.
const PACK_BYTES_MAX: u64 = 256 << 20;

/// Chunks of earlier instances that a receiving transfer knows for dedupe; about 100 bytes each.
const KNOWN_CHUNKS_MAX: usize = 200_000;

/// Instances read from the index at once.
const INSTANCES_AT_ONCE: usize = 256;

/// An instance up to this length is read back into memory as a whole.
const SMALL_INSTANCE_BYTES: u64 = 128 << 10;

/// Records and index of one site.
#[derive(Debug, Clone)]
pub struct Depot {
    /// The records.
    pub records: Arc<dyn RecordStore>,
    /// The index.
    pub index: Arc<dyn Index>,
    /// The codecs that records may use.
    pub registry: Registry,
    /// Packs that running transfers write to, or found chunks in; how many transfers each.
    active: Arc<Mutex<HashMap<PackId, usize>>>,
}

impl Depot {
    /// Joins records and index.
    #[must_use]
    pub fn new(records: Arc<dyn RecordStore>, index: Arc<dyn Index>, registry: Registry) -> Self {
        Self { records, index, registry, active: Arc::default() }
    }

    /// Packs that running transfers write to or found chunks in, which must not be collected.
    #[must_use]
    pub fn active_packs(&self) -> HashSet<PackId> {
        lock(&self.active).keys().copied().collect()
    }

    /// An intake for one transfer from `owner`, who may know of what is within `scope`.
    ///
    /// # Errors
    /// [`StoreError`] when what earlier transfers left cannot be read.
    pub fn intake(&self, owner: PeerId, scope: Scope) -> Result<DepotIntake, StoreError> {
        let spool = spool_chunks(self.records.as_ref(), self.index.as_ref(), &owner, SpoolLimits::default())?;
        let known: HashMap<ChunkId, ChunkAt> = spool.into_iter().map(|(id, (at, _))| (id, at)).collect();
        let held: HashSet<PackId> = known.values().map(|at| at.record.pack).collect();
        let held = held.into_iter().map(|pack| ActivePack::hold(&self.active, pack)).collect();
        Ok(DepotIntake {
            depot: self.clone(),
            owner,
            scope,
            known: Mutex::new(Known { chunks: known, studies: HashMap::new() }),
            pack: Mutex::new(OpenPack { held, ..OpenPack::default() }),
            cache: RecordCache::new(RecordCache::BYTES_SHARED),
        })
    }

    /// A source that gives the instances of `studies` within `scope`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn source(&self, scope: Scope, studies: Vec<StudyUid>) -> Result<DepotSource, StoreError> {
        let mut totals = Totals::default();
        for study in &studies {
            let query = crate::store::StudyQuery { study: Some(study.clone()), ..Default::default() };
            for row in self.index.studies(&scope, &query)? {
                totals.instances += row.instances;
                totals.bytes += row.bytes;
            }
        }
        Ok(DepotSource {
            depot: self.clone(),
            scope,
            studies: studies.into_iter(),
            current: None,
            ready: Vec::new().into_iter(),
            totals,
            cache: RecordCache::new(RecordCache::BYTES_SHARED),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Known {
    chunks: HashMap<ChunkId, ChunkAt>,
    /// Studies whose chunks are in `chunks`, and whether the sender had sent anything of them before.
    studies: HashMap<StudyUid, bool>,
}

/// Keeps a pack from being collected while it lives.
#[derive(Debug)]
struct ActivePack {
    active: Arc<Mutex<HashMap<PackId, usize>>>,
    pack: PackId,
}

impl ActivePack {
    fn hold(active: &Arc<Mutex<HashMap<PackId, usize>>>, pack: PackId) -> Self {
        *lock(active).entry(pack).or_default() += 1;
        Self { active: Arc::clone(active), pack }
    }
}

impl Drop for ActivePack {
    fn drop(&mut self) {
        let mut active = lock(&self.active);
        if let Some(holders) = active.get_mut(&self.pack) {
            *holders -= 1;
            if *holders == 0 {
                active.remove(&self.pack);
            }
        }
    }
}

#[derive(Debug, Default)]
struct OpenPack {
    writer: Option<Box<dyn PackWriter>>,
    /// Full packs that have not been synced.
    full: Vec<Box<dyn PackWriter>>,
    unsynced_bytes: u64,
    /// All packs that this transfer writes to or found chunks in.
    held: Vec<ActivePack>,
}

/// Takes one transfer into a [`Depot`].
#[derive(Debug)]
pub struct DepotIntake {
    depot: Depot,
    owner: PeerId,
    scope: Scope,
    known: Mutex<Known>,
    pack: Mutex<OpenPack>,
    cache: RecordCache,
}

impl DepotIntake {
    /// Learns where the chunks of a study's committed instances are, as far as the sender may know of them.
    fn learn_study(&self, known: &mut Known, study: StudyUid) -> Result<(), StoreError> {
        let sent_before = !self.depot.index.instances(&self.own(), &study, None, 1)?.is_empty();
        let mut after: Option<StoredInstance> = None;
        while known.chunks.len() < KNOWN_CHUNKS_MAX {
            let instances = self.depot.index.instances(&self.scope, &study, after.as_ref(), INSTANCES_AT_ONCE)?;
            for instance in &instances {
                for (entry, at) in instance.entry.chunks.iter().zip(&instance.chunks) {
                    known.chunks.insert(entry.id, *at);
                }
            }
            after = instances.into_iter().last();
            if after.is_none() {
                break;
            }
        }
        known.studies.insert(study, sent_before);
        Ok(())
    }

    /// Whether what was not proven is damaged here, which ends the transfer, or was sent so.
    fn why_not(&self, job: &VerifyJob) -> Result<FailCode, StoreError> {
        job.chunks.iter().try_for_each(|place| self.depot.records.read(place.record).map(drop))?;
        Ok(FailCode::Integrity)
    }

    /// Learns the studies of a page that are new to this transfer; returns those of which the sender had sent
    /// something before.
    fn learn(&self, known: &mut Known, page: &Page) -> Result<HashSet<StudyUid>, StoreError> {
        let studies = studies_of(page);
        let new: Vec<_> = studies.iter().filter(|study| !known.studies.contains_key(study)).cloned().collect();
        if !new.is_empty() {
            self.depot.index.begin(self.owner, &new, UnixSeconds::now())?;
        }
        for study in new {
            self.learn_study(known, study)?;
        }
        Ok(studies.into_iter().filter(|study| known.studies.get(study).copied().unwrap_or(true)).collect())
    }

    /// Only what the sender itself sent counts as there: another's copy may go away with its owner.
    fn own(&self) -> Scope {
        Scope::Owners(vec![self.owner])
    }
}

impl Intake for DepotIntake {
    fn find_page(&self, hash: &PageHash) -> Result<Option<Bytes>, StoreError> {
        self.depot.index.page(self.owner, hash)
    }

    fn look_up(&self, page: &Page) -> Result<Lookup, StoreError> {
        let sent_before = self.learn(&mut lock(&self.known), page)?;
        let mut committed = Vec::with_capacity(page.instances.len());
        for run in page.instances.chunk_by(|a, b| a.study == b.study) {
            // Of a study that is new nothing need be looked for: what this transfer committed itself is found by
            // its chunks.
            if !sent_before.contains(&run[0].study) {
                committed.resize(committed.len() + run.len(), false);
                continue;
            }
            let hashes: Vec<_> = run.iter().map(|instance| instance.hash).collect();
            committed.extend(self.depot.index.has(&self.own(), &run[0].study, &hashes)?);
        }
        let known = lock(&self.known);
        let chunks = page.instances.iter().flat_map(|i| &i.chunks).map(|c| known.chunks.get(&c.id).copied());
        Ok(Lookup { committed, chunks: chunks.collect() })
    }

    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError> {
        let mut pack = lock(&self.pack);
        if pack.writer.as_ref().is_some_and(|writer| writer.len() >= PACK_BYTES_MAX) {
            let full = pack.writer.take();
            pack.full.extend(full);
        }
        let pack = &mut *pack;
        let writer = match &mut pack.writer {
            Some(writer) => writer,
            none => {
                let writer = self.depot.records.create_pack(self.owner)?;
                pack.held.push(ActivePack::hold(&self.depot.active, writer.id()));
                none.insert(writer)
            }
        };
        let at = writer.append(record)?;
        pack.unsynced_bytes += u64::from(at.len);
        let mut known = lock(&self.known);
        for (slot, chunk) in (0u16..).zip(&record.header().chunks) {
            if known.chunks.len() < KNOWN_CHUNKS_MAX {
                known.chunks.insert(chunk.id, ChunkAt { record: at, slot });
            }
        }
        Ok(at)
    }

    fn check(&self, job: &VerifyJob) -> Result<Result<Staged, FailCode>, StoreError> {
        let Depot { records, registry, .. } = &self.depot;
        let (entry, places, cache) = (job.entry.clone(), job.chunks.clone(), self.cache.clone());
        let Ok(reader) = StoredReader::to_prove(Arc::clone(records), registry.clone(), entry, places, cache) else {
            return Ok(Err(FailCode::Integrity));
        };
        let attributes = match read_back(&reader) {
            Ok(attributes) => attributes,
            Err(InstanceError::Store(error)) => return Err(error),
            Err(_) => return self.why_not(job).map(Err),
        };
        let Some(attributes) = attributes else { return Ok(Err(FailCode::Identity)) };
        let (entry, chunks) = reader.into_parts();
        let instance = StoredInstance { owner: self.owner, entry, chunks, attributes };
        Ok(Ok(Staged { at: job.at, instance }))
    }

    fn commit(&self, staged: Vec<Staged>, pages: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        {
            let mut pack = lock(&self.pack);
            let pack = &mut *pack;
            for writer in pack.full.iter_mut().chain(&mut pack.writer) {
                writer.sync()?;
            }
            pack.full.clear();
            pack.unsynced_bytes = 0;
        }
        if staged.is_empty() && pages.is_empty() {
            return Ok(());
        }
        let batch = CommitBatch {
            instances: staged.into_iter().map(|staged| staged.instance).collect(),
            pages: pages.into_iter().map(|(hash, encoded)| (hash, self.owner, encoded)).collect(),
            at: UnixSeconds::now(),
        };
        self.depot.index.commit(&batch)
    }

    fn uncommitted_bytes(&self) -> u64 {
        lock(&self.pack).unsynced_bytes
    }

    fn settle(&self, studies: &[StudyUid], root: ManifestRoot, complete: bool) -> Result<(), StoreError> {
        if complete {
            self.depot.index.publish(self.owner, studies, root, UnixSeconds::now())?;
        }
        Ok(())
    }
}

fn studies_of(page: &Page) -> Vec<StudyUid> {
    let mut studies: Vec<_> = page.instances.iter().map(|instance| instance.study.clone()).collect();
    studies.sort_unstable();
    studies.dedup();
    studies
}

/// Proves that an instance stands in the store as it was sent. Returns its attributes, or `None` when it is not
/// the one that its entry names.
fn read_back(reader: &StoredReader) -> Result<Option<Attributes>, InstanceError> {
    let entry = reader.entry();
    if entry.len > SMALL_INSTANCE_BYTES {
        reader.verify_whole()?;
        return Ok(identify(reader, entry));
    }
    let mut buffer = scratch::take_len(to_usize(entry.len));
    let bytes = &mut buffer[..to_usize(entry.len)];
    let attributes = reader.read_verified(bytes).map(|()| identify(&&*bytes, entry));
    scratch::keep(buffer);
    attributes
}

/// Scans an instance and compares what it says of itself with what the manifest says of it.
/// Returns its attributes, or `None` when the two disagree.
pub(super) fn identify(reader: &dyn dicom::ReadAt, entry: &InstanceEntry) -> Option<Attributes> {
    let scan = dicom::scan(reader).ok();
    match scan.as_ref().and_then(|scan| scan.identity.as_ref()) {
        Some(identity) if entry.name.is_empty() => {
            let same = identity.study == entry.study
                && identity.series == entry.series
                && identity.sop_instance == entry.sop_instance;
            same.then(|| scan.map(|scan| scan.attributes).unwrap_or_default())
        }
        // Carried as opaque bytes: under the UIDs made from its content, and no others.
        _ => {
            let made = opaque_uids(&entry.hash);
            let entry_uids = (entry.study.clone(), entry.series.clone(), entry.sop_instance.clone());
            (made == entry_uids).then(Attributes::default)
        }
    }
}

/// Gives stored studies to a sender.
#[derive(Debug)]
pub struct DepotSource {
    depot: Depot,
    scope: Scope,
    studies: std::vec::IntoIter<StudyUid>,
    /// The study being read, and the last instance of it that was read.
    current: Option<(StudyUid, Option<StoredInstance>)>,
    ready: std::vec::IntoIter<StoredInstance>,
    totals: Totals,
    cache: RecordCache,
}

impl Source for DepotSource {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        loop {
            if let Some(instance) = self.ready.next() {
                return self.item(instance).map(Some);
            }
            let (study, after) = match self.current.take() {
                Some(current) => current,
                None => match self.studies.next() {
                    Some(study) => (study, None),
                    None => return Ok(None),
                },
            };
            let read = self.depot.index.instances(&self.scope, &study, after.as_ref(), INSTANCES_AT_ONCE);
            let read = read.map_err(io::Error::other)?;
            if let Some(last) = read.last() {
                self.current = Some((study, Some(last.clone())));
            }
            self.ready = read.into_iter();
        }
    }
}

impl DepotSource {
    fn item(&self, instance: StoredInstance) -> io::Result<SourceItem> {
        let entry = instance.entry.clone();
        let chunks = instance.chunks.clone();
        let records = Arc::clone(&self.depot.records);
        let reader = StoredReader::of(Arc::clone(&records), self.depot.registry.clone(), instance);
        let reader = reader.map_err(io::Error::other)?.with_cache(self.cache.clone());
        Ok(SourceItem::Instance(Box::new(SourceInstance {
            label: format!("{:?}", entry.sop_instance),
            entry,
            shape: None,
            position: None,
            content: Arc::new(StoredContent { reader, chunks, records }),
        })))
    }
}

#[derive(Debug)]
struct StoredContent {
    reader: StoredReader,
    chunks: Vec<ChunkAt>,
    records: Arc<dyn RecordStore>,
}

impl Content for StoredContent {
    fn read_chunk(&self, index: usize, out: &mut [u8]) -> io::Result<()> {
        let chunk = self.reader.chunk(index).map_err(io::Error::other)?;
        if chunk.len() != out.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        out.copy_from_slice(&chunk);
        Ok(())
    }

    fn stored(&self, index: usize) -> Option<ChunkAt> {
        self.chunks.get(index).copied()
    }

    fn shape(&self) -> Option<PixelShape> {
        dicom::scan(&self.reader).ok().as_ref().and_then(chunk::pixel_shape)
    }

    fn read_record(&self, at: &ChunkAt) -> io::Result<Record> {
        self.records.read(at.record).map_err(io::Error::other)
    }
}
