//! Takes a transfer into a site's store.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::intake::{Intake, Staged};
use crate::clock::UnixSeconds;
use crate::depot::{Depot, HeldPack, Seen, read_back, unproven};
use crate::ids::{ChunkId, InstanceHash, ManifestRoot, PackId, PageHash, PeerId, StudyUid};
use crate::manifest::Page;
use crate::proto::{Lookup, Unproven, VerifyJob};
use crate::store::search::Search;
use crate::store::{
    ChunkAt, CommitBatch, CommitPace, Held, InstanceError, InstancesOf, PackWriter, Publication, RecordAt, RecordCache,
    Scope, SpoolLimits, StoreError, StoredInstance, StoredReader, note, spool_chunks, trailer::finish,
};
use crate::sync::lock;
use crate::units::{to_u32, to_u64};
use crate::wire::message::FailCode;
use crate::wire::record::Record;

/// Chunks of earlier instances that a receiving transfer knows for dedupe; about 100 bytes each.
const KNOWN_CHUNKS_MAX: usize = 200_000;

/// Instances read from the index at once.
const INSTANCES_AT_ONCE: usize = 256;

#[derive(Debug, Default)]
struct KnownChunks {
    chunks: HashMap<ChunkId, ChunkAt>,
    /// Studies whose chunks are in `chunks`, and whether the sender had sent anything of them before.
    studies: HashMap<StudyUid, bool>,
    /// The packs that earlier instances stand in: they stay while this transfer may build on them.
    held: HashMap<PackId, HeldPack>,
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
    held: Vec<HeldPack>,
}

/// Takes one transfer into a [`Depot`].
#[derive(Debug)]
pub struct DepotIntake {
    depot: Depot,
    owner: PeerId,
    scope: Scope,
    known: Mutex<KnownChunks>,
    pack: Mutex<OpenPack>,
    /// Studies that this transfer has added to.
    begun: Mutex<HashSet<StudyUid>>,
    /// Contents of this transfer beside which the owner has others of the same SOP Instance UID.
    contended: Mutex<Vec<(StudyUid, InstanceHash)>>,
    cache: RecordCache,
    /// Whether what is there already is read back, too.
    proves: bool,
    /// Original bytes that the owner may have here.
    quota_bytes: Option<u64>,
}

impl DepotIntake {
    /// Takes in one transfer from `owner`, who may know of what is within `scope`.
    ///
    /// # Errors
    /// [`StoreError`] when what earlier transfers left cannot be read.
    pub fn new(depot: &Depot, owner: PeerId, scope: Scope) -> Result<Self, StoreError> {
        let mut held = HashMap::new();
        // Held before it is looked at: what is doomed by then is passed over, and what is held by then is spared.
        let mut claim = |pack| {
            held.insert(pack, depot.hold(pack));
            Ok(!depot.index.is_doomed(pack)?)
        };
        let limits = SpoolLimits::default();
        let spool = spool_chunks(depot.records.as_ref(), depot.index.as_ref(), &owner, limits, &mut claim)?;
        let known: HashMap<ChunkId, ChunkAt> = spool.into_iter().map(|(id, (at, _))| (id, at)).collect();
        let used: HashSet<PackId> = known.values().map(|at| at.record.pack).collect();
        let held = held.into_iter().filter(|(pack, _)| used.contains(pack)).map(|(_, held)| held).collect();
        Ok(Self {
            depot: depot.clone(),
            owner,
            scope,
            known: Mutex::new(KnownChunks { chunks: known, ..KnownChunks::default() }),
            pack: Mutex::new(OpenPack { held, ..OpenPack::default() }),
            begun: Mutex::default(),
            contended: Mutex::default(),
            cache: RecordCache::new(RecordCache::BYTES_SHARED),
            proves: false,
            quota_bytes: None,
        })
    }

    /// Sets whether what is there already is read back and hashed before it counts. Rows then say where it was read.
    /// Default `false`.
    #[must_use]
    pub const fn proving(mut self, proves: bool) -> Self {
        self.proves = proves;
        self
    }

    /// Sets how many original bytes the owner may have here: what would be beyond it is not committed. Default no
    /// limit.
    #[must_use]
    pub const fn with_quota(mut self, bytes: Option<u64>) -> Self {
        self.quota_bytes = bytes;
        self
    }

    /// Refuses what would be more than the owner may have here.
    fn look_at_quota(&self, more: u64) -> Result<(), StoreError> {
        let Some(quota) = self.quota_bytes else { return Ok(()) };
        let bytes = self.depot.index.owned_bytes(self.owner)?;
        if bytes.saturating_add(more) > quota { Err(StoreError::OverQuota { bytes, quota }) } else { Ok(()) }
    }

