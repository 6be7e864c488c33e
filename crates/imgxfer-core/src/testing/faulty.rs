//! A store and an index that fail on purpose, and keep what is live apart from what is durable.
//!
//! No file system is involved: this is a model of one at its least helpful. Whatever was not synced
//! may be gone after a power cut, or torn, or replaced by zeros or garbage; whatever a failed sync
//! covered is not durable however often it is synced again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Seeded, noise};
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, PackId, PageHash, PeerId, SopInstanceUid, StoreId, StudyUid};
use crate::store::search::{Answer, Search};
use crate::store::{
    Arrival, CommitBatch, Held, Index, IndexTotals, InstancesOf, MemIndex, MemRecords, Orders, PackInfo, PackWriter,
    Publication, RecordAt, RecordStore, Refill, Removal, Removed, Scope, Stale, StoreError, StoredInstance, StudyRow,
    VisitNote,
};
use crate::sync::lock;
use crate::units::{to_u64, to_usize};
use crate::wire::record::{Record, RecordHeader};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The medium fails once (EIO).
    Medium,
    /// There is no space, once (ENOSPC).
    NoSpace,
    /// A write stops half way, once.
    ShortWrite,
    /// The power goes: nothing works until [`FaultyRecords::restart`].
    PowerCut,
}

/// Decides which operation fails. Clones share their count; every change to a store or index is one
/// operation: making a pack, appending, syncing, deleting, committing, beginning, publishing.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    done: u64,
    fail: Option<(u64, Fault)>,
    hit: bool,
    off: bool,
}

impl Faults {
    /// The operation with number `nth`, from 0, meets `fault`; all others succeed.
    #[must_use]
    pub fn at(nth: u64, fault: Fault) -> Self {
        Self { plan: Arc::new(Mutex::new(Plan { fail: Some((nth, fault)), ..Plan::default() })) }
    }

    /// The same from now on: the next operation has number 0.
    pub fn arm(&self, nth: u64, fault: Fault) {
        *lock(&self.plan) = Plan { fail: Some((nth, fault)), ..Plan::default() };
    }

    /// Whether the fault has been met.
    #[must_use]
    pub fn hit(&self) -> bool {
        lock(&self.plan).hit
    }

    fn step(&self) -> Option<Fault> {
        let mut plan = lock(&self.plan);
        if plan.off {
            return Some(Fault::PowerCut);
        }
        let now = plan.done;
        plan.done += 1;
        let fault = plan.fail.filter(|(nth, _)| *nth == now).map(|(_, fault)| fault)?;
        plan.hit = true;
        plan.off = fault == Fault::PowerCut;
        Some(fault)
    }

    fn reset(&self) {
        *lock(&self.plan) = Plan::default();
    }
}

fn error_of(fault: Fault) -> StoreError {
    match fault {
        Fault::NoSpace | Fault::ShortWrite => StoreError::Full { free: 0 },
        Fault::Medium | Fault::PowerCut => StoreError::Io { what: "work", source: io::Error::other("injected") },
    }
}

/// A [`RecordStore`] that fails as [`Faults`] says. Clones share their content.
#[derive(Debug, Clone)]
pub struct FaultyRecords {
    live: MemRecords,
    /// How much of each pack is durable; a pack that is not named here has no durable name either.
    durable: Arc<Mutex<HashMap<PackId, u64>>>,
    /// Packs whose sync has failed: the kernel has forgotten what was not durable, and says so no more.
    failed: Arc<Mutex<HashSet<PackId>>>,
    faults: Faults,
    /// Reads until one fails, once.
    reads_left: Arc<Mutex<Option<u64>>>,
    /// Whether syncs are answered and not done.
    lies: bool,
}

