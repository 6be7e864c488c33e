//! A site's store: records and index together, and the two ways through it.

use std::collections::{HashMap, HashSet};
use std::io;
#[cfg(feature = "fs")]
use std::path::Path;
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
use crate::proto::{Lookup, Unproven, VerifyJob};
use crate::store::{
    ChunkAt, CollectReport, CommitBatch, CommitPace, Index, InstanceError, PackWriter, RecordAt, RecordCache,
    RecordStore, Scope, SpoolLimits, StoreError, StoredInstance, StoredReader, StudyQuery, collect, note, recover,
    spool_chunks,
};
#[cfg(feature = "fs")]
use crate::store::{FsOptions, FsRecords, RecoverReport, SqliteIndex};
use crate::units::to_usize;
use crate::wire::message::FailCode;
use crate::wire::record::Record;

/// Chunks of earlier instances that a receiving transfer knows for dedupe; about 100 bytes each.
const KNOWN_CHUNKS_MAX: usize = 200_000;

/// Instances read from the index at once.
const INSTANCES_AT_ONCE: usize = 256;

/// An instance up to this length is read back into memory as a whole.
const SMALL_INSTANCE_BYTES: u64 = 128 << 10;

/// Name of the index in the store's folder.
#[cfg(feature = "fs")]
const INDEX_FILE: &str = "index.db";

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

    /// Opens the store in `folder`, or makes it: packs, and the index in `index.db`, brought up to what the packs tell
    /// ([`recover`]). An index that is damaged, or that belongs to another store, is set aside under another name and
    /// made anew from the packs; nothing committed depends on it. Blocks.
    ///
    /// # Errors
    /// As [`FsRecords::open`] and [`SqliteIndex::open`].
    #[cfg(feature = "fs")]
    pub fn open(folder: &Path, options: FsOptions, registry: Registry) -> Result<(Self, RecoverReport), StoreError> {
        let records = FsRecords::open(folder, options)?;
        let index = SqliteIndex::open_for(&folder.join(INDEX_FILE), records.store_id())?;
        let report = recover(&records, &index)?;
        Ok((Self::new(Arc::new(records), Arc::new(index), registry), report))
    }

    /// Opens the index anew when its medium failed under a write, and brings it up to what the packs tell. Returns
    /// whether there was anything to mend. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]: the index has still failed, or is still behind; try again later.
    pub fn mend(&self) -> Result<bool, StoreError> {
        if !self.index.has_failed() {
            return Ok(false);
        }
        self.index.reopen()?;
        recover(self.records.as_ref(), self.index.as_ref())?;
        Ok(true)
    }

    /// Removes packs that no committed instance stands in, that no running transfer uses, and that were created
    /// before `older_than`; see [`collect`]. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed before stays removed.
    pub fn collect(&self, older_than: UnixSeconds) -> Result<CollectReport, StoreError> {
        let held = |pack: &PackId| lock(&self.active).contains_key(pack);
        collect(self.records.as_ref(), self.index.as_ref(), &held, older_than)
    }

    /// An intake for one transfer from `owner`, who may know of what is within `scope`.
    ///
    /// # Errors
    /// [`StoreError`] when what earlier transfers left cannot be read.
    pub fn intake(&self, owner: PeerId, scope: Scope) -> Result<DepotIntake, StoreError> {
        let mut held = HashMap::new();
        // Held before it is looked at: what is doomed by then is passed over, and what is held by then is spared.
        let mut claim = |pack| {
            held.insert(pack, ActivePack::hold(&self.active, pack));
            Ok(!self.index.is_doomed(pack)?)
        };
        let limits = SpoolLimits::default();
        let spool = spool_chunks(self.records.as_ref(), self.index.as_ref(), &owner, limits, &mut claim)?;
        let known: HashMap<ChunkId, ChunkAt> = spool.into_iter().map(|(id, (at, _))| (id, at)).collect();
        let used: HashSet<PackId> = known.values().map(|at| at.record.pack).collect();
        let held = held.into_iter().filter(|(pack, _)| used.contains(pack)).map(|(_, held)| held).collect();
        Ok(DepotIntake {
            depot: self.clone(),
            owner,
            scope,
            known: Mutex::new(Known { chunks: known, studies: HashMap::new() }),
            pack: Mutex::new(OpenPack { held, ..OpenPack::default() }),
            begun: Mutex::default(),
            cache: RecordCache::new(RecordCache::BYTES_SHARED),
            proves: false,
        })
    }

    /// A source that gives the instances of `studies` within `scope`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn source(&self, scope: Scope, studies: Vec<StudyUid>) -> Result<DepotSource, StoreError> {
        let mut totals = Totals::default();
        for study in &studies {
            let query = StudyQuery { study: Some(study.clone()), ..Default::default() };
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
    /// Packs with records that this transfer kept since the last commit, and where the last of them ends.
    written: HashMap<PackId, u64>,
    unsynced_bytes: u64,
    /// Packs that this transfer began.
    own: Vec<PackId>,
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
    /// Studies that this transfer has added to.
    begun: Mutex<HashSet<StudyUid>>,
    cache: RecordCache,
    /// Whether what is there already is read back, too.
    proves: bool,
}

