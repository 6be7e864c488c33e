//! The index in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::study::{Study, place_of};
use super::view::View;
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, PackId, PageHash, PeerId, SopInstanceUid, StudyUid};
use crate::store::search::{Answer, Collector, Cursor, Found, Search};
use crate::store::{
    Arrival, CommitBatch, Held, Index, IndexTotals, InstancesOf, Order, Orders, Publication, RecordAt, Refill, Removal,
    Removed, Scope, Stale, StoreError, StoredInstance, StudyRow, What,
};
use crate::units::{to_u32, to_u64};

/// An [`Index`] in memory. Nothing survives the process.
#[derive(Default)]
pub struct MemIndex {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    studies: BTreeMap<(PeerId, StudyUid), Study>,
    pages: HashMap<(PeerId, PageHash), Bytes>,
    extents: HashMap<PackId, u64>,
    noted: HashMap<PackId, u64>,
    doomed: HashSet<PackId>,
    waste: HashMap<PackId, u64>,
    slow: HashMap<PackId, u64>,
    damage: HashMap<StudyUid, HashSet<RecordAt>>,
    removals: BTreeMap<Order, Removal>,
    /// The newest place in the order of things.
    newest: u64,
}

impl State {
    fn note(&mut self, pack: PackId, end: u64) {
        for ends in [&mut self.noted, &mut self.extents] {
            let known = ends.entry(pack).or_default();
            *known = (*known).max(end);
        }
    }

    fn standing_in(&self, pack: PackId) -> impl Iterator<Item = &StoredInstance> {
        let stands = move |instance: &&StoredInstance| instance.chunks.iter().any(|chunk| chunk.record.pack == pack);
        self.studies.values().flat_map(|study| study.instances.values()).filter(stands)
    }

    /// Nothing of a study stands in these records any more.
    fn waste(&mut self, records: &BTreeSet<RecordAt>) {
        records.iter().for_each(|at| *self.waste.entry(at.pack).or_default() += u64::from(at.len));
    }

    /// Whether all of a study was removed later than `order`.
    fn is_gone(&self, owner: PeerId, study: &StudyUid, order: Order) -> bool {
        let later = self.removals.range(order..).filter(|(removed, _)| **removed > order);
        later.into_iter().any(|(_, r)| r.what == What::All && r.owner == owner && r.study == *study)
    }

    fn is_removed(&self, instance: &StoredInstance) -> bool {
        self.removals.range(instance.order..).any(|(_, removal)| {
            let same = removal.owner == instance.owner && removal.study == instance.entry.study;
            let named = removal.what.names(&instance.entry.hash);
            same && named && removal.order > instance.order
        })
    }

    /// What is within a scope of a study.
    fn view<'a>(&'a self, scope: &Scope, study: &'a StudyUid) -> View<'a> {
        View::of(&self.studies, scope, study)
    }

    /// Every row that `search` admits, in order.
    fn search(&self, scope: &Scope, search: &Search) -> Vec<Found> {
        let mut by_uid: BTreeMap<&StudyUid, Vec<_>> = BTreeMap::new();
        self.studies.iter().for_each(|entry| by_uid.entry(&entry.0.1).or_default().push(entry));
        let mut rows = Vec::new();
        by_uid.into_iter().for_each(|(uid, of_uid)| View::of(of_uid, scope, uid).search(search, &mut rows));
        rows.sort_by(|a, b| {
            let (a, b): (Cursor, Cursor) = (a.cursor(), b.cursor());
            a.key().cmp(&b.key())
        });
        rows
    }
}

/// Packs of which something is counted, up to `limit`.
fn most_first(counted: &HashMap<PackId, u64>, limit: usize) -> Vec<(PackId, u64)> {
    let mut packs: Vec<_> = counted.iter().filter(|(_, count)| **count > 0).map(|(p, c)| (*p, *c)).collect();
    packs.sort_by_key(|(pack, count)| (std::cmp::Reverse(*count), *pack));
    packs.truncate(limit);
    packs
}

impl MemIndex {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemIndex").field("studies", &self.lock().studies.len()).finish_non_exhaustive()
    }
}

impl Index for MemIndex {
    fn reserve(&self, count: u64) -> Result<Orders, StoreError> {
        let mut state = self.lock();
        let first = Order(state.newest + 1);
        state.newest += count;
        Ok(Orders { first })
    }