impl FaultyRecords {
    /// An empty store.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self {
            live: MemRecords::default(),
            durable: Arc::default(),
            failed: Arc::default(),
            faults,
            reads_left: Arc::default(),
            lies: false,
        }
    }

    /// One whose syncs do nothing: what a program leaves that forgets them. A test that finds nothing wrong with it
    /// proves nothing.
    #[must_use]
    pub fn without_syncs(faults: Faults) -> Self {
        Self { lies: true, ..Self::new(faults) }
    }

    /// From now on the read with number `nth`, from 0, fails once (EIO).
    pub fn fail_read(&self, nth: u64) {
        *lock(&self.reads_left) = Some(nth);
    }

    /// Whether that read is still to come.
    #[must_use]
    pub fn read_is_to_fail(&self) -> bool {
        lock(&self.reads_left).is_some()
    }

    /// Changes the bytes of a pack behind the store's back, as decay does.
    pub fn edit_pack(&self, id: PackId, edit: impl FnOnce(&mut Vec<u8>)) {
        self.live.edit_pack(id, edit);
    }

    /// Cuts the power, when it is not off yet, and starts again without faults: what was synced is
    /// there, and of the rest what `seed` leaves of it.
    ///
    /// # Panics
    /// Never: memory does not fail.
    pub fn restart(&self, seed: u64) {
        let mut chance = Seeded::new(seed);
        let mut durable = lock(&self.durable);
        for pack in self.live.packs().expect("memory does not fail") {
            let synced = durable.get(&pack.id).copied();
            if synced.is_none() && chance.below(2) == 0 {
                self.live.delete(pack.id).expect("memory does not fail");
                continue;
            }
            self.live.edit_pack(pack.id, |bytes| tear(bytes, to_usize(synced.unwrap_or(0)), &mut chance));
        }
        // What is there now has been read back from the medium.
        durable.extend(self.live.packs().expect("memory does not fail").iter().map(|p| (p.id, p.len)));
        lock(&self.failed).clear();
        self.faults.reset();
    }
}

/// Leaves of `bytes` what a power cut may: the first `synced`, and any part of the rest, right or wrong.
fn tear(bytes: &mut Vec<u8>, synced: usize, chance: &mut Seeded) {
    bytes.truncate(synced + chance.below(bytes.len() - synced + 1));
    let rest = &mut bytes[synced..];
    let from = chance.below(rest.len() + 1);
    match chance.below(4) {
        0 => rest[from..].fill(0),
        1 => {
            let rest = &mut rest[from..];
            rest.copy_from_slice(&noise(to_u64(from), rest.len()));
        }
        2 => {
            if let Some(byte) = rest.get_mut(from) {
                *byte ^= 1 << chance.below(8);
            }
        }
        _ => {}
    }
}

impl RecordStore for FaultyRecords {
    fn create_pack(&self, owner: PeerId) -> Result<Box<dyn PackWriter>, StoreError> {
        if let Some(fault) = self.faults.step() {
            return Err(error_of(fault));
        }
        Ok(Box::new(FaultyWriter { store: self.clone(), inner: self.live.create_pack(owner)?, broken: false }))
    }

    fn create_pack_to_make_room(
        &self,
        owner: PeerId,
        stands_for: Option<PackId>,
    ) -> Result<Box<dyn PackWriter>, StoreError> {
        if let Some(fault) = self.faults.step() {
            return Err(error_of(fault));
        }
        let inner = self.live.create_pack_to_make_room(owner, stands_for)?;
        Ok(Box::new(FaultyWriter { store: self.clone(), inner, broken: false }))
    }

    fn create_pack_in_place_of(&self, owner: PeerId, pack: PackId) -> Result<Box<dyn PackWriter>, StoreError> {
        if let Some(fault) = self.faults.step() {
            return Err(error_of(fault));
        }
        let inner = self.live.create_pack_in_place_of(owner, pack)?;
        Ok(Box::new(FaultyWriter { store: self.clone(), inner, broken: false }))
    }

    fn read(&self, at: RecordAt) -> Result<Record, StoreError> {
        let mut left = lock(&self.reads_left);
        match left.take() {
            Some(0) => return Err(error_of(Fault::Medium)),
            more => *left = more.map(|more| more - 1),
        }
        drop(left);
        self.live.read(at)
    }

    fn make_durable(&self, ends: &[(PackId, u64)]) -> Result<(), StoreError> {
        for (pack, end) in ends {
            let durable = lock(&self.durable).get(pack).copied();
            if durable.is_some_and(|durable| durable >= *end) {
                continue;
            }
            if lock(&self.failed).contains(pack) {
                return Err(error_of(Fault::Medium));
            }
            let len = self.live.adopt(*pack)?;
            if let Some(fault) = self.faults.step() {
                lock(&self.failed).insert(*pack);
                return Err(error_of(fault));
            }
            if !self.lies {
                lock(&self.durable).insert(*pack, len);
            }
        }
        Ok(())
    }

    fn adopt(&self, pack: PackId) -> Result<u64, StoreError> {
        if lock(&self.failed).contains(&pack) {
            return Ok(lock(&self.durable).get(&pack).copied().unwrap_or(0));
        }
        self.live.adopt(pack)
    }

    fn park(&self, pack: PackId) -> Result<(), StoreError> {
        let len = self.live.adopt(pack)?;
        self.make_durable(&[(pack, len)])
    }

    fn packs(&self) -> Result<Vec<PackInfo>, StoreError> {
        self.live.packs()
    }