impl DepotIntake {
    /// Sets whether what is there already is read back and hashed before it counts. Rows then say where it was read.
    /// Default `false`.
    #[must_use]
    pub const fn proving(mut self, proves: bool) -> Self {
        self.proves = proves;
        self
    }

    /// The pack that is being written, after another has been begun where that is due.
    fn writer<'a>(&self, pack: &'a mut OpenPack) -> Result<&'a mut dyn PackWriter, StoreError> {
        pack.writer.take_if(|writer| writer.is_full());
        let writer = match &mut pack.writer {
            Some(writer) => writer,
            none => {
                let writer = self.depot.records.create_pack(self.owner)?;
                pack.own.push(writer.id());
                pack.held.push(ActivePack::hold(&self.depot.active, writer.id()));
                none.insert(writer)
            }
        };
        Ok(writer.as_mut())
    }

    /// Writes notes and makes them durable: with them, what they say is. Returns where the last of them ends.
    fn note(&self, notes: &[Vec<u8>]) -> Result<(PackId, u64), StoreError> {
        let at = {
            let mut pack = lock(&self.pack);
            let writer = self.writer(&mut pack)?;
            let mut end = writer.len();
            for note in notes {
                end = writer.note(note)?;
            }
            (writer.id(), end)
        };
        self.depot.records.make_durable(&[at])?;
        Ok(at)
    }

    /// Tells that this transfer adds to the studies of a batch.
    fn begin(&self, batch: &CommitBatch) -> Result<(), StoreError> {
        let mut begun = lock(&self.begun);
        let studies = batch.instances.iter().map(|instance| &instance.entry.study);
        let new: HashSet<StudyUid> = studies.filter(|study| !begun.contains(*study)).cloned().collect();
        if !new.is_empty() {
            let list: Vec<_> = new.iter().cloned().collect();
            self.depot.index.begin(self.owner, &list, batch.at)?;
            begun.extend(new);
        }
        Ok(())
    }

    /// Whether `root` is the newest version of each of these studies already.
    fn is_published(&self, studies: &[StudyUid], root: ManifestRoot) -> Result<bool, StoreError> {
        for study in studies {
            let query = StudyQuery { study: Some(study.clone()), ..StudyQuery::default() };
            if !self.depot.index.studies(&self.own(), &query)?.iter().any(|row| row.root == Some(root)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Learns where the chunks of a study's committed instances are, as far as the sender may know of them.
    fn learn_study(&self, known: &mut Known, study: StudyUid) -> Result<(), StoreError> {
        let sent_before = !self.depot.index.instances(&self.own(), &study, None, 1)?.is_empty();
        let damaged = self.depot.index.damage(&study)?;
        if !damaged.is_empty() {
            known.chunks.retain(|_, at| !damaged.contains(&at.record));
        }
        let mut after: Option<StoredInstance> = None;
        while known.chunks.len() < KNOWN_CHUNKS_MAX {
            let instances = self.depot.index.instances(&self.scope, &study, after.as_ref(), INSTANCES_AT_ONCE)?;
            for instance in &instances {
                for (entry, at) in instance.entry.chunks.iter().zip(&instance.chunks) {
                    if !damaged.contains(&at.record) {
                        known.chunks.insert(entry.id, *at);
                    }
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

    /// Why an instance was not proven. What is damaged here is remembered as such, and not offered again.
    fn why_not(&self, reader: &StoredReader, error: InstanceError, job: &VerifyJob) -> Result<Unproven, StoreError> {
        let why = unproven(reader, error)?;
        if let Unproven::Damaged(chunks) = &why {
            let damaged: Vec<(ChunkId, RecordAt)> =
                chunks.iter().map(|n| (job.entry.chunks[*n].id, job.chunks[*n].record)).collect();
            let mut known = lock(&self.known);
            for (chunk, record) in &damaged {
                if known.chunks.get(chunk).is_some_and(|at| at.record == *record) {
                    known.chunks.remove(chunk);
                }
            }
            drop(known);
            let records: Vec<RecordAt> = damaged.into_iter().map(|(_, record)| record).collect();
            self.depot.index.note_damage(&job.entry.study, &records)?;
        }
        Ok(why)
    }

    /// Learns the studies of a page that are new to this transfer; returns those of which the sender had sent
    /// something before.
    fn learn(&self, known: &mut Known, page: &Page) -> Result<HashSet<StudyUid>, StoreError> {
        let studies = studies_of(page);
        let new: Vec<_> = studies.iter().filter(|study| !known.studies.contains_key(study)).cloned().collect();
        for study in new {
            self.learn_study(known, study)?;
        }
        Ok(studies.into_iter().filter(|study| known.studies.get(study).copied().unwrap_or(true)).collect())
    }

    /// Makes durable what this transfer has kept, and every record that `staged` builds on, whoever wrote it: an
    /// earlier transfer, a process that is gone, or a transfer that runs beside this one.
    fn make_durable(&self, staged: &[Staged]) -> Result<(), StoreError> {
        let (mut ends, bytes) = {
            let mut pack = lock(&self.pack);
            (std::mem::take(&mut pack.written), std::mem::take(&mut pack.unsynced_bytes))
        };
        for record in staged.iter().flat_map(|staged| &staged.instance.chunks).map(|chunk| chunk.record) {
            let end = ends.entry(record.pack).or_default();
            *end = (*end).max(record.offset + u64::from(record.len));
        }
        let ends: Vec<_> = ends.into_iter().collect();
        self.depot.records.make_durable(&ends).inspect_err(|_| lock(&self.pack).unsynced_bytes += bytes)
    }

    /// Makes `staged` durable and records it, and the committed `pages`. Returns what was recorded, if anything.
    pub(super) fn record(
        &self,
        staged: Vec<Staged>,
        pages: Vec<(PageHash, Bytes)>,
    ) -> Result<Option<CommitBatch>, StoreError> {
        self.make_durable(&staged)?;
        if staged.is_empty() && pages.is_empty() {
            return Ok(None);
        }
        let at = UnixSeconds::now();
        let instances: Vec<_> = staged.into_iter().map(|staged| staged.instance).collect();
        let note = match instances.is_empty() {
            true => None,
            false => Some(self.note(&note::committed(self.owner, at, &instances))?),
        };
        let pages = pages.into_iter().map(|(hash, encoded)| (hash, self.owner, encoded)).collect();
        let batch = CommitBatch { instances, pages, at, note, newest: self.proves, proven: true };
        self.depot.index.commit(&batch)?;
        Ok(Some(batch))
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
            // its chunks. So is what is to be proven: all of its chunks are there, and it is read back.
            if self.proves || !sent_before.contains(&run[0].study) {
                committed.resize(committed.len() + run.len(), false);
                continue;
            }
            let hashes: Vec<_> = run.iter().map(|instance| instance.hash).collect();
            committed.extend(self.depot.index.has(&self.own(), &run[0].study, &hashes)?);
        }
        let known = lock(&self.known);
        let chunks = page.instances.iter().flat_map(|i| &i.chunks).map(|c| known.chunks.get(&c.id).copied());
        Ok(Lookup { committed, chunks: chunks.collect(), unwanted: Vec::new() })
    }

    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError> {
        let mut pack = lock(&self.pack);
        let at = self.writer(&mut pack)?.append(record)?;
        pack.written.insert(at.pack, at.offset + u64::from(at.len));
        pack.unsynced_bytes += u64::from(at.len);
        let mut known = lock(&self.known);
        for (slot, chunk) in (0u16..).zip(&record.header().chunks) {
            if known.chunks.len() < KNOWN_CHUNKS_MAX {
                known.chunks.insert(chunk.id, ChunkAt { record: at, slot });
            }
        }
        Ok(at)
    }

    fn check(&self, job: &VerifyJob) -> Result<Result<Staged, Unproven>, StoreError> {
        let Depot { records, registry, .. } = &self.depot;
        let (entry, places, cache) = (job.entry.clone(), job.chunks.clone(), self.cache.clone());
        let fresh = lock(&self.pack).own.clone();
        let reader = StoredReader::to_prove(Arc::clone(records), registry.clone(), entry, places, cache, fresh);
        let Ok(reader) = reader else {
            return Ok(Err(Unproven::Failed(FailCode::Integrity)));
        };
        let attributes = match read_back(&reader) {
            Ok(Some(attributes)) => attributes,
            Ok(None) => return Ok(Err(Unproven::Failed(FailCode::Identity))),
            Err(error) => return self.why_not(&reader, error, job).map(Err),
        };
        let (entry, chunks) = reader.into_parts();
        let instance = StoredInstance { owner: self.owner, entry, chunks, attributes };
        Ok(Ok(Staged { at: job.at, instance }))
    }

    fn commit(&self, staged: Vec<Staged>, pages: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        self.record(staged, pages)?.map_or(Ok(()), |batch| self.begin(&batch))
    }

    fn uncommitted_bytes(&self) -> u64 {
        lock(&self.pack).unsynced_bytes
    }

    fn commit_pace(&self) -> CommitPace {
        self.depot.records.commit_pace()
    }

    fn settle(&self, studies: &[StudyUid], root: ManifestRoot, complete: bool) -> Result<(), StoreError> {
        let Depot { index, .. } = &self.depot;
        if complete && !self.is_published(studies, root)? {
            let at = UnixSeconds::now();
            let (pack, end) = self.note(&[note::published(self.owner, at, root, studies)])?;
            index.publish(self.owner, studies, root, at)?;
            index.note(pack, end)?;
        }
        let begun: Vec<_> = lock(&self.begun).drain().collect();
        index.end(self.owner, &begun)
    }
}

impl Drop for DepotIntake {
    fn drop(&mut self) {
        let begun: Vec<_> = lock(&self.begun).drain().collect();
        if begun.is_empty() {
            return;
        }
        if let Err(error) = self.depot.index.end(self.owner, &begun) {
            tracing::warn!(%error, "studies are shown as arriving until the next start");
        }
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
        return identify(reader, entry);
    }
    let mut buffer = scratch::take_len(to_usize(entry.len));
    let bytes = &mut buffer[..to_usize(entry.len)];
    let attributes = reader.read_verified(bytes).and_then(|()| identify(&&*bytes, entry));
    scratch::keep(buffer);
    attributes
}

/// Why a reader did not give what it should: chunks that are damaged where they stand, or else a whole that is not what
/// the manifest says.
///
/// # Errors
/// The store's own, where all of it can be read after all: the medium failed for a moment, and the sender is to try again.
pub(super) fn unproven(reader: &StoredReader, error: InstanceError) -> Result<Unproven, StoreError> {
    let damaged = reader.damaged();
    if !damaged.is_empty() {
        return Ok(Unproven::Damaged(damaged));
    }
    match error {
        InstanceError::Store(error) if error.is_transient() => Err(error),
        InstanceError::Store(error) => {
            Err(StoreError::Io { what: "read an instance back", source: io::Error::other(error) })
        }
        _ => Ok(Unproven::Failed(FailCode::Integrity)),
    }
}

/// Scans an instance and compares what it says of itself with what the manifest says of it.
/// Returns its attributes, or `None` when the two disagree.
///
/// # Errors
/// Those of a [`StoredReader`] that is scanned.
pub(super) fn identify(reader: &dyn dicom::ReadAt, entry: &InstanceEntry) -> Result<Option<Attributes>, InstanceError> {
    let scan = match dicom::scan(reader) {
        Ok(scan) => Some(scan),
        Err(dicom::NotDicom::Read(error)) => match error.downcast() {
            Ok(error) => return Err(error),
            // The file ends before it should.
            Err(_) => None,
        },
        Err(_) => None,
    };
    Ok(agree(scan, entry))
}

fn agree(scan: Option<dicom::Scan>, entry: &InstanceEntry) -> Option<Attributes> {
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
            let Some(last) = read.last() else { continue };
            // Several owners may hold the same content; it is given once.
            let same = |a: &StoredInstance, b: &StoredInstance| {
                a.entry.hash == b.entry.hash && a.entry.sop_instance == b.entry.sop_instance
            };
            self.current = Some((study, Some(last.clone())));
            let mut given = after;
            let mut read = read;
            read.retain(|next| {
                let new = !given.as_ref().is_some_and(|before| same(before, next));
                given = Some(next.clone());
                new
            });
            self.ready = read.into_iter();
        }
    }
}

impl DepotSource {
    fn item(&self, instance: StoredInstance) -> io::Result<SourceItem> {
        let entry = instance.entry.clone();
        let chunks = instance.chunks.clone();
        let records = Arc::clone(&self.depot.records);
        let reader = StoredReader::of(records, self.depot.registry.clone(), instance);
        let reader = reader.map_err(io::Error::other)?.with_cache(self.cache.clone());
        Ok(SourceItem::Instance(Box::new(SourceInstance {
            label: format!("{:?}", entry.sop_instance),
            entry,
            shape: None,
            position: None,
            content: Arc::new(StoredContent { reader, chunks, depot: self.depot.clone() }),
        })))
    }
}

#[derive(Debug)]
struct StoredContent {
    reader: StoredReader,
    chunks: Vec<ChunkAt>,
    depot: Depot,
}

impl StoredContent {
    /// Remembers that a record could not be read, so that look-ups take what stands in it as missing and it is
    /// healed by whoever sends it again.
    fn note_damage(&self, at: RecordAt) {
        let study = &self.reader.entry().study;
        match self.depot.index.note_damage(study, &[at]) {
            Ok(instances) => {
                tracing::error!(study = ?study, pack = %at.pack, offset = at.offset, instances, "a record is damaged: send the study again, and it is healed");
            }
            Err(error) => {
                tracing::error!(pack = %at.pack, offset = at.offset, %error, "a record is damaged, and that could not be noted")
            }
        }
    }
}

impl Content for StoredContent {
    fn read_chunk(&self, index: usize, out: &mut [u8]) -> io::Result<()> {
        let chunk = self.reader.chunk(index).map_err(|error| {
            if let Some(at) = self.chunks.get(index) {
                self.note_damage(at.record);
            }
            io::Error::other(error)
        })?;
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
        self.depot.records.read(at.record).map_err(|error| {
            self.note_damage(at.record);
            io::Error::other(error)
        })
    }
}