    fn commit(&self, batch: &CommitBatch) -> Result<Vec<usize>, StoreError> {
        let mut state = self.lock();
        let packs = batch.instances.iter().flat_map(|i| &i.chunks).map(|chunk| chunk.record.pack);
        if let Some(doomed) = packs.into_iter().find(|pack| state.doomed.contains(pack)) {
            return Err(StoreError::NoSuchPack(doomed));
        }
        let mut contended = Vec::new();
        for (place, instance) in batch.instances.iter().enumerate() {
            state.newest = state.newest.max(instance.order.0);
            if state.is_removed(instance) {
                state.waste(&instance.chunks.iter().map(|chunk| chunk.record).collect());
                continue;
            }
            let study = state.studies.entry((instance.owner, instance.entry.study.clone())).or_default();
            let known = study.instances.get(&place_of(instance)).map(|known| known.chunks.clone()).unwrap_or_default();
            let added = study.add(instance, batch.newest, batch.proven);
            if let Some(provenance) = batch.provenance.as_ref().filter(|_| instance.owner == PeerId::SELF) {
                study.arrive(instance, provenance, batch.at);
            }
            if study.contents_of(&instance.entry.sop_instance) > 1 {
                contended.push(place);
            }
            if !added {
                continue;
            }
            study.updated = batch.at;
            let stands: HashSet<_> = instance.chunks.iter().map(|chunk| chunk.record).collect();
            state.waste(&known.iter().map(|chunk| chunk.record).filter(|at| !stands.contains(at)).collect());
            if instance.slow {
                let packs: HashSet<PackId> = instance.chunks.iter().map(|chunk| chunk.record.pack).collect();
                packs.into_iter().for_each(|pack| *state.slow.entry(pack).or_default() += 1);
            }
            for chunk in &instance.chunks {
                let extent = state.extents.entry(chunk.record.pack).or_default();
                *extent = (*extent).max(chunk.record.offset + u64::from(chunk.record.len));
            }
        }
        if let Some((pack, end)) = batch.note {
            state.note(pack, end);
        }
        for (page, owner, bytes) in &batch.pages {
            state.pages.insert((*owner, *page), bytes.clone());
        }
        Ok(contended)
    }

    fn begin(&self, owner: PeerId, studies: &[StudyUid], at: UnixSeconds) -> Result<(), StoreError> {
        let mut state = self.lock();
        for study in studies {
            if let Some(study) = state.studies.get_mut(&(owner, study.clone())) {
                study.arriving += 1;
                study.updated = at;
            }
        }
        Ok(())
    }