    fn scan(
        &self,
        pack: PackId,
        check: bool,
        visit: &mut dyn FnMut(RecordAt, &RecordHeader),
    ) -> Result<u64, StoreError> {
        self.live.scan(pack, check, visit)
    }

    fn notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        self.live.notes(pack, from, visit)
    }

    fn list_notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        self.live.list_notes(pack, from, visit)
    }

    fn doubt(&self, pack: PackId) -> Result<Option<&'static str>, StoreError> {
        self.live.doubt(pack)
    }

    fn store_id(&self) -> StoreId {
        self.live.store_id()
    }

    fn delete(&self, pack: PackId) -> Result<(), StoreError> {
        if let Some(fault) = self.faults.step() {
            return Err(error_of(fault));
        }
        self.live.delete(pack)
    }

    fn space_left(&self) -> Option<u64> {
        None
    }
}

#[derive(Debug)]
struct FaultyWriter {
    store: FaultyRecords,
    inner: Box<dyn PackWriter>,
    broken: bool,
}

impl FaultyWriter {
    /// Fails when this write is to fail, perhaps half way.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.broken {
            return Err(error_of(Fault::Medium));
        }
        let Some(fault) = self.store.faults.step() else { return Ok(()) };
        self.broken = true;
        if matches!(fault, Fault::ShortWrite | Fault::PowerCut) {
            let half = &bytes[..bytes.len() / 2];
            self.store.live.edit_pack(self.inner.id(), |pack| pack.extend_from_slice(half));
        }
        Err(error_of(fault))
    }
}

impl PackWriter for FaultyWriter {
    fn id(&self) -> PackId {
        self.inner.id()
    }

    fn append(&mut self, record: &Record) -> Result<RecordAt, StoreError> {
        self.write(record.bytes())?;
        self.inner.append(record)
    }

    fn note(&mut self, note: &[u8]) -> Result<u64, StoreError> {
        self.write(note)?;
        self.inner.note(note)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.make_durable(&[(self.id(), self.len())])
    }

    /// One operation more than the sync. What it writes is not durable.
    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        self.sync()?;
        if self.broken {
            return Err(error_of(Fault::Medium));
        }
        let fault = self.store.faults.step();
        let Self { store, inner, .. } = *self;
        let (id, end) = (inner.id(), to_usize(inner.len()));
        if matches!(fault, None | Some(Fault::ShortWrite | Fault::PowerCut)) {
            inner.finish()?;
        }
        let Some(fault) = fault else { return Ok(()) };
        store.live.edit_pack(id, |pack| pack.truncate(end + pack.len().saturating_sub(end) / 2));
        Err(error_of(fault))
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }
}

/// An [`Index`] that fails as [`Faults`] says. A failed write changes nothing, except that one that the
/// power cut meets has been made durable or not, which nobody can know: `lucky` decides.
#[derive(Debug)]
pub struct FaultyIndex {
    inner: Arc<dyn Index>,
    faults: Faults,
    lucky: bool,
}

impl FaultyIndex {
    /// An empty index.
    #[must_use]
    pub fn new(faults: Faults, lucky: bool) -> Self {
        Self::over(Arc::new(MemIndex::default()), faults, lucky)
    }

    /// Failing over an index that does not.
    #[must_use]
    pub fn over(inner: Arc<dyn Index>, faults: Faults, lucky: bool) -> Self {
        Self { inner, faults, lucky }
    }

    fn write<T>(&self, write: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let was_off = lock(&self.faults.plan).off;
        let Some(fault) = self.faults.step() else {
            return write();
        };
        if fault == Fault::PowerCut && self.lucky && !was_off {
            write()?;
        }
        Err(error_of(fault))
    }
}

impl Index for FaultyIndex {
    fn reserve(&self, count: u64) -> Result<Orders, StoreError> {
        self.inner.reserve(count)
    }

    fn commit(&self, batch: &CommitBatch) -> Result<Vec<usize>, StoreError> {
        self.write(|| self.inner.commit(batch))
    }

    fn begin(&self, owner: PeerId, studies: &[StudyUid], at: UnixSeconds) -> Result<(), StoreError> {
        self.write(|| self.inner.begin(owner, studies, at))
    }

    fn publish(&self, publication: &Publication) -> Result<Vec<u64>, StoreError> {
        self.write(|| self.inner.publish(publication))
    }

    fn remove(&self, removal: &Removal) -> Result<Removed, StoreError> {
        self.write(|| self.inner.remove(removal))
    }

    fn removals(&self, after: u64, limit: usize) -> Result<Vec<Removal>, StoreError> {
        self.inner.removals(after, limit)
    }