    /// The pack that is being written, after another has been begun where that is due.
    fn writer<'a>(&self, pack: &'a mut OpenPack) -> Result<&'a mut dyn PackWriter, StoreError> {
        pack.writer.take_if(|writer| writer.is_full()).into_iter().for_each(finish);
        let writer = match &mut pack.writer {
            Some(writer) => writer,
            none => {
                let writer = self.depot.records.create_pack(self.owner)?;
                pack.own.push(writer.id());
                pack.held.push(self.depot.hold(writer.id()));
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
            if !self.depot.index.study(&self.own(), study)?.iter().any(|row| row.root == Some(root)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Learns where the chunks of a study's committed instances are, as far as the sender may know of them.
    fn learn_study(&self, known: &mut KnownChunks, study: StudyUid) -> Result<(), StoreError> {
        let of = InstancesOf::all_versions(study.clone());
        let sent_before = !self.depot.index.instances(&self.own(), &of, None, 1)?.is_empty();
        let damaged = self.depot.index.damage(&study)?;
        if !damaged.is_empty() {
            known.chunks.retain(|_, at| !damaged.contains(&at.record));
        }
        let mut after: Option<StoredInstance> = None;
        while known.chunks.len() < KNOWN_CHUNKS_MAX {
            let read = || self.depot.index.instances(&self.scope, &of, after.as_ref(), INSTANCES_AT_ONCE);
            let (instances, held) = self.depot.held(&read)?;
            known.held.extend(held.into_iter().map(|held| (held.pack(), held)));
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
    fn learn(&self, known: &mut KnownChunks, page: &Page) -> Result<HashSet<StudyUid>, StoreError> {
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
    pub(crate) fn record(
        &self,
        mut staged: Vec<Staged>,
        pages: Vec<(PageHash, Bytes)>,
    ) -> Result<Option<CommitBatch>, StoreError> {
        let orders = self.depot.index.reserve(to_u64(staged.len()))?;
        staged.iter_mut().enumerate().for_each(|(place, staged)| staged.instance.order = orders.nth(place));
        self.record_as_ordered(staged, pages)
    }

    /// The same for instances that have their places in the order of things already.
    pub(crate) fn record_as_ordered(
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
            false => Some(self.note(&note::committed(self.owner, at, None, &instances))?),
        };
        let pages = pages.into_iter().map(|(hash, encoded)| (hash, self.owner, encoded)).collect();
        let batch = CommitBatch { instances, provenance: None, pages, at, note, newest: self.proves, proven: true };
        let contended = self.depot.index.commit(&batch)?;
        let named = |place: usize| (batch.instances[place].entry.study.clone(), batch.instances[place].entry.hash);
        lock(&self.contended).extend(contended.into_iter().map(named));
        Ok(Some(batch))
    }

    /// What a publication of `studies` must state.
    fn stated(&self, studies: &[StudyUid]) -> Vec<(u32, InstanceHash)> {
        let contended = lock(&self.contended);
        let place = |study: &StudyUid| studies.iter().position(|known| known == study).map(to_u32);
        contended.iter().filter_map(|(study, hash)| Some((place(study)?, *hash))).collect()
    }

    /// Only what the sender itself sent counts as there: another's copy may go away with its owner.
    fn own(&self) -> Scope {
        Scope::owner(self.owner)
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
            let held = self.depot.index.has(&self.own(), &run[0].study, &hashes)?;
            committed.extend(held.iter().map(|held| *held != Held::Absent));
            let older = hashes.into_iter().zip(&held).filter(|(_, held)| **held == Held::Older);
            lock(&self.contended).extend(older.map(|(hash, _)| (run[0].study.clone(), hash)));
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

    fn check(&self, job: &VerifyJob, asked: &Search) -> Result<Result<Staged, Unproven>, StoreError> {
        let Depot { records, registry, .. } = &self.depot;
        let (entry, places, cache) = (job.entry.clone(), job.chunks.clone(), self.cache.clone());
        let fresh = lock(&self.pack).own.clone();
        let reader = StoredReader::to_prove(Arc::clone(records), registry.clone(), entry, places, cache, fresh);
        let Ok(reader) = reader else {
            return Ok(Err(Unproven::Failed(FailCode::Integrity)));
        };
        let Seen { attributes, frames, cut, slow } = match read_back(&reader) {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(Err(Unproven::Failed(FailCode::Identity))),
            Err(error) => return self.why_not(&reader, error, job).map(Err),
        };
        let (entry, chunks) = reader.into_parts();
        if !asked.admits(&entry.series, &entry.sop_instance, &attributes) {
            return Ok(Err(Unproven::Failed(FailCode::Unwanted)));
        }
        let instance =
            StoredInstance { frames, cut, slow, ..StoredInstance::new(self.owner, entry, chunks, attributes) };
        Ok(Ok(Staged { at: job.at, instance }))
    }

    fn commit(&self, staged: Vec<Staged>, pages: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        if !staged.is_empty() {
            self.look_at_quota(staged.iter().map(|staged| staged.instance.entry.len).sum())?;
        }
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
        let stated = self.stated(studies);
        if complete && (!stated.is_empty() || !self.is_published(studies, root)?) {
            let order = index.reserve(1)?.first;
            let (owner, studies, at) = (self.owner, studies.to_vec(), UnixSeconds::now());
            let publication = Publication { owner, studies, root, at, order, stated };
            let (pack, end) = self.note(&[note::published(&publication)])?;
            index.publish(&publication)?;
            index.note(pack, end)?;
        }
        // Nothing more comes.
        lock(&self.pack).writer.take().into_iter().for_each(finish);
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