    fn end(&self, owner: PeerId, studies: &[StudyUid]) -> Result<(), StoreError> {
        let mut state = self.lock();
        for study in studies {
            if let Some(study) = state.studies.get_mut(&(owner, study.clone())) {
                study.arriving = study.arriving.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn forget_running(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.studies.values_mut().for_each(|study| study.arriving = 0);
        state.doomed.clear();
        Ok(())
    }

    fn noted(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().noted.get(&pack).copied())
    }

    fn note(&self, pack: PackId, end: u64) -> Result<(), StoreError> {
        self.lock().note(pack, end);
        Ok(())
    }

    fn publish(&self, publication: &Publication) -> Result<Vec<u64>, StoreError> {
        let mut state = self.lock();
        state.newest = state.newest.max(publication.order.0);
        let mut publish = |(place, study): (usize, &StudyUid)| {
            if state.is_gone(publication.owner, study, publication.order) {
                return 0;
            }
            let study = state.studies.entry((publication.owner, study.clone())).or_default();
            study.begin(publication.order);
            if publication.order < study.published {
                // A later one is published already.
            } else if study.root != Some(publication.root) {
                study.root = Some(publication.root);
                study.version += 1;
                study.updated = publication.at;
            }
            study.published = study.published.max(publication.order);
            let stated = publication.stated.iter().filter(|(of, _)| *of == to_u32(place));
            study.state(stated.map(|(_, hash)| *hash), publication.order);
            study.version
        };
        Ok(publication.studies.iter().enumerate().map(&mut publish).collect())
    }

    fn remove(&self, removal: &Removal) -> Result<Removed, StoreError> {
        let mut state = self.lock();
        state.newest = state.newest.max(removal.order.0);
        state.removals.insert(removal.order, removal.clone());
        let key = (removal.owner, removal.study.clone());
        let Some(study) = state.studies.get_mut(&key) else { return Ok(Removed::default()) };
        let removed = study.remove(removal);
        let left_in: HashSet<_> = study.instances.values().flat_map(|i| &i.chunks).map(|c| c.record).collect();
        if study.instances.is_empty() {
            state.studies.remove(&key);
        } else {
            study.updated = removal.at;
        }
        state.waste(&removed.records.iter().filter(|at| !left_in.contains(*at)).copied().collect());
        let hidden: Vec<_> = state.damage.get(&removal.study).cloned().into_iter().flatten().collect();
        let still = |at: &RecordAt| {
            let studies = state.studies.iter().filter(|((_, uid), _)| *uid == removal.study);
            studies.flat_map(|(_, s)| s.instances.values()).flat_map(|i| &i.chunks).any(|c| c.record == *at)
        };
        let gone: Vec<_> = hidden.into_iter().filter(|at| !still(at)).collect();
        if let Some(damage) = state.damage.get_mut(&removal.study) {
            damage.retain(|at| !gone.contains(at));
        }
        Ok(removed)
    }

    fn removals(&self, after: u64, limit: usize) -> Result<Vec<Removal>, StoreError> {
        let state = self.lock();
        let behind = state.removals.range(Order(after.saturating_add(1))..);
        Ok(behind.take(limit).map(|(_, removal)| removal.clone()).collect())
    }

    fn instances(
        &self,
        scope: &Scope,
        of: &InstancesOf,
        after: Option<&StoredInstance>,
        limit: usize,
    ) -> Result<Vec<StoredInstance>, StoreError> {
        let state = self.lock();
        let after = after.map(|last| (place_of(last), last.owner));
        let view = state.view(scope, &of.study);
        let all = view.instances(of).into_iter();
        let behind = all.filter(|(place, _)| after.as_ref().is_none_or(|after| place > after));
        Ok(behind.take(limit).map(|(_, instance)| instance.clone()).collect())
    }

    fn arrivals(&self, instance: &StoredInstance) -> Result<Vec<Arrival>, StoreError> {
        let state = self.lock();
        let study = state.studies.get(&(instance.owner, instance.entry.study.clone()));
        Ok(study.map(|study| study.arrivals(instance)).unwrap_or_default())
    }

    fn studies_with(&self, scope: &Scope, sop_instance: &SopInstanceUid) -> Result<Vec<StudyUid>, StoreError> {
        let state = self.lock();
        let uids: BTreeSet<_> = state.studies.keys().map(|(_, uid)| uid).collect();
        let holds = uids.into_iter().filter(|uid| state.view(scope, uid).contents_of(sop_instance) > 0);
        Ok(holds.cloned().collect())
    }

    fn has(&self, scope: &Scope, study: &StudyUid, hashes: &[InstanceHash]) -> Result<Vec<Held>, StoreError> {
        let state = self.lock();
        let view = state.view(scope, study);
        Ok(hashes.iter().map(|hash| view.has(hash)).collect())
    }

    fn page(&self, owner: PeerId, page: &PageHash) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().pages.get(&(owner, *page)).cloned())
    }

    fn study(&self, scope: &Scope, study: &StudyUid) -> Result<Vec<StudyRow>, StoreError> {
        Ok(self.lock().view(scope, study).rows())
    }

    fn find(&self, scope: &Scope, search: &Search) -> Result<Answer, StoreError> {
        let mut rows = Collector::new(search);
        let state = self.lock();
        for found in state.search(scope, search) {
            if !rows.push(found) {
                break;
            }
        }
        let incomplete = state.studies.values().any(|study| study.stale().next().is_some());
        Ok(Answer { incomplete, ..rows.finish() })
    }

    fn stale(&self) -> Result<Stale, StoreError> {
        let state = self.lock();
        let sum = |count: fn(&Study) -> usize| to_u64(state.studies.values().map(count).sum());
        Ok(Stale { left: sum(|study| study.stale().count()), unreadable: sum(Study::unreadable) })
    }