    fn instances(
        &self,
        scope: &Scope,
        of: &InstancesOf,
        after: Option<&StoredInstance>,
        limit: usize,
    ) -> Result<Vec<StoredInstance>, StoreError> {
        self.inner.instances(scope, of, after, limit)
    }

    fn arrivals(&self, instance: &StoredInstance) -> Result<Vec<Arrival>, StoreError> {
        self.inner.arrivals(instance)
    }

    fn studies_with(&self, scope: &Scope, sop_instance: &SopInstanceUid) -> Result<Vec<StudyUid>, StoreError> {
        self.inner.studies_with(scope, sop_instance)
    }

    fn has(&self, scope: &Scope, study: &StudyUid, hashes: &[InstanceHash]) -> Result<Vec<Held>, StoreError> {
        self.inner.has(scope, study, hashes)
    }

    fn page(&self, owner: PeerId, page: &PageHash) -> Result<Option<Bytes>, StoreError> {
        self.inner.page(owner, page)
    }

    fn study(&self, scope: &Scope, study: &StudyUid) -> Result<Vec<StudyRow>, StoreError> {
        self.inner.study(scope, study)
    }

    fn stale(&self) -> Result<Stale, StoreError> {
        self.inner.stale()
    }

    fn stale_instances(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError> {
        self.inner.stale_instances(limit)
    }

    fn refill(&self, refills: &[Refill]) -> Result<(), StoreError> {
        self.write(|| self.inner.refill(refills))
    }

    fn find(&self, scope: &Scope, search: &Search) -> Result<Answer, StoreError> {
        self.inner.find(scope, search)
    }

    fn contradictions(&self, owner: PeerId, study: &StudyUid) -> Result<Vec<&'static str>, StoreError> {
        self.inner.contradictions(owner, study)
    }

    fn totals(&self) -> Result<IndexTotals, StoreError> {
        self.inner.totals()
    }

    fn owned_bytes(&self, owner: PeerId) -> Result<u64, StoreError> {
        self.inner.owned_bytes(owner)
    }

    fn packs_in_use(&self) -> Result<HashSet<PackId>, StoreError> {
        self.inner.packs_in_use()
    }

    fn pack_extent(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        self.inner.pack_extent(pack)
    }

    fn end(&self, owner: PeerId, studies: &[StudyUid]) -> Result<(), StoreError> {
        self.write(|| self.inner.end(owner, studies))
    }

    fn forget_running(&self) -> Result<(), StoreError> {
        self.write(|| self.inner.forget_running())
    }

    fn noted(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        self.inner.noted(pack)
    }

    fn note(&self, pack: PackId, end: u64) -> Result<(), StoreError> {
        self.write(|| self.inner.note(pack, end))
    }

    fn doom(&self, pack: PackId) -> Result<bool, StoreError> {
        self.write(|| self.inner.doom(pack))
    }

    fn is_doomed(&self, pack: PackId) -> Result<bool, StoreError> {
        self.inner.is_doomed(pack)
    }

    fn spare(&self, pack: PackId) -> Result<(), StoreError> {
        self.write(|| self.inner.spare(pack))
    }

    fn forget(&self, pack: PackId) -> Result<(), StoreError> {
        self.write(|| self.inner.forget(pack))
    }

    fn visit_pack(&self, pack: PackId, visit: &mut dyn FnMut(&StoredInstance)) -> Result<(), StoreError> {
        self.inner.visit_pack(pack, visit)
    }

    fn wasteful(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError> {
        self.inner.wasteful(limit)
    }

    fn set_waste(&self, pack: PackId, bytes: u64) -> Result<(), StoreError> {
        self.write(|| self.inner.set_waste(pack, bytes))
    }

    fn slow(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError> {
        self.inner.slow(limit)
    }

    fn set_slow(&self, pack: PackId, instances: u64) -> Result<(), StoreError> {
        self.write(|| self.inner.set_slow(pack, instances))
    }

    fn note_damage(&self, study: &StudyUid, records: &[RecordAt]) -> Result<u64, StoreError> {
        self.write(|| self.inner.note_damage(study, records))
    }

    fn damage(&self, study: &StudyUid) -> Result<HashSet<RecordAt>, StoreError> {
        self.inner.damage(study)
    }

    fn damaged(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError> {
        self.inner.damaged(limit)
    }

    fn study_keys(
        &self,
        after: Option<&(PeerId, StudyUid)>,
        limit: usize,
    ) -> Result<Vec<(PeerId, StudyUid)>, StoreError> {
        self.inner.study_keys(after, limit)
    }
}