    fn stale_instances(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError> {
        let state = self.lock();
        let stale = state.studies.values().map(|study| study.stale().take(limit).cloned().collect::<Vec<_>>());
        Ok(stale.into_iter().find(|of_study| !of_study.is_empty()).unwrap_or_default())
    }

    fn refill(&self, refills: &[Refill]) -> Result<(), StoreError> {
        let mut state = self.lock();
        for refill in refills {
            let (Refill::Read(instance) | Refill::Unreadable(instance)) = refill;
            if let Some(study) = state.studies.get_mut(&(instance.owner, instance.entry.study.clone())) {
                study.refill(refill);
            }
        }
        Ok(())
    }

    fn totals(&self) -> Result<IndexTotals, StoreError> {
        let state = self.lock();
        let rows = state.studies.iter().map(|((owner, uid), study)| study.row(*owner, uid));
        Ok(rows.fold(IndexTotals::default(), |sum, row| IndexTotals {
            studies: sum.studies + 1,
            instances: sum.instances + row.instances,
            conflicts: sum.conflicts + row.conflicts,
            bytes: sum.bytes + row.bytes,
        }))
    }

    fn owned_bytes(&self, owner: PeerId) -> Result<u64, StoreError> {
        let state = self.lock();
        let mine = state.studies.iter().filter(|((known, _), _)| *known == owner);
        Ok(mine.map(|((owner, uid), study)| study.row(*owner, uid).bytes).sum())
    }

    fn packs_in_use(&self) -> Result<HashSet<PackId>, StoreError> {
        Ok(self.lock().extents.keys().copied().collect())
    }

    fn pack_extent(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().extents.get(&pack).copied())
    }

    fn doom(&self, pack: PackId) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let unused = state.standing_in(pack).next().is_none();
        if unused {
            state.doomed.insert(pack);
        }
        Ok(unused)
    }

    fn is_doomed(&self, pack: PackId) -> Result<bool, StoreError> {
        Ok(self.lock().doomed.contains(&pack))
    }

    fn spare(&self, pack: PackId) -> Result<(), StoreError> {
        self.lock().doomed.remove(&pack);
        Ok(())
    }

    fn forget(&self, pack: PackId) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.doomed.insert(pack);
        state.extents.remove(&pack);
        state.noted.remove(&pack);
        state.waste.remove(&pack);
        state.slow.remove(&pack);
        Ok(())
    }

    fn visit_pack(&self, pack: PackId, visit: &mut dyn FnMut(&StoredInstance)) -> Result<(), StoreError> {
        // A copy, so that `visit` may use the index.
        let standing: Vec<StoredInstance> = self.lock().standing_in(pack).cloned().collect();
        standing.iter().for_each(visit);
        Ok(())
    }

    fn wasteful(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError> {
        Ok(most_first(&self.lock().waste, limit))
    }

    fn set_waste(&self, pack: PackId, bytes: u64) -> Result<(), StoreError> {
        self.lock().waste.insert(pack, bytes);
        Ok(())
    }

    fn slow(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError> {
        Ok(most_first(&self.lock().slow, limit))
    }

    fn set_slow(&self, pack: PackId, instances: u64) -> Result<(), StoreError> {
        self.lock().slow.insert(pack, instances);
        Ok(())
    }

    fn note_damage(&self, study: &StudyUid, records: &[RecordAt]) -> Result<u64, StoreError> {
        let mut state = self.lock();
        let State { studies, damage, .. } = &mut *state;
        let mut newly = 0;
        for (_, content) in studies.iter_mut().filter(|((_, uid), _)| uid == study) {
            for (place, instance) in &content.instances {
                let hit: Vec<_> = instance.chunks.iter().map(|c| c.record).filter(|at| records.contains(at)).collect();
                if !hit.is_empty() {
                    damage.entry(study.clone()).or_default().extend(hit);
                    newly += u64::from(content.damaged.insert(place.clone()));
                }
            }
        }
        Ok(newly)
    }

    fn damage(&self, study: &StudyUid) -> Result<HashSet<RecordAt>, StoreError> {
        Ok(self.lock().damage.get(study).cloned().unwrap_or_default())
    }

    fn damaged(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError> {
        let state = self.lock();
        let of =
            |study: &Study| study.damaged.iter().filter_map(|p| study.instances.get(p).cloned()).collect::<Vec<_>>();
        Ok(state.studies.values().flat_map(of).take(limit).collect())
    }

    fn study_keys(
        &self,
        after: Option<&(PeerId, StudyUid)>,
        limit: usize,
    ) -> Result<Vec<(PeerId, StudyUid)>, StoreError> {
        let state = self.lock();
        let behind = state.studies.keys().filter(|key| after.is_none_or(|after| *key > after));
        Ok(behind.take(limit).cloned().collect())
    }
}
